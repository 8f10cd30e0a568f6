//! `[pipeline.gpu]` and `[pipeline.cpu]`: how a pod's GPUs and CPU look to their exporters.

use crate::config::profile::GpuProfile;
use crate::config::reader::Fields;
use crate::sim::{CpuModel, DeviceModel, GpuModel};
use crate::units::SimDuration;

/// Bytes of one MiB.
const MIB: f64 = 1_048_576.0;

/// Reads both tables; `table` is `[pipeline]`.
pub(super) fn devices(
    table: &Fields<'_>,
    profile: Option<&GpuProfile>,
    gpu_memory_utilization: f64,
) -> DeviceModel {
    DeviceModel { gpu: gpu(table, profile, gpu_memory_utilization), cpu: cpu(table, profile) }
}

fn gpu(table: &Fields<'_>, profile: Option<&GpuProfile>, utilization: f64) -> GpuModel {
    let t = table.key("gpu", "What exporters show of the pods' GPUs").table_or_empty();
    let base = GpuModel::default();
    let total_mib = profile.map_or(0.0, |p| p.gpu.memory_bytes as f64 / MIB);
    let weights_mib = profile.map_or(0.0, |p| {
        p.model.weight_bytes(p.weights) as f64 / f64::from(p.tensor_parallel_size) / MIB
    });
    // ASSUMPTION(A246): 1 GiB beyond vLLM's share of the memory: 0.7 to 1.5 GiB were measured.
    let outside_mib = t
        .key("fb_overhead_mib", "Memory beyond vLLM's share [MiB]. Estimate: 700 to 1500 measured")
        .number_or(0.0..=1e6, 1024.0);
    GpuModel {
        util_max: t
            .key(
                "util_max",
                "GPU_UTIL while the GPU never idles, a share. Source: 0.97 to 0.995 measured with vLLM",
            )
            .number_or(0.01..=1.0, base.util_max),
        util_window: t
            .key("util_window", "Span one GPU_UTIL value covers. Source: NVML, 1/6 s to 1 s")
            .duration_or(
                SimDuration::from_millis(10)..=SimDuration::from_secs(60),
                base.util_window,
            ),
        collect_interval: t
            .key("collect_interval", "Period of the DCGM exporter. Source: its default, 30 s")
            .duration_or(
                SimDuration::from_millis(100)..=SimDuration::from_secs(3600),
                base.collect_interval,
            ),
        duty_cycle_window: t
            .key("duty_cycle_window", "Span one duty-cycle sample covers. Source: GKE, 10 s")
            .duration_or(
                SimDuration::from_millis(100)..=SimDuration::from_secs(60),
                base.duty_cycle_window,
            ),
        fb_serving_mib: (utilization * total_mib + outside_mib).min(total_mib),
        fb_context_mib: outside_mib.min(total_mib),
        fb_weights_mib: weights_mib,
        fb_total_mib: total_mib,
    }
}

fn cpu(table: &Fields<'_>, profile: Option<&GpuProfile>) -> CpuModel {
    let t = table.key("cpu", "CPU of a pod, an estimate; for Resource metrics").table_or_empty();
    let base = CpuModel::default();
    let cores = 0.0..=1024.0;
    let workers = profile.map_or(1, |p| p.tensor_parallel_size);
    CpuModel {
        resolution: t
            .key("resolution", "Period of metrics-server. Source: its manifests, 15 s")
            .duration_or(SimDuration::from_secs(1)..=SimDuration::from_secs(3600), base.resolution),
        request_cores: Some(
            t.key("request", "requests.cpu of the pod [cores]. Source: the guide's deployments, 2")
                .number_or(0.001..=1024.0, 2.0),
        ),
        limit_cores: t
            .key("limit", "limits.cpu of the pod [cores]. Source: the guide's deployments, 2")
            .number_or(0.001..=1024.0, base.limit_cores),
        base_cores: t
            .key("base", "Cores in use when idle. Estimate")
            .number_or(cores.clone(), base.base_cores),
        step_cores: t
            .key("per_step", "Cores in use while steps run. Estimate")
            .number_or(cores.clone(), base.step_cores),
        per_request: t
            .key("per_request", "Further share of `per_step` for each running request. Estimate")
            .number_or(0.0..=10.0, base.per_request),
        worker_cores: t
            .key("workers", "Cores of the workers while steps run. Estimate")
            .shown("0; one per GPU with several")
            .number_or(cores.clone(), if workers > 1 { f64::from(workers) } else { 0.0 }),
        startup_cores: t
            .key("startup", "Cores in use until the server listens. Estimate")
            .number_or(cores, base.startup_cores),
    }
}
