//! The model's volume and the choice of victims: from the file to what a run does with them.

use crate::config_cluster::scenario;
use hpasim::cluster::{ModelLoad, StorageLoad};
use hpasim::config::{Loader, Options, load};
use hpasim::rng::Seed;
use hpasim::sim::{Autoscaler, FaultEvent, RecordLevel, RunRecord, Scenario, run_workload};
use hpasim::units::SimTime;

struct Text(String);

impl Loader for Text {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        (path == "x.toml").then(|| self.0.clone().into_bytes()).ok_or_else(|| "none".to_owned())
    }
}

/// Warnings of an experiment with an HPA of up to `max_replicas`.
fn warnings(max_replicas: u32, cluster: &str) -> String {
    let text = format!(
        "schema = 1\nduration = \"1h\"\n[model]\nprofile = \"l4-llama-3.1-8b\"\n[workload.poisson]\nrate_rps = 1\n\
         prompt_tokens = 200\noutput_tokens = 50\n[hpa]\nmax_replicas = {max_replicas}\n\
         [[hpa.metrics]]\ntype = \"Pods\"\nname = \"vllm:num_requests_waiting\"\ntarget_average_value = 4\n[cluster]\n{cluster}\n"
    );
    match load(&Text(text), "x.toml", &Options::default()) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(findings) => panic!("{findings}"),
    }
}

#[test]
fn more_nodes_than_the_volume_allows_are_told() {
    assert_eq!(warnings(100, ""), "");
    let text = warnings(101, "");
    assert!(text.contains("101 nodes would need the model's volume, which 100 can have"), "{text}");
    assert!(text.contains("FailedAttachVolume"), "{text}");
    for fine in [
        "model_storage = \"gcs\"",
        "model_storage = \"hdml\"",
        "max_nodes = 100",
        // Two pods on each node.
        "machine_type = \"g2-standard-24\"",
        "[cluster.startup]\nattach_limit = 300",
    ] {
        let text = warnings(101, fine);
        assert!(!text.contains("volume"), "{fine}\n{text}");
    }
    // 2,000 MB/s are 19 machines' worth, and 20 need no provision.
    let text = warnings(21, "model_storage = \"hdml\"\n[cluster.startup]\nvolume_mb_s = 2000");
    assert!(text.contains("which 20 can have"), "{text}");
    let text = warnings(50, "[cluster.startup]\nload_mb_s = 2000");
    assert!(text.contains("one machine reads at most 1258 MB/s"), "{text}");
}

fn storage(keys: &str) -> StorageLoad {
    match scenario("l4-llama-3.1-8b", keys).cluster.startup.load {
        ModelLoad::Storage(load) => load,
        ModelLoad::Time(_) => panic!("from storage"),
    }
}

#[test]
fn the_size_of_a_volume_says_what_it_can_do() {
    let usual = storage("");
    assert_eq!((usual.volume_bytes_per_s, usual.attach_limit), (Some(515_000_000), Some(100)));
    assert_eq!(usual.pod_memory_bytes, 8_000_000_000);
    let small = storage("[cluster.startup]\nvolume_gib = 512");
    assert_eq!(small.volume_bytes_per_s, Some(257_000_000));
    let hdml = |gib: u32| {
        let keys = format!("model_storage = \"hdml\"\n[cluster.startup]\nvolume_gib = {gib}");
        storage(&format!("{keys}\nvolume_mb_s = 1000000")).attach_limit
    };
    assert_eq!([200, 1_000, 20_000].map(hdml), [Some(2_500), Some(600), Some(30)]);
    assert_eq!(storage("model_storage = \"gcs\"").attach_limit, None);
    assert_eq!(storage("pod_memory = \"16Gi\"").pod_memory_bytes, 16 << 30);
}

/// 48 GiB of a g2-standard-12, of which GKE leaves 43.
#[test]
fn a_pool_has_the_memory_of_its_machines() {
    let pools = |keys: &str| scenario("l4-llama-3.1-8b", keys).cluster.pools;
    let gib = |bytes: Option<u64>| bytes.map(|b| b >> 30);
    assert_eq!(gib(pools("")[0].memory_bytes), Some(43));
    let two = pools("[[cluster.pools]]\nmachine_type = \"g2-standard-24\"\nname = \"a\"");
    assert_eq!(gib(two[0].memory_bytes), Some(88));
}

fn steps(scenario: &mut Scenario, steps: &[(u64, u32)]) {
    let at = |(second, replicas): &(u64, u32)| (SimTime::from_secs(*second), *replicas);
    scenario.autoscaler = Autoscaler::Schedule(steps.iter().map(at).collect());
}

fn run(scenario: &Scenario, seed: u64) -> RunRecord {
    run_workload(scenario, Seed(seed), RecordLevel::Requests)
}

/// Four replicas wanted, two nodes can have the disk: two serve, and the two others are told why they do not.
#[test]
fn replicas_beyond_the_limit_wait() {
    let mut scenario = scenario("l4-llama-3.1-8b", "[cluster.startup]\nattach_limit = 2");
    steps(&mut scenario, &[(0, 1), (600, 4)]);
    let record = run(&scenario, 5);
    let is = |event: &FaultEvent| matches!(event, FaultEvent::FailedAttachVolume { .. });
    assert_eq!(record.faults.iter().filter(|row| is(&row.event)).count(), 2);
    assert_eq!(
        record.accounting.unfinished + record.accounting.completed,
        record.accounting.arrived
    );
}

/// Half of the replicas go at once, of which kept connections have made some idle: with the number of running requests
/// as deletion cost those go, and fewer requests are lost. The draws of everything else are the same.
#[test]
fn deletion_costs_spare_the_busy() {
    let lost = |keys: &str| {
        let cluster = format!(
            "[cluster.termination]\nshutdown = \"abort\"\n{keys}\n[cluster.routing]\npolicy = \"random_per_connection\""
        );
        let mut scenario = scenario("l4-llama-3.1-8b", &cluster);
        steps(&mut scenario, &[(0, 6), (1_800, 3)]);
        (0..8).map(|seed| run(&scenario, seed).accounting.killed).sum::<u64>()
    };
    let (by_age, by_cost) = (lost(""), lost("deletion_cost = \"running_requests\""));
    println!(
        "lost to three of six replicas going: {by_age} without, {by_cost} with deletion costs"
    );
    assert!(by_cost * 10 < by_age * 9, "{by_cost} of {by_age}");
}
