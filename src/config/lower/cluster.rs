//! `[cluster]`: nodes, pod start, termination and routing, from presets that every key overrides.

use crate::cluster::presets::{self, Accelerator, EngineStart, Storage};
use crate::cluster::{
    AutoscalerConfig, ClusterConfig, ImagePull, ModelLoad, NodePool, Packing, Probe, ProbeConfig,
    Rate, ShutdownMode, StartupConfig, StockOut, StorageLoad, TerminationConfig,
};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::profile::{Constants, GpuProfile};
use crate::config::reader::Fields;
use crate::config::registry::Kind;
use crate::config::tree::Value;
use crate::config::values::Problem;
use crate::gateway::Policy;
use crate::hpa::ControllerConfig;
use crate::units::SimDuration;

/// What `[cluster]` says.
pub(super) struct Lowered {
    /// Parameters of the cluster.
    pub(super) cluster: ClusterConfig,
    /// Kubernetes 1.N.
    pub(super) kube_minor: u32,
    /// Routing policy.
    pub(super) gateway: Policy,
    /// List price of a node \[USD/h\] and its basis in words; `None` if the machine type is not known.
    pub(super) price: Option<(f64, String)>,
}

const MB: f64 = 1e6;

fn day() -> std::ops::RangeInclusive<SimDuration> {
    SimDuration::ZERO..=SimDuration::from_secs(86_400)
}
fn positive() -> std::ops::RangeInclusive<SimDuration> {
    SimDuration::from_millis(1)..=SimDuration::from_secs(86_400)
}

/// Reads `[cluster]`.
pub(super) fn cluster(
    root: &Fields<'_>,
    profile: Option<&GpuProfile>,
    vllm_minor: u32,
    constants: &Constants,
) -> Lowered {
    let table = root.key("cluster", "Nodes, pods and their delays").table_or_empty();
    let accelerator = table
        .key("accelerator", "Whose node and start-up presets apply")
        .shown("the profile's GPU")
        .choice_or(
            &Accelerator::ALL.map(|a| (a.as_str(), a)),
            profile.map_or(Accelerator::L4, |p| p.gpu.accelerator),
        );
    if let Some(profile) = profile
        && profile.gpu.accelerator != accelerator
        && table.has("accelerator")
    {
        table.report(
            Diagnostic::error(
                Code::Conflict,
                format!("profile `{}` is for {}", profile.name, profile.gpu.title),
            )
            .at(&table.span_of("accelerator"), "another accelerator here"),
        );
    }
    let kube_minor = kube_minor(&table);
    let gpus_per_replica = table
        .key("gpus_per_replica", "GPUs that one pod asks for")
        .shown("the profile's tensor_parallel_size")
        .u32_or(1..=64, profile.map_or(1, |p| p.tensor_parallel_size));
    if let Some(profile) = profile
        && gpus_per_replica < profile.tensor_parallel_size
    {
        let needs = profile.tensor_parallel_size;
        table.report(
            Diagnostic::error(
                Code::DoesNotFit,
                format!("profile `{}` needs {needs} GPUs per replica", profile.name),
            )
            .at(&table.span_of("gpus_per_replica"), format!("{gpus_per_replica} here")),
        );
    }
    let (pool, price) = pool(&table, accelerator, profile, gpus_per_replica, constants);
    let storage = table
        .key(
            "model_storage",
            "Where the weights are: Cloud Storage, Hyperdisk ML, a disk, a streamer",
        )
        .choice_or(&Storage::ALL.map(|s| (s.as_str(), s)), Storage::Pd);
    let (autoscaler, pool) = provisioning(&table, pool);
    let packing = table
        .key("packing", "Which node gets a pod. Source: the guide's optimize-utilization packs")
        .choice_or(&[("pack", Packing::Pack), ("spread", Packing::Spread)], Packing::Pack);
    let model_bytes = profile.map_or(16_000_000_000, |p| p.model.weight_bytes(p.weights));
    let startup_table = table.key("startup", "From a bound pod to traffic").table_or_empty();
    let startup = startup(&startup_table, accelerator, storage, vllm_minor, model_bytes);
    let probe = probe(&startup_table);
    let termination = termination(&table, vllm_minor);
    let gateway = super::routing::routing(&table);
    let cluster = ClusterConfig {
        pools: vec![pool],
        gpus_per_replica,
        packing,
        autoscaler,
        startup,
        probe,
        termination,
    };
    if root.context().errors() == 0 && !root.context().is_describing() {
        for error in cluster.validate() {
            let title = format!("`cluster`: {}", error.message);
            root.report(Diagnostic::error(Code::Conflict, title).at(table.span(), error.field));
        }
    }
    Lowered { cluster, kube_minor, gateway, price }
}

