//! Manifests in and out.

use hpasim::hpa::spec::{HpaSpec, MetricSpec, ObjectReference};
use hpasim::hpa::{Quantity, ValidationOptions};
use hpasim::manifest::{self, HpaManifest, gmp_metric_name, plain_metric_name};

/// What `kubectl get hpa -o yaml` prints, with the server's additions.
const FROM_KUBECTL: &str = r#"apiVersion: v1
items:
- apiVersion: autoscaling/v2
  kind: HorizontalPodAutoscaler
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler"}
      team: serving
    creationTimestamp: "2026-10-01T10:00:00Z"
    labels:
      app: vllm
    managedFields:
    - apiVersion: autoscaling/v2
      fieldsType: FieldsV1
      fieldsV1:
        f:spec: {}
      manager: kubectl
      operation: Update
      time: "2026-10-01T10:00:00Z"
    name: vllm
    namespace: default
    resourceVersion: "4711"
    uid: 6f2a
  spec:
    behavior:
      scaleDown:
        policies:
        - periodSeconds: 60
          type: Pods
          value: 1
        selectPolicy: Max
        stabilizationWindowSeconds: 300
        tolerance: 50m
    maxReplicas: 10
    metrics:
    - pods:
        metric:
          name: prometheus.googleapis.com|vllm:num_requests_waiting|gauge
          selector:
            matchLabels:
              metric.labels.model_name: llama
        target:
          averageValue: "5"
          type: AverageValue
      type: Pods
    minReplicas: 1
    scaleTargetRef:
      apiVersion: apps/v1
      kind: Deployment
      name: vllm
  status:
    conditions:
    - lastTransitionTime: "2026-10-01T10:00:15Z"
      message: recommended size matches current size
      reason: ReadyForNewScale
      status: "True"
      type: AbleToScale
    currentMetrics: null
    currentReplicas: 1
    desiredReplicas: 1
kind: List
metadata:
  resourceVersion: ""
"#;

fn one(text: &str) -> HpaManifest {
    let mut file = manifest::read(text)
        .unwrap_or_else(|e| panic!("{}", e.iter().map(|f| format!("{f}\n")).collect::<String>()));
    assert_eq!(file.hpas.len(), 1);
    file.hpas.remove(0)
}

fn errors(text: &str) -> Vec<String> {
    manifest::read(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn what_kubectl_prints_goes_in_and_comes_out_without_the_servers_fields() {
    let hpa = one(FROM_KUBECTL);
    assert_eq!(hpa.name(), "vllm");
    assert_eq!(hpa.spec.max_replicas, 10);
    assert!(hpa.spec.validate(&ValidationOptions::default()).is_empty());
    let expected = r#"# predicted
#
# by hpasim
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  annotations:
    team: serving
  labels:
    app: vllm
  name: vllm
  namespace: default
spec:
  behavior:
    scaleDown:
      policies:
      - periodSeconds: 60
        type: Pods
        value: 1
      selectPolicy: Max
      stabilizationWindowSeconds: 300
      tolerance: "50m"
  maxReplicas: 10
  metrics:
  - pods:
      metric:
        name: prometheus.googleapis.com|vllm:num_requests_waiting|gauge
        selector:
          matchLabels:
            metric.labels.model_name: llama
      target:
        averageValue: "5"
        type: AverageValue
    type: Pods
  minReplicas: 1
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: vllm
"#;
    let text = hpa.to_yaml("predicted\n\nby hpasim");
    assert_eq!(text, expected);
    let again = one(&text);
    assert_eq!(again.spec, hpa.spec);
    assert_eq!(again.to_yaml(""), hpa.to_yaml(""));
}

#[test]
fn a_changed_spec_keeps_the_metadata() {
    let mut hpa = one(FROM_KUBECTL);
    let mut spec = hpa.spec.clone();
    let target = spec.metrics[0].target_mut().unwrap();
    target.average_value = Some(Quantity::parse("2.5").unwrap());
    hpa.set_spec(spec);
    let text = hpa.to_yaml("");
    assert!(text.contains("averageValue: \"2500m\""), "{text}");
    assert!(text.contains("team: serving"), "{text}");
}

#[test]
fn the_guides_file_reads() {
    let text = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: \
                vllm-openai-pd-l4\nspec:\n  maxReplicas: 5\n  metrics:\n  - pods:\n      \
                metric:\n        name: prometheus.googleapis.com|vllm:num_requests_running|gauge\n\
                \x20     target:\n        averageValue: 10\n        type: AverageValue\n    type: \
                Pods\n  minReplicas: 1\n  scaleTargetRef:\n    apiVersion: apps/v1\n    kind: \
                Deployment\n    name: vllm-openai-pd-l4\n";
    let hpa = one(text);
    let expected = HpaSpec {
        scale_target_ref: ObjectReference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            name: "vllm-openai-pd-l4".into(),
        },
        min_replicas: Some(1),
        max_replicas: 5,
        metrics: vec![MetricSpec::pods(
            &gmp_metric_name("vllm:num_requests_running", "gauge"),
            Quantity::parse("10").unwrap(),
        )],
        behavior: None,
    };
    assert_eq!(hpa.spec, expected);
}

#[test]
fn unknown_fields_of_the_spec_are_errors_with_the_nearest_name() {
    let text = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n\
                spec:\n  maxReplica: 5\n  behavior:\n    scaledown:\n      policies: []\n  \
                metrics:\n  - type: Pods\n    pods:\n      metric: {name: m}\n      target: {type: \
                AverageValue, averageValu: 5}\n";
    assert_eq!(
        errors(text),
        [
            "line 5, column 3: spec.maxReplica: Unknown field: did you mean `maxReplicas`?",
            "line 7, column 5: spec.behavior.scaledown: Unknown field: did you mean `scaleDown`?",
            "line 13, column 36: spec.metrics[0].pods.target.averageValu: Unknown field: did you \
             mean `averageValue`?",
        ]
    );
}

#[test]
fn unknown_fields_elsewhere_are_warnings() {
    let text = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nextra: 1\nmetadata:\n  \
                name: a\n  color: red\nspec:\n  maxReplicas: 5\n  scaleTargetRef: {kind: \
                Deployment, name: x, apiVersion: apps/v1}\n";
    let file = manifest::read(text).unwrap();
    let warnings: Vec<_> = file.warnings.iter().map(|w| w.error.path.as_str()).collect();
    assert_eq!(warnings, ["extra", "metadata.color"]);
}

#[test]
fn wrong_types_and_quantities_are_found_all_at_once() {
    let text = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nspec:\n  maxReplicas: \
                ten\n  minReplicas: 1.5\n  metrics: 3\n  behavior:\n    scaleUp:\n      tolerance: \
                5%\n      stabilizationWindowSeconds: 99999999999\n";
    let found = errors(text);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].contains("line 4") && found[0].contains("must be an integer"), "{found:?}");
    assert!(found[3].contains("5%") && found[3].contains("quantities must match"), "{found:?}");
}

