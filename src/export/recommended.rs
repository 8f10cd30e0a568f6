//! `recommended/`: what to apply to the cluster.

use super::File;
use super::provenance::Provenance;
use crate::hpa::HpaSpec;
use crate::hpa::spec::ObjectReference;
use crate::manifest::{HpaManifest, gmp_metric_name, plain_metric_name};
use crate::stats::Interval;
use crate::sweep::{CaseResult, Plan, SweepResult};
use crate::units::SimDuration;
use std::fmt::Write as _;

/// The object that the recommendation is written into, and its surroundings.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The user's own HPA object, whose metadata and unvaried fields stay; without one, an object named like
    /// the scale target.
    pub manifest: Option<HpaManifest>,
    /// Name of the Deployment, and value of its pods' label `app`, where the spec names no scale target.
    pub name: String,
    /// How often the pods are scraped.
    pub scrape_interval: SimDuration,
}

/// The files of the recommended HPA for Managed Service for Prometheus with the custom-metrics Stackdriver
/// adapter: the HPA with a comment header, the PodMonitoring that feeds it, and a kustomization.
pub fn recommended_files<S>(
    provenance: &Provenance,
    plan: &Plan<S>,
    result: &SweepResult,
    index: usize,
    spec: &HpaSpec,
    deployment: &Deployment,
) -> Vec<File> {
    let mut spec = spec.clone();
    name_for_gmp(&mut spec);
    let target = &mut spec.scale_target_ref;
    if target.name.is_empty() {
        *target = ObjectReference {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: deployment.name.clone(),
        };
    }
    let app = target.name.clone();
    let manifest = match &deployment.manifest {
        Some(manifest) => {
            let mut manifest = manifest.clone();
            manifest.set_spec(spec);
            manifest
        }
        None => HpaManifest::new(&app, spec),
    };
    let header = header(provenance, plan, &result.cases[index], index);
    vec![
        File::new("recommended/hpa.yaml", manifest.to_yaml(&header)),
        File::new("recommended/podmonitoring.yaml", podmonitoring(&app, deployment)),
        File::new(
            "recommended/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1beta1\n\
             kind: Kustomization\n\
             resources:\n\
             - hpa.yaml\n\
             - podmonitoring.yaml\n",
        ),
    ]
}

/// Gives plain metric names the form that the Stackdriver adapter knows.
// Source: the guide's manifests: prometheus.googleapis.com|vllm:num_requests_waiting|gauge.
fn name_for_gmp(spec: &mut HpaSpec) {
    let names = spec.metrics.iter_mut().flat_map(|metric| {
        let pods = metric.pods.as_mut().map(|source| &mut source.metric.name);
        let external = metric.external.as_mut().map(|source| &mut source.metric.name);
        pods.into_iter().chain(external)
    });
    for name in names {
        if name.starts_with("vllm:") && plain_metric_name(name).is_none() {
            *name = gmp_metric_name(name, "gauge");
        }
    }
}

/// The comment on top of the manifest, without `#`.
fn header<S>(
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
    let _ = writeln!(
        out,
        "Predicted by simulation, mean of {} replications (with {} % confidence):",
        plan.replications,
        (plan.confidence * 1000.0).round() / 10.0
    );
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
    let _ = writeln!(
        out,
        "Metric names are those of Managed Service for Prometheus behind the Stackdriver adapter."
    );
    for (key, value) in &case.knobs {
        let _ = writeln!(out, "Varied: {key} = {value}");
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

/// The object that makes Managed Service for Prometheus scrape the pods.
// Source: the guide's PodMonitoring: label app, port 8000, path /metrics, interval 15s.
fn podmonitoring(app: &str, deployment: &Deployment) -> String {
    // A JSON string is a YAML string whatever it holds.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "apiVersion: monitoring.googleapis.com/v1\n\
         kind: PodMonitoring\n\
         metadata:\n\
         \x20 name: {app}\n\
         spec:\n\
         \x20 endpoints:\n\
         \x20 - interval: {}\n\
         \x20   path: /metrics\n\
         \x20   port: 8000\n\
         \x20 selector:\n\
         \x20   matchLabels:\n\
         \x20     app: {app}\n",
        quoted(&deployment.scrape_interval.to_string()),
        app = quoted(app),
    )
}

#[cfg(test)]
mod tests {
    use super::super::sweep::tests::example;
    use super::*;
    use crate::hpa::Quantity;
    use crate::hpa::spec::MetricSpec;

    #[test]
    fn plain_names_become_gmp_names_and_others_stay() {
        let metric = |name: &str| MetricSpec::pods(name, Quantity::from_milli(5000));
        let mut spec = HpaSpec {
            metrics: vec![
                metric("vllm:num_requests_waiting"),
                metric("prometheus.googleapis.com|vllm:num_requests_running|gauge"),
                metric("tgi_queue_size"),
            ],
            ..HpaSpec::default()
        };
        name_for_gmp(&mut spec);
        let names: Vec<&str> = spec.metrics.iter().map(MetricSpec::metric_name).collect();
        assert_eq!(
            names,
            [
                "prometheus.googleapis.com|vllm:num_requests_waiting|gauge",
                "prometheus.googleapis.com|vllm:num_requests_running|gauge",
                "tgi_queue_size"
            ]
        );
    }

    #[test]
    fn header_states_figures_digest_and_command() {
        let (plan, result) = example();
        let provenance = Provenance {
            experiment: "l4".into(),
            command: "hpasim sweep l4.toml --set 'a=1\nb'".into(),
            ..Provenance::default()
        };
        let text = header(&provenance, &plan, &result.cases[0], 0);
        assert!(text.contains("  SLO attainment [%]      95.000 (95.000 to 95.000)\n"), "{text}");
        assert!(text.contains("Varied: target = 5\n"), "{text}");
        assert!(text.contains(&format!("blake3:{}", provenance.digest())), "{text}");
        assert!(text.contains("Made by: hpasim sweep l4.toml"), "{text}");
    }

    #[test]
    fn podmonitoring_follows_the_guide() {
        let deployment = Deployment {
            manifest: None,
            name: "vllm-openai-pd-l4".into(),
            scrape_interval: SimDuration::from_secs(15),
        };
        assert_eq!(
            podmonitoring("vllm-openai-pd-l4", &deployment),
            "apiVersion: monitoring.googleapis.com/v1\nkind: PodMonitoring\nmetadata:\n  \
             name: \"vllm-openai-pd-l4\"\nspec:\n  endpoints:\n  - interval: \"15s\"\n    \
             path: /metrics\n    port: 8000\n  selector:\n    matchLabels:\n      \
             app: \"vllm-openai-pd-l4\"\n"
        );
    }
}
