//! From a listening server to its traffic and back: probes, endpoints, termination.

use super::{lognormal, secs};
use crate::cluster::config::{DeletionCost, Probe, ProbeConfig, ShutdownMode, TerminationConfig};
use crate::rng::Dist;
use crate::units::SimDuration;

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
        liveness: None,
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
        // Kubernetes' default threshold.
        liveness: Some(Probe { initial_delay: secs(0), period: secs(10), failure_threshold: 3 }),
        ..probe_guide()
    }
}

/// The sample of the Gateway API inference extension.
// Source: kubernetes-sigs/gateway-api-inference-extension, release 1.5.
pub fn probe_inference_gateway() -> ProbeConfig {
    ProbeConfig {
        startup: Some(Probe { initial_delay: secs(2), period: secs(1), failure_threshold: 600 }),
        readiness: Probe { initial_delay: secs(0), period: secs(1), failure_threshold: 1 },
        liveness: Some(Probe { initial_delay: secs(0), period: secs(1), failure_threshold: 5 }),
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

/// KServe: preStop 15 s, grace 60 s, and a drain for the 45 s between.
// Source: kserve/kserve#5485 and #5496: `--shutdown-timeout` is what the hook leaves of the grace period.
pub fn termination_kserve(shutdown: ShutdownMode) -> TerminationConfig {
    termination(secs(60), secs(15), drains(shutdown, SimDuration::MAX))
}

/// llm-d's guides: no preStop, a drain of 30 s within a grace period of 60 s.
// Source: llm-d/llm-d#1653, its baseline; guides for long answers have up to 300 s within 330 s.
pub fn termination_llm_d(shutdown: ShutdownMode) -> TerminationConfig {
    termination(secs(60), secs(0), drains(shutdown, secs(30)))
}

/// A server that is given `--shutdown-timeout`; one that does not know the flag drains as it does anyway.
const fn drains(shutdown: ShutdownMode, timeout: SimDuration) -> ShutdownMode {
    match shutdown {
        ShutdownMode::Abort => ShutdownMode::Drain { timeout },
        known @ ShutdownMode::Drain { .. } => known,
    }
}