/// `1.N` or `1.N.P`, as the minor release N.
fn kube_minor(table: &Fields<'_>) -> u32 {
    let supported = ControllerConfig::SUPPORTED_MINORS;
    let default = format!("\"1.{}\"", ControllerConfig::DEFAULT_MINOR);
    let (first, last) = (*supported.start(), *supported.end());
    table
        .key("kube_version", "Kubernetes release whose HPA controller decides; 1.25 to 1.36")
        .parse(Kind::Text, Some(default), |node| {
            // A number is fine too: its literal text is kept, and shells take quotes away.
            let (Value::String(text) | Value::Float(_, text)) = &node.value else {
                let title = "must be a string, as in \"1.34\"";
                let label = format!("this is {}", node.value.kind());
                return Err(Problem::new(Code::Type, title, label));
            };
            let mut parts = text.trim_start_matches('v').split('.');
            match (parts.next(), parts.next().and_then(|m| m.parse().ok())) {
                (Some("1"), Some(minor)) if supported.contains(&minor) => Ok(minor),
                _ => {
                    let title = format!("must be a release from 1.{first} to 1.{last}");
                    Err(Problem::new(Code::Version, title, "not modelled"))
                }
            }
        })
        .unwrap_or(ControllerConfig::DEFAULT_MINOR)
}

fn pool(
    table: &Fields<'_>,
    accelerator: Accelerator,
    profile: Option<&GpuProfile>,
    gpus_per_replica: u32,
    constants: &Constants,
) -> (NodePool, Option<(f64, String)>) {
    let usual = profile.map_or("", |p| p.price.machine_type.as_str());
    let usual = if usual.is_empty() { presets::guide_machine_type(accelerator) } else { usual };
    let machine_type = table
        .key("machine_type", "Machine type of the node pool")
        .shown("the profile's usual one")
        .string()
        .unwrap_or(usual)
        .to_owned();
    let known = constants.machines.iter().find(|m| m.name == machine_type);
    let by_profile = profile.filter(|p| p.price.machine_type == machine_type).map(|p| &p.price);
    let by_type = by_profile
        .map(|p| p.gpus)
        .or(known.map(|m| m.gpus))
        .or_else(|| presets::gpus_of_machine_type(&machine_type));
    let gpus_per_node = table
        .key("gpus_per_node", "GPUs of one node. Source: Google Cloud's machine types")
        .shown("by machine type")
        .u32_or(1..=64, by_type.unwrap_or(gpus_per_replica));
    if by_type.is_none() && !table.has("gpus_per_node") && !table.context().is_describing() {
        table.report(
            Diagnostic::error(
                Code::MissingKey,
                format!("machine type `{machine_type}` is not known"),
            )
            .at(&table.span_of("machine_type"), "how many GPUs does it have?")
            .help("set `cluster.gpus_per_node`, and its price in `cost.node_usd_per_hour`"),
        );
    }
    if let (Some(profile), Some(machine)) = (profile, known)
        && machine.gpu != profile.gpu.name
    {
        table.report(
            Diagnostic::error(
                Code::Conflict,
                format!("`{machine_type}` has other GPUs than profile `{}`", profile.name),
            )
            .at(
                &table.span_of("machine_type"),
                format!("{}, not {}", machine.gpu, profile.gpu.name),
            ),
        );
    }
    let mut pool =
        presets::node_pool(accelerator, &machine_type, gpus_per_node, gpus_per_replica.max(1));
    if pool.replicas_per_node == 0 {
        table.report(
            Diagnostic::error(
                Code::DoesNotFit,
                format!("a pod with {gpus_per_replica} GPUs does not fit on a `{machine_type}`"),
            )
            .at(&table.span_of("machine_type"), format!("{gpus_per_node} GPUs per node"))
            .help("choose a machine type with more GPUs, or a profile for fewer"),
        );
    }
    let most = pool.replicas_per_node.max(1);
    pool.replicas_per_node = table
        .key("replicas_per_node", "Pods that fit on one node; fewer if CPU or memory bind first")
        .shown("gpus_per_node / gpus_per_replica")
        .u32_or(1..=most, most);
    pool.min_nodes = table
        .key("min_nodes", "The autoscaler never goes below. Source: the guide's node pools")
        .u32_or(0..=100_000, 0);
    pool.max_nodes = table
        .key("max_nodes", "The autoscaler never goes above. Source: the guide's node pools")
        .u32_or(1..=100_000, 1_000);
    if pool.min_nodes > pool.max_nodes {
        table.report(
            Diagnostic::error(Code::Conflict, "`cluster.min_nodes` is above `cluster.max_nodes`")
                .at(&table.span_of("min_nodes"), format!("{} nodes", pool.min_nodes))
                .and_at(&table.span_of("max_nodes"), format!("at most {}", pool.max_nodes)),
        );
    }
    let price = by_profile
        .map(|p| (p.usd_per_hour, format!("{}, confidence {}", p.basis, p.confidence)))
        .or(known.map(|m| {
            let basis = format!("{}, confidence {}", constants.price_basis, m.confidence);
            (m.usd_per_hour, basis)
        }));
    (pool, price)
}

