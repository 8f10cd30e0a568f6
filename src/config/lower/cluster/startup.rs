//! `[cluster.startup]`: from a bound pod to traffic.

use super::{MB, Preset};
use crate::cluster::presets::{self, Accelerator, EngineStart, ModelSize, Storage};
use crate::cluster::{ImagePull, ModelLoad, Probe, ProbeConfig, Rate, StartupConfig, StorageLoad};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::lower::spans::{positive_within_a_day, within_a_day};
use crate::config::reader::Fields;
use crate::units::SimDuration;

/// Reads everything but the probes.
pub(super) fn startup(
    t: &Fields<'_>,
    accelerator: Accelerator,
    storage: Storage,
    vllm_minor: u32,
    model: ModelSize,
    preset: Preset,
) -> StartupConfig {
    let engine = t
        .key("engine", "Engine generation, for the time from loaded weights to a listening server")
        .choice_or(
            &[
                ("v0", EngineStart::V0),
                ("v1-cold", EngineStart::V1Cold),
                ("v1-cached", EngineStart::V1Cached),
            ],
            if preset == Preset::Guide { EngineStart::V0 } else { EngineStart::V1Cold },
        );
    let image_gb = t
        .key("image_gb", "Unpacked size of the image [GB]. Source: 28 GB measured for vLLM 0.18")
        .shown("28; 25 before vLLM 0.18; 10 with preset `guide`")
        .number_or(0.001..=1_000.0, image_bytes(preset, vllm_minor) as f64 / 1e9);
    let model_gb = t
        .key("model_gb", "Bytes of weights that one pod reads [GB]")
        .shown("the model's weights")
        .number_or(0.001..=10_000.0, model.bytes as f64 / 1e9);
    let base = presets::startup(
        accelerator,
        storage,
        engine,
        (image_gb * 1e9) as u64,
        ModelSize { bytes: (model_gb * 1e9) as u64, ..model },
    );
    let snapshot = t
        .key(
            "snapshot",
            "Pods are restored from a snapshot (GKE pod snapshots) instead of load and engine start. Source: 45-55 s \
             measured by the reference architecture",
        )
        .boolean_or(preset == Preset::Snapshots);
    let base = if snapshot { presets::snapshot_restore(base) } else { base };
    let image = image(t, base.image, accelerator, preset);
    let load = load(t, base.load, storage);
    warn_about_rate(t, &load);
    StartupConfig {
        sidecars: base.sidecars,
        attach: t
            .key("attach", "Attach and mount of the model's volume. Estimate by storage")
            .shown("pd 10 s (p95 20), hdml 3 s (p95 5), gcs 2 s (p95 3), streamer 0")
            .delay_or(&base.attach),
        image,
        container_start: t
            .key("container_start", "Creation of the container. Source: about 2 s measured")
            .shown("\"2s\"; 4 s with gcs, for its sidecar")
            .delay_or(&base.container_start),
        load,
        init: t
            .key(
                "init",
                "From loaded weights to a listening server. Estimate by engine, GPU and the model's layers",
            )
            .shown(
                "v1-cold: l4 105 s (p95 200), others 90 s (p95 180), times 1/2 + layers / 64; see docs/model.md",
            )
            .delay_or(&base.init),
    }
}

/// Unpacked size of the image.
fn image_bytes(preset: Preset, vllm_minor: u32) -> u64 {
    if preset == Preset::Guide {
        presets::GUIDE_IMAGE_BYTES
    } else if vllm_minor >= 18 {
        presets::V0_18_IMAGE_BYTES
    } else {
        // ASSUMPTION(A46): images before 0.18 are taken to be as large as the one measured in 2025-04 (25 GB).
        25_000_000_000
    }
}

