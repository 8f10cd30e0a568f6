//! Machines and pools: how long they take, when they cannot be had or break, and the autoscaler that asks for them.

use super::{Accelerator, lognormal, secs};
use crate::cluster::allocatable::Resources;
use crate::cluster::config::AutoscalerConfig;
use crate::cluster::faults::FaultConfig;
use crate::cluster::pool::{Capacity, Expander, NodePool, Preemption, StockOut};
use crate::rng::Dist;
use crate::units::SimDuration;

/// Rules of the upstream cluster autoscaler. GKE does not publish its own.
// Source: kubernetes/autoscaler branch cluster-autoscaler-release-1.37, config/flags and
// core/static_autoscaler.go (the waits of 2 s and 30 s are hard-coded); deletes in parallel: FAQ.
pub fn autoscaler() -> AutoscalerConfig {
    AutoscalerConfig {
        scan_interval: secs(10),
        frequent_loops: false,
        pod_min_age: secs(2),
        gpu_pod_min_age: secs(30),
        new_pod_scale_up_delay: secs(0),
        max_gpus: None,
        backoff_initial: secs(300),
        backoff_max: secs(1_800),
        backoff_reset: secs(10_800),
        max_node_provision: secs(900),
        scale_down_unneeded: secs(600),
        scale_down_unready: secs(1_200),
        scale_down_after_add: secs(600),
        max_parallel_deletes: 10,
        expander: Expander::Priority,
        drain: true,
        scale_down_gpu_utilization: 0.5,
        node_delete_delay_after_taint: secs(5),
        max_graceful_termination: secs(600),
        max_pod_eviction_time: secs(120),
        scale_down_after_delete: secs(0),
        scale_down_after_failure: secs(180),
    }
}

/// [`autoscaler`] under GKE's optimize-utilization profile.
// ASSUMPTION(A105): half the unneeded time; GKE says "sooner" and publishes no figure.
pub fn autoscaler_optimize_utilization() -> AutoscalerConfig {
    AutoscalerConfig { scale_down_unneeded: secs(300), ..autoscaler() }
}

/// GPUs that the guide's cluster may have.
// Source: accelerated-platforms, platforms/gke-aiml/playground, container_cluster.tf, resource_limits: nvidia-l4 32,
// nvidia-tesla-a100 64; none for H100.
pub const fn guide_max_gpus(accelerator: Accelerator) -> Option<u32> {
    match accelerator {
        Accelerator::L4 => Some(32),
        Accelerator::A100 => Some(64),
        Accelerator::H100 => None,
    }
}

/// From the request of a node to allocatable GPUs.
// ASSUMPTION(A106): no table is published; built from reports on the parts (VM and boot, driver install,
// device plugin): low / median / high 90/180/330, 110/210/420, 150/300/720 s.
pub fn provisioning(accelerator: Accelerator) -> Dist {
    match accelerator {
        Accelerator::L4 => lognormal(180, 330),
        Accelerator::A100 => lognormal(210, 420),
        Accelerator::H100 => lognormal(300, 720),
    }
}

/// No stock-outs, with the delay that one would be reported after.
// ASSUMPTION(A108): reported after 30-90 s.
pub fn no_stock_out() -> StockOut {
    StockOut { probability: 0.0, windows: Vec::new(), report_delay: lognormal(60, 90) }
}

/// No preemption, with the times that one would take.
// Source: Google Cloud documentation, GKE Spot VMs: no notice unless asked for; 30 s of shutdown, of which ordinary
// pods get 15 s.
pub const fn no_preemption() -> Preemption {
    Preemption {
        per_node_hour: 0.0,
        notice: SimDuration::ZERO,
        pod_grace: secs(15),
        shutdown: secs(30),
    }
}

/// The longest run of a flex-start machine.
// Source: accelerated-platforms, ComputeClass gpu-l4-24gb-x2: maxRunDurationSeconds 604800.
pub const FLEX_START_RUN: SimDuration = secs(604_800);

/// How long before the end of its run a flex-start machine is replaced.
// Source: the same ComputeClass: nodeRecycling.leadTimeSeconds 3600.
pub const RECYCLING_LEAD_TIME: SimDuration = secs(3_600);

/// `--node-monitor-grace-period` of Kubernetes 1.`minor`.
// Source: kubernetes#126287: 50 s from 1.32 on, 40 s before.
pub const fn node_monitor_grace_period(minor: u32) -> SimDuration {
    secs(if minor >= 32 { 50 } else { 40 })
}