fn provisioning(table: &Fields<'_>, mut pool: NodePool) -> (AutoscalerConfig, NodePool) {
    let t = table.key("provisioning", "The cluster autoscaler and new nodes").table_or_empty();
    let profile = t
        .key("profile", "GKE's autoscaling profile")
        .choice_or(&[("balanced", false), ("optimize-utilization", true)], false);
    let base =
        if profile { presets::autoscaler_optimize_utilization() } else { presets::autoscaler() };
    pool.provisioning = t
        .key(
            "node_ready",
            "From the request of a node to allocatable GPUs. Estimate by accelerator",
        )
        .shown("l4 180 s (p95 330), a100 210 s (p95 420), h100 300 s (p95 720)")
        .delay_or(&pool.provisioning);
    pool.delete = t
        .key("node_delete", "From the removal decision until a VM is gone. Estimate")
        .delay_or(&pool.delete);
    pool.stock_out = StockOut {
        probability: t
            .key("stock_out_probability", "Chance that one requested node cannot be had")
            .number_or(0.0..=1.0, 0.0),
        report_delay: t
            .key("stock_out_report", "From the request until its failure is reported. Estimate")
            .delay_or(&pool.stock_out.report_delay),
    };
    let autoscaler = AutoscalerConfig {
        scan_interval: t
            .key("scan_interval", "Period of the loop. Source: cluster autoscaler")
            .duration_or(positive(), base.scan_interval),
        gpu_pod_min_age: t
            .key(
                "gpu_pod_min_age",
                "Age of a GPU pod before nodes are asked for. Source: hard-coded",
            )
            .duration_or(day(), base.gpu_pod_min_age),
        backoff_initial: t
            .key(
                "backoff_initial",
                "First backoff after a failed scale-up. Source: cluster autoscaler",
            )
            .duration_or(day(), base.backoff_initial),
        backoff_max: t
            .key("backoff_max", "Longest backoff. Source: cluster autoscaler")
            .duration_or(day(), base.backoff_max),
        backoff_reset: t
            .key("backoff_reset", "A backoff is forgotten after. Source: cluster autoscaler")
            .duration_or(day(), base.backoff_reset),
        max_node_provision: t
            .key("max_node_provision", "A node not ready is given up. Source: cluster autoscaler")
            .duration_or(positive(), base.max_node_provision),
        scale_down_unneeded: t
            .key("scale_down_unneeded", "An idle node is removed. Source: cluster autoscaler")
            .shown("\"10m\"; \"5m\" with optimize-utilization (estimate)")
            .duration_or(day(), base.scale_down_unneeded),
        scale_down_after_add: t
            .key("scale_down_after_add", "No removal after a scale-up. Source: cluster autoscaler")
            .duration_or(day(), base.scale_down_after_add),
        max_parallel_deletes: t
            .key("max_parallel_deletes", "Nodes deleted at one time. Source: cluster autoscaler")
            .u32_or(1..=1_000, base.max_parallel_deletes),
    };
    if autoscaler.backoff_initial > autoscaler.backoff_max {
        t.report(
            Diagnostic::error(Code::Conflict, "`backoff_initial` is above `backoff_max`")
                .at(&t.span_of("backoff_initial"), "")
                .and_at(&t.span_of("backoff_max"), ""),
        );
    }
    (autoscaler, pool)
}

