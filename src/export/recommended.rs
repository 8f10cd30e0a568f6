//! The HPA that a sweep recommends: `recommended/`, what to apply to the cluster.

use super::File;
use super::adapters::{self, Format, Surroundings};
use super::provenance::Provenance;
use crate::hpa::HpaSpec;
use crate::hpa::spec::ObjectReference;
use crate::manifest::{HpaManifest, object_name};
use crate::sim::KedaConfig;
use crate::stats::Interval;
use crate::sweep::{CaseResult, Plan};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// An HPA to apply, with what its manifests need.
#[derive(Clone, Debug)]
pub struct Deployable {
    /// The HPA, with the metric names of the experiment.
    pub manifest: HpaManifest,
    /// Comment on top of it, without `#`.
    pub header: String,
    /// How its metrics reach it.
    pub format: Format,
    /// What the manifests are written for.
    pub surroundings: Surroundings,
    /// Minor release of Kubernetes that was simulated.
    pub kube_minor: u32,
}

impl Deployable {
    /// Its manifests.
    ///
    /// # Errors
    /// Metrics that the format cannot express.
    pub fn files(&self) -> Result<Vec<File>, Vec<String>> {
        adapters::files(self.format, &self.manifest, &self.surroundings, &self.header)
    }

    /// As `summary.json` keeps it, for `hpasim export`.
    pub fn to_json(&self) -> Value {
        json!({
            "manifest": self.manifest.object,
            "header": self.header,
            "format": self.format.name(),
            "scrape_interval": self.surroundings.scrape_interval.to_string(),
            "queries": self.surroundings.queries,
            "keda": self.surroundings.keda.as_ref().map(keda_value),
            "use_cached_metrics": self.surroundings.triggers.use_cached_metrics,
            "ignore_null_values": self.surroundings.triggers.ignore_null_values,
            "kube_minor": self.kube_minor,
        })
    }
}

fn keda_value(keda: &KedaConfig) -> Value {
    json!({
        "polling_interval": keda.polling_interval.to_string(),
        "cooldown_period": keda.cooldown_period.to_string(),
        "initial_cooldown_period": keda.initial_cooldown_period.to_string(),
        "min_replica_count": keda.min_replica_count,
        "idle_replica_count": keda.idle_replica_count,
        "activation_threshold_milli": keda.activation_threshold.0,
        "fallback": keda.fallback.map(|fallback| json!({
            "failure_threshold": fallback.failure_threshold,
            "replicas": fallback.replicas,
            "behavior": fallback.behavior.name(),
        })),
    })
}

/// The HPA object for `spec`: the user's `own` with its metadata and unvaried fields, or else one that is named
/// like its scale target. A spec without a target gets the Deployment `name`.
pub fn hpa_manifest(own: Option<&HpaManifest>, spec: &HpaSpec, name: &str) -> HpaManifest {
    let mut spec = spec.clone();
    let target = &mut spec.scale_target_ref;
    if target.name.is_empty() {
        *target = ObjectReference {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: object_name(name),
        };
    }
    match own {
        Some(manifest) => {
            let mut manifest = manifest.clone();
            manifest.set_spec(spec);
            manifest
        }
        None => HpaManifest::new(&spec.scale_target_ref.name.clone(), spec),
    }
}

/// The comment on top of a recommended manifest, without `#`.
pub fn recommendation_header<S>(
    provenance: &Provenance,
    plan: &Plan<S>,
    figures: &CaseResult,
    index: usize,
) -> String {
    let mut text = String::new();
    let out = &mut text;
    let case = &plan.cases[index];
    let _ = writeln!(
        out,
        "Recommended by hpasim {} for experiment {} (case {}).",
        Provenance::VERSION,
        provenance.experiment,
        case.id
    );
    let confidence = (plan.confidence * 1000.0).round() / 10.0;
    let of = match plan.replications {
        1 => "one replication".to_owned(),
        several => format!("mean of {several} replications (with {confidence} % confidence)"),
    };
    let _ = writeln!(out, "Predicted by simulation, {of}:");
    let rows: [(&str, &str, f64, usize); 6] = [
        ("SLO attainment [%]", "slo_attainment", 100.0, 3),
        ("cost of the run [USD]", "cost_usd", 1.0, 2),
        ("TTFT p95 [s]", "ttft_p95_s", 1.0, 3),
        ("TPOT p95 [ms]", "tpot_p95_s", 1000.0, 1),
        ("replicas, mean", "replicas_mean", 1.0, 2),
        ("replicas, most", "replicas_max", 1.0, 1),
    ];
    for (label, column, scale, decimals) in rows {
        let figure = scaled(&figures.measure(column), scale, decimals);
        let _ = writeln!(out, "  {label:<24}{figure}");
    }
    for (key, value) in &case.knobs {
        let _ = writeln!(out, "Varied: {key} = {value}");
    }
    if let Some(estimate) = &provenance.profile_estimate {
        let _ = writeln!(out, "GPU profile: {estimate}");
    }
    let _ = writeln!(out, "Experiment digest: blake3:{}", provenance.digest());
    let _ = write!(out, "Made by: {}", provenance.command);
    // A line feed inside a value must not end the comment.
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn scaled(interval: &Interval, scale: f64, decimals: usize) -> String {
    if interval.mean.is_nan() {
        return "not defined".to_owned();
    }
    let show = |value: f64| format!("{:.decimals$}", value * scale);
    if interval.low.is_nan() {
        return show(interval.mean);
    }
    format!("{} ({} to {})", show(interval.mean), show(interval.low), show(interval.high))
}

#[cfg(test)]
mod tests {
    use super::super::sweep::tests::example;
    use super::*;

    #[test]
    fn header_states_figures_digest_and_command() {
        let (plan, result) = example();
        let provenance = Provenance {
            experiment: "l4".into(),
            command: "hpasim sweep l4.toml --set 'a=1\nb'".into(),
            ..Provenance::default()
        };
        let text = recommendation_header(&provenance, &plan, &result.cases[0], 0);
        assert!(text.contains("  SLO attainment [%]      95.000 (95.000 to 95.000)\n"), "{text}");
        assert!(text.contains("Varied: target = 5\n"), "{text}");
        assert!(text.contains(&format!("blake3:{}", provenance.digest())), "{text}");
        assert!(text.contains("Made by: hpasim sweep l4.toml"), "{text}");
    }
}
