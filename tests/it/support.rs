//! Small systems for tests: every delay short, every pool small, so that minutes show what hours would.

use hpasim::cluster::{
    AutoscalerConfig, Capacity, ClusterConfig, DeletionCost, ImagePull, ModelLoad, NodePool,
    Packing, Probe, ProbeConfig, Quota, Rate, ShutdownMode, StartupConfig, StockOut, StorageLoad,
    TerminationConfig, presets,
};
use hpasim::engine::{EngineConfig, EngineMode, SchedulerConfig, StepCoefficients, StepModel};
use hpasim::gateway::Policy;
use hpasim::hpa::{ControllerConfig, HpaSpec, SyncMode, SyncSchedule};
use hpasim::pipeline::{Adapter, PipelineConfig};
use hpasim::rng::Dist;
use hpasim::sim::{
    Autoscaler, DeviceModel, FeedShape, HpaSetup, MetricFeed, Scenario, Signal, Slo,
};
use hpasim::units::{SimDuration, SimTime};
use hpasim::workload::{Recorded, Request, WorkloadSpec};
use std::sync::Arc;

/// `s` seconds.
pub(crate) fn secs(s: u64) -> SimDuration {
    SimDuration::from_secs(s)
}

/// A constant duration of `ms` milliseconds.
pub(crate) fn constant_ms(ms: u64) -> Dist {
    Dist::Constant(SimDuration::from_millis(ms))
}

/// Llama-3.1-8B on an A100 80 GB, as `docs/model.md` states it.
pub(crate) fn coefficients() -> StepCoefficients {
    StepCoefficients::LLAMA_3_1_8B_ON_A100_80
}

/// An engine with `max_num_seqs` slots and `num_gpu_blocks` blocks.
pub(crate) fn engine(max_num_seqs: u32, num_gpu_blocks: u32) -> EngineConfig {
    let scheduler = SchedulerConfig {
        max_num_seqs,
        max_num_batched_tokens: 512,
        num_gpu_blocks,
        max_model_len: 1024.min((num_gpu_blocks - 1) * 16),
        enable_prefix_caching: false,
        async_scheduling: false,
        ..SchedulerConfig::default()
    };
    let step_model =
        StepModel::new(&coefficients(), scheduler.max_num_batched_tokens).expect("valid");
    EngineConfig {
        scheduler,
        step_model: Arc::new(step_model),
        ingest: SimDuration::from_millis(12),
        mode: EngineMode::Stepwise,
    }
}

/// One pool of two-pod nodes; a node takes 40 s, a pod 20 s.
pub(crate) fn cluster() -> ClusterConfig {
    ClusterConfig {
        pools: vec![NodePool {
            name: "gpu".into(),
            machine_type: "test".into(),
            zone: String::new(),
            capacity: Capacity::OnDemand,
            gpus_per_node: 2,
            memory_bytes: None,
            replicas_per_node: 2,
            min_nodes: 0,
            max_nodes: 5,
            usd_per_hour: 1.0,
            provisioning: Dist::LogNormal { median: secs(40), p95: secs(70) },
            stock_out: StockOut {
                probability: 0.0,
                windows: Vec::new(),
                report_delay: constant_ms(30_000),
            },
            delete: constant_ms(10_000),
            preemption: presets::no_preemption(),
            max_run_duration: None,
            recycling_lead_time: None,
            queued: false,
        }],
        quota: Quota::default(),
        gpus_per_replica: 1,
        spare_replicas: 0,
        packing: Packing::Pack,
        autoscaler: AutoscalerConfig {
            scan_interval: secs(10),
            gpu_pod_min_age: secs(30),
            backoff_initial: secs(300),
            backoff_max: secs(1800),
            backoff_reset: secs(10_800),
            max_node_provision: secs(900),
            scale_down_unneeded: secs(120),
            scale_down_after_add: secs(120),
            max_parallel_deletes: 10,
            ..presets::autoscaler()
        },
        startup: StartupConfig {
            attach: constant_ms(500),
            image: ImagePull::Time(constant_ms(5_000)),
            container_start: constant_ms(1_000),
            sidecars: 0,
            load: ModelLoad::Storage(StorageLoad {
                bytes: 4_000_000_000,
                pod_rate: Rate::constant(1_000_000_000),
                volume_bytes_per_s: Some(1_500_000_000),
                page_cache_bytes_per_s: None,
                restart_bytes_per_s: None,
                node_bytes_per_s: None,
                attach_limit: None,
                pod_memory_bytes: 0,
            }),
            init: Dist::LogNormal { median: secs(8), p95: secs(12) },
        },
        probe: ProbeConfig {
            startup: None,
            liveness: None,
            readiness: Probe { initial_delay: secs(5), period: secs(5), failure_threshold: 3 },
            endpoint_delay: constant_ms(800),
        },
        termination: TerminationConfig {
            grace: secs(30),
            pre_stop: SimDuration::ZERO,
            shutdown: ShutdownMode::Drain { timeout: secs(20) },
            endpoint_removal: constant_ms(900),
            deletion_cost: DeletionCost::None,
        },
        disruption: presets::NO_PROTECTION,
        faults: presets::no_faults(),
    }
}

/// Managed Prometheus: a scrape every 15 s, visible about 5 s later.
pub(crate) fn pipeline() -> PipelineConfig {
    PipelineConfig {
        scrape_interval: secs(15),
        ingest: Dist::LogNormal { median: secs(5), p95: secs(10) },
        lookback: secs(300),
        adapter: Adapter::Stackdriver {
            new_series_delay: constant_ms(10_000),
            external_cache_ttl: None,
        },
        ..PipelineConfig::stackdriver()
    }
}

/// An HPA on `signals`, one per metric of the spec.
pub(crate) fn hpa(spec: HpaSpec, signals: &[Signal]) -> Autoscaler {
    Autoscaler::Hpa(HpaSetup {
        start_replicas: u32::try_from(spec.min_replicas.unwrap_or(1)).expect("a count"),
        spec,
        controller: ControllerConfig::default(),
        schedule: SyncSchedule {
            sync_period: secs(15),
            mode: SyncMode::Drift,
            fetch_latency: SimDuration::from_millis(25),
            write_latency: SimDuration::from_millis(3),
        },
        feeds: signals
            .iter()
            .map(|&signal| MetricFeed::instant(signal, FeedShape::PerPod))
            .collect(),
        keda: None,
    })
}

/// A scenario of `duration` seconds around the given parts.
pub(crate) fn scenario(
    engine: EngineConfig,
    autoscaler: Autoscaler,
    requests: Vec<Request>,
    duration: u64,
) -> Scenario {
    Scenario {
        engine: Arc::new(engine),
        cluster: cluster(),
        devices: DeviceModel::default(),
        pipeline: pipeline(),
        gateway: Policy::Random,
        autoscaler,
        workload: WorkloadSpec::replay(Recorded::new(requests)),
        slo: Slo { ttft: secs(2), tpot: SimDuration::from_millis(100), attainment: 0.99 },
        duration: secs(duration),
        warmup: SimDuration::ZERO,
        timeline_interval: secs(15),
        expose_at: Vec::new(),
    }
}

/// A request at `ms` milliseconds.
pub(crate) fn request(ms: u64, prompt_tokens: u32, output_tokens: u32) -> Request {
    let arrival = SimTime::ZERO + SimDuration::from_millis(ms);
    Request { arrival, prompt_tokens, output_tokens, ..Request::default() }
}
