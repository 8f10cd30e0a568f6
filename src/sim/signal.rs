//! What an HPA can scale on: the quantities of a replica, of its GPUs and of the router, by the names that users
//! write, and how a pod's GPUs and CPU are taken to behave.

use crate::engine::Gauges;
use crate::engine::metrics::{Histogram, Metrics};
use crate::pipeline::{Aggregate, Function, Origin, Query};
use crate::units::{PS_PER_S, SimDuration};

/// A quantity that a metrics source shows of a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Signal {
    /// `vllm:num_requests_running`.
    NumRequestsRunning,
    /// `vllm:num_requests_waiting`.
    NumRequestsWaiting,
    /// `vllm:kv_cache_usage_perc` (0 to 1).
    KvCacheUsagePerc,
    /// `vllm:prompt_tokens_total`.
    PromptTokens,
    /// `vllm:generation_tokens_total`.
    GenerationTokens,
    /// `vllm:request_success_total`.
    RequestSuccess,
    /// `vllm:num_preemptions_total`.
    NumPreemptions,
    /// `vllm:num_incoming_requests_total` of the router: every request that reaches the front door, also while there
    /// is no replica.
    IncomingRequests,
    /// `vllm:time_to_first_token_seconds`.
    TimeToFirstToken,
    /// `vllm:inter_token_latency_seconds`.
    InterTokenLatency,
    /// `vllm:request_time_per_output_token_seconds`.
    TimePerOutputToken,
    /// `vllm:e2e_request_latency_seconds`.
    E2eRequestLatency,
    /// `vllm:request_queue_time_seconds`.
    RequestQueueTime,
    /// `vllm:request_prefill_time_seconds`.
    RequestPrefillTime,
    /// `vllm:request_decode_time_seconds`.
    RequestDecodeTime,
    /// `DCGM_FI_DEV_GPU_UTIL` of each GPU \[%\].
    GpuUtil,
    /// `DCGM_FI_DEV_FB_USED` of each GPU \[MiB\].
    FbUsed,
    /// `kubernetes.io|container|accelerator|duty_cycle` of each GPU \[%\].
    DutyCycle,
    /// `kubernetes.io|container|accelerator|memory_used` of each GPU \[bytes\].
    MemoryUsed,
    /// `kubernetes.io|container|accelerator|memory_total` of each GPU \[bytes\].
    MemoryTotal,
    /// `inference_pool_per_pod_queue_size` of the endpoint picker, summed over the pods in service.
    PoolQueueSize,
    /// `inference_pool_average_queue_size` of the endpoint picker.
    PoolAverageQueueSize,
    /// `inference_extension_flow_control_queue_size` of the endpoint picker: requests that it holds.
    FlowControlQueueSize,
    /// `inference_objective_running_requests` of the endpoint picker: requests that it has sent on and that have not
    /// ended.
    ObjectiveRunningRequests,
    /// The resource `cpu` \[cores\].
    Cpu,
}

/// What kind of metric a signal is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalKind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows; its rate is of interest.
    Counter,
    /// A distribution; its quantiles are of interest.
    Histogram,
    /// Usage from metrics-server.
    Resource,
}

