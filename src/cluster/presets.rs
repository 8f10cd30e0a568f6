//! Sourced defaults per accelerator and storage.
//!
//! `Source: [..]` names where a value was published; `ASSUMPTION(..)` marks an estimate, to be replaced
//! when better data turns up. Lognormals go through the median and the 95th percentile.

use super::config::{
    AutoscalerConfig, ClusterConfig, DeletionCost, ImagePull, ModelLoad, Packing, Probe,
    ProbeConfig, Rate, ShutdownMode, StartupConfig, StorageLoad, TerminationConfig,
};
use super::disruption::Disruption;
use super::faults::FaultConfig;
use super::pool::{Capacity, Expander, NodePool, Preemption, Quota, StockOut};
use crate::rng::Dist;
use crate::units::SimDuration;

/// GPU family of a node pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accelerator {
    /// NVIDIA L4 on g2.
    L4,
    /// NVIDIA A100 on a2.
    A100,
    /// NVIDIA H100 80 GB on a3.
    H100,
}

/// Where the weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Storage {
    /// Cloud Storage through GCSFuse, parallel download into a file cache on the node's disk.
    Gcs,
    /// Hyperdisk ML, read-only-many.
    Hdml,
    /// Persistent disk, 1 TiB pd-ssd, read-only-many.
    Pd,
    /// Cloud Storage through the Run:ai model streamer.
    Streamer,
}

/// Engine generation, for the time from loaded weights to a listening server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineStart {
    /// vLLM's V0 engine: CUDA graphs, no torch.compile (the guide's v0.6.3).
    V0,
    /// V1 with an empty compile cache.
    V1Cold,
    /// V1 with a kept compile cache.
    V1Cached,
}

impl Accelerator {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::L4, Self::A100, Self::H100];

    /// Name in experiments.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L4 => "l4",
            Self::A100 => "a100",
            Self::H100 => "h100",
        }
    }

    /// The accelerator of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == name)
    }
}

impl Storage {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Gcs, Self::Hdml, Self::Pd, Self::Streamer];

    /// Name in experiments.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gcs => "gcs",
            Self::Hdml => "hdml",
            Self::Pd => "pd",
            Self::Streamer => "streamer",
        }
    }

    /// The storage of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

const fn secs(s: u64) -> SimDuration {
    SimDuration::from_secs(s)
}

const fn lognormal(median_s: u64, p95_s: u64) -> Dist {
    Dist::LogNormal { median: secs(median_s), p95: secs(p95_s) }
}

const MB: u64 = 1_000_000;
const MIB: u64 = 1 << 20;

/// What a start-up needs to know of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelSize {
    /// Bytes of weights that one pod reads.
    pub bytes: u64,
    /// `num_hidden_layers`.
    pub layers: u32,
}

/// Rules of the upstream cluster autoscaler. GKE does not publish its own.
// Source: kubernetes/autoscaler branch cluster-autoscaler-release-1.37, config/flags and
// core/static_autoscaler.go (the 30 s GPU wait is hard-coded); deletes in parallel: FAQ.
pub fn autoscaler() -> AutoscalerConfig {
    AutoscalerConfig {
        scan_interval: secs(10),
        frequent_loops: false,
        gpu_pod_min_age: secs(30),
        backoff_initial: secs(300),
        backoff_max: secs(1_800),
        backoff_reset: secs(10_800),
        max_node_provision: secs(900),
        scale_down_unneeded: secs(600),
        scale_down_after_add: secs(600),
        max_parallel_deletes: 10,
        expander: Expander::Priority,
        drain: true,
        scale_down_gpu_utilization: 0.5,
        max_graceful_termination: secs(600),
        max_pod_eviction_time: secs(120),
        scale_down_after_failure: secs(180),
    }
}

/// [`autoscaler`] under GKE's optimize-utilization profile.
// ASSUMPTION(A105): half the unneeded time; GKE says "sooner" and publishes no figure.
pub fn autoscaler_optimize_utilization() -> AutoscalerConfig {
    AutoscalerConfig { scale_down_unneeded: secs(300), ..autoscaler() }
}