fn startup(
    t: &Fields<'_>,
    accelerator: Accelerator,
    storage: Storage,
    vllm_minor: u32,
    model_bytes: u64,
) -> StartupConfig {
    let engine = t
        .key("engine", "Engine generation, for the time from loaded weights to a listening server")
        .choice_or(
            &[
                ("v0", EngineStart::V0),
                ("v1-cold", EngineStart::V1Cold),
                ("v1-cached", EngineStart::V1Cached),
            ],
            EngineStart::V1Cold,
        );
    let default_image = if vllm_minor >= 18 {
        presets::V0_18_IMAGE_BYTES
    } else {
        // ASSUMPTION(A46): images before 0.18 are taken to be as large as the one measured in 2025-04 (25 GB).
        25_000_000_000
    };
    let image_gb = t
        .key("image_gb", "Unpacked size of the image [GB]. Source: 28 GB measured for vLLM 0.18")
        .shown("28; 25 before vLLM 0.18")
        .number_or(0.001..=1_000.0, default_image as f64 / 1e9);
    let model_gb = t
        .key("model_gb", "Bytes of weights that one pod reads [GB]")
        .shown("the model's weights")
        .number_or(0.001..=10_000.0, model_bytes as f64 / 1e9);
    let base = presets::startup(
        accelerator,
        storage,
        engine,
        (image_gb * 1e9) as u64,
        (model_gb * 1e9) as u64,
    );
    let image = image(t, base.image);
    let load = load(t, base.load);
    StartupConfig {
        attach: t
            .key("attach", "Attach and mount of the model's volume. Estimate by storage")
            .shown("pd 10 s (p95 20), hdml 3 s (p95 5), gcs 2 s (p95 3), streamer 0")
            .delay_or(&base.attach),
        image,
        container_start: t
            .key("container_start", "Creation of the container. Source: about 2 s measured")
            .delay_or(&base.container_start),
        load,
        init: t
            .key("init", "From loaded weights to a listening server. Estimate by engine and GPU")
            .shown("v1-cold: l4 105 s (p95 200), others 90 s (p95 180); see docs/model.md")
            .delay_or(&base.init),
    }
}

fn image(t: &Fields<'_>, base: ImagePull) -> ImagePull {
    let streaming = t
        .key("image_streaming", "Image streaming or a secondary boot disk with the image")
        .boolean_or(false);
    let rate = t
        .key(
            "image_mb_s",
            "Unpacked bytes written per second [MB/s]. Source: 119 MB/s on pd-balanced",
        )
        .shown("120; 350 on h100")
        .number(0.1..=1e6);
    let time = t.key("image_pull", "Time of the pull, instead of size and rate").delay();
    match (time, base) {
        (Some(time), _) => ImagePull::Time(time),
        (None, _) if streaming => presets::image_streaming(),
        (None, ImagePull::Rate { unpacked_bytes, bytes_per_s }) => ImagePull::Rate {
            unpacked_bytes,
            bytes_per_s: rate.map_or(bytes_per_s, |r| (r * MB) as u64),
        },
        (None, base @ ImagePull::Time(_)) => base,
    }
}

