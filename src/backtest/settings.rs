//! Counterfactual settings: `hpa.max_replicas=8` put into a spec.

use super::{BacktestError, fault};
use crate::hpa::{HpaSpec, ValidationOptions};
use crate::manifest;
use serde_json::{Map, Value};

/// The spec with `hpa.<path>=<value>` arguments applied, checked as the API server would.
///
/// A path has the API's names in snake_case, list items as `metrics[0]` or `metrics.0`.
///
/// # Errors
/// For a path that does not exist or a value that the API refuses.
pub fn apply(spec: &HpaSpec, arguments: &[String]) -> Result<HpaSpec, BacktestError> {
    let mut root = manifest::spec_to_json_value(spec);
    for argument in arguments {
        let parts =
            argument.split_once('=').and_then(|(k, v)| Some((k.trim().strip_prefix("hpa.")?, v)));
        let Some((path, text)) = parts else {
            return fault(format!(
                "--set {argument}: expected hpa.KEY=VALUE, as in hpa.max_replicas=8"
            ));
        };
        let new = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let mut place = &mut root;
        for segment in path.replace('[', ".").replace(']', "").split('.') {
            if let Value::Array(items) = place {
                let item = segment.parse::<usize>().ok().and_then(|i| items.get_mut(i));
                let Some(item) = item else {
                    return fault(format!("--set {argument}: the list has no item `{segment}`"));
                };
                place = item;
            } else {
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                let Value::Object(fields) = place else {
                    return fault(format!(
                        "--set {argument}: nothing can be set below a plain value"
                    ));
                };
                place = fields.entry(camel(segment)).or_insert(Value::Null);
            }
        }
        *place = new;
    }
    let told = |errors: Vec<crate::hpa::FieldError>| {
        BacktestError(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let spec = manifest::spec_from_json_value(&root).map_err(told)?;
    let errors = spec.defaulted().validate(&ValidationOptions::default());
    if errors.is_empty() { Ok(spec) } else { Err(told(errors)) }
}

fn camel(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::{Quantity, spec::MetricSpec};

    #[test]
    fn settings_reach_the_spec_or_are_refused() {
        let mut spec = HpaSpec { max_replicas: 4, ..HpaSpec::default() };
        spec.scale_target_ref.api_version = "apps/v1".into();
        spec.scale_target_ref.kind = "Deployment".into();
        spec.scale_target_ref.name = "v".into();
        spec.metrics.push(MetricSpec::pods("q", Quantity::from_milli(2_000)));
        let set = |text: &str| apply(&spec, &[text.to_owned()]);
        assert_eq!(set("hpa.max_replicas=8").unwrap().max_replicas, 8);
        let down = set("hpa.behavior.scale_down.stabilization_window_seconds=60").unwrap();
        let rules = down.behavior.unwrap().scale_down.unwrap();
        assert_eq!(rules.stabilization_window_seconds, Some(60));
        assert!(set("hpa.metrics[0].pods.target.average_value=5").is_ok());
        for bad in
            ["hpa.max_replica=8", "max_replicas=8", "hpa.max_replicas=0", "hpa.metrics[3].type=x"]
        {
            assert!(set(bad).is_err(), "{bad}");
        }
    }
}