/// No faults, with the kubelet's waits before restarts and the control plane's before a dead machine is replaced.
// Source: kubernetes plugin/pkg/admission/defaulttolerationseconds: 300 s; Google Cloud documentation, "Auto-repair
// nodes": NotReady for approximately ten minutes.
// Source: kubernetes pkg/kubelet: backOffPeriod 10 s, MaxContainerBackOff 300 s.
// ASSUMPTION(A282): an unready spell lasts 30 s (p95 60).
pub fn no_faults() -> FaultConfig {
    FaultConfig {
        crash_per_hour: 0.0,
        unready_per_hour: 0.0,
        unready_for: lognormal(30, 60),
        scripted: Vec::new(),
        node_loss_per_hour: 0.0,
        node_monitor_grace_period: node_monitor_grace_period(32),
        unreachable_toleration: secs(300),
        node_repair: Some(secs(600)),
        restart_backoff_initial: secs(10),
        restart_backoff_max: secs(300),
    }
}

/// From the removal decision until a VM is gone.
// ASSUMPTION(A107): 30-90 s.
pub fn node_delete() -> Dist {
    lognormal(60, 90)
}

/// GPUs on one node of a machine type; `None` for types without GPUs and unknown ones.
// Source: Google Cloud documentation, GPU machine types (a2, a3, g2 tables).
pub fn gpus_of_machine_type(machine_type: &str) -> Option<u32> {
    Some(match machine_type {
        "g2-standard-4" | "g2-standard-8" | "g2-standard-12" | "g2-standard-16"
        | "g2-standard-32" | "a2-highgpu-1g" | "a2-ultragpu-1g" | "a3-highgpu-1g" => 1,
        "g2-standard-24" | "a2-highgpu-2g" | "a2-ultragpu-2g" | "a3-highgpu-2g" => 2,
        "g2-standard-48" | "a2-highgpu-4g" | "a2-ultragpu-4g" | "a3-highgpu-4g" => 4,
        "g2-standard-96" | "a2-highgpu-8g" | "a2-ultragpu-8g" | "a3-highgpu-8g"
        | "a3-megagpu-8g" | "a3-ultragpu-8g" => 8,
        "a2-megagpu-16g" => 16,
        _ => return None,
    })
}

/// CPUs and memory \[GiB\] of the machine types whose price nobody has stated; `None` for others.
// Source: Google Cloud documentation, GPU machine types (a2, a3, g2 tables).
pub fn size_of_machine_type(machine_type: &str) -> Option<(u32, u32)> {
    Some(match machine_type {
        "g2-standard-32" => (32, 128),
        "a2-megagpu-16g" => (96, 1_360),
        "a3-megagpu-8g" => (208, 1_872),
        "a3-ultragpu-8g" => (224, 2_952),
        _ => return None,
    })
}

/// What GKE's own pods request on each GPU node.
// Source: `kubectl describe node` of a GKE 1.36 node (camunda/zeebe-chaos, October 2026): fluentbit 105m and 230 MiB,
// metadata server 100m and 100, metrics agent 21m and 145, kube-proxy 100m, node-local DNS 30m and 50, ip-masq-agent
// 10m and 16, disk driver 10m and 20, netd 8m and 65.
// ASSUMPTION(A363): beside them the GPU device plugin with 55m and 80 MiB and Managed Prometheus' collector with 5m, as
// others list them; Dataplane V2 (205m instead of kube-proxy), Calico (500m), DCGM (100m) and the like come on top.
pub const DAEMONSETS: Resources = Resources { cpu_milli: 444, memory_bytes: 706 << 20 };

/// Machine type of the guide's node pool.
// Source: accelerated-platforms, platforms/gke-aiml/playground, container_node_pool.tf.
pub const fn guide_machine_type(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::L4 => "g2-standard-24",
        Accelerator::A100 => "a2-highgpu-2g",
        Accelerator::H100 => "a3-highgpu-8g",
    }
}

/// A pool of `machine_type` with the given limits; pods are limited by GPUs only.
///
/// `gpus_per_node` and `gpus_per_replica` must not be 0.
pub fn node_pool(
    accelerator: Accelerator,
    machine_type: &str,
    gpus_per_node: u32,
    gpus_per_replica: u32,
) -> NodePool {
    NodePool {
        name: accelerator.as_str().to_owned(),
        machine_type: machine_type.to_owned(),
        zone: String::new(),
        capacity: Capacity::OnDemand,
        gpus_per_node,
        memory_bytes: None,
        replicas_per_node: gpus_per_node / gpus_per_replica,
        // Source: accelerated-platforms, container_node_pool.tf: min 0, max 1000.
        min_nodes: 0,
        max_nodes: 1_000,
        usd_per_hour: 0.0,
        provisioning: provisioning(accelerator),
        stock_out: no_stock_out(),
        delete: node_delete(),
        preemption: no_preemption(),
        max_run_duration: None,
        recycling_lead_time: None,
        queued: false,
    }
}