/// From the request of a node to allocatable GPUs.
// ASSUMPTION(A106): no table is published; built from reports on the parts (VM and boot, driver install,
// device plugin): low / median / high 90/180/330, 110/210/420, 150/300/720 s.
pub fn provisioning(accelerator: Accelerator) -> Dist {
    match accelerator {
        Accelerator::L4 => lognormal(180, 330),
        Accelerator::A100 => lognormal(210, 420),
        Accelerator::H100 => lognormal(300, 720),
    }
}

/// Chance of a stock-out that a stress case may assume for one on-demand request; no public base.
// ASSUMPTION(A107): our guess.
pub const fn stock_out_stress_probability(accelerator: Accelerator) -> f64 {
    match accelerator {
        Accelerator::L4 => 0.01,
        Accelerator::A100 => 0.05,
        Accelerator::H100 => 0.15,
    }
}

/// No stock-outs, with the delay that one would be reported after.
// ASSUMPTION(A108): reported after 30-90 s.
pub fn no_stock_out() -> StockOut {
    StockOut { probability: 0.0, windows: Vec::new(), report_delay: lognormal(60, 90) }
}

/// No preemption, with the times that one would take.
// Source: Google Cloud documentation, GKE Spot VMs: no notice unless asked for; 30 s of shutdown, of which ordinary
// pods get 15 s.
pub const fn no_preemption() -> Preemption {
    Preemption {
        per_node_hour: 0.0,
        notice: SimDuration::ZERO,
        pod_grace: secs(15),
        shutdown: secs(30),
    }
}

/// The longest run of a flex-start machine.
// Source: accelerated-platforms, ComputeClass gpu-l4-24gb-x2: maxRunDurationSeconds 604800.
pub const FLEX_START_RUN: SimDuration = secs(604_800);

/// How long before the end of its run a flex-start machine is replaced.
// Source: the same ComputeClass: nodeRecycling.leadTimeSeconds 3600.
pub const RECYCLING_LEAD_TIME: SimDuration = secs(3_600);

/// `--node-monitor-grace-period` of Kubernetes 1.`minor`.
// Source: kubernetes#126287: 50 s from 1.32 on, 40 s before.
pub const fn node_monitor_grace_period(minor: u32) -> SimDuration {
    secs(if minor >= 32 { 50 } else { 40 })
}

/// No faults, with the kubelet's waits before restarts and the control plane's before a dead machine is replaced.
// Source: kubernetes plugin/pkg/admission/defaulttolerationseconds: 300 s; Google Cloud documentation, "Auto-repair
// nodes": NotReady for approximately ten minutes.
// Source: kubernetes pkg/kubelet: backOffPeriod 10 s, MaxContainerBackOff 300 s.
// ASSUMPTION(A282): an unready spell lasts 30 s (p95 60).
pub fn no_faults() -> FaultConfig {
    FaultConfig {
        crash_per_hour: 0.0,
        unready_per_hour: 0.0,
        unready_for: lognormal(30, 60),
        scripted: Vec::new(),
        node_loss_per_hour: 0.0,
        node_monitor_grace_period: node_monitor_grace_period(32),
        unreachable_toleration: secs(300),
        node_repair: secs(600),
        restart_backoff_initial: secs(10),
        restart_backoff_max: secs(300),
    }
}

/// From the removal decision until a VM is gone.
// ASSUMPTION(A109): 30-90 s.
pub fn node_delete() -> Dist {
    lognormal(60, 90)
}

