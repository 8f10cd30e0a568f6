//! `[pipeline]` and `[controller]`: how a gauge reaches the HPA, and the controller's flags.

use crate::config::reader::Fields;
use crate::hpa::{ControllerConfig, SyncMode, SyncSchedule};
use crate::pipeline::{Adapter, PipelineConfig};
use crate::rng::Dist;
use crate::units::SimDuration;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Stackdriver,
    PrometheusAdapter,
    Keda,
    Direct,
}

/// Reads `[pipeline]`.
pub(super) fn pipeline(root: &Fields<'_>) -> PipelineConfig {
    let table = root.key("pipeline", "How a gauge becomes a number the HPA sees").table_or_empty();
    let day = SimDuration::from_secs(86_400);
    let kind = table
        .key("adapter", "What answers the HPA. Source: the guide uses the Stackdriver adapter")
        .choice_or(
            &[
                ("stackdriver", Kind::Stackdriver),
                ("prometheus-adapter", Kind::PrometheusAdapter),
                ("keda", Kind::Keda),
                ("direct", Kind::Direct),
            ],
            Kind::Stackdriver,
        );
    let scrape_interval = table
        .key("scrape_interval", "Scrape period of every pod. Source: the guide's PodMonitoring")
        .duration_or(SimDuration::from_millis(100)..=day, SimDuration::from_secs(15));
    // ASSUMPTION(A44): Google documents "a few seconds" for existing series; Prometheus paths are local.
    let ingest = match kind {
        Kind::Stackdriver => {
            Dist::LogNormal { median: SimDuration::from_secs(5), p95: SimDuration::from_secs(10) }
        }
        Kind::PrometheusAdapter | Kind::Keda => Dist::LogNormal {
            median: SimDuration::from_millis(200),
            p95: SimDuration::from_secs(1),
        },
        Kind::Direct => Dist::Constant(SimDuration::ZERO),
    };
    let ingest = table
        .key("ingest", "From a scrape until the sample can be queried. Estimate")
        .shown(
            "by adapter: 5 s (p95 10 s) for stackdriver, 0.2 s (p95 1 s) for Prometheus, 0 direct",
        )
        .delay_or(&ingest);
    let lookback = table
        .key(
            "lookback",
            "Older samples are not served. Source: Stackdriver adapter and Prometheus, 5 min",
        )
        .duration_or(SimDuration::from_secs(1)..=day, SimDuration::from_secs(300));
    let new_series_delay = table
        .key(
            "new_series_delay",
            "Further delay before the first sample of a new pod shows. Estimate",
        )
        .shown("\"10s\"; stackdriver only")
        .delay_or(&Dist::Constant(SimDuration::from_secs(10)));
    let refresh = table
        .key("refresh", "Period at which the adapter renews what it answers. Source: live query")
        .shown("none: each query is live")
        .duration(SimDuration::from_millis(1)..=day);
    PipelineConfig {
        scrape_interval,
        ingest,
        lookback,
        adapter: match kind {
            Kind::Stackdriver => Adapter::Stackdriver { new_series_delay },
            Kind::PrometheusAdapter | Kind::Keda => Adapter::PrometheusAdapter { refresh },
            Kind::Direct => Adapter::Direct,
        },
    }
}

/// Reads `[controller]` for Kubernetes 1.`kube_minor`.
pub(super) fn controller(root: &Fields<'_>, kube_minor: u32) -> (ControllerConfig, SyncSchedule) {
    let table = root
        .key("controller", "Flags of kube-controller-manager; GKE does not let users change them")
        .table_or_empty();
    let base = ControllerConfig::for_minor(kube_minor);
    let hour = SimDuration::ZERO..=SimDuration::from_secs(3600);
    let controller = ControllerConfig {
        sync_period: table
            .key("sync_period", "--horizontal-pod-autoscaler-sync-period. Source: Kubernetes")
            .duration_or(SimDuration::from_millis(100)..=*hour.end(), base.sync_period),
        tolerance: table
            .key("tolerance", "--horizontal-pod-autoscaler-tolerance. Source: Kubernetes")
            .number_or(0.0..=100.0, base.tolerance),
        downscale_stabilization: table
            .key(
                "downscale_stabilization",
                "--horizontal-pod-autoscaler-downscale-stabilization. Source: Kubernetes",
            )
            .duration_or(hour.clone(), base.downscale_stabilization),
        cpu_initialization_period: table
            .key(
                "cpu_initialization_period",
                "--horizontal-pod-autoscaler-cpu-initialization-period. Source: Kubernetes",
            )
            .duration_or(hour.clone(), base.cpu_initialization_period),
        initial_readiness_delay: table
            .key(
                "initial_readiness_delay",
                "--horizontal-pod-autoscaler-initial-readiness-delay. Source: Kubernetes",
            )
            .duration_or(hour.clone(), base.initial_readiness_delay),
        scale_to_zero: table
            .key("scale_to_zero", "Feature gate HPAScaleToZero. Source: Kubernetes, alpha")
            .boolean_or(base.scale_to_zero),
        ..base
    };
    let second = SimDuration::ZERO..=SimDuration::from_secs(60);
    let schedule = SyncSchedule {
        sync_period: controller.sync_period,
        mode: table
            .key(
                "sync_mode",
                "Whether reconciles drift by their own length. Source: measured, 1.36",
            )
            .choice_or(
                &[("drift", SyncMode::Drift), ("locked", SyncMode::Locked)],
                SyncMode::Drift,
            ),
        // ASSUMPTION(A45): one metrics call of the adapter takes 50 ms, a scale update 10 ms.
        fetch_latency: table
            .key("fetch_latency", "From reading the scale to the last metric. Estimate")
            .duration_or(second.clone(), SimDuration::from_millis(50)),
        write_latency: table
            .key("write_latency", "From the decision to the written scale. Estimate")
            .duration_or(second, SimDuration::from_millis(10)),
    };
    (controller, schedule)
}