fn image(t: &Fields<'_>, base: ImagePull, accelerator: Accelerator, preset: Preset) -> ImagePull {
    let streaming = t
        .key(
            "image_streaming",
            "Image streaming (of images in Artifact Registry) or a secondary boot disk with the image",
        )
        .boolean_or(false);
    if streaming && preset == Preset::Guide {
        let title = "the guide's image comes from a public registry, which GKE does not stream";
        t.report(
            Diagnostic::warning(Code::Suspicious, title)
                .at(&t.span_of("image_streaming"), "as if it were in Artifact Registry")
                .help("a secondary boot disk with the image has the same effect"),
        );
    }
    let disk = t
        .key(
            "boot_disk",
            "Disk of the node, for the rate of the pull. Source: GKE's default; a3 has local SSDs",
        )
        .shown("\"pd-balanced\"; \"local-ssd\" on h100")
        .choice(&presets::BootDisk::WORDS)
        .unwrap_or(presets::BootDisk::of(accelerator));
    let rate = t
        .key(
            "image_mb_s",
            "Unpacked bytes written per second [MB/s]. Source: 119 MB/s on pd-balanced",
        )
        .shown("pd-balanced 120 (slow end 50 with preset `guide`), pd-ssd 250, local-ssd 350. Estimate")
        .number(0.1..=1e6);
    let time = t.key("image_pull", "Time of the pull, instead of size and rate").delay();
    match (time, base) {
        (Some(time), _) => ImagePull::Time(time),
        (None, _) if streaming => presets::image_streaming(),
        (None, ImagePull::Rate { unpacked_bytes, .. }) => match rate {
            Some(rate) => {
                ImagePull::Rate { unpacked_bytes, rate: Rate::constant((rate * MB) as u64) }
            }
            None if preset == Preset::Guide => presets::guide_image(disk, unpacked_bytes),
            None => presets::image(disk, unpacked_bytes),
        },
        (None, base @ ImagePull::Time(_)) => base,
    }
}

fn load(t: &Fields<'_>, base: ModelLoad, kind: Storage) -> ModelLoad {
    let rate = t
        .key(
            "load_mb_s",
            "Rate of one pod alone [MB/s]; what one machine reads at most bounds it (pd 1258, hdml 2516, a3 4194; \
             source: Google Cloud documentation). Estimate by storage and GPU",
        )
        .shown("pd 450 (slow end 250; pd-balanced 220), hdml 1000, gcs 150, see docs/model.md")
        .number(0.1..=1e6);
    let volume_gib = t
        .key("volume_gib", "Size of the model's volume [GiB]. Source: the guide's 1 TiB")
        .u32_or(1..=65_536, presets::VOLUME_GIB);
    let disk = t
        .key("disk_type", "pd: type of the model's disk. Source: the guide's pd-ssd")
        .choice_or(&presets::DiskType::WORDS, presets::DiskType::PdSsd);
    let volume = t
        .key(
            "volume_mb_s",
            "Rate of the whole volume, shared by its readers [MB/s]; 0 = not shared",
        )
        .shown(
            "pd by `volume_gib` and `disk_type`, 515 for 1 TiB of pd-ssd, 300 of pd-balanced; hdml 24576, others 0. \
             Source: Google Cloud documentation; the guide",
        )
        .number(0.0..=1e9);
    let attach_limit = t
        .key(
            "attach_limit",
            "Nodes that can have the volume at one time; pods on others stay ContainerCreating",
        )
        .shown(
            "pd 100; hdml by `volume_gib` (600 for 1 TiB), above 20 one per 100 MiB/s of `volume_mb_s`. Source: Google \
             Cloud documentation",
        )
        .u32(1..=1_000_000);
    let page_cache = t
        .key("page_cache_mb_s", "Rate of a further pod on the same node [MB/s]; 0 = as the first")
        .shown("1500 for pd and hdml, others 0. Estimate")
        .number(0.0..=1e6);
    let restart = t
        .key(
            "restart_mb_s",
            "Rate of a restarted container whose pod has read the weights before [MB/s]; 0 = as the first",
        )
        .shown("1500 for pd and hdml, and for gcs up to its cache of 20 GiB; streamer 0. Estimate")
        .number(0.0..=1e6);
    let time = t.key("load", "Time of the load, instead of size and rate").delay();
    let bytes = |mb: f64| if mb > 0.0 { Some((mb * MB) as u64) } else { None };
    let volume_rate = volume.map_or(presets::volume_rate(kind, disk, volume_gib), bytes);
    match (time, base) {
        (Some(time), _) => ModelLoad::Time(time),
        (None, ModelLoad::Storage(storage)) => ModelLoad::Storage(StorageLoad {
            pod_rate: match rate {
                Some(rate) => Rate::constant((rate * MB) as u64),
                None if kind == Storage::Pd => presets::disk_rate(disk),
                None => storage.pod_rate,
            },
            volume_bytes_per_s: volume_rate,
            attach_limit: attach_limit.or(presets::attach_limit(kind, volume_gib, volume_rate)),
            page_cache_bytes_per_s: page_cache.map_or(storage.page_cache_bytes_per_s, bytes),
            restart_bytes_per_s: restart.map_or(storage.restart_bytes_per_s, bytes),
            ..storage
        }),
        (None, base @ ModelLoad::Time(_)) => base,
    }
}