/// GPUs on one node of a machine type; `None` for types without GPUs and unknown ones.
// Source: Google Cloud documentation, GPU machine types (a2, a3, g2 tables).
pub fn gpus_of_machine_type(machine_type: &str) -> Option<u32> {
    Some(match machine_type {
        "g2-standard-4" | "g2-standard-8" | "g2-standard-12" | "g2-standard-16"
        | "g2-standard-32" | "a2-highgpu-1g" | "a2-ultragpu-1g" | "a3-highgpu-1g" => 1,
        "g2-standard-24" | "a2-highgpu-2g" | "a2-ultragpu-2g" | "a3-highgpu-2g" => 2,
        "g2-standard-48" | "a2-highgpu-4g" | "a2-ultragpu-4g" | "a3-highgpu-4g" => 4,
        "g2-standard-96" | "a2-highgpu-8g" | "a2-ultragpu-8g" | "a3-highgpu-8g"
        | "a3-megagpu-8g" | "a3-ultragpu-8g" => 8,
        "a2-megagpu-16g" => 16,
        _ => return None,
    })
}

/// CPUs and memory \[GiB\] of the machine types whose price nobody has stated; `None` for others.
// Source: Google Cloud documentation, GPU machine types (a2, a3, g2 tables).
pub fn size_of_machine_type(machine_type: &str) -> Option<(u32, u32)> {
    Some(match machine_type {
        "g2-standard-32" => (32, 128),
        "a2-megagpu-16g" => (96, 1_360),
        "a3-megagpu-8g" => (208, 1_872),
        "a3-ultragpu-8g" => (224, 2_952),
        _ => return None,
    })
}

/// Machine type of the guide's node pool.
// Source: accelerated-platforms, platforms/gke-aiml/playground, container_node_pool.tf.
pub const fn guide_machine_type(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::L4 => "g2-standard-24",
        Accelerator::A100 => "a2-highgpu-2g",
        Accelerator::H100 => "a3-highgpu-8g",
    }
}

/// A pool of `machine_type` with the given limits; pods are limited by GPUs only.
///
/// `gpus_per_node` and `gpus_per_replica` must not be 0.
pub fn node_pool(
    accelerator: Accelerator,
    machine_type: &str,
    gpus_per_node: u32,
    gpus_per_replica: u32,
) -> NodePool {
    NodePool {
        name: accelerator.as_str().to_owned(),
        machine_type: machine_type.to_owned(),
        zone: String::new(),
        capacity: Capacity::OnDemand,
        gpus_per_node,
        memory_bytes: None,
        replicas_per_node: gpus_per_node / gpus_per_replica,
        // Source: accelerated-platforms, container_node_pool.tf: min 0, max 1000.
        min_nodes: 0,
        max_nodes: 1_000,
        usd_per_hour: 0.0,
        provisioning: provisioning(accelerator),
        stock_out: no_stock_out(),
        delete: node_delete(),
        preemption: no_preemption(),
        max_run_duration: None,
        recycling_lead_time: None,
        queued: false,
    }
}

/// Unpacked size of the guide's image, vLLM v0.6.3.post1 \[bytes\].
// ASSUMPTION(A110): between 9 GB (2024-08, vllm issue 7609) and 25 GB (2025-04, issue 17163).
pub const GUIDE_IMAGE_BYTES: u64 = 10_000 * MB;

/// Unpacked size of the image of vLLM v0.18 \[bytes\].
// Source: dudeperf3ct/benchmark-vllm-startup, 28 GB measured (2026-04).
pub const V0_18_IMAGE_BYTES: u64 = 28_000 * MB;

/// Pull of an image onto the node pools' boot disks, without image streaming.
// Source: dudeperf3ct/benchmark-vllm-startup: 28 GB in 236 s = 119 MB/s on pd-balanced.
// ASSUMPTION(A111): 350 MB/s on an a3 with local SSD.
pub fn image(accelerator: Accelerator, unpacked_bytes: u64) -> ImagePull {
    let bytes_per_s = match accelerator {
        Accelerator::L4 | Accelerator::A100 => 120 * MB,
        Accelerator::H100 => 350 * MB,
    };
    ImagePull::Rate { unpacked_bytes, bytes_per_s }
}

/// Image streaming, or a secondary boot disk that holds the image.
// ASSUMPTION(A112): 3 / 8 / 20 s low / median / high. Works for Artifact Registry images only.
pub fn image_streaming() -> ImagePull {
    ImagePull::Time(lognormal(8, 20))
}

