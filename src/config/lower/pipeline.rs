//! `[pipeline]` and `[controller]`: how a metric reaches the HPA, and the controller's flags.

use super::devices::devices;
use super::signals::{Names, names};
use super::spans::{any_span, positive_within_a_day, within_a_day};
use crate::config::diagnostic::{Code, Diagnostic, Span};
use crate::config::profile::GpuProfile;
use crate::config::reader::Fields;
use crate::hpa::{ControllerConfig, HpaSpec, SyncMode, SyncSchedule};
use crate::pipeline::{Adapter, Faults, Outage, Part, PipelineConfig, SystemMetrics};
use crate::sim::{DeviceModel, Fallback, FallbackBehavior, KedaConfig};
use crate::units::{Milli, SimDuration, SimTime};

/// What `[pipeline]` says.
pub(super) struct Pipeline {
    /// The path.
    pub(super) config: PipelineConfig,
    /// How metric names become values.
    pub(super) names: Names,
    /// How a pod's GPUs and CPU look.
    pub(super) devices: DeviceModel,
    /// `[pipeline.keda]`.
    keda: Option<Keda>,
}

impl Pipeline {
    /// KEDA's own part beside the HPA of this (defaulted) spec. Counts that do not fit together are reported to
    /// `table`.
    pub(super) fn keda(&self, spec: &HpaSpec, table: &Fields<'_>) -> Option<KedaConfig> {
        let keda = self.keda.as_ref()?;
        let own = u32::try_from(spec.min_replicas.unwrap_or(1)).unwrap_or(0);
        let min_replica_count = keda.min_replica_count.unwrap_or(own);
        // Source: keda apis/keda/v1alpha1, CheckReplicaCountBoundsAreValid, GetHPAMinReplicas.
        if let Some(idle) = keda.config.idle_replica_count.filter(|n| *n >= min_replica_count) {
            let title = format!(
                "`pipeline.keda.idle_replica_count` ({idle}) is not below the minimum ({min_replica_count})"
            );
            table.report(Diagnostic::error(Code::Conflict, title).at(&keda.idle_span, "").help(
                "KEDA refuses this; set `hpa.min_replicas` or `pipeline.keda.min_replica_count`",
            ));
        }
        if min_replica_count > 0 && min_replica_count != own {
            let title = format!(
                "KEDA's HPA would have a minimum of {min_replica_count}, not of {own} as simulated"
            );
            table.report(
                Diagnostic::warning(Code::Suspicious, title)
                    .at(&keda.min_span, "")
                    .help("`min_replica_count` should be 0 or that of `hpa.min_replicas`"),
            );
        }
        Some(KedaConfig { min_replica_count, ..keda.config.clone() })
    }
}

/// Reads `[pipeline]`.
pub(super) fn pipeline(
    root: &Fields<'_>,
    profile: Option<&GpuProfile>,
    gpu_memory_utilization: f64,
    vllm_minor: u32,
) -> Pipeline {
    let table = root.key("pipeline", "How a metric becomes a number the HPA sees").table_or_empty();
    let base = table
        .key("adapter", "What answers the HPA. Source: the guide uses the Stackdriver adapter")
        .choice_or(
            &[
                ("stackdriver", PipelineConfig::stackdriver()),
                ("prometheus-adapter", PipelineConfig::prometheus_adapter()),
                ("keda", PipelineConfig::keda()),
                ("gke-native", PipelineConfig::gke_native()),
                ("direct", PipelineConfig::direct()),
            ],
            PipelineConfig::stackdriver(),
        );
    let scrape_interval = table
        .key("scrape_interval", "Scrape period of every pod. Source: the guide's PodMonitoring")
        .duration_or(SimDuration::from_millis(100)..=SimDuration::DAY, base.scrape_interval);
    let ingest = table
        .key("ingest", "From a scrape until the sample can be queried. Estimate")
        .shown(
            "by adapter: 5 s (p95 10 s) for stackdriver, 0.2 s (p95 1 s) for Prometheus and gke-native, 0 direct",
        )
        .delay_or(&base.ingest);
    let lookback = table
        .key(
            "lookback",
            "Older samples are not served. Source: Stackdriver adapter and Prometheus, 5 min",
        )
        .duration_or(SimDuration::from_secs(1)..=SimDuration::DAY, base.lookback);
    let new_series_delay = table
        .key(
            "new_series_delay",
            "Further delay before the first sample of a new pod shows. Estimate",
        )
        .shown("\"10s\"; stackdriver only")
        .delay_or(&PipelineConfig::NEW_SERIES_DELAY);
    let external_cache_ttl = table
        .key(
            "external_cache_ttl",
            "stackdriver: --external-metric-cache-ttl, how long an answer for an External metric is given again",
        )
        .shown("none: each is a query. Source: Stackdriver adapter")
        .duration(positive_within_a_day());
    let refresh = table
        .key("refresh", "Period at which the adapter renews what it answers. Source: live query")
        .shown("none: each query is live; 30 s was measured on one cluster")
        .duration(positive_within_a_day());
    warn_about_copies(&table, &base.adapter);
    let has_keda = matches!(base.adapter, Adapter::Keda { .. });
    let keda = keda(&table, has_keda);
    let system = system(&table);
    let faults = faults(&table, &base.adapter);
    let adapter = match base.adapter {
        Adapter::Stackdriver { .. } => {
            Adapter::Stackdriver { new_series_delay, external_cache_ttl }
        }
        Adapter::PrometheusAdapter { .. } => Adapter::PrometheusAdapter { refresh },
        Adapter::Keda { .. } => Adapter::Keda {
            cached: keda.cached.then_some(keda.config.polling_interval).or(refresh),
            ignore_null_values: keda.ignore_null_values,
        },
        plain @ (Adapter::GkeNative | Adapter::Direct) => plain,
    };
    let config = PipelineConfig { scrape_interval, ingest, lookback, adapter, system, faults };
    Pipeline {
        names: names(&table, &config, vllm_minor),
        config,
        devices: devices(&table, profile, gpu_memory_utilization),
        keda: has_keda.then_some(keda),
    }
}

