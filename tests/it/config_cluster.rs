//! `[cluster]`: presets, several pools, quota, faults; from the file to what a run does with them.

use crate::config_experiments::Checkout;
use hpasim::cluster::presets::{self, Accelerator, Storage};
use hpasim::cluster::{Expander, FaultKind, ModelLoad, Packing, ScriptedFault};
use hpasim::config::{Loader, Options, load};
use hpasim::rng::{Dist, Seed};
use hpasim::sim::{FaultEvent, RecordLevel, RunRecord, Scenario, run_workload};
use hpasim::units::{SimDuration, SimTime};

pub(crate) struct Text(pub(crate) String);

impl Loader for Text {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        (path == "x.toml").then(|| self.0.clone().into_bytes()).ok_or_else(|| "none".to_owned())
    }
}

pub(crate) fn text(profile: &str, cluster: &str) -> Text {
    Text(format!(
        "schema = 1\nduration = \"2h\"\n[model]\nprofile = \"{profile}\"\n[engine]\nvllm_version = \"0.11\"\n\
         max_model_len = 4096\n[workload.poisson]\nrate_rps = 3\nprompt_tokens = 200\noutput_tokens = 50\n\
         [replicas]\nfixed = 2\n[cluster]\n{cluster}\n"
    ))
}

pub(crate) fn scenario(profile: &str, cluster: &str) -> Scenario {
    match load(&text(profile, cluster), "x.toml", &Options::default()) {
        Ok(loaded) => loaded.experiment.base,
        Err(findings) => panic!("{findings}"),
    }
}

pub(crate) fn errors(cluster: &str) -> String {
    match load(&text("l4-llama-3.1-8b", cluster), "x.toml", &Options::default()) {
        Ok(_) => panic!("accepted: {cluster}"),
        Err(findings) => findings.to_string(),
    }
}

/// `preset = "guide"` is the guide, for each accelerator and storage.
#[test]
fn the_guides_deployments() {
    for accelerator in Accelerator::ALL {
        let name = match accelerator {
            Accelerator::A100 => "a100-40",
            other => other.as_str(),
        };
        let profile = format!("{name}-gemma-2-9b-tp2");
        for storage in [Storage::Gcs, Storage::Hdml, Storage::Pd] {
            let keys = format!("preset = \"guide\"\nmodel_storage = \"{}\"", storage.as_str());
            let ours = scenario(&profile, &keys).cluster;
            let ModelLoad::Storage(load) = &ours.startup.load else { panic!("from storage") };
            let mut guide = presets::guide(
                accelerator,
                storage,
                presets::ModelSize { bytes: load.bytes, ..presets::GEMMA_2_9B },
            );
            guide.pools[0].usd_per_hour = ours.pools[0].usd_per_hour;
            // What the guide's pods request, on its machines.
            assert!(ours.pools[0].memory_bytes > Some(80 << 30));
            guide.pools[0].memory_bytes = ours.pools[0].memory_bytes;
            if let ModelLoad::Storage(load) = &mut guide.startup.load {
                load.pod_memory_bytes = 25 << 30;
            }
            assert_eq!(ours, guide, "{profile} {storage:?}");
            // 18.5 GB of bf16 weights.
            assert!((load.bytes as f64 / 18.5e9 - 1.0).abs() < 0.01, "{}", load.bytes);
            assert!(guide.pools[0].usd_per_hour > 1.0);
        }
    }
    let shipped = load(&Checkout, "experiments/gke-guide.toml", &Options::default()).unwrap();
    let shipped = shipped.experiment.base.cluster;
    let mut guide = scenario("l4-gemma-2-9b-tp2", "preset = \"guide\"").cluster;
    (guide.pools[0].min_nodes, guide.pools[0].max_nodes) = (1, 32);
    assert_eq!(shipped, guide);
}