/// Rate of one replica alone \[bytes/s\], through the low (p05) and the median figure.
// ASSUMPTION(A113): between measured loads: ai-on-gke startup-latency.md (GCSFuse, pd-ssd),
// dudeperf3ct/benchmark-vllm-startup (L4), run-ai/runai-model-streamer (streamer).
pub const fn load_rate(accelerator: Accelerator, storage: Storage) -> Rate {
    let (p05, median) = match (storage, accelerator) {
        (Storage::Gcs, Accelerator::L4) => (100, 150),
        (Storage::Gcs, Accelerator::A100) => (110, 180),
        (Storage::Gcs, Accelerator::H100) => (300, 1_000),
        (Storage::Pd, _) => (250, 450),
        (Storage::Hdml, Accelerator::L4 | Accelerator::A100) => (500, 1_000),
        (Storage::Hdml, Accelerator::H100) => (600, 1_200),
        (Storage::Streamer, Accelerator::L4) => (600, 900),
        (Storage::Streamer, Accelerator::A100) => (800, 1_100),
        (Storage::Streamer, Accelerator::H100) => (1_000, 1_500),
    };
    Rate { median: median * MB, p05: p05 * MB }
}

/// Size of the guide's volumes \[GiB\].
// Source: accelerated-platforms, use-cases/inferencing/serving/vllm: 1 TiB pd-ssd or Hyperdisk ML.
pub const VOLUME_GIB: u32 = 1_024;

/// Rate of the whole volume \[bytes/s\]; `None` = not shared between nodes.
// Source: pd-ssd: 0.48 MiB/s per GiB, 491 MiB/s for 1 TiB (Google Cloud documentation), here in whole MB/s; hdml: the
// guide's 24,576 MB/s for its 1 TiB volume. What a volume of another size is given is the user's choice.
pub const fn volume_rate(storage: Storage, volume_gib: u32) -> Option<u64> {
    match storage {
        Storage::Pd => Some(volume_gib as u64 * 48 * MIB / 100 / MB * MB),
        Storage::Hdml => Some(24_576 * MB),
        Storage::Gcs | Storage::Streamer => None,
    }
}

/// What one machine reads from the volume at most \[bytes/s\]; `None` = no limit of its own.
// Source: Google Cloud documentation, per-instance limits: pd 1,200 MiB/s; Hyperdisk ML 2,400 MiB/s on accelerator
// machines, 4,000 MiB/s on a3 with eight GPUs (taken for every a3).
pub const fn node_rate(accelerator: Accelerator, storage: Storage) -> Option<u64> {
    match (storage, accelerator) {
        (Storage::Pd, _) => Some(1_200 * MIB),
        (Storage::Hdml, Accelerator::L4 | Accelerator::A100) => Some(2_400 * MIB),
        (Storage::Hdml, Accelerator::H100) => Some(4_000 * MIB),
        (Storage::Gcs | Storage::Streamer, _) => None,
    }
}

/// Nodes that can have the volume at one time; `None` = nothing is attached.
// Source: accelerated-platforms, docs/use-cases/inferencing: a disk on up to 100 nodes read-only. Google Cloud
// documentation, Hyperdisk ML: 2,500 machines up to 256 GiB, 600 up to 1 TiB, 300 up to 2 TiB, 128 up to 16 TiB, 30
// above; more than 20 machines need 100 MiB/s each of provisioned throughput.
pub fn attach_limit(storage: Storage, volume_gib: u32, volume_rate: Option<u64>) -> Option<u32> {
    match storage {
        Storage::Pd => Some(100),
        Storage::Hdml => {
            let by_size = match volume_gib {
                ..=256 => 2_500,
                257..=1_024 => 600,
                1_025..=2_048 => 300,
                2_049..=16_384 => 128,
                16_385.. => 30,
            };
            let by_rate = volume_rate.map_or(by_size, |rate| (rate / (100 * MIB)).max(20));
            Some(by_size.min(by_rate) as u32)
        }
        Storage::Gcs | Storage::Streamer => None,
    }
}