/// Tells of copies that the adapter does not keep.
fn warn_about_copies(table: &Fields<'_>, adapter: &Adapter) {
    let caches = matches!(adapter, Adapter::Stackdriver { .. });
    for (key, has) in [("refresh", has_prometheus(adapter)), ("external_cache_ttl", caches)] {
        if table.has(key) && !has {
            let title = format!("`pipeline.{key}` changes nothing with this adapter");
            table.report(
                Diagnostic::warning(Code::Suspicious, title)
                    .at(&table.key_span(key), "it answers each query anew")
                    .help("leave it out, or choose another `pipeline.adapter`"),
            );
        }
    }
}

/// Whether a Prometheus server is on the path.
fn has_prometheus(adapter: &Adapter) -> bool {
    matches!(adapter, Adapter::PrometheusAdapter { .. } | Adapter::Keda { .. })
}

/// `[pipeline.keda]`.
struct Keda {
    /// Without its `min_replica_count`.
    config: KedaConfig,
    min_replica_count: Option<u32>,
    min_span: Span,
    idle_span: Span,
    cached: bool,
    ignore_null_values: bool,
}

fn keda(table: &Fields<'_>, is_adapter: bool) -> Keda {
    let t = table.key("keda", "What a ScaledObject says besides its HPA").table_or_empty();
    if !is_adapter && table.has("keda") {
        table.report(
            Diagnostic::error(Code::Conflict, "`[pipeline.keda]` needs `adapter = \"keda\"`")
                .at(&table.key_span("keda"), ""),
        );
    }
    let span = within_a_day();
    let second = SimDuration::from_secs(1);
    let config = KedaConfig {
        polling_interval: t
            .key("polling_interval", "pollingInterval: only wakes and puts to sleep. Source: KEDA")
            .duration_or(second..=SimDuration::DAY, SimDuration::from_secs(30)),
        cooldown_period: t
            .key("cooldown_period", "cooldownPeriod: from the last activity to zero. Source: KEDA")
            .duration_or(span.clone(), SimDuration::from_secs(300)),
        initial_cooldown_period: t
            .key("initial_cooldown_period", "initialCooldownPeriod. Source: KEDA")
            .duration_or(span, SimDuration::ZERO),
        activation_threshold: Milli(
            (t.key("activation_threshold", "activationThreshold: active above it. Source: KEDA")
                .number_or(0.0..=1e12, 0.0)
                * 1000.0) as i64,
        ),
        min_replica_count: 0,
        idle_replica_count: t
            .key("idle_replica_count", "idleReplicaCount: replicas while no trigger is active")
            .shown("none: `min_replica_count`, left to the HPA unless it is 0")
            .u32(0..=100_000),
        fallback: fallback(&t),
    };
    Keda {
        config,
        min_span: t.span_of("min_replica_count"),
        idle_span: t.span_of("idle_replica_count"),
        min_replica_count: t
            .key("min_replica_count", "minReplicaCount; 0 lets it go to zero, the HPA keeps 1")
            .shown("`hpa.min_replicas`")
            .u32(0..=100_000),
        cached: t
            .key("use_cached_metrics", "useCachedMetrics: answers are those of the last poll")
            .boolean_or(false),
        ignore_null_values: t
            .key(
                "ignore_null_values",
                "ignoreNullValues: an empty result counts as 0, not as an error. Source: KEDA",
            )
            .boolean_or(true),
    }
}