#[test]
fn a_name_that_the_api_server_refuses_is_an_error() {
    let named = |name: &str| {
        format!(
            "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: {name}}}\n\
             spec: {{maxReplicas: 5, scaleTargetRef: {{kind: Deployment, name: x}}}}\n"
        )
    };
    for name in ["Vllm", "-a", "a..b", "a_b"] {
        let found = errors(&named(name));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("line 3") && found[0].contains("metadata.name"), "{found:?}");
        assert!(found[0].contains("RFC 1123 subdomain"), "{found:?}");
    }
    one(&named("vllm-openai.pd-l4"));
}

#[test]
fn several_documents_and_other_kinds() {
    let hpa = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n\
               spec: {maxReplicas: 5, scaleTargetRef: {kind: Deployment, name: x}}\n";
    let text = format!(
        "---\n{hpa}---\n# nothing here\n---\napiVersion: apps/v1\nkind: Deployment\n---\n{hpa}"
    );
    let file = manifest::read(&text).unwrap();
    assert_eq!(file.hpas.len(), 2);
    assert_eq!(file.warnings.len(), 1);
    assert!(errors("apiVersion: apps/v1\nkind: Deployment\n")[0].contains("no Horizontal"));
    assert!(errors("a: [")[0].starts_with("line 1"));
    assert!(errors("")[0].contains("no Horizontal"));
    assert!(errors("3\n")[0].contains("must be a Kubernetes object"));
    assert!(
        errors("apiVersion: autoscaling/v2beta2\nkind: HorizontalPodAutoscaler\n")[0]
            .contains("autoscaling/v2")
    );
}

#[test]
fn json_is_read_too() {
    let text = r#"{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":
        {"name":"a"},"spec":{"maxReplicas":5,"metrics":[{"type":"External","external":{"metric":
        {"name":"q"},"target":{"type":"AverageValue","averageValue":0.5}}}]}}"#;
    let target = one(text).spec.metrics[0].target().unwrap().clone();
    assert_eq!(target.average_value.unwrap().milli_value(), 500);
}

#[test]
fn v1_is_lifted_with_what_its_annotations_carry() {
    let text = r#"apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata:
  annotations:
    autoscaling.alpha.kubernetes.io/behavior: '{"ScaleDown":{"StabilizationWindowSeconds":120,
      "SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":60}]}}'
    autoscaling.alpha.kubernetes.io/conditions: '[]'
    autoscaling.alpha.kubernetes.io/metrics: '[{"type":"Pods","pods":{"metricName":"queue",
      "targetAverageValue":"5"}},{"type":"External","external":{"metricName":"depth",
      "metricSelector":{"matchLabels":{"a":"b"}},"targetValue":"30"}}]'
    team: serving
  name: vllm
spec:
  maxReplicas: 4
  minReplicas: 2
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: vllm
  targetCPUUtilizationPercentage: 70
"#;
    let hpa = one(text);
    let names: Vec<_> = hpa.spec.metrics.iter().map(MetricSpec::metric_name).collect();
    assert_eq!(names, ["queue", "depth", "cpu"]);
    assert_eq!(hpa.spec.metrics[2].target().unwrap().average_utilization, Some(70));
    let external = hpa.spec.metrics[1].external.as_ref().unwrap();
    assert_eq!(external.metric.selector.as_ref().unwrap().match_labels["a"], "b");
    assert_eq!(external.target.kind, "Value");
    let down = hpa.spec.behavior.as_ref().unwrap().scale_down.as_ref().unwrap();
    assert_eq!(down.stabilization_window_seconds, Some(120));
    assert!(hpa.spec.validate(&ValidationOptions::default()).is_empty());
    let out = hpa.to_yaml("");
    assert!(out.starts_with("apiVersion: autoscaling/v2\n"), "{out}");
    assert!(out.contains("team: serving") && !out.contains("alpha"), "{out}");
    assert_eq!(one(&out).spec, hpa.spec);
}

#[test]
fn gmp_names_go_both_ways() {
    let name = gmp_metric_name("vllm:num_requests_running", "gauge");
    assert_eq!(name, "prometheus.googleapis.com|vllm:num_requests_running|gauge");
    assert_eq!(plain_metric_name(&name), Some("vllm:num_requests_running"));
    assert_eq!(plain_metric_name("vllm_num_requests_running"), None);
}