/// Name, older name, kind.
type Entry = (Signal, &'static str, SignalKind);

/// Every signal with its name on `/metrics`.
const TABLE: [Entry; 25] = {
    use Signal as S;
    use SignalKind::{Counter, Gauge, Histogram, Resource};
    [
        (S::NumRequestsRunning, "vllm:num_requests_running", Gauge),
        (S::NumRequestsWaiting, "vllm:num_requests_waiting", Gauge),
        (S::KvCacheUsagePerc, "vllm:kv_cache_usage_perc", Gauge),
        (S::PromptTokens, "vllm:prompt_tokens_total", Counter),
        (S::GenerationTokens, "vllm:generation_tokens_total", Counter),
        (S::RequestSuccess, "vllm:request_success_total", Counter),
        (S::NumPreemptions, "vllm:num_preemptions_total", Counter),
        (S::IncomingRequests, "vllm:num_incoming_requests_total", Counter),
        (S::TimeToFirstToken, "vllm:time_to_first_token_seconds", Histogram),
        (S::InterTokenLatency, "vllm:inter_token_latency_seconds", Histogram),
        (S::TimePerOutputToken, "vllm:request_time_per_output_token_seconds", Histogram),
        (S::E2eRequestLatency, "vllm:e2e_request_latency_seconds", Histogram),
        (S::RequestQueueTime, "vllm:request_queue_time_seconds", Histogram),
        (S::RequestPrefillTime, "vllm:request_prefill_time_seconds", Histogram),
        (S::RequestDecodeTime, "vllm:request_decode_time_seconds", Histogram),
        (S::GpuUtil, "DCGM_FI_DEV_GPU_UTIL", Gauge),
        (S::FbUsed, "DCGM_FI_DEV_FB_USED", Gauge),
        (S::DutyCycle, "kubernetes.io|container|accelerator|duty_cycle", Gauge),
        (S::MemoryUsed, "kubernetes.io|container|accelerator|memory_used", Gauge),
        (S::MemoryTotal, "kubernetes.io|container|accelerator|memory_total", Gauge),
        (S::PoolQueueSize, "inference_pool_per_pod_queue_size", Gauge),
        (S::PoolAverageQueueSize, "inference_pool_average_queue_size", Gauge),
        (S::FlowControlQueueSize, "inference_extension_flow_control_queue_size", Gauge),
        (S::ObjectiveRunningRequests, "inference_objective_running_requests", Gauge),
        (S::Cpu, "cpu", Resource),
    ]
};

impl Signal {
    /// Every signal, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|entry| entry.0)
    }

    /// The metric's name where it comes from.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// What kind of metric it is.
    pub fn kind(self) -> SignalKind {
        TABLE[self as usize].2
    }

    /// The signal of a metric name; names of older releases, the lower case that relabelling gives DCGM names, and
    /// counters without `_total` (as prometheus-adapter names their rates) are known too.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            // Source: vllm 0.8.5 and 0.11.0, v1/metrics/loggers.py.
            "vllm:gpu_cache_usage_perc" => return Some(Self::KvCacheUsagePerc),
            "vllm:time_per_output_token_seconds" => return Some(Self::InterTokenLatency),
            // Source: llm-d's router, which has renamed it.
            "llm_d_epp_flow_control_queue_size" => return Some(Self::FlowControlQueueSize),
            _ => {}
        }
        // Cloud Monitoring's own spelling.
        if name.starts_with("kubernetes.io/") {
            return Self::from_name(&name.replace('/', "|"));
        }
        let known = |entry: &&Entry| {
            let plain = entry.1;
            let dcgm = plain.starts_with("DCGM") && plain.eq_ignore_ascii_case(name);
            let rate = entry.2 == SignalKind::Counter && plain.strip_suffix("_total") == Some(name);
            plain == name || dcgm || rate
        };
        TABLE.iter().find(known).map(|entry| entry.0)
    }

    /// Where its samples come from; `None` for a resource, which metrics-server reads.
    pub fn origin(self) -> Option<Origin> {
        match self {
            Self::IncomingRequests
            | Self::PoolQueueSize
            | Self::PoolAverageQueueSize
            | Self::FlowControlQueueSize
            | Self::ObjectiveRunningRequests => Some(Origin::Router),
            Self::GpuUtil | Self::FbUsed => Some(Origin::Exporter),
            Self::DutyCycle | Self::MemoryUsed | Self::MemoryTotal => Some(Origin::System),
            Self::Cpu => None,
            Self::NumRequestsRunning
            | Self::NumRequestsWaiting
            | Self::KvCacheUsagePerc
            | Self::PromptTokens
            | Self::GenerationTokens
            | Self::RequestSuccess
            | Self::NumPreemptions
            | Self::TimeToFirstToken
            | Self::InterTokenLatency
            | Self::TimePerOutputToken
            | Self::E2eRequestLatency
            | Self::RequestQueueTime
            | Self::RequestPrefillTime
            | Self::RequestDecodeTime => Some(Origin::Server),
        }
    }

    /// Whether each GPU of a pod has a series of its own.
    pub fn is_per_gpu(self) -> bool {
        matches!(self.origin(), Some(Origin::Exporter | Origin::System))
    }

    /// Whether it is one value of the router, and not one per pod.
    pub fn is_of_the_router(self) -> bool {
        self.origin() == Some(Origin::Router)
    }

    /// Whether the replica must keep counters and histograms for it.
    pub(super) fn needs_metrics(self) -> bool {
        self.origin() == Some(Origin::Server) && self.kind() != SignalKind::Gauge
    }

    /// Its value in a replica's gauges, or 0 if it is none of them.
    pub fn read(self, gauges: &Gauges) -> f64 {
        match self {
            Self::NumRequestsRunning => f64::from(gauges.num_requests_running),
            Self::NumRequestsWaiting => f64::from(gauges.num_requests_waiting),
            Self::KvCacheUsagePerc => gauges.kv_cache_usage_perc(),
            _ => 0.0,
        }
    }

    /// Its histogram.
    fn histogram(self, metrics: &Metrics) -> Option<&Histogram> {
        Some(match self {
            Self::TimeToFirstToken => &metrics.time_to_first_token,
            Self::InterTokenLatency => &metrics.inter_token_latency,
            Self::TimePerOutputToken => &metrics.time_per_output_token,
            Self::E2eRequestLatency => &metrics.e2e_request_latency,
            Self::RequestQueueTime => &metrics.request_queue_time,
            Self::RequestPrefillTime => &metrics.request_prefill_time,
            Self::RequestDecodeTime => &metrics.request_decode_time,
            _ => return None,
        })
    }

    /// Its counter.
    fn counter(self, metrics: &Metrics) -> Option<u64> {
        Some(match self {
            Self::PromptTokens => metrics.prompt_tokens,
            Self::GenerationTokens => metrics.generation_tokens,
            Self::RequestSuccess => metrics.finished_length,
            Self::NumPreemptions => metrics.num_preemptions,
            _ => return None,
        })
    }

    /// Appends what a scrape of a server reads for it: a value, or the cumulative buckets of a histogram.
    pub(super) fn scrape(self, gauges: &Gauges, metrics: Option<&Metrics>, out: &mut Vec<f64>) {
        let Some(metrics) = metrics.filter(|_| self.needs_metrics()) else {
            out.push(self.read(gauges));
            return;
        };
        if let Some(histogram) = self.histogram(metrics) {
            out.extend(histogram.cumulative().map(|(_, count)| count as f64));
            out.push(histogram.count() as f64);
        } else {
            out.push(self.counter(metrics).unwrap_or(0) as f64);
        }
    }

    /// Upper bounds of its buckets \[s\], without +Inf; empty unless it is a histogram.
    fn bounds(self) -> Vec<f64> {
        let metrics = Metrics::new(1);
        let histogram = self.histogram(&metrics);
        let seconds = |(bound, _)| bound as f64 / PS_PER_S as f64;
        histogram.map_or_else(Vec::new, |h| h.cumulative().map(seconds).collect())
    }
}

