//! `[cluster.startup]`, `[cluster.termination]`, `[cluster.routing]`: defaults by preset, and what deserves a warning.

use crate::config_cluster::{Text, scenario, text};
use hpasim::cluster::{ImagePull, ModelLoad, Probe, Rate, ShutdownMode};
use hpasim::config::{Loader as _, Options, load};
use hpasim::gateway::Policy;
use hpasim::sim::Scenario;
use hpasim::units::SimDuration;

const fn secs(s: u64) -> SimDuration {
    SimDuration::from_secs(s)
}

fn l4(keys: &str) -> Scenario {
    scenario("l4-llama-3.1-8b", keys)
}

/// The same with a server that has `--shutdown-timeout`.
fn new(keys: &str) -> Scenario {
    let old = text("l4-llama-3.1-8b", keys).read("x.toml").unwrap();
    let new = String::from_utf8(old).unwrap().replace("\"0.11\"", "\"0.33\"");
    load(&Text(new), "x.toml", &Options::default()).unwrap().experiment.base
}

fn warnings(keys: &str) -> String {
    let loaded = load(&text("l4-gemma-2-9b-tp2", keys), "x.toml", &Options::default());
    loaded.unwrap().warnings.to_string()
}

/// Published sets drain where their servers can; what a key says wins.
#[test]
fn published_terminations() {
    let of = |keys: &str| {
        let t = new(&format!("[cluster.termination]\n{keys}")).cluster.termination;
        (t.pre_stop, t.grace, t.shutdown)
    };
    let all = ShutdownMode::Drain { timeout: SimDuration::MAX };
    let drain = |s| ShutdownMode::Drain { timeout: secs(s) };
    assert_eq!(of(""), (secs(0), secs(30), ShutdownMode::Abort));
    assert_eq!(of("preset = \"kserve\""), (secs(15), secs(60), all));
    assert_eq!(of("preset = \"llm-d\""), (secs(0), secs(60), drain(30)));
    let gateway = (secs(30), secs(130), ShutdownMode::Abort);
    assert_eq!(of("preset = \"inference-gateway\""), gateway);
    assert_eq!(of("preset = \"kserve\"\nshutdown = \"abort\"").2, ShutdownMode::Abort);
    assert_eq!(of("preset = \"llm-d\"\nshutdown_timeout = \"45s\"").2, drain(45));
    assert_eq!(of("shutdown = \"drain\"").2, all);
    // A server before 0.18 drains for as long as it may, flag or not.
    let old = l4("[cluster.termination]\npreset = \"llm-d\"").cluster.termination;
    assert_eq!(old.shutdown, all);
}

/// terminationGracePeriodSeconds should be at least preStop + --shutdown-timeout.
#[test]
fn a_drain_longer_than_the_grace_period_is_told() {
    let of = |timeout: &str| {
        let set = "[cluster.termination]\npre_stop = \"15s\"\ngrace = \"60s\"";
        warnings(&format!("{set}\nshutdown_timeout = \"{timeout}\""))
    };
    assert!(of("50s").contains("the grace period ends before"), "{}", of("50s"));
    assert!(!of("45s").contains("the grace period ends before"), "{}", of("45s"));
}

/// Set-ups with an endpoint picker route by it.
#[test]
fn gateways_have_a_picker() {
    let policy = |preset: &str| l4(&format!("preset = \"{preset}\"")).gateway;
    assert!(matches!(policy("inference-gateway"), Policy::EndpointPicker(_)));
    assert!(matches!(policy("llm-d"), Policy::EndpointPicker(_)));
    assert_eq!(policy("guide"), Policy::Random);
    let own = l4("preset = \"llm-d\"\n[cluster.routing]\npolicy = \"round_robin\"");
    assert_eq!(own.gateway, Policy::RoundRobin);
}

/// Liveness probes come with the sets that have them; alone they cut slow starts off, which is told.
#[test]
fn liveness_probes() {
    let of = |keys: &str| l4(&format!("[cluster.startup]\n{keys}")).cluster.probe.liveness;
    assert_eq!(of("probes = \"guide\""), None);
    assert_eq!(of("probes = \"reference-architecture\""), None);
    let probe = |period, failure_threshold| {
        Some(Probe { initial_delay: secs(0), period: secs(period), failure_threshold })
    };
    assert_eq!(of("probes = \"llm-d\""), probe(10, 3));
    assert_eq!(of("probes = \"inference-gateway\""), probe(1, 5));
    assert_eq!(of("liveness_probe.period = \"20s\""), probe(20, 3));
    let told = warnings("[cluster.startup]\nliveness_probe.period = \"10s\"");
    assert!(told.contains("the liveness probe kills servers before they listen"), "{told}");
    let delayed = "[cluster.startup]\nliveness_probe.initial_delay = \"10m\"";
    assert!(!warnings(delayed).contains("liveness"));
    assert!(!warnings("[cluster.startup]\nprobes = \"llm-d\"").contains("liveness"));
}

/// Rates by the disk of the node and of the model.
#[test]
fn disks_have_rates() {
    let pull = |keys: &str| match l4(&format!("[cluster.startup]\n{keys}")).cluster.startup.image {
        ImagePull::Rate { rate, .. } => rate.median / 1_000_000,
        ImagePull::Time(_) => panic!("size and rate"),
    };
    assert_eq!(pull(""), 120);
    assert_eq!(pull("boot_disk = \"pd-ssd\""), 250);
    assert_eq!(pull("boot_disk = \"local-ssd\""), 350);
    assert_eq!(pull("boot_disk = \"pd-ssd\"\nimage_mb_s = 90"), 90);
    let volume = |keys: &str| match l4(&format!("[cluster.startup]\n{keys}")).cluster.startup.load {
        ModelLoad::Storage(load) => {
            (load.pod_rate.median / 1_000_000, load.volume_bytes_per_s.unwrap() / 1_000_000)
        }
        ModelLoad::Time(_) => panic!("from storage"),
    };
    assert_eq!(volume(""), (450, 515));
    assert_eq!(volume("disk_type = \"pd-balanced\""), (220, 300));
    assert_eq!(
        volume("disk_type = \"pd-balanced\"\nvolume_gib = 2048\nload_mb_s = 300"),
        (300, 601)
    );
}

/// The guide's image is not in Artifact Registry; its spread goes with it, not with a rate that is given.
#[test]
fn the_guides_image() {
    let streamed = "preset = \"guide\"\n[cluster.startup]\nimage_streaming = true";
    assert!(warnings(streamed).contains("which GKE does not stream"), "{}", warnings(streamed));
    let rate = |keys: &str| {
        let cluster = scenario("l4-gemma-2-9b-tp2", &format!("preset = \"guide\"\n{keys}")).cluster;
        match cluster.startup.image {
            ImagePull::Rate { rate, .. } => rate,
            ImagePull::Time(_) => panic!("size and rate"),
        }
    };
    assert_eq!(rate(""), Rate { median: 120_000_000, p05: 50_000_000 });
    let given = rate("[cluster.startup]\nimage_mb_s = 100");
    assert_eq!(given, Rate::constant(100_000_000));
}