/// `[pipeline.keda.fallback]`.
fn fallback(keda: &Fields<'_>) -> Option<Fallback> {
    let t = keda.key("fallback", "What KEDA answers while a trigger fails").table()?;
    let failure_threshold = t
        .key("failure_threshold", "failureThreshold: failed queries in a row that are passed on")
        .required()
        .u32(0..=1_000_000);
    let replicas = t
        .key("replicas", "replicas: those that the answer leads the HPA to")
        .required()
        .u32(0..=100_000);
    let behavior = t
        .key("behavior", "behavior: whether the present replicas count. Source: KEDA")
        .choice_or(&FallbackBehavior::ALL, FallbackBehavior::Static);
    Some(Fallback { failure_threshold: failure_threshold?, replicas: replicas?, behavior })
}

fn system(table: &Fields<'_>) -> SystemMetrics {
    let t = table.key("system", "GKE's own metrics, as the duty cycle").table_or_empty();
    let base = SystemMetrics::default();
    SystemMetrics {
        interval: t
            .key("interval", "Period of their samples. Source: Google Cloud metrics list, 60 s")
            .duration_or(SimDuration::from_secs(1)..=SimDuration::DAY, base.interval),
        delay: t
            .key("delay", "Until a sample can be queried. Estimate; documented: up to 240 s")
            .delay_or(&base.delay),
    }
}

fn faults(table: &Fields<'_>, adapter: &Adapter) -> Faults {
    let t = table.key("faults", "What goes wrong on the way").table_or_empty();
    let lost_scrapes =
        t.key("lost_scrapes", "Share of scrapes that fail").number_or(0.0..=1.0, 0.0);
    let outages = t
        .key("outages", "Times at which a part is down: `{ part, from, until }`")
        .tables()
        .iter()
        .filter_map(|o| {
            let part =
                o.key("part", "adapter: the HPA's queries fail; collector: nothing is scraped; prometheus: both, and KEDA's fallback counts").choice_or(
                    &[
                        ("adapter", Part::Adapter),
                        ("collector", Part::Collector),
                        ("prometheus", Part::Prometheus),
                    ],
                    Part::Adapter,
                );
            if part == Part::Prometheus && !has_prometheus(adapter) {
                o.report(
                    Diagnostic::error(Code::Conflict, "this path has no Prometheus server")
                        .at(&o.span_of("part"), "")
                        .help("say `collector` or `adapter`"),
                );
            }
            let from = o
                .key("from", "Start, counted from that of the run")
                .required()
                .duration(any_span());
            let until = o
                .key("until", "End, counted from the start of the run")
                .required()
                .duration(any_span());
            let (from, until) = (from?, until?);
            if until <= from {
                o.report(
                    Diagnostic::error(Code::Range, "an outage must end after it starts")
                        .at(&o.span_of("until"), ""),
                );
            }
            Some(Outage { part, from: SimTime::ZERO + from, until: SimTime::ZERO + until })
        })
        .collect();
    Faults { lost_scrapes, outages }
}

/// Reads `[controller]` for Kubernetes 1.`kube_minor`.
pub(super) fn controller(root: &Fields<'_>, kube_minor: u32) -> (ControllerConfig, SyncSchedule) {
    let table = root
        .key("controller", "Flags of kube-controller-manager; GKE does not let users change them")
        .table_or_empty();
    let base = ControllerConfig::for_minor(kube_minor);
    let hour = SimDuration::ZERO..=SimDuration::from_secs(3600);
    let sync_period = table
        .key("sync_period", "--horizontal-pod-autoscaler-sync-period. Source: Kubernetes")
        .duration_or(
            SimDuration::from_millis(100)..=*hour.end(),
            SyncSchedule::DEFAULT_SYNC_PERIOD,
        );
    let controller = ControllerConfig {
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
        sync_period,
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