/// Where the value of one HPA metric comes from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MetricFeed {
    /// The quantity that is read of one pod.
    pub signal: Signal,
    /// What the adapter computes from its samples.
    pub function: Function,
    /// How the API hands it to the HPA.
    pub shape: FeedShape,
    /// `> bool X`: the value of a series becomes 1 if it is above, else 0.
    pub above: Option<f64>,
    /// Factor on the value.
    pub factor: f64,
}

/// How a metrics API answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedShape {
    /// `custom.metrics.k8s.io`, one value per pod.
    PerPod,
    /// `external.metrics.k8s.io` or an Object metric: one value over the pods.
    Total(Aggregate),
    /// `metrics.k8s.io`: usage per pod, with its requests.
    Resource,
}

impl FeedShape {
    /// The sum over the pods.
    pub const SUM: Self = Self::Total(Aggregate::Sum);
}

impl MetricFeed {
    /// The newest sample of a gauge.
    pub const fn instant(signal: Signal, shape: FeedShape) -> Self {
        Self { signal, function: Function::Instant, shape, above: None, factor: 1.0 }
    }

    /// The query behind it, for pods with `gpus` GPUs; `None` for a resource.
    pub(super) fn query(&self, gpus: u32) -> Option<Query> {
        Some(Query {
            origin: self.signal.origin()?,
            function: self.function,
            aggregate: match self.shape {
                FeedShape::Total(aggregate) => aggregate,
                FeedShape::PerPod | FeedShape::Resource => Aggregate::Sum,
            },
            bounds: self.signal.bounds(),
            series_per_target: if self.signal.is_per_gpu() { gpus } else { 1 },
            above: self.above,
            factor: self.factor,
        })
    }
}

/// How a pod's GPUs and CPU look from outside. The engine does not depend on any of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceModel {
    /// GPU.
    pub gpu: GpuModel,
    /// CPU.
    pub cpu: CpuModel,
}

/// What exporters show of a GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuModel {
    /// Utilisation while a kernel is always running, 0 to 1.
    pub util_max: f64,
    /// Span over which the driver counts \[up to 1 s\].
    pub util_window: SimDuration,
    /// Period at which the exporter asks the driver. Not 0.
    pub collect_interval: SimDuration,
    /// Span that one sample of the duty cycle covers.
    pub duty_cycle_window: SimDuration,
    /// Memory of a GPU in use while a server runs on it \[MiB\].
    pub fb_serving_mib: f64,
    /// The part of it that is there before any weights \[MiB\].
    pub fb_context_mib: f64,
    /// The weights of one GPU \[MiB\].
    pub fb_weights_mib: f64,
    /// Memory of a GPU \[MiB\].
    pub fb_total_mib: f64,
}