#[test]
fn presets_of_the_reference_architecture() {
    let cluster =
        |preset: &str| scenario("h100-llama-3.1-8b", &format!("preset = \"{preset}\"")).cluster;
    let secs = SimDuration::from_secs;
    let base = cluster("reference-architecture");
    assert_eq!(base.probe, presets::probe_reference_architecture());
    let ModelLoad::Storage(load) = &base.startup.load else { panic!("streamed") };
    assert_eq!((load.volume_bytes_per_s, load.page_cache_bytes_per_s), (None, None));
    let restored = cluster("reference-architecture-snapshots");
    let ModelLoad::Time(Dist::LogNormal { median, .. }) = restored.startup.load else {
        panic!("restored")
    };
    assert_eq!((median, restored.startup.init), (secs(50), Dist::Constant(SimDuration::ZERO)));
    assert_eq!(cluster("llm-d").probe, presets::probe_llm_d());
    let gateway = cluster("inference-gateway");
    assert_eq!(gateway.probe, presets::probe_inference_gateway());
    assert_eq!((gateway.termination.grace, gateway.termination.pre_stop), (secs(130), secs(30)));
    let plain = cluster("none");
    assert_eq!((plain.packing, plain.autoscaler.scale_down_unneeded), (Packing::Spread, secs(600)));
    // A key beside the preset wins.
    let keys = "preset = \"guide\"\n[cluster.startup]\nprobes = \"llm-d\"";
    let mixed = scenario("l4-gemma-2-9b-tp2", keys).cluster;
    assert_eq!(mixed.probe, presets::probe_llm_d());
}

/// The autoscaler's waits and limits, their defaults, and what contradicts itself.
#[test]
fn rules_of_the_autoscaler() {
    let cluster = |keys: &str| scenario("l4-llama-3.1-8b", keys).cluster;
    let rules = |keys: &str| cluster(&format!("[cluster.provisioning]\n{keys}")).autoscaler;
    let secs = SimDuration::from_secs;
    let usual = rules("");
    assert_eq!(usual, presets::autoscaler());
    assert_eq!((usual.pod_min_age, usual.gpu_pod_min_age), (secs(2), secs(30)));
    assert_eq!((usual.new_pod_scale_up_delay, usual.scale_down_after_delete), (secs(0), secs(0)));
    assert_eq!(
        (usual.scale_down_unready, usual.node_delete_delay_after_taint),
        (secs(1_200), secs(5))
    );
    let set = rules(
        "pod_min_age = \"3s\"\nnew_pod_scale_up_delay = \"4s\"\nscale_down_unready = \"5m\"\n\
         scale_down_after_delete = \"6s\"\nnode_delete_delay_after_taint = \"7s\"\nmax_gpus = 8",
    );
    assert_eq!((set.pod_min_age, set.new_pod_scale_up_delay), (secs(3), secs(4)));
    assert_eq!((set.scale_down_unready, set.scale_down_after_delete), (secs(300), secs(6)));
    assert_eq!((set.node_delete_delay_after_taint, set.max_gpus), (secs(7), Some(8)));
    // The guide's cluster has a limit of its own, which a key may change.
    let guide = |profile, keys: &str| scenario(profile, keys).cluster.autoscaler.max_gpus;
    let preset = "preset = \"guide\"\n";
    assert_eq!(guide("l4-gemma-2-9b-tp2", preset), Some(32));
    assert_eq!(guide("a100-40-gemma-2-9b-tp2", preset), Some(64));
    assert_eq!(guide("h100-gemma-2-9b-tp2", preset), None);
    let wider = format!("{preset}[cluster.provisioning]\nmax_gpus = 80");
    assert_eq!(guide("l4-gemma-2-9b-tp2", &wider), Some(80));
    let text = errors("machine_type = \"g2-standard-24\"\n[cluster.provisioning]\nmax_gpus = 1");
    assert!(text.contains("must have room for one node"), "{text}");
    let repair = |keys: &str| cluster(&format!("[cluster.faults]\n{keys}")).faults.node_repair;
    assert_eq!(repair(""), Some(secs(600)));
    assert_eq!(repair("node_repair = \"3m\""), Some(secs(180)));
    assert_eq!(repair("auto_repair = false"), None);
    let text = errors("[cluster.faults]\nauto_repair = false\nnode_repair = \"3m\"");
    assert!(text.contains("`node_repair` has no effect without auto-repair"), "{text}");
}

