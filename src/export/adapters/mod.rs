//! An HPA and what its metrics adapter needs beside it, for each way that a metric may reach it.

mod gke_native;
mod gmp;
mod keda;
mod prometheus_adapter;

use super::File;
use crate::hpa::ValidationOptions;
use crate::hpa::spec::MetricSpec;
use crate::hpa::validation::is_dns1123_subdomain;
use crate::manifest::{HpaManifest, gke_native_series, plain_metric_name};
use crate::sim::{KedaConfig, Signal};
use crate::units::SimDuration;
use std::collections::BTreeMap;

/// How the metrics reach the HPA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Managed Service for Prometheus behind the Stackdriver adapter, per pod.
    Gmp,
    /// The same as External metrics, summed over the pods.
    GmpExternal,
    /// prometheus-adapter's custom metrics.
    PrometheusAdapter,
    /// A KEDA ScaledObject, which makes the HPA itself.
    Keda,
    /// GKE's own metrics agent, per pod.
    GkeNative,
}

/// What the manifests are written for.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// Namespace of the deployment, where known.
    pub namespace: Option<String>,
    /// How often the pods are scraped.
    pub scrape_interval: SimDuration,
    /// Address of the Prometheus that KEDA asks.
    pub prometheus_url: String,
    /// The query behind a metric name that is not a series' own, as `s0-prometheus`.
    pub queries: BTreeMap<String, String>,
    /// What a ScaledObject says besides its triggers; `None`: KEDA's defaults.
    pub keda: Option<KedaConfig>,
    /// What its triggers say.
    pub triggers: Triggers,
}

/// What every trigger of a ScaledObject says besides its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triggers {
    /// `useCachedMetrics`.
    pub use_cached_metrics: bool,
    /// `ignoreNullValues`.
    pub ignore_null_values: bool,
}

impl Default for Triggers {
    // Source: kedacore/keda, prometheus trigger.
    fn default() -> Self {
        Self { use_cached_metrics: false, ignore_null_values: true }
    }
}

impl Surroundings {
    /// Address that KEDA's prometheus trigger is given unless told otherwise: the service that the
    /// prometheus-operator makes in `monitoring`. A user has to check it.
    pub const PROMETHEUS_URL: &str = "http://prometheus-operated.monitoring.svc:9090";
}

impl Format {
    /// Every format, with the name that the command line takes.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Gmp, "gmp"),
        (Self::GmpExternal, "gmp-external"),
        (Self::PrometheusAdapter, "prometheus-adapter"),
        (Self::Keda, "keda"),
        (Self::GkeNative, "gke-native"),
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|f| f.0 == self).map_or("", |f| f.1)
    }
}

/// Every file that [`files`] may write.
pub const FILES: [&str; 7] = [
    "hpa.yaml",
    "autoscalingmetric.yaml",
    "podmonitoring.yaml",
    "gpu-podmonitoring.yaml",
    "prometheus-adapter-rules.yaml",
    "scaledobject.yaml",
    "kustomization.yaml",
];

