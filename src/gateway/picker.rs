//! The endpoint picker of an inference gateway: the best weighted sum of scores.
//!
//! Source: gateway-api-inference-extension, pkg/epp/scheduling (queue, kv-cache-utilization, prefix and load-aware
//! scorers, max-score picker; saturation detector).

use super::prefix_index::PrefixIndex;
use super::{EndpointView, below};
use crate::units::{SimDuration, SimTime};

/// Weights and limits of the endpoint picker.
// Source: gateway-api-inference-extension: score = w_q (max - q) / (max - min), 1 if all queues are equal,
// + w_kv (1 - use) + w_prefix matched / all blocks of the prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picker {
    /// Weight of the queue scorer.
    pub queue_weight: f64,
    /// Weight of the KV-cache scorer.
    pub kv_weight: f64,
    /// Weight of the prefix scorer.
    pub prefix_weight: f64,
    /// Weight of the load-aware scorer: 0.5 for an empty queue, falling to 0 at [`LOAD_QUEUE`] requests.
    pub load_weight: f64,
    /// How often the pods' metrics are read. Not 0.
    pub refresh: SimDuration,
    /// What the picker remembers of the prompts that it sent to a pod.
    pub prefix: PrefixMemory,
    /// Older readings of a pod say nothing of its room, see [`Saturation`]; scores go by them all the same. Not 0.
    pub metrics_staleness: SimDuration,
    /// What becomes of requests while the pods are saturated.
    pub admission: Admission,
}

impl Default for Picker {
    // Source: the default profile of the GKE Inference Gateway.
    fn default() -> Self {
        Self {
            queue_weight: 2.0,
            kv_weight: 2.0,
            prefix_weight: 3.0,
            load_weight: 0.0,
            refresh: SimDuration::from_millis(50),
            prefix: PrefixMemory::default(),
            // Source: gateway-api-inference-extension, pkg/epp/saturationdetector, DefaultMetricsStalenessThreshold;
            // its successor has 2 s.
            metrics_staleness: SimDuration::from_millis(200),
            admission: Admission::All,
        }
    }
}

/// Size of the approximate index of prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMemory {
    /// Tokens of one block, not 0; `None`: as many as a block of a pod's KV cache has.
    pub block_tokens: Option<u32>,
    /// Blocks of a prompt that are looked at, from its start.
    pub max_blocks: u32,
    /// Blocks remembered per pod, the ones used last; `None`: as many as a pod's KV cache has.
    pub blocks_per_pod: Option<u32>,
}

impl Default for PrefixMemory {
    // Source: gateway-api-inference-extension, approximate prefix cache: 256 blocks, and with `autoTune` (the default)
    // the size and number of blocks that the server reports.
    fn default() -> Self {
        Self { block_tokens: None, max_blocks: 256, blocks_per_pod: None }
    }
}

/// What an endpoint picker does with requests while the pods are saturated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Admission {
    /// It sends them on.
    #[default]
    All,
    /// It refuses those that may be shed.
    Shed(Saturation),
    /// It holds all of them back until there is room, those of higher priority going first (flow control).
    // Source: gateway-api-inference-extension, pkg/epp/flowcontrol, behind the feature gate `flowControl`.
    Hold(Saturation),
}

/// When pods are saturated. Metrics that are stale or were never read show no room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saturation {
    /// `num_requests_waiting`.
    pub queue: u32,
    /// `kv_cache_usage_perc`, 0 to 1.
    pub kv_usage: f64,
    /// How the pods are put together.
    pub detector: Detector,
}

impl Default for Saturation {
    // Source: gateway-api-inference-extension, pkg/epp/saturationdetector: both detectors' defaults.
    fn default() -> Self {
        Self { queue: 5, kv_usage: 0.8, detector: Detector::Threshold }
    }
}

/// A saturation detector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detector {
    /// Every pod is above one of the limits.
    // Source: gateway-api-inference-extension, pkg/epp/saturationdetector, IsSaturated: no pod has "good capacity".
    #[default]
    Threshold,
    /// The mean over the pods of the larger of queue and KV use, as shares of their limits, is at least 1: what one
    /// pod has too much, another may have left. A pod whose metrics are stale counts 1.
    // Source: its successor, utilizationdetector, Saturation.
    Utilization,
}

/// Queue at which the load-aware score is 0.
pub const LOAD_QUEUE: u32 = 128;

/// The best endpoint, ties at random; `None` if there is none.
// Source: gateway-api-inference-extension, director: candidates are all pods, stale metrics or not; a pod that was
// never read counts as empty.
pub(super) fn best_score(
    endpoints: &[EndpointView],
    picker: &Picker,
    index: &PrefixIndex,
    random: u64,
) -> Option<usize> {
    let queues = endpoints.iter().map(|e| e.waiting);
    let (longest, shortest) = (queues.clone().max()?, queues.min()?);
    let score = |e: &EndpointView| {
        let queue = if longest == shortest {
            1.0
        } else {
            f64::from(longest - e.waiting) / f64::from(longest - shortest)
        };
        let load = 0.5 * (1.0 - f64::from(e.waiting.min(LOAD_QUEUE)) / f64::from(LOAD_QUEUE));
        picker.queue_weight * queue
            + picker.kv_weight * (1.0 - e.kv_usage)
            + picker.prefix_weight * index.matched_share(e.pod)
            + picker.load_weight * load
    };
    let best = endpoints.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
    let ties = endpoints.iter().filter(|e| score(e) >= best).count();
    let mut tied = (0..endpoints.len()).filter(|i| score(&endpoints[*i]) >= best);
    tied.nth(below(random, ties))
}

impl Picker {
    /// Start of the period in which it lives with one reading of the metrics.
    pub(super) fn period_start(&self, now: SimTime) -> SimTime {
        SimTime::from_ps(now.as_ps() - now.as_ps() % self.refresh.as_ps().max(1))
    }

    /// Whether the pods are saturated at `now`. Without any pod they are.
    pub(super) fn is_saturated(
        &self,
        limits: Saturation,
        now: SimTime,
        endpoints: &[EndpointView],
    ) -> bool {
        let is_fresh = |e: &EndpointView| {
            e.read_at.is_some_and(|at| now.saturating_since(at) <= self.metrics_staleness)
        };
        match limits.detector {
            Detector::Threshold => !endpoints
                .iter()
                .any(|e| is_fresh(e) && e.waiting <= limits.queue && e.kv_usage <= limits.kv_usage),
            Detector::Utilization => {
                let share = |e: &EndpointView| {
                    let queue = f64::from(e.waiting) / f64::from(limits.queue);
                    if is_fresh(e) { queue.max(e.kv_usage / limits.kv_usage) } else { 1.0 }
                };
                let sum: f64 = endpoints.iter().map(share).sum();
                sum >= endpoints.len() as f64
            }
        }
    }
}