/// A ComputeClass-like list: reservation, Spot in two zones, on demand with another machine, flex-start.
const FOUR_POOLS: &str = r#"
machine_type = "g2-standard-12"
model_storage = "gcs"
max_nodes = 6
spare_replicas = 1
[cluster.quota]
preemptible_gpus = 8
[cluster.provisioning]
expander = "price"
drain = false
[[cluster.pools]]
capacity = "reservation"
max_nodes = 2
[[cluster.pools]]
name = "cheap"
capacity = "spot"
zones = ["us-central1-a", "us-central1-c"]
price_factor = 0.4
preemptions_per_hour = 0.1
stock_outs = [{ from = "10m", until = "1h" }]
node_ready = "90s"
[[cluster.pools]]
machine_type = "g2-standard-24"
min_nodes = 1
[[cluster.pools]]
capacity = "flex-start"
usd_per_hour = 0.5
[cluster.faults]
crashes_per_hour = 0.25
[[cluster.faults.scripted]]
at = "20m"
kind = "unready"
replica = 1
for = "45s"
[[cluster.faults.scripted]]
at = "30m"
kind = "preemption"
"#;

#[test]
fn pools_are_listed_in_order_of_preference() {
    let cluster = scenario("l4-llama-3.1-8b", FOUR_POOLS).cluster;
    let pools = &cluster.pools;
    let names: Vec<(&str, &str)> =
        pools.iter().map(|p| (p.name.as_str(), p.zone.as_str())).collect();
    let expected = [
        ("reservation", ""),
        ("cheap", "us-central1-a"),
        ("cheap", "us-central1-c"),
        ("on-demand", ""),
        ("flex-start", ""),
    ];
    assert_eq!(names, expected);
    let secs = SimDuration::from_secs;
    let list = pools[0].usd_per_hour;
    assert!((pools[1].usd_per_hour - 0.4 * list).abs() < 1e-12);
    // The on-demand pool has a machine of its own, with its own price.
    assert!(pools[3].usd_per_hour > 1.5 * list, "{} {list}", pools[3].usd_per_hour);
    assert_eq!(pools[4].usd_per_hour, 0.5);
    assert_eq!(pools.iter().map(|p| p.max_nodes).collect::<Vec<_>>(), [2, 6, 6, 6, 6]);
    assert_eq!(pools.iter().map(|p| p.min_nodes).collect::<Vec<_>>(), [0, 0, 0, 1, 0]);
    assert_eq!(pools.iter().map(|p| p.gpus_per_node).collect::<Vec<_>>(), [1, 1, 1, 2, 1]);
    assert_eq!(pools[1].provisioning, Dist::Constant(secs(90)));
    assert_eq!(pools[0].provisioning, presets::provisioning(Accelerator::L4));
    let window = (SimTime::from_secs(600), SimTime::from_secs(3_600));
    assert_eq!(
        (&pools[1].stock_out.windows[..], &pools[0].stock_out.windows[..]),
        (&[window][..], &[][..])
    );
    assert_eq!((pools[1].preemption.per_node_hour, pools[0].preemption.per_node_hour), (0.1, 0.0));
    let week = Some(secs(604_800));
    assert_eq!((pools[4].max_run_duration, pools[3].max_run_duration), (week, None));
    assert_eq!((cluster.quota.standard, cluster.quota.preemptible), (None, Some(8)));
    assert_eq!((cluster.autoscaler.expander, cluster.autoscaler.drain), (Expander::Price, false));
    assert_eq!((cluster.spare_replicas, cluster.faults.crash_per_hour), (1, 0.25));
    let unready = FaultKind::Unready(secs(45));
    assert_eq!(
        cluster.faults.scripted,
        [
            ScriptedFault { at: SimTime::from_secs(1_200), replica: 1, kind: unready },
            ScriptedFault {
                at: SimTime::from_secs(1_800),
                replica: 0,
                kind: FaultKind::Preemption
            },
        ]
    );
}

