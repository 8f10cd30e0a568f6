//! From a bound pod to a listening server: image, volume, weights, engine.

use super::{Accelerator, EngineStart, MB, MIB, ModelSize, Storage, lognormal, secs};
use crate::cluster::config::{ImagePull, ModelLoad, Rate, StartupConfig, StorageLoad};
use crate::rng::Dist;
use crate::units::SimDuration;

/// Unpacked size of the guide's image, vLLM v0.6.3.post1 \[bytes\].
// ASSUMPTION(A110): between 9 GB (2024-08, vllm issue 7609) and 25 GB (2025-04, issue 17163).
pub const GUIDE_IMAGE_BYTES: u64 = 10_000 * MB;

/// Unpacked size of the image of vLLM v0.18 \[bytes\].
// Source: dudeperf3ct/benchmark-vllm-startup, 28 GB measured (2026-04).
pub const V0_18_IMAGE_BYTES: u64 = 28_000 * MB;

/// The disk of a node that images are unpacked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BootDisk {
    /// GKE's default.
    PdBalanced,
    /// SSD persistent disk.
    PdSsd,
    /// Local SSDs, as an a3 has them.
    LocalSsd,
}

impl BootDisk {
    /// Name in experiments.
    pub const WORDS: [(&'static str, Self); 3] =
        [("pd-balanced", Self::PdBalanced), ("pd-ssd", Self::PdSsd), ("local-ssd", Self::LocalSsd)];

    /// The usual one.
    // Source: the guide's node pools name no boot disk, and GKE's default is pd-balanced from 1.24 on; an
    // a3-highgpu-8g has 16 local SSDs.
    pub const fn of(accelerator: Accelerator) -> Self {
        match accelerator {
            Accelerator::L4 | Accelerator::A100 => Self::PdBalanced,
            Accelerator::H100 => Self::LocalSsd,
        }
    }
}

/// Pull of an image, without image streaming: unpacked bytes written per second.
// Source: dudeperf3ct/benchmark-vllm-startup: 28 GB in 236 s = 119 MB/s on pd-balanced, bound by the disk.
// ASSUMPTION(A111): 250 MB/s on pd-ssd, 350 MB/s on local SSD.
pub const fn image(disk: BootDisk, unpacked_bytes: u64) -> ImagePull {
    let bytes_per_s = match disk {
        BootDisk::PdBalanced => 120 * MB,
        BootDisk::PdSsd => 250 * MB,
        BootDisk::LocalSsd => 350 * MB,
    };
    ImagePull::Rate { unpacked_bytes, rate: Rate::constant(bytes_per_s) }
}

/// Pull of the guide's image from its public registry.
// ASSUMPTION(A370): 85 s in the median and 200 s at the slow end on pd-balanced, the latter from an EKS report of 3 to
// 4 min for 8 to 10 GB (chrismld/ai-on-eks-demos); on faster disks no spread is known.
pub fn guide_image(disk: BootDisk, unpacked_bytes: u64) -> ImagePull {
    match image(disk, unpacked_bytes) {
        ImagePull::Rate { rate, .. } if disk == BootDisk::PdBalanced => {
            ImagePull::Rate { unpacked_bytes, rate: Rate { p05: 50 * MB, ..rate } }
        }
        constant => constant,
    }
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

/// Type of the model's persistent disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskType {
    /// The guide's.
    PdSsd,
    /// Cheaper and slower.
    PdBalanced,
}

impl DiskType {
    /// Name in experiments.
    pub const WORDS: [(&'static str, Self); 2] =
        [("pd-ssd", Self::PdSsd), ("pd-balanced", Self::PdBalanced)];
}

/// Rate of one replica alone that reads from a disk of that type \[bytes/s\].
// ASSUMPTION(A371): Mistral-7B came from a pd-balanced volume at 220 MB/s (dudeperf3ct/benchmark-vllm-startup, one L4);
// the slow end is as far from it as on pd-ssd.
pub const fn disk_rate(disk: DiskType) -> Rate {
    match disk {
        DiskType::PdSsd => load_rate(Accelerator::L4, Storage::Pd),
        DiskType::PdBalanced => Rate { median: 220 * MB, p05: 122 * MB },
    }
}

/// Rate of the whole volume \[bytes/s\]; `None` = not shared between nodes.
// Source: 0.48 MiB/s per GiB of pd-ssd (491 MiB/s for 1 TiB), 0.28 of pd-balanced (Google Cloud documentation), here in
// whole MB/s; hdml: the guide's 24,576 MB/s for its 1 TiB volume. What a volume of another size is given is the user's
// choice.
pub const fn volume_rate(storage: Storage, disk: DiskType, volume_gib: u32) -> Option<u64> {
    let per_100_gib = match disk {
        DiskType::PdSsd => 48,
        DiskType::PdBalanced => 28,
    };
    match storage {
        Storage::Pd => Some(volume_gib as u64 * per_100_gib * MIB / 100 / MB * MB),
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

/// Creation of the container.
// Source: dudeperf3ct/benchmark-vllm-startup: about 2 s.
// ASSUMPTION(A372): GCSFuse's sidecar starts before it and takes 2 s more, of 1 to 3 s.
pub fn container_start(storage: Storage) -> Dist {
    Dist::Constant(secs(2) * u64::from(1 + sidecars(storage)))
}

/// Containers of a pod beside the server's.
// Source: GKE documentation, Cloud Storage FUSE CSI driver: it injects a sidecar into each pod.
pub(crate) const fn sidecars(storage: Storage) -> u32 {
    match storage {
        Storage::Gcs => 1,
        Storage::Hdml | Storage::Pd | Storage::Streamer => 0,
    }
}

/// From a bound pod to a listening server, on the usual disks.
pub fn startup(
    accelerator: Accelerator,
    storage: Storage,
    engine: EngineStart,
    image_bytes: u64,
    model: ModelSize,
) -> StartupConfig {
    StartupConfig {
        attach: attach(storage),
        image: image(BootDisk::of(accelerator), image_bytes),
        container_start: container_start(storage),
        sidecars: sidecars(storage),
        load: ModelLoad::Storage(StorageLoad {
            bytes: model.bytes,
            pod_rate: load_rate(accelerator, storage),
            volume_bytes_per_s: volume_rate(storage, DiskType::PdSsd, VOLUME_GIB),
            node_bytes_per_s: node_rate(accelerator, storage),
            attach_limit: attach_limit(
                storage,
                VOLUME_GIB,
                volume_rate(storage, DiskType::PdSsd, VOLUME_GIB),
            ),
            page_cache_bytes_per_s: page_cache_rate(storage),
            restart_bytes_per_s: restart_rate(storage, model.bytes),
            pod_memory_bytes: POD_MEMORY_BYTES,
        }),
        init: engine_init(accelerator, engine, model.layers),
    }
}

/// Restore of a pod snapshot in place of load and initialisation.
// Source: accelerated-platforms, vllm-with-runai-and-podsnapshots.md: 45, 50 and 55 s.
// ASSUMPTION(A373): 60 s at the slow end: the three are medians of one model each.
pub fn snapshot_restore(startup: StartupConfig) -> StartupConfig {
    StartupConfig {
        load: ModelLoad::Time(lognormal(50, 60)),
        init: Dist::Constant(SimDuration::ZERO),
        ..startup
    }
}