/// The manifests of one HPA, each with `header` as its comment where it is the HPA or what makes it.
///
/// # Errors
/// Metrics that the format cannot express.
pub fn files(
    format: Format,
    manifest: &HpaManifest,
    surroundings: &Surroundings,
    header: &str,
) -> Result<Vec<File>, Vec<String>> {
    let mut manifest = manifest.clone();
    let mut spec = manifest.spec.clone();
    for name in spec.metrics.iter_mut().flat_map(custom_names) {
        if let Some(series) = gke_native_series(name) {
            *name = series;
        }
    }
    manifest.set_spec(spec.clone());
    let takes_queries = matches!(format, Format::PrometheusAdapter | Format::Keda);
    let is_query = |m: &&MetricSpec| surroundings.queries.contains_key(m.metric_name());
    let queries = spec.metrics.iter().filter(|m| !takes_queries && is_query(m));
    let refused: Vec<String> = queries
        .map(|m| {
            let name = m.metric_name();
            format!("`{name}` is a query: `{}` takes series by their name", format.name())
        })
        .collect();
    if !refused.is_empty() {
        return Err(refused);
    }
    let (files, apply) = match format {
        Format::Gmp | Format::GmpExternal => {
            gmp::rename(&mut spec);
            let mut note = format!("{header}\n{}", gmp::NOTE);
            if gmp::make_gpus_external(&mut spec) {
                note = format!("{note}\n{}", gmp::GPU_NOTE);
            }
            if format == Format::GmpExternal {
                gmp::make_external(&mut spec, surroundings);
            }
            manifest.set_spec(spec);
            let hpa = File::new("hpa.yaml", manifest.to_yaml(&note));
            let mut files = vec![hpa, gmp::podmonitoring(&manifest.spec, surroundings)];
            let mut apply = vec!["hpa.yaml", "podmonitoring.yaml"];
            if let Some(gpus) = gmp::gpu_podmonitoring(&manifest.spec, surroundings) {
                files.push(gpus);
                apply.push("gpu-podmonitoring.yaml");
            }
            (files, apply)
        }
        Format::PrometheusAdapter => {
            let rules = prometheus_adapter::rules(&spec, &surroundings.queries)?;
            prometheus_adapter::rename(&mut spec, &surroundings.queries);
            manifest.set_spec(spec);
            let note = format!("{header}\n{}", prometheus_adapter::NOTE);
            let hpa = File::new("hpa.yaml", manifest.to_yaml(&note));
            (vec![hpa, rules], vec!["hpa.yaml"])
        }
        Format::GkeNative => {
            let object = gke_native::autoscaling_metric(&manifest, &mut spec, surroundings)?;
            manifest.set_spec(spec);
            let note = format!("{header}\n{}", gke_native::NOTE);
            let hpa = File::new("hpa.yaml", manifest.to_yaml(&note));
            (vec![hpa, object], vec!["hpa.yaml", "autoscalingmetric.yaml"])
        }
        Format::Keda => {
            let object = keda::scaled_object(&manifest, surroundings, header)?;
            keda::as_made(&mut manifest);
            let hpa = File::new("hpa.yaml", manifest.to_yaml(&format!("{header}\n{}", keda::NOTE)));
            (vec![hpa, object], vec!["scaledobject.yaml"])
        }
    };
    let mut files = files;
    files.push(kustomization(&apply));
    Ok(files)
}

/// What the API server of Kubernetes 1.`kube_minor` refuses in this spec; empty if it admits it.
pub fn refusals(format: Format, manifest: &HpaManifest, kube_minor: u32) -> Vec<String> {
    // KEDA scales to zero itself: the HPA that it makes has one replica at least.
    let scale_to_zero = format == Format::Keda;
    let options = ValidationOptions { kube_minor, scale_to_zero };
    let found = manifest.spec.defaulted().validate(&options);
    let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
    if !is_dns1123_subdomain(manifest.name()) {
        found.push(format!("metadata.name: Invalid value: \"{}\"", manifest.name()));
    }
    if format == Format::GkeNative && kube_minor < gke_native::OLDEST_MINOR {
        found.push("autoscalingmetric.yaml: GKE has this kind from 1.35.1 on".to_owned());
    }
    found
}

/// The files that `kubectl apply` takes, as one text of several documents.
pub fn to_apply(files: &[File]) -> String {
    let list = files.iter().find(|f| f.path == "kustomization.yaml");
    let list = list.map_or("", |f| std::str::from_utf8(&f.bytes).unwrap_or_default());
    let named = |f: &&File| list.lines().any(|l| l.strip_prefix("- ") == Some(f.path.as_str()));
    let texts = files.iter().filter(named).map(|f| String::from_utf8_lossy(&f.bytes));
    texts.collect::<Vec<_>>().join("---\n")
}

fn kustomization(resources: &[&str]) -> File {
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- {}\n",
        resources.join("\n- ")
    );
    File::new("kustomization.yaml", text)
}