/// Memory that a pod keeps from the page cache if nobody says what it requests \[bytes\].
// ASSUMPTION(A331): 8 GB for the processes of a server, their CUDA contexts and pinned buffers.
pub const POD_MEMORY_BYTES: u64 = 8_000 * MB;

/// Rate of a further pod on a node whose page cache holds the weights \[bytes/s\].
// ASSUMPTION(A114): at least 1.5 GB/s. GCSFuse caches per pod (an emptyDir of the sidecar and a mount
// of its own), and a streamer reads past the page cache: none for these.
pub const fn page_cache_rate(storage: Storage) -> Option<u64> {
    match storage {
        Storage::Pd | Storage::Hdml => Some(1_500 * MB),
        Storage::Gcs | Storage::Streamer => None,
    }
}

/// Rate of a container that is started again in a pod that has read `model_bytes` before \[bytes/s\].
// Source: the guide's GCSFuse file cache of 20 GiB is a volume of the pod and outlives a container; larger models do
// not stay in it. A streamer caches nothing.
// ASSUMPTION(A283): as fast as from the page cache.
pub fn restart_rate(storage: Storage, model_bytes: u64) -> Option<u64> {
    const FILE_CACHE: u64 = 20 << 30;
    match storage {
        Storage::Pd | Storage::Hdml => Some(1_500 * MB),
        Storage::Gcs => (model_bytes <= FILE_CACHE).then_some(1_500 * MB),
        Storage::Streamer => None,
    }
}

/// Attach and mount of the volume.
// ASSUMPTION(A115): pd 5-20 s, hdml 2-5 s (one report), gcs 1-3 s.
pub fn attach(storage: Storage) -> Dist {
    match storage {
        Storage::Pd => lognormal(10, 20),
        Storage::Hdml => lognormal(3, 5),
        Storage::Gcs => lognormal(2, 3),
        Storage::Streamer => Dist::Constant(SimDuration::ZERO),
    }
}

/// Layers of the models whose start-ups [`engine_init`] was taken from (Mistral-7B, Llama-3.1-8B).
pub const REFERENCE_LAYERS: u32 = 32;

/// From loaded weights to a listening server, for a model of that many layers. The ranks of a tensor-parallel engine
/// start side by side, so their number does not count.
// ASSUMPTION(A116): the values for 32 layers, between published start-ups: L4 Mistral-7B on vLLM 0.18 (bootstrap
// 45-53 s, compile 25-28 s, graphs 11 s), 8B on A10G with vLLM 0.5.5 (16-21 s), cached compile 59 s.
// ASSUMPTION(A330): half of it (imports, processes, HTTP server) is the same for all models, half (tracing, compiling
// and capturing the layers) goes with their number. Source of the form: arXiv 2606.07362 and its data (vLLM 0.10, 22
// models of 0.5 to 32 B on one H100): bootstrap constant, engine initialisation linear in layers, and nearly
// independent of parameters at equal layers. Source of the share: parts of published start-ups of 7 to 14 B models, of
// which compile and graphs are 36 to 78 %.
pub fn engine_init(accelerator: Accelerator, start: EngineStart, layers: u32) -> Dist {
    let (median_s, p95_s) = match (start, accelerator) {
        (EngineStart::V0, Accelerator::L4) => (50, 90),
        (EngineStart::V0, Accelerator::A100 | Accelerator::H100) => (40, 80),
        (EngineStart::V1Cold, Accelerator::L4) => (105, 200),
        (EngineStart::V1Cold, Accelerator::A100 | Accelerator::H100) => (90, 180),
        (EngineStart::V1Cached, _) => (60, 100),
    };
    let both = u64::from(REFERENCE_LAYERS + layers);
    let scaled = |s| secs(s) * both / u64::from(2 * REFERENCE_LAYERS);
    Dist::LogNormal { median: scaled(median_s), p95: scaled(p95_s) }
}