/// A disk sits in one zone: pools elsewhere cannot help, and a pool with none of its zones there is a mistake.
#[test]
fn a_zonal_volume_pins_the_fleet() {
    let pools = "[[cluster.pools]]\nname = \"a\"\nzones = [\"x-a\", \"x-b\"]\n[[cluster.pools]]\nname = \"b\"\n\
                 capacity = \"flex-start\"\nzones = [\"x-b\", \"x-a\"]\n";
    let zones = |storage: &str, more: &str| {
        let keys = format!("model_storage = \"{storage}\"\n{more}{pools}");
        let pools = scenario("l4-llama-3.1-8b", &keys).cluster.pools;
        pools.into_iter().map(|pool| pool.zone).collect::<Vec<_>>()
    };
    assert_eq!(zones("gcs", ""), ["x-a", "x-b", "x-b", "x-a"]);
    assert_eq!(zones("pd", ""), ["x-a", "x-a"]);
    assert_eq!(zones("hdml", "zone = \"x-b\"\n"), ["x-b", "x-b"]);
    let text = errors(&format!("model_storage = \"pd\"\nzone = \"y-a\"\n{pools}"));
    assert!(text.contains("no replica can run in `cluster.pools[0]`"), "{text}");
    assert!(text.contains("the model's disk is in `y-a`"), "{text}");
}

#[test]
fn mistakes_in_pools_and_faults_are_shown_at_their_place() {
    for (keys, expected) in [
        ("[[cluster.pools]]\ncapacity = \"spot\"", "the price of `cluster.pools[0]` is not known"),
        ("[[cluster.pools]]\npreemptions_per_hour = 1", "only spot machines are preempted"),
        ("[[cluster.pools]]\n[[cluster.pools]]", "two pools are called `on-demand`"),
        ("[[cluster.pools]]\nmin_nodes = 5\nmax_nodes = 2", "`min_nodes` is above `max_nodes`"),
        ("[[cluster.pools]]\nzones = [\"a\", \"a\"]", "zone `a` is listed twice"),
        ("[[cluster.pools]]\nzones = [1]", "a zone must be a string"),
        ("[[cluster.pools]]\nmachine_type = \"m9-huge\"", "machine type `m9-huge` is not known"),
        ("[[cluster.pools]]\nprice = 3", "unknown key `cluster.pools[0].price`"),
        (
            "[[cluster.pools]]\nstock_outs = [{ from = \"2h\", until = \"1h\" }]",
            "a stock-out ends before it begins",
        ),
        (
            "[[cluster.faults.scripted]]\nkind = \"crash\"",
            "`cluster.faults.scripted[0].at` is missing",
        ),
        (
            "[[cluster.faults.scripted]]\nat = \"1m\"\nkind = \"crash\"\nfor = \"9s\"",
            "only an unready spell has a length",
        ),
        ("[cluster.faults]\ncrashes_per_hour = -1", "crashes_per_hour"),
        ("[cluster.faults]\nrestart_backoff_initial = \"10m\"", "must not exceed"),
    ] {
        let text = errors(keys);
        assert!(text.contains(expected), "{keys}\n{text}");
    }
}

fn run(cluster: &str) -> RunRecord {
    run_workload(&scenario("l4-llama-3.1-8b", cluster), Seed(5), RecordLevel::Timeline)
}

/// A reservation is paid for in full; other pools by the hours that their nodes exist.
#[test]
fn pools_are_billed_by_their_kind() {
    let keys = |capacity: &str, more: &str| {
        format!(
            "model_storage = \"gcs\"\n[[cluster.pools]]\ncapacity = \"{capacity}\"\nmax_nodes = 5\nusd_per_hour = 2\n{more}"
        )
    };
    // Two replicas on a node each, two hours.
    let on_demand = run(&keys("on-demand", ""));
    assert_eq!((on_demand.measures.node_hours, on_demand.measures.cost_usd), (4.0, 8.0));
    let reserved = run(&keys("reservation", ""));
    assert_eq!((reserved.measures.node_hours, reserved.measures.cost_usd), (4.0, 20.0));
    let second = "[[cluster.pools]]\nname = \"more\"\nusd_per_hour = 7\nmin_nodes = 1\n";
    let both = run(&keys("reservation", second));
    let named: Vec<_> = both.pools.iter().map(|p| (p.name.as_str(), p.cost_usd)).collect();
    assert_eq!(both.measures.cost_usd, 20.0 + both.pools[1].cost_usd);
    assert_eq!(named[0], ("reservation", 20.0));
    assert!(both.pools[1].node_hours > 0.0);
}