/// Tells of a liveness probe that ends servers before they listen.
pub(super) fn warn_about_liveness(t: &Fields<'_>, startup: &StartupConfig, probe: &ProbeConfig) {
    let (Some(liveness), None) = (probe.liveness, probe.startup) else { return };
    let failures = u64::from(liveness.failure_threshold.saturating_sub(1));
    let patience = liveness.initial_delay + liveness.period * failures;
    let start = startup.typical();
    if patience < start {
        let title = "the liveness probe kills servers before they listen";
        let (patience, start) = (patience.as_secs_f64(), start.as_secs_f64());
        t.report(
            Diagnostic::warning(Code::Suspicious, title)
                .at(
                    &t.span_of("liveness_probe"),
                    format!(
                        "after {patience:.0} s or little more; a start takes about {start:.0} s"
                    ),
                )
                .help("add a `startup_probe`, or give it an `initial_delay`"),
        );
    }
}

/// Tells of a rate that no machine reads at.
fn warn_about_rate(t: &Fields<'_>, load: &ModelLoad) {
    let ModelLoad::Storage(StorageLoad { pod_rate, node_bytes_per_s: Some(most), .. }) = load
    else {
        return;
    };
    if t.has("load_mb_s") && pod_rate.median > *most {
        let title = format!("one machine reads at most {:.0} MB/s", *most as f64 / MB);
        t.report(
            Diagnostic::warning(Code::Suspicious, title)
                .at(&t.span_of("load_mb_s"), "that much is used")
                .help("Google Cloud's limit per machine; see `cluster.startup.load_mb_s` in docs/config.md"),
        );
    }
}

#[derive(Clone, Copy, PartialEq)]
enum ProbeSet {
    Guide,
    ReferenceArchitecture,
    LlmD,
    InferenceGateway,
}

/// Reads the probes and the endpoint delay.
pub(super) fn probe(t: &Fields<'_>, preset: Preset) -> ProbeConfig {
    let set = t
        .key("probes", "Published set of probes. Source: the guide waits 240 s before the first")
        .choice_or(
            &[
                ("guide", ProbeSet::Guide),
                ("reference-architecture", ProbeSet::ReferenceArchitecture),
                ("llm-d", ProbeSet::LlmD),
                ("inference-gateway", ProbeSet::InferenceGateway),
            ],
            match preset {
                Preset::None | Preset::Guide => ProbeSet::Guide,
                Preset::ReferenceArchitecture | Preset::Snapshots => {
                    ProbeSet::ReferenceArchitecture
                }
                Preset::LlmD => ProbeSet::LlmD,
                Preset::InferenceGateway => ProbeSet::InferenceGateway,
            },
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
            .duration_or(within_a_day(), base.initial_delay),
        period: t
            .key("period", "`periodSeconds`")
            .duration_or(positive_within_a_day(), base.period),
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
    let liveness = t
        .key(
            "liveness_probe",
            "Liveness probe: a server that fails it is killed and starts again. None with `probes` guide and \
             reference-architecture",
        )
        .table()
        .map(|f| probe(&f, base.liveness.unwrap_or(fallback)))
        .or(base.liveness);
    let readiness = t.key("readiness_probe", "Readiness probe; defaults by `probes`");
    ProbeConfig {
        startup,
        liveness,
        readiness: probe(&readiness.table_or_empty(), base.readiness),
        endpoint_delay: t
            .key("endpoint_delay", "From Ready until the gateway routes to the pod. Estimate")
            .delay_or(&base.endpoint_delay),
    }
}