/// From a bound pod to a listening server.
pub fn startup(
    accelerator: Accelerator,
    storage: Storage,
    engine: EngineStart,
    image_bytes: u64,
    model: ModelSize,
) -> StartupConfig {
    StartupConfig {
        attach: attach(storage),
        image: image(accelerator, image_bytes),
        // Source: dudeperf3ct/benchmark-vllm-startup: container start overhead about 2 s.
        container_start: Dist::Constant(secs(2)),
        load: ModelLoad::Storage(StorageLoad {
            bytes: model.bytes,
            pod_rate: load_rate(accelerator, storage),
            volume_bytes_per_s: volume_rate(storage, VOLUME_GIB),
            node_bytes_per_s: node_rate(accelerator, storage),
            attach_limit: attach_limit(storage, VOLUME_GIB, volume_rate(storage, VOLUME_GIB)),
            page_cache_bytes_per_s: page_cache_rate(storage),
            restart_bytes_per_s: restart_rate(storage, model.bytes),
            pod_memory_bytes: POD_MEMORY_BYTES,
        }),
        init: engine_init(accelerator, engine, model.layers),
    }
}

/// Restore of a pod snapshot in place of load and initialisation.
// Source: accelerated-platforms, vllm-with-runai-and-podsnapshots.md: 45 / 50 / 55 s.
pub fn snapshot_restore(startup: StartupConfig) -> StartupConfig {
    StartupConfig {
        load: ModelLoad::Time(lognormal(50, 55)),
        init: Dist::Constant(SimDuration::ZERO),
        ..startup
    }
}

/// From Ready until the gateway routes to the pod.
// ASSUMPTION(A117): 0.1-1.5 s for kubelet status, EndpointSlice and kube-proxy.
pub fn endpoint_delay() -> Dist {
    Dist::LogNormal { median: secs(1), p95: SimDuration::from_millis(1_500) }
}

/// The guide's readiness probe: 240 s initial delay, whatever the storage.
// Source: accelerated-platforms, use-cases/inferencing/serving/vllm, all nine deployments.
pub fn probe_guide() -> ProbeConfig {
    ProbeConfig {
        startup: None,
        readiness: Probe { initial_delay: secs(240), period: secs(5), failure_threshold: 3 },
        endpoint_delay: endpoint_delay(),
    }
}

/// The reference architecture's vLLM deployment.
// Source: accelerated-platforms, reference architecture, online inference, vLLM.
pub fn probe_reference_architecture() -> ProbeConfig {
    ProbeConfig {
        readiness: Probe { initial_delay: secs(60), period: secs(10), failure_threshold: 6_000 },
        ..probe_guide()
    }
}

/// The reference architecture's llm-d variant.
// Source: accelerated-platforms, reference architecture, llm-d.
pub fn probe_llm_d() -> ProbeConfig {
    ProbeConfig {
        startup: Some(Probe { initial_delay: secs(15), period: secs(30), failure_threshold: 60 }),
        readiness: Probe { initial_delay: secs(0), period: secs(5), failure_threshold: 3 },
        ..probe_guide()
    }
}

/// The sample of the Gateway API inference extension.
// Source: kubernetes-sigs/gateway-api-inference-extension, release 1.5.
pub fn probe_inference_gateway() -> ProbeConfig {
    ProbeConfig {
        startup: Some(Probe { initial_delay: secs(2), period: secs(1), failure_threshold: 600 }),
        readiness: Probe { initial_delay: secs(0), period: secs(1), failure_threshold: 1 },
        ..probe_guide()
    }
}

/// What vLLM `0.<minor>` does on SIGTERM.
// Source: vllm#34730: `--shutdown-timeout`, default 0 = abort, from 0.18; before that the server waits
// for open connections until it is killed (gateway-api-inference-extension#549).
pub const fn shutdown_of_vllm(minor: u32) -> ShutdownMode {
    if minor >= 18 {
        ShutdownMode::Abort
    } else {
        ShutdownMode::Drain { timeout: SimDuration::MAX }
    }
}

/// Grace period and preStop sleep with a given server.
// ASSUMPTION(A118): the gateway stops routing 0.1-2 s after the deletion.
pub fn termination(
    grace: SimDuration,
    pre_stop: SimDuration,
    shutdown: ShutdownMode,
) -> TerminationConfig {
    TerminationConfig {
        grace,
        pre_stop,
        shutdown,
        endpoint_removal: lognormal(1, 2),
        deletion_cost: DeletionCost::None,
    }
}