fn load(t: &Fields<'_>, base: ModelLoad) -> ModelLoad {
    let rate = t
        .key("load_mb_s", "Rate of one pod alone [MB/s]. Estimate by storage and GPU")
        .shown("pd 450 (slow end 250), hdml 1000, gcs 150, see docs/model.md")
        .number(0.1..=1e6);
    let volume = t
        .key(
            "volume_mb_s",
            "Rate of the whole volume, shared by its readers [MB/s]; 0 = not shared",
        )
        .shown("pd 515, hdml 24576, others 0. Source: Google Cloud documentation; the guide")
        .number(0.0..=1e9);
    let page_cache = t
        .key("page_cache_mb_s", "Rate of a further pod on the same node [MB/s]; 0 = as the first")
        .shown("1500 for pd and hdml, others 0. Estimate")
        .number(0.0..=1e6);
    let time = t.key("load", "Time of the load, instead of size and rate").delay();
    let bytes = |mb: f64| if mb > 0.0 { Some((mb * MB) as u64) } else { None };
    match (time, base) {
        (Some(time), _) => ModelLoad::Time(time),
        (None, ModelLoad::Storage(storage)) => ModelLoad::Storage(StorageLoad {
            bytes: storage.bytes,
            pod_rate: rate.map_or(storage.pod_rate, |r| Rate::constant((r * MB) as u64)),
            volume_bytes_per_s: volume.map_or(storage.volume_bytes_per_s, bytes),
            page_cache_bytes_per_s: page_cache.map_or(storage.page_cache_bytes_per_s, bytes),
        }),
        (None, base @ ModelLoad::Time(_)) => base,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum ProbeSet {
    Guide,
    ReferenceArchitecture,
    LlmD,
    InferenceGateway,
}

fn probe(t: &Fields<'_>) -> ProbeConfig {
    let set = t
        .key("probes", "Published set of probes. Source: the guide waits 240 s before the first")
        .choice_or(
            &[
                ("guide", ProbeSet::Guide),
                ("reference-architecture", ProbeSet::ReferenceArchitecture),
                ("llm-d", ProbeSet::LlmD),
                ("inference-gateway", ProbeSet::InferenceGateway),
            ],
            ProbeSet::Guide,
        );
    let base = match set {
        ProbeSet::Guide => presets::probe_guide(),
        ProbeSet::ReferenceArchitecture => presets::probe_reference_architecture(),
        ProbeSet::LlmD => presets::probe_llm_d(),
        ProbeSet::InferenceGateway => presets::probe_inference_gateway(),
    };
    let probe = |t: &Fields<'_>, base: Probe| Probe {
        initial_delay: t
            .key("initial_delay", "`initialDelaySeconds`, from the start of the container")
            .duration_or(day(), base.initial_delay),
        period: t.key("period", "`periodSeconds`").duration_or(positive(), base.period),
        failure_threshold: t
            .key("failure_threshold", "`failureThreshold`")
            .u32_or(1..=1_000_000, base.failure_threshold),
    };
    let fallback = Probe {
        initial_delay: SimDuration::ZERO,
        period: SimDuration::from_secs(10),
        failure_threshold: 3,
    };
    let startup = t
        .key("startup_probe", "Startup probe; readiness is not probed before it has passed")
        .table()
        .map(|f| probe(&f, base.startup.unwrap_or(fallback)))
        .or(base.startup);
    let readiness = t.key("readiness_probe", "Readiness probe; defaults by `probes`");
    ProbeConfig {
        startup,
        readiness: probe(&readiness.table_or_empty(), base.readiness),
        endpoint_delay: t
            .key("endpoint_delay", "From Ready until the gateway routes to the pod. Estimate")
            .delay_or(&base.endpoint_delay),
    }
}

fn termination(table: &Fields<'_>, vllm_minor: u32) -> TerminationConfig {
    let t = table.key("termination", "From the deletion of a pod to a free GPU").table_or_empty();
    let by_version = presets::shutdown_of_vllm(vllm_minor);
    let abort = t
        .key("shutdown", "What the server does on SIGTERM. Source: vllm#34730")
        .shown("\"abort\"; \"drain\" before vLLM 0.18")
        .choice_or(&[("abort", true), ("drain", false)], by_version == ShutdownMode::Abort);
    let timeout = t
        .key("shutdown_timeout", "--shutdown-timeout: a draining server stops after this long")
        .shown("as long as the grace period allows")
        .duration(day());
    let shutdown = match (abort, timeout) {
        (true, None) => ShutdownMode::Abort,
        (true, Some(_)) => {
            if t.has("shutdown") {
                t.report(
                    Diagnostic::error(
                        Code::Conflict,
                        "a server that aborts has no shutdown_timeout",
                    )
                    .at(&t.key_span("shutdown_timeout"), "")
                    .and_at(&t.span_of("shutdown"), "")
                    .help("set `shutdown = \"drain\"`"),
                );
            }
            ShutdownMode::Drain { timeout: timeout.unwrap_or(SimDuration::MAX) }
        }
        (false, timeout) => ShutdownMode::Drain { timeout: timeout.unwrap_or(SimDuration::MAX) },
    };
    let base = match t
        .key("preset", "Published values of grace period and preStop hook")
        .choice_or(&[("guide", 0), ("inference-gateway", 1), ("kserve", 2)], 0)
    {
        1 => presets::termination_inference_gateway(shutdown),
        2 => presets::termination_kserve(shutdown),
        _ => presets::termination_guide(shutdown),
    };
    let result = TerminationConfig {
        grace: t
            .key("grace", "terminationGracePeriodSeconds. Source: Kubernetes; the guide sets none")
            .duration_or(day(), base.grace),
        pre_stop: t
            .key("pre_stop", "Sleep of the preStop hook. Source: the guide has none")
            .duration_or(day(), base.pre_stop),
        shutdown,
        endpoint_removal: t
            .key("endpoint_removal", "From the deletion until no new request comes. Estimate")
            .delay_or(&base.endpoint_removal),
    };
    if result.pre_stop > result.grace {
        t.report(
            Diagnostic::error(Code::Conflict, "`pre_stop` is longer than the grace period")
                .at(&t.span_of("pre_stop"), "")
                .and_at(&t.span_of("grace"), "")
                .help("the kubelet kills the pod when `grace` is over, the hook included"),
        );
    }
    result
}
