//! Sourced defaults per accelerator and storage.
//!
//! `Source: [..]` names where a value was published; `ASSUMPTION(..)` marks an estimate, to be replaced
//! when better data turns up. Lognormals go through the median and the 95th percentile.

mod nodes;
mod serving;
mod startup;

pub use nodes::*;
pub use serving::*;
pub use startup::*;

use super::config::{AutoscalerConfig, ClusterConfig, Packing, StartupConfig};
use super::disruption::Disruption;
use super::pool::Quota;
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
        autoscaler: AutoscalerConfig {
            max_gpus: guide_max_gpus(accelerator),
            ..autoscaler_optimize_utilization()
        },
        startup: StartupConfig {
            image: guide_image(BootDisk::of(accelerator), GUIDE_IMAGE_BYTES),
            ..startup(accelerator, storage, EngineStart::V0, GUIDE_IMAGE_BYTES, model)
        },
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
    use crate::cluster::config::ImagePull;

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

    /// 60 / 85 / 200 s is what is known of the guide's image on an L4 node; a measured image takes its time always.
    #[test]
    fn only_the_guides_image_has_a_spread() {
        let rate = |image| match image {
            ImagePull::Rate { unpacked_bytes, rate } => {
                [rate.median, rate.p05].map(|r| unpacked_bytes / r)
            }
            ImagePull::Time(_) => panic!("size and rate"),
        };
        let guide = |a| rate(guide(a, Storage::Pd, GEMMA_2_9B).startup.image);
        assert_eq!(Accelerator::ALL.map(guide), [[83, 200], [83, 200], [28, 28]]);
        let plain = |disk| rate(image(disk, V0_18_IMAGE_BYTES))[0];
        assert_eq!(BootDisk::WORDS.map(|(_, disk)| plain(disk)), [233, 112, 80]);
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
}