/// The guide: no preStop, Kubernetes' default grace period of 30 s.
pub fn termination_guide(shutdown: ShutdownMode) -> TerminationConfig {
    termination(secs(30), secs(0), shutdown)
}

/// The Gateway API inference extension's sample: preStop 30 s, grace 130 s.
pub fn termination_inference_gateway(shutdown: ShutdownMode) -> TerminationConfig {
    termination(secs(130), secs(30), shutdown)
}

/// KServe: preStop 15 s, grace 60 s.
pub fn termination_kserve(shutdown: ShutdownMode) -> TerminationConfig {
    termination(secs(60), secs(15), shutdown)
}

/// The guide's cluster for one accelerator and storage: two GPUs per pod, v0.6.3 (V0 engine), Gemma-2
/// 9B or another model.
pub fn guide(accelerator: Accelerator, storage: Storage, model: ModelSize) -> ClusterConfig {
    let machine_type = guide_machine_type(accelerator);
    let gpus = gpus_of_machine_type(machine_type).expect("the guide's machine types are listed");
    let gpus_per_replica = 2;
    ClusterConfig {
        pools: vec![node_pool(accelerator, machine_type, gpus, gpus_per_replica)],
        quota: Quota::default(),
        gpus_per_replica,
        spare_replicas: 0,
        // Source: the guide's cluster sets OPTIMIZE_UTILIZATION, which packs.
        packing: Packing::Pack,
        autoscaler: autoscaler_optimize_utilization(),
        startup: startup(accelerator, storage, EngineStart::V0, GUIDE_IMAGE_BYTES, model),
        probe: probe_guide(),
        termination: termination_guide(shutdown_of_vllm(6)),
        disruption: NO_PROTECTION,
        faults: no_faults(),
    }
}

/// No PodDisruptionBudget, no annotation.
// Source: accelerated-platforms, use-cases/inferencing/serving/vllm: the guide's manifests have neither.
pub const NO_PROTECTION: Disruption = Disruption { budget: None, safe_to_evict: true };

/// Gemma-2 9B in bf16.
// Source: huggingface.co/google/gemma-2-9b-it, size of the safetensors files (18.5 GB) and config.json.
pub const GEMMA_2_9B: ModelSize = ModelSize { bytes: 18_500 * MB, layers: 42 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guide_cluster_is_valid() {
        for accelerator in Accelerator::ALL {
            for storage in Storage::ALL {
                let config = guide(accelerator, storage, GEMMA_2_9B);
                assert_eq!(config.validate(), [], "{accelerator:?} {storage:?}");
            }
        }
    }

    /// The guide's pools: one pod per L4 and A100 node, four per H100 node.
    #[test]
    fn pods_per_node_of_the_guide() {
        let per_node = |a| guide(a, Storage::Pd, GEMMA_2_9B).pools[0].replicas_per_node;
        assert_eq!(Accelerator::ALL.map(per_node), [1, 1, 4]);
    }

    /// 7 and 8 B models keep what was published for them; twice the layers cost half as much again, in the median and
    /// at the slow end.
    #[test]
    fn half_of_the_engine_start_goes_with_the_layers() {
        let l4 = |layers| engine_init(Accelerator::L4, EngineStart::V1Cold, layers);
        assert_eq!(l4(32), lognormal(105, 200));
        let twice = Dist::LogNormal { median: SimDuration::from_millis(157_500), p95: secs(300) };
        assert_eq!(l4(64), twice);
    }

    #[test]
    fn names_are_read_back() {
        for accelerator in Accelerator::ALL {
            assert_eq!(Accelerator::parse(accelerator.as_str()), Some(accelerator));
        }
        for storage in Storage::ALL {
            assert_eq!(Storage::parse(storage.as_str()), Some(storage));
        }
        assert_eq!(Storage::parse("nfs"), None);
    }
}