/// A metric's name without the adapter's dress.
fn plain(name: &str) -> &str {
    plain_metric_name(name).unwrap_or(name)
}

/// Whether a metric is one of the router, which has no pod of the deployment.
fn is_of_the_router(name: &str) -> bool {
    Signal::from_name(plain(name)).is_some_and(Signal::is_of_the_router)
}

/// Names that an adapter gives to the metric; those of resources are Kubernetes' own.
fn custom_names(metric: &mut MetricSpec) -> impl Iterator<Item = &mut String> {
    let pods = metric.pods.as_mut().map(|source| &mut source.metric.name);
    let external = metric.external.as_mut().map(|source| &mut source.metric.name);
    pods.into_iter().chain(external)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::spec::{
        Behavior, MetricIdentifier, MetricTarget, ObjectReference, ObjectSource, ScalingRules,
    };
    use crate::hpa::{HpaSpec, Quantity};
    use crate::sim::{Fallback, FallbackBehavior};

    fn manifest(metrics: Vec<MetricSpec>) -> HpaManifest {
        let scale_target_ref = ObjectReference {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: "vllm-pd-l4".to_owned(),
        };
        let down =
            ScalingRules { stabilization_window_seconds: Some(600), ..ScalingRules::default() };
        let behavior = Some(Behavior { scale_up: None, scale_down: Some(down) });
        let spec =
            HpaSpec { scale_target_ref, max_replicas: 8, metrics, behavior, ..HpaSpec::default() };
        HpaManifest::new("vllm-pd-l4", spec)
    }

    fn waiting() -> MetricSpec {
        MetricSpec::pods("vllm:num_requests_waiting", Quantity::from_milli(2_500))
    }

    fn try_made(format: Format, metrics: Vec<MetricSpec>) -> Result<Vec<File>, Vec<String>> {
        let surroundings = Surroundings {
            namespace: Some("llm".to_owned()),
            scrape_interval: SimDuration::from_secs(15),
            prometheus_url: Surroundings::PROMETHEUS_URL.to_owned(),
            queries: [("s0-prometheus".to_owned(), "sum(vllm:num_requests_running)".to_owned())]
                .into(),
            keda: None,
            triggers: Triggers::default(),
        };
        files(format, &manifest(metrics), &surroundings, "Made by a test.")
    }

    fn made(format: Format, metrics: Vec<MetricSpec>) -> Vec<(String, String)> {
        let files = try_made(format, metrics).unwrap();
        files.into_iter().map(|f| (f.path, String::from_utf8(f.bytes).unwrap())).collect()
    }

    fn text<'a>(files: &'a [(String, String)], name: &str) -> &'a str {
        &files.iter().find(|f| f.0 == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn gmp_follows_the_guide() {
        let files = made(
            Format::Gmp,
            vec![waiting(), MetricSpec::pods("tgi_queue_size", Quantity::from_milli(1))],
        );
        let hpa = text(&files, "hpa.yaml");
        assert!(hpa.starts_with("# Made by a test.\n# Metric names are"), "{hpa}");
        assert!(hpa.contains("prometheus.googleapis.com|vllm:num_requests_waiting|gauge"), "{hpa}");
        assert!(hpa.contains("name: tgi_queue_size"), "{hpa}");
        assert_eq!(
            text(&files, "podmonitoring.yaml"),
            "apiVersion: monitoring.googleapis.com/v1\nkind: PodMonitoring\nmetadata:\n  \
             name: \"vllm-pd-l4\"\nspec:\n  endpoints:\n  - interval: \"15s\"\n    \
             path: /metrics\n    port: 8000\n  selector:\n    matchLabels:\n      \
             app: \"vllm-pd-l4\"\n"
        );
        assert!(text(&files, "kustomization.yaml").ends_with("- hpa.yaml\n- podmonitoring.yaml\n"));
    }

    #[test]
    fn gke_native_names_what_its_object_makes() {
        let files = made(Format::GkeNative, vec![waiting()]);
        let object: serde_json::Value =
            serde_saphyr::from_str(text(&files, "autoscalingmetric.yaml")).unwrap();
        assert_eq!(object["apiVersion"], "autoscaling.gke.io/v1beta1");
        assert_eq!(object["metadata"]["namespace"], "llm");
        let pod = &object["spec"]["metrics"][0]["pod"];
        assert_eq!(pod["selector"]["matchLabels"]["app"], "vllm-pd-l4");
        let container = &pod["containers"][0];
        assert_eq!(container["endpoint"]["port"], 8000);
        let gauge = serde_json::json!({
            "name": "num-requests-waiting", "prometheusMetricName": "vllm:num_requests_waiting"
        });
        assert_eq!(container["metrics"][0]["gauge"], gauge);
        let read = crate::manifest::read(text(&files, "hpa.yaml")).unwrap();
        let metric = &read.hpas[0].spec.metrics[0];
        let name = "autoscaling.gke.io|vllm-pd-l4|num-requests-waiting";
        assert_eq!((metric.kind.as_str(), metric.metric_name()), ("Pods", name));
        assert!(refusals(Format::GkeNative, &read.hpas[0], 36).is_empty());
        assert!(refusals(Format::GkeNative, &read.hpas[0], 34)[0].contains("1.35.1"));
        // Its names are read back for every other format.
        let metric = MetricSpec::pods(name, Quantity::from_milli(2_500));
        let gmp = made(Format::Gmp, vec![metric]);
        let series = "prometheus.googleapis.com|vllm:num_requests_waiting|gauge";
        assert!(text(&gmp, "hpa.yaml").contains(series), "{}", text(&gmp, "hpa.yaml"));
        // Counters and sums do not come this way.
        let target = MetricTarget::average_value(Quantity::from_milli(1_000));
        let metrics = vec![
            MetricSpec::pods("vllm:generation_tokens_total", Quantity::from_milli(1)),
            MetricSpec::external("vllm:num_requests_waiting", target),
        ];
        let refused = try_made(Format::GkeNative, metrics);
        assert_eq!(refused.unwrap_err().len(), 2);
    }

    #[test]
    fn gmp_external_sums_the_series_of_a_namespace() {
        let files = made(Format::GmpExternal, vec![waiting()]);
        let read = crate::manifest::read(text(&files, "hpa.yaml")).unwrap();
        let metric = &read.hpas[0].spec.metrics[0];
        let external = metric.external.as_ref().unwrap();
        assert_eq!((metric.kind.as_str(), metric.pods.is_none()), ("External", true));
        let labels = &external.metric.selector.as_ref().unwrap().match_labels;
        assert_eq!(labels["resource.labels.namespace"], "llm");
        assert_eq!(external.target.average_value.as_ref().unwrap().canonical(), "2500m");
        assert!(refusals(Format::GmpExternal, &read.hpas[0], 36).is_empty());
    }

    #[test]
    fn gpu_metrics_come_from_their_exporters() {
        let util = || MetricSpec::pods("DCGM_FI_DEV_GPU_UTIL", Quantity::from_milli(60_000));
        let duty = "kubernetes.io|container|accelerator|duty_cycle";
        let files = made(Format::Gmp, vec![util()]);
        let hpa = crate::manifest::read(text(&files, "hpa.yaml")).unwrap();
        let external = hpa.hpas[0].spec.metrics[0].external.as_ref().unwrap();
        assert_eq!(external.metric.name, "prometheus.googleapis.com|dcgm_fi_dev_gpu_util|unknown");
        assert!(text(&files, "hpa.yaml").contains("# GPU metrics are External here"));
        let object: serde_json::Value =
            serde_saphyr::from_str(text(&files, "gpu-podmonitoring.yaml")).unwrap();
        let endpoint = &object["spec"]["endpoints"][0];
        assert_eq!((&endpoint["port"], &endpoint["interval"]), (&"metrics".into(), &"15s".into()));
        let relabeling = &endpoint["metricRelabeling"];
        assert_eq!(relabeling[0]["action"], "keep");
        assert_eq!(relabeling[1]["regex"], "DCGM_FI_DEV_GPU_UTIL");
        assert_eq!(relabeling[1]["replacement"], "dcgm_fi_dev_gpu_util");
        assert!(text(&files, "kustomization.yaml").ends_with("- gpu-podmonitoring.yaml\n"));
        // GKE's own metrics have labels of their own.
        let metric = MetricSpec::pods(duty, Quantity::from_milli(60_000));
        let files = made(Format::GmpExternal, vec![metric]);
        let hpa = crate::manifest::read(text(&files, "hpa.yaml")).unwrap();
        let external = hpa.hpas[0].spec.metrics[0].external.as_ref().unwrap();
        assert_eq!(external.metric.name, duty);
        let labels = &external.metric.selector.as_ref().unwrap().match_labels;
        assert_eq!(labels["resource.labels.namespace_name"], "llm");
        assert_eq!(labels["resource.labels.container_name"], "inference-server");
        assert!(!files.iter().any(|f| f.0 == "gpu-podmonitoring.yaml"));
        // The adapter's rule gives the name in lower case, too.
        let files = made(Format::PrometheusAdapter, vec![util()]);
        assert!(text(&files, "hpa.yaml").contains("name: dcgm_fi_dev_gpu_util"));
        assert!(text(&files, "prometheus-adapter-rules.yaml").contains("^DCGM_FI_DEV_GPU_UTIL$"));
    }

    /// One value per namespace, as the production stack has it; of other objects the adapter knows nothing.
    #[test]
    fn prometheus_adapter_sums_by_namespace_for_object_metrics() {
        let object = |kind: &str| MetricSpec {
            kind: "Object".to_owned(),
            object: Some(ObjectSource {
                described_object: ObjectReference {
                    api_version: "v1".to_owned(),
                    kind: kind.to_owned(),
                    name: "llm".to_owned(),
                },
                metric: MetricIdentifier {
                    name: "vllm:num_requests_waiting".to_owned(),
                    selector: None,
                },
                target: MetricTarget::value(Quantity::from_milli(1_000)),
            }),
            ..MetricSpec::default()
        };
        let files = made(Format::PrometheusAdapter, vec![object("Namespace")]);
        let hpa = crate::manifest::read(text(&files, "hpa.yaml")).unwrap();
        assert_eq!(hpa.hpas[0].spec.metrics[0].metric_name(), "vllm_num_requests_waiting");
        let written = text(&files, "prometheus-adapter-rules.yaml");
        let map: serde_json::Value = serde_saphyr::from_str(written).unwrap();
        let rules: serde_json::Value =
            serde_saphyr::from_str(map["data"]["config.yaml"].as_str().unwrap()).unwrap();
        let rule = &rules["rules"][0];
        assert_eq!(rule["resources"]["overrides"]["namespace"]["resource"], "namespace");
        assert!(rule["resources"]["overrides"]["pod"].is_null(), "{rule}");
        let refused = try_made(Format::PrometheusAdapter, vec![object("Service")]);
        assert!(refused.unwrap_err()[0].contains("describes a Service"));
    }

    #[test]
    fn prometheus_adapter_has_a_rule_for_each_name_of_the_hpa() {
        let rate = MetricSpec::pods("vllm:generation_tokens_total", Quantity::from_milli(900_000));
        let target = MetricTarget::average_value(Quantity::from_milli(60_000));
        let external = MetricSpec::external("dcgm_fi_dev_gpu_util", target);
        let files = made(Format::PrometheusAdapter, vec![waiting(), rate, external]);
        let written = text(&files, "prometheus-adapter-rules.yaml");
        assert!(written.contains("  config.yaml: |\n    "), "lines to merge by hand: {written}");
        let rules: serde_json::Value = serde_saphyr::from_str(written).unwrap();
        let rules: serde_json::Value =
            serde_saphyr::from_str(rules["data"]["config.yaml"].as_str().unwrap()).unwrap();
        let rows = rules["rules"].as_array().unwrap();
        let row = rows.iter().find(|r| r["name"]["as"] == "vllm_num_requests_waiting").unwrap();
        assert_eq!(row["name"]["matches"], "^vllm:num_requests_waiting$");
        assert_eq!(row["seriesQuery"], "vllm:num_requests_waiting{namespace!=\"\",pod!=\"\"}");
        assert_eq!(row["metricsQuery"], "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)");
        assert_eq!(rules["externalRules"][0]["name"]["as"], "dcgm_fi_dev_gpu_util");
        let read = crate::manifest::read(text(&files, "hpa.yaml")).unwrap();
        let names: Vec<&str> =
            read.hpas[0].spec.metrics.iter().map(MetricSpec::metric_name).collect();
        let rate = "vllm:generation_tokens_per_second".replace(':', "_");
        assert_eq!(names, ["vllm_num_requests_waiting", rate.as_str(), "dcgm_fi_dev_gpu_util"]);
        assert!(rows.iter().any(|r| r["name"]["as"] == rate.as_str()
            && r["metricsQuery"].as_str().unwrap().contains("rate(<<.Series>>")));
    }

    /// There is no series of such a name: its rule has the query, and what takes names refuses it.
    #[test]
    fn a_query_stays_a_query() {
        let target = MetricTarget::average_value(Quantity::from_milli(8_000));
        let metric = || MetricSpec::external("s0-prometheus", target.clone());
        let files = made(Format::PrometheusAdapter, vec![metric()]);
        let map: serde_json::Value =
            serde_saphyr::from_str(text(&files, "prometheus-adapter-rules.yaml")).unwrap();
        let rules: serde_json::Value =
            serde_saphyr::from_str(map["data"]["config.yaml"].as_str().unwrap()).unwrap();
        let rule = &rules["externalRules"][0];
        assert_eq!(rule["seriesQuery"], "vllm:num_requests_running{namespace!=\"\"}");
        assert_eq!(rule["name"]["matches"], "^vllm:num_requests_running$");
        assert_eq!(rule["name"]["as"], "s0-prometheus");
        assert_eq!(rule["metricsQuery"], "sum(vllm:num_requests_running)");
        assert!(text(&files, "hpa.yaml").contains("name: s0-prometheus"));
        for format in [Format::Gmp, Format::GmpExternal, Format::GkeNative] {
            let refused = try_made(format, vec![metric()]).unwrap_err();
            assert!(refused[0].starts_with("`s0-prometheus` is a query"), "{refused:?}");
        }
    }

    /// What the endpoint picker shows has no pod of the deployment.
    #[test]
    fn metrics_of_the_router_have_no_pod() {
        let target = MetricTarget::average_value(Quantity::from_milli(6_000));
        for series in [
            "inference_pool_per_pod_queue_size",
            "inference_extension_flow_control_queue_size",
            "llm_d_epp_flow_control_queue_size",
            "inference_objective_running_requests",
        ] {
            let metric = || MetricSpec::external(series, target.clone());
            let hpa = made(Format::Gmp, vec![metric()]);
            let name = format!("prometheus.googleapis.com|{series}|gauge");
            assert!(text(&hpa, "hpa.yaml").contains(&name), "{}", text(&hpa, "hpa.yaml"));
            let object = made(Format::Keda, vec![metric()]);
            let query = format!("query: sum({series}{{namespace=\"llm\"}})");
            let written = text(&object, "scaledobject.yaml").replace('\'', "");
            assert!(written.contains(&query), "{written}");
        }
    }

    #[test]
    fn keda_asks_for_the_sum_and_takes_decimals() {
        let files = made(Format::Keda, vec![waiting()]);
        let object: serde_json::Value =
            serde_saphyr::from_str(text(&files, "scaledobject.yaml")).unwrap();
        let trigger = &object["spec"]["triggers"][0];
        assert_eq!(trigger["metadata"]["threshold"], "2.5");
        assert_eq!(
            trigger["metadata"]["query"],
            "sum(vllm:num_requests_waiting{namespace=\"llm\",pod=~\"vllm-pd-l4-.*\"})"
        );
        let hpa = &object["spec"]["advanced"]["horizontalPodAutoscalerConfig"];
        assert_eq!(hpa["behavior"]["scaleDown"]["stabilizationWindowSeconds"], 600);
        let hpa = crate::manifest::read(text(&files, "hpa.yaml")).unwrap();
        assert_eq!(hpa.hpas[0].name(), "keda-hpa-vllm-pd-l4");
        assert_eq!(hpa.hpas[0].spec.metrics[0].metric_name(), "s0-prometheus");
        // A name of KEDA's own keeps the query that was simulated.
        let target = MetricTarget::average_value(Quantity::from_milli(8_000));
        let files_of_query =
            made(Format::Keda, vec![MetricSpec::external("s0-prometheus", target)]);
        let object: serde_json::Value =
            serde_saphyr::from_str(text(&files_of_query, "scaledobject.yaml")).unwrap();
        let metadata = &object["spec"]["triggers"][0]["metadata"];
        assert_eq!(metadata["query"], "sum(vllm:num_requests_running)");
        // The HPA is shown, not applied.
        assert!(text(&files, "kustomization.yaml").ends_with("resources:\n- scaledobject.yaml\n"));
    }

    #[test]
    fn a_scaled_object_says_what_was_simulated() {
        let second = SimDuration::from_secs;
        let keda = KedaConfig {
            polling_interval: second(20),
            cooldown_period: second(200),
            initial_cooldown_period: second(60),
            min_replica_count: 2,
            idle_replica_count: Some(0),
            activation_threshold: crate::units::Milli(500),
            fallback: Some(Fallback {
                failure_threshold: 3,
                replicas: 6,
                behavior: FallbackBehavior::CurrentReplicasIfHigher,
            }),
        };
        let surroundings = Surroundings {
            namespace: None,
            scrape_interval: second(15),
            prometheus_url: Surroundings::PROMETHEUS_URL.to_owned(),
            queries: BTreeMap::new(),
            keda: Some(keda),
            triggers: Triggers { use_cached_metrics: true, ignore_null_values: false },
        };
        let files = files(Format::Keda, &manifest(vec![waiting()]), &surroundings, "").unwrap();
        let object = files.iter().find(|file| file.path == "scaledobject.yaml").unwrap();
        let text = String::from_utf8(object.bytes.clone()).unwrap();
        let spec: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let spec = &spec["spec"];
        let numbers = ["minReplicaCount", "idleReplicaCount", "pollingInterval", "cooldownPeriod"];
        assert_eq!(numbers.map(|key| spec[key].as_u64()), [2, 0, 20, 200].map(Some));
        assert_eq!(spec["initialCooldownPeriod"], 60);
        let fallback = serde_json::json!({
            "failureThreshold": 3, "replicas": 6, "behavior": "currentReplicasIfHigher"
        });
        assert_eq!(spec["fallback"], fallback);
        let trigger = &spec["triggers"][0];
        assert_eq!(trigger["useCachedMetrics"], true);
        assert_eq!(trigger["metadata"]["ignoreNullValues"], "false");
        assert_eq!(trigger["metadata"]["activationThreshold"], "0.5");
    }

    #[test]
    fn a_release_refuses_what_its_api_server_refuses() {
        let with = |min_replicas| {
            let mut hpa = manifest(vec![waiting()]);
            hpa.set_spec(HpaSpec { min_replicas, ..hpa.spec.clone() });
            hpa
        };
        assert!(refusals(Format::Gmp, &with(None), 36).is_empty());
        assert!(refusals(Format::Gmp, &with(Some(0)), 36)[0].starts_with("spec.minReplicas"));
        assert!(refusals(Format::Keda, &with(Some(9)), 36)[0].starts_with("spec.maxReplicas"));
        let unnamed = HpaManifest::new("Vllm_", with(None).spec);
        assert!(refusals(Format::Gmp, &unnamed, 36)[0].starts_with("metadata.name"));
    }
}
