//! What KEDA does beside its HPA: fallback while queries fail, and an idle count.
//!
//! Sources: keda pkg/fallback/fallback.go, pkg/scaling/executor/scale_scaledobjects.go.

use crate::signals::{average, bursts, desired, hpa, poisson, simulate, try_load};
use hpasim::hpa::Branch;
use hpasim::sim::RunRecord;

/// Ten requests a minute, a query of the running requests, and an outage of a part from the 30th to the 40th minute.
fn with_outage(part: &str, keda: &str) -> RunRecord {
    let metric = hpa("External", "s0-prometheus", &average("8"));
    let text = format!(
        "duration = \"60m\"\n{}{metric}[pipeline]\nadapter = \"keda\"\n[[pipeline.rules]]\nname = \
         \"s0-prometheus\"\nquery = \"sum(vllm:num_requests_running)\"\n[pipeline.faults]\noutages = \
         [{{ part = \"{part}\", from = \"30m\", until = \"40m\" }}]\n[pipeline.keda]\n{keda}",
        poisson(1.0)
    );
    simulate(&text, "", &[])
}

fn fallback(replicas: u32) -> String {
    format!("[pipeline.keda.fallback]\nfailure_threshold = 3\nreplicas = {replicas}\n")
}

/// Failed reconciles during the outage.
fn failed(record: &RunRecord) -> usize {
    record.decisions.iter().filter(|d| d.branch == Branch::FailedMetrics).count()
}

#[test]
fn after_three_failed_queries_the_fallback_decides() {
    let without = with_outage("prometheus", "");
    let kept = desired(&without, 1_799);
    assert!((1.0..5.0).contains(&kept), "{kept}");
    // Every query of ten minutes fails, and the scale stays.
    assert!((39..=41).contains(&failed(&without)), "{}", failed(&without));
    assert_eq!(desired(&without, 2_399), kept);
    let record = with_outage("prometheus", &fallback(6));
    assert_eq!(failed(&record), 3);
    // The fourth query, at 15 s each.
    assert_eq!(desired(&record, 1_800 + 40), kept);
    assert_eq!(desired(&record, 1_800 + 80), 6.0);
    assert_eq!(desired(&record, 2_399), 6.0);
    // It is over with the outage: the window of the scale-down, then what the load needs.
    assert!(desired(&record, 3_500) < 6.0);
    // As many as there are is another word for no change.
    let behavior = "behavior = \"currentReplicas\"\n";
    let still = with_outage("prometheus", &format!("{}{behavior}", fallback(6)));
    assert_eq!((failed(&still), desired(&still, 2_399)), (3, kept));
}

#[test]
fn a_fallback_counts_errors_only() {
    // An empty result is 0 and no error unless KEDA is told so.
    let trap = with_outage("collector", &fallback(6));
    assert_eq!((failed(&trap), desired(&trap, 2_399)), (0, 1.0));
    let told = with_outage("collector", &format!("ignore_null_values = false\n{}", fallback(6)));
    assert_eq!((failed(&told), desired(&told, 2_399)), (3, 6.0));
    // While KEDA's own API is away, nobody counts or answers.
    let down = with_outage("adapter", &fallback(6));
    assert!((39..=41).contains(&failed(&down)));
    assert!(desired(&down, 2_399) < 6.0);
}

#[test]
fn an_idle_deployment_wakes_to_its_minimum() {
    let metric = hpa("External", "s0-prometheus", &average("1"));
    let text = format!(
        "duration = \"60m\"\n[workload.trace]\npath = \"t.csv\"\n{metric}[pipeline]\nadapter = \
         \"keda\"\n[[pipeline.rules]]\nname = \"s0-prometheus\"\nquery = \
         \"sum(rate(vllm:num_incoming_requests_total[1m]))\"\n[pipeline.keda]\nidle_replica_count = 0\n"
    );
    let times: Vec<(u64, u64)> = (0..600).chain(2_400..3_600).map(|s| (s, 1)).collect();
    let min = "hpa.min_replicas=3";
    let record = simulate(&text, &bursts(&times), &[min]);
    assert_eq!(
        (desired(&record, 600), desired(&record, 900)),
        (3.0, 3.0),
        "never below the minimum"
    );
    // The last activity at 11 min, 5 min of cooldown, a poll every 30 s.
    assert_eq!((desired(&record, 1_080), desired(&record, 2_399)), (0.0, 0.0));
    assert_eq!(desired(&record, 2_400 + 90), 3.0, "a scrape and a poll later, at once the minimum");
    // With one idle replica the HPA, which knows only its minimum, raises it again and again: KEDA's documentation
    // allows 0 only.
    let one = simulate(&text, &bursts(&times), &[min, "pipeline.keda.idle_replica_count=1"]);
    assert!(one.measures.flaps > 20.0, "{}", one.measures.flaps);
}

#[test]
fn counts_that_do_not_fit_are_refused() {
    let metric = hpa("External", "q", &average("1"));
    let text = |keda: &str| {
        format!(
            "duration = \"10m\"\n{}{metric}[pipeline]\nadapter = \"keda\"\n[[pipeline.rules]]\nname = \
             \"q\"\nquery = \"sum(vllm:num_requests_running)\"\n[pipeline.keda]\n{keda}",
            poisson(1.0)
        )
    };
    let refused = |keda: &str| try_load(&text(keda), "", &[]).unwrap_err();
    let shown = refused("idle_replica_count = 1\n");
    assert!(
        shown.contains("`pipeline.keda.idle_replica_count` (1) is not below the minimum (1)"),
        "{shown}"
    );
    let shown = refused("[pipeline.keda.fallback]\nreplicas = 4\nbehavior = \"dynamic\"\n");
    assert!(shown.contains("`pipeline.keda.fallback.failure_threshold` is missing"), "{shown}");
    assert!(shown.contains("currentReplicasIfHigher"), "{shown}");
    let (_, warnings) = try_load(&text("min_replica_count = 2\n"), "", &[]).unwrap();
    assert!(warnings.contains("KEDA's HPA would have a minimum of 2, not of 1"), "{warnings}");
    let outage =
        "[pipeline.faults]\noutages = [{ part = \"prometheus\", from = \"1m\", until = \"2m\" }]\n";
    let direct = format!("{}[pipeline]\nadapter = \"direct\"\n{outage}", poisson(1.0));
    let shown = try_load(&format!("duration = \"10m\"\n{direct}"), "", &[]).unwrap_err();
    assert!(shown.contains("this path has no Prometheus server"), "{shown}");
}