/// Requests in a server that crashes are lost or tried again, and all are accounted for; the server comes back.
#[test]
fn crashes_lose_requests_and_retries_save_them() {
    let crash = "[[cluster.faults.scripted]]\nat = \"30m\"\nkind = \"crash\"\n\
                 [[cluster.faults.scripted]]\nat = \"60m\"\nkind = \"crash\"\nreplica = 1\n";
    let deaths = |record: &RunRecord| {
        let died = |e: &FaultEvent| matches!(e, FaultEvent::ContainerDied { .. });
        record.faults.iter().filter(|row| died(&row.event)).count()
    };
    let lost = run(&format!("model_storage = \"gcs\"\n{crash}"));
    assert_eq!(deaths(&lost), 2);
    assert!(lost.accounting.killed > 0, "{:?}", lost.accounting);
    assert!(lost.accounting.refused > 0, "the endpoint stays for a second: {:?}", lost.accounting);
    assert_eq!(lost.accounting.accounted(), lost.accounting.arrived);
    let keys = format!("model_storage = \"gcs\"\n{crash}");
    let mut patient = text("l4-llama-3.1-8b", &keys);
    patient.0 = patient.0.replace("[replicas]", "[workload]\nretries = 5\n[replicas]");
    let loaded = load(&patient, "x.toml", &Options::default());
    let base = loaded.unwrap_or_else(|e| panic!("{e}")).experiment.base;
    let saved = run_workload(&base, Seed(5), RecordLevel::Timeline);
    assert_eq!((saved.accounting.killed, saved.accounting.refused), (0, 0));
    assert!(saved.accounting.retries >= lost.accounting.killed, "{:?}", saved.accounting);
    assert_eq!(lost.accounting.retries, 0);
    assert_eq!(saved.accounting.arrived, lost.accounting.arrived);
    let clean = run("model_storage = \"gcs\"");
    assert_eq!((clean.accounting.killed, clean.accounting.refused, deaths(&clean)), (0, 0, 0));
}

