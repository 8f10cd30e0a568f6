//! Every file in `experiments/` and `models/` is valid.

use hpasim::config::{Loader, Options, load};

/// Reads files below the checkout.
pub(crate) struct Checkout;

impl Loader for Checkout {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read(root.join(path)).map_err(|e| e.to_string())
    }
}

fn files(folder: &str) -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = std::fs::read_dir(root.join(folder))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| std::path::Path::new(name).extension().is_some_and(|e| e == "toml"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_shipped_experiment_loads_without_a_word() {
    let files = files("experiments");
    assert!(files.len() >= 4, "{files:?}");
    for path in files {
        let loaded = load(&Checkout, &path, &Options::default());
        let loaded = loaded.unwrap_or_else(|findings| panic!("{path}:\n{findings}"));
        assert!(loaded.warnings.items.is_empty(), "{path}:\n{}", loaded.warnings);
        assert!(!loaded.experiment.plan.cases.is_empty());
    }
}

#[test]
fn every_profile_in_the_folder_is_built_in() {
    for path in files("models") {
        let name = path.trim_start_matches("models/").trim_end_matches(".toml");
        let text = hpasim::config::profile::GpuProfile::builtin_text(name);
        assert!(text.is_some(), "{path} is not in builtin_list.rs");
    }
}

#[test]
fn the_main_experiment_is_a_day_of_sixty_cases() {
    let loaded = load(&Checkout, "experiments/l4.toml", &Options::default()).unwrap();
    let plan = &loaded.experiment.plan;
    assert!(plan.cases.len() >= 60, "{} cases", plan.cases.len());
    assert_eq!(plan.replications, 5);
    let case = &plan.cases[1];
    assert_eq!(case.scenario.duration.as_secs_f64(), 86_400.0);
    let keys: Vec<&str> = case.knobs.iter().map(|(k, _)| k.as_str()).collect();
    let window = "hpa.behavior.scale_down.stabilization_window_seconds";
    assert_eq!(keys, ["metric", "target", window]);
    // The last axis varies fastest, and ids count in grid order.
    assert_eq!((case.id.as_str(), case.knob(window)), ("c001", "600"));
    let digests: std::collections::BTreeSet<&str> =
        plan.cases.iter().map(|c| c.digest.as_str()).collect();
    assert_eq!(digests.len(), plan.cases.len(), "two cases share a digest");
}

/// `docs/config.md` and `docs/diagnostics.md` are what the program prints.
#[test]
fn generated_pages_are_current() {
    use hpasim::config::{registry, schema};
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, text, option) in [
        ("docs/config.md", schema::markdown(&registry()), "--markdown"),
        ("docs/diagnostics.md", schema::diagnostics_markdown(), "--diagnostics"),
    ] {
        let page = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        assert!(page == text, "{path} is old: `hpasim schema {option} > {path}` renews it");
    }
}

/// Every key of a shipped experiment is a property of the schema.
#[test]
fn the_json_schema_knows_the_keys_of_the_experiments() {
    let schema = hpasim::config::schema::json_schema(&hpasim::config::registry());
    let text = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/l4.toml"),
    );
    let document: toml::Table = text.unwrap().parse().unwrap();
    walk(&serde_json::to_value(document).unwrap(), &schema, "");
}

fn walk(value: &serde_json::Value, schema: &serde_json::Value, path: &str) {
    let known = &schema["properties"];
    for (key, value) in value.as_object().into_iter().flatten() {
        let child = &known[key];
        assert!(child.is_object(), "{path}.{key} is not in the schema");
        match value {
            serde_json::Value::Object(_) if child["type"] == "object" => {
                walk(value, child, &format!("{path}.{key}"));
            }
            serde_json::Value::Array(items) if child["items"].is_object() => {
                for item in items {
                    walk(item, &child["items"], &format!("{path}.{key}[]"));
                }
            }
            _ => {}
        }
    }
}