/// CPU usage of a pod, an estimate.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuModel {
    /// Period at which metrics-server reads the pods. Not 0.
    pub resolution: SimDuration,
    /// `requests.cpu` of the pod \[cores\]; `None` = it has none, and utilisation cannot be computed.
    pub request_cores: Option<f64>,
    /// `limits.cpu` of the pod \[cores\]: it never uses more.
    pub limit_cores: f64,
    /// Cores in use when idle.
    pub base_cores: f64,
    /// Cores per unit of busy time of the engine.
    pub step_cores: f64,
    /// Further share of those for each running request.
    pub per_request: f64,
    /// Cores per unit of busy time of all workers of a replica with several GPUs.
    pub worker_cores: f64,
    /// Cores in use from the start of the container until the server listens.
    pub startup_cores: f64,
}

impl Default for GpuModel {
    // Source: NVML reference, nvmlUtilization_t (sample period 1/6 s to 1 s); dcgm-exporter's default
    // --collect-interval of 30 s; Google Cloud metrics list (duty cycle over the last 10 s).
    // ASSUMPTION(A242): 98 % at any load that never lets the GPU idle: 97 to 99.5 % were measured with vLLM on L4, A100
    // and H100 from one user on.
    fn default() -> Self {
        Self {
            util_max: 0.98,
            util_window: SimDuration::from_secs(1),
            collect_interval: SimDuration::from_secs(30),
            duty_cycle_window: SimDuration::from_secs(10),
            fb_serving_mib: 21_000.0,
            fb_context_mib: 500.0,
            fb_weights_mib: 15_000.0,
            fb_total_mib: 23_034.0,
        }
    }
}

impl Default for CpuModel {
    // Source: the guide's pod asks for two CPUs and is limited to two; metrics-server's manifests set
    // --metric-resolution=15s.
    // ASSUMPTION(A243): 0.2 cores idle, one core while steps run, 2 % more for each running request, one core per
    // worker with several GPUs: no per-pod CPU record of these workloads was found.
    // ASSUMPTION(A244): a starting server uses two cores: start-up is CPU-bound, by how many cores is not published.
    fn default() -> Self {
        Self {
            resolution: SimDuration::from_secs(15),
            request_cores: Some(2.0),
            limit_cores: 2.0,
            base_cores: 0.2,
            step_cores: 1.0,
            per_request: 0.02,
            worker_cores: 0.0,
            startup_cores: 2.0,
        }
    }
}

impl CpuModel {
    /// Cores in use by a server that computed for `busy` of the time with `running` requests on average.
    pub fn serving(&self, busy: f64, running: f64) -> f64 {
        let steps = busy * self.step_cores * (1.0 + self.per_request * running);
        (self.base_cores + steps + busy * self.worker_cores).min(self.limit_cores)
    }

    /// Cores in use by a starting server.
    pub fn starting(&self) -> f64 {
        self.startup_cores.min(self.limit_cores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, (signal, name, _)) in TABLE.iter().enumerate() {
            assert_eq!(*signal as usize, index);
            assert_eq!(Signal::from_name(name), Some(*signal), "{name}");
        }
    }

    #[test]
    fn names_are_known_as_users_write_them() {
        for (name, signal) in [
            ("vllm:gpu_cache_usage_perc", Signal::KvCacheUsagePerc),
            ("dcgm_fi_dev_gpu_util", Signal::GpuUtil),
            ("vllm:generation_tokens", Signal::GenerationTokens),
        ] {
            assert_eq!(Signal::from_name(name), Some(signal));
        }
        assert_eq!(Signal::from_name("VLLM:NUM_REQUESTS_RUNNING"), None);
        assert_eq!(Signal::from_name("vllm:time_to_first_token_seconds_bucket"), None);
    }

    #[test]
    fn a_histogram_scrape_has_a_value_per_bucket_and_inf() {
        let feed = MetricFeed {
            function: Function::Quantile { quantile: 0.95, window: SimDuration::from_secs(60) },
            ..MetricFeed::instant(Signal::TimeToFirstToken, FeedShape::PerPod)
        };
        let query = feed.query(2).unwrap();
        let mut row = Vec::new();
        feed.signal.scrape(&Gauges::default(), Some(&Metrics::new(100)), &mut row);
        assert_eq!((query.width(), query.bounds[0], query.bounds.len()), (row.len(), 0.001, 22));
    }

    #[test]
    fn cpu_saturates_at_the_limit() {
        let cpu = CpuModel::default();
        assert_eq!(cpu.serving(0.0, 0.0), 0.2);
        assert!((cpu.serving(0.5, 10.0) - 0.8).abs() < 1e-12);
        assert_eq!(cpu.serving(1.0, 100.0), 2.0);
    }
}