/// CPU and memory limit the pods of a node like GPUs do, by what GKE leaves of each machine type.
#[test]
fn requests_limit_the_pods_of_a_node() {
    let per_node = |keys: &str| {
        let pools = scenario("l4-llama-3.1-8b", keys).cluster.pools;
        pools.iter().map(|pool| pool.replicas_per_node).collect::<Vec<u32>>()
    };
    let four = "machine_type = \"g2-standard-48\"\n";
    assert_eq!(per_node(four), [4]);
    // 47.81 CPUs and 181.3 GiB are left, less 0.444 CPUs and 0.69 GiB of GKE's DaemonSets.
    assert_eq!(per_node(&format!("{four}pod_cpu = \"11850m\"")), [3]);
    assert_eq!(per_node(&format!("{four}pod_cpu = \"11840m\"")), [4]);
    assert_eq!(per_node(&format!("{four}pod_cpu = \"11950m\"\ndaemonset_cpu = 0")), [4]);
    assert_eq!(per_node(&format!("{four}pod_cpu = \"11840m\"\ndaemonset_cpu = \"700m\"")), [3]);
    assert_eq!(per_node(&format!("{four}pod_memory = \"45200Mi\"\n")), [4]);
    assert_eq!(
        per_node(&format!("{four}pod_memory = \"45200Mi\"\ndaemonset_memory = \"6Gi\"")),
        [3]
    );
    assert_eq!(per_node(&format!("{four}daemonset_cpu = 40")), [4], "nothing is requested");
    assert_eq!(per_node(&format!("{four}pod_cpu = 1\npod_memory = \"61Gi\"")), [2]);
    assert_eq!(per_node(&format!("{four}pod_cpu = 12\nreplicas_per_node = 2")), [2]);
    let pools = "model_storage = \"gcs\"\npod_cpu = 10\npod_memory = \"80Gi\"\n\
                 [[cluster.pools]]\nname = \"a\"\nmachine_type = \"g2-standard-24\"\n\
                 [[cluster.pools]]\nname = \"b\"\nmachine_type = \"g2-standard-96\"\n";
    // The machine type of `[cluster]`, which is too small, is not used.
    assert_eq!(per_node(pools), [1, 4]);
    // The guide's requests: two CPUs and 25 GiB bind on none of its machines, but on small ones.
    let guide = |keys: &str| {
        scenario("l4-gemma-2-9b-tp2", &format!("preset = \"guide\"\n{keys}")).cluster.pools[0]
            .replicas_per_node
    };
    assert_eq!(guide(""), 1);
    assert_eq!(guide("machine_type = \"g2-standard-48\""), 2);
    assert_eq!(guide("machine_type = \"g2-standard-48\"\npod_memory = \"100Gi\""), 1);
    for (keys, expected) in [
        ("pod_cpu = 12", "a pod with 12 CPUs does not fit on a `g2-standard-12`"),
        (
            "pod_cpu = 12",
            "GKE and its DaemonSets leave 11.456 of 12 CPUs and 42.7 of 48 GiB to pods",
        ),
        (
            "pod_memory = \"44Gi\"",
            "a pod with 44.0 GiB of memory does not fit on a `g2-standard-12`",
        ),
        ("pod_cpu = \"11500m\"", "give `daemonset_cpu` and `daemonset_memory`"),
        ("pod_memory = \"-1Gi\"", "must not be negative"),
        ("daemonset_memory = \"-1Gi\"", "must not be negative"),
        ("pod_memory = \"25GB\"", "is not a Kubernetes quantity"),
        (
            "machine_type = \"g2-standard-48\"\npod_cpu = 12\nreplicas_per_node = 4",
            "replicas_per_node",
        ),
        (
            "pod_memory = \"60Gi\"\n[[cluster.pools]]\nmachine_type = \"g2-standard-16\"",
            "a pod with 60.0 GiB of memory does not fit on a `g2-standard-16`",
        ),
    ] {
        let text = errors(keys);
        assert!(text.contains(expected), "{keys}\n{text}");
    }
}

/// Flex-start machines are replaced an hour before their run ends, if that is longer; only they can be queued for.
#[test]
fn keys_of_flex_start() {
    let pool = |capacity: &str, keys: &str| {
        let text = format!(
            "model_storage = \"gcs\"\n[[cluster.pools]]\ncapacity = \"{capacity}\"\n{keys}"
        );
        scenario("l4-llama-3.1-8b", &text).cluster.pools.remove(0)
    };
    let secs = SimDuration::from_secs;
    let lead = |capacity: &str, keys: &str| pool(capacity, keys).recycling_lead_time;
    assert_eq!(lead("flex-start", ""), Some(secs(3_600)));
    assert_eq!(lead("flex-start", "recycling_lead_time = \"20m\""), Some(secs(1_200)));
    assert_eq!(lead("flex-start", "max_run_duration = \"30m\""), None);
    assert_eq!(lead("on-demand", "max_run_duration = \"2d\""), None);
    assert_eq!(
        lead("on-demand", "max_run_duration = \"2d\"\nrecycling_lead_time = \"1h\""),
        Some(secs(3_600))
    );
    assert!(pool("flex-start", "queued = true").queued && !pool("flex-start", "").queued);
    for (keys, expected) in [
        ("recycling_lead_time = \"1h\"", "is not within the run of a node"),
        (
            "max_run_duration = \"1h\"\nrecycling_lead_time = \"1h\"",
            "is not within the run of a node",
        ),
        ("queued = true", "only flex-start machines are queued for"),
    ] {
        let text = errors(&format!("[[cluster.pools]]\n{keys}"));
        assert!(text.contains(expected), "{keys}\n{text}");
    }
}
