//! `[cluster.provisioning]`, the part that is the cluster autoscaler's.

use crate::cluster::{AutoscalerConfig, Expander, presets};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::lower::spans::{positive_within_a_day, within_a_day};
use crate::config::reader::Fields;

/// Reads the rules of the autoscaler; `optimize` = GKE's optimize-utilization profile, `max_gpus` = the preset's.
pub(super) fn autoscaler(
    t: &Fields<'_>,
    optimize: bool,
    max_gpus: Option<u32>,
) -> AutoscalerConfig {
    let base =
        if optimize { presets::autoscaler_optimize_utilization() } else { presets::autoscaler() };
    let autoscaler = AutoscalerConfig {
        scan_interval: t
            .key("scan_interval", "Period of the loop. Source: cluster autoscaler")
            .duration_or(positive_within_a_day(), base.scan_interval),
        frequent_loops: t
            .key(
                "frequent_loops",
                "A new pod without a place starts a loop at once: nodes are asked for when it is `gpu_pod_min_age` old, not up \
                 to a loop later. Source: --frequent-loops-enabled, on by default after release 1.34 of the \
                 cluster autoscaler (kubernetes/autoscaler#8019); GKE's setting is not published",
            )
            .boolean_or(base.frequent_loops),
        pod_min_age: t
            .key(
                "pod_min_age",
                "Age of the oldest pod without a node before nodes are asked for, since more may follow it; acts only where \
                 `gpu_pod_min_age` is shorter. Source: cluster autoscaler, hard-coded (unschedulablePodTimeBuffer)",
            )
            .duration_or(within_a_day(), base.pod_min_age),
        gpu_pod_min_age: t
            .key(
                "gpu_pod_min_age",
                "The same for pods that ask for GPUs. Source: cluster autoscaler, hard-coded \
                 (unschedulablePodWithGpuTimeBuffer)",
            )
            .duration_or(within_a_day(), base.gpu_pod_min_age),
        new_pod_scale_up_delay: t
            .key(
                "new_pod_scale_up_delay",
                "Younger pods are not seen, beside older ones neither. Source: cluster autoscaler, --new-pod-scale-up-delay",
            )
            .duration_or(within_a_day(), base.new_pod_scale_up_delay),
        max_gpus: t
            .key(
                "max_gpus",
                "GPUs beyond which no node is asked for, over all pools: the cluster's limit, as that of node \
                 auto-provisioning. Source: cluster autoscaler, --gpu-total",
            )
            .shown("no limit; with preset `guide` l4 32, a100 64 (source: its container_cluster.tf)")
            .u32(1..=1_000_000)
            .or(max_gpus),
        backoff_initial: t
            .key(
                "backoff_initial",
                "First backoff after a failed scale-up. Source: cluster autoscaler",
            )
            .duration_or(within_a_day(), base.backoff_initial),
        backoff_max: t
            .key("backoff_max", "Longest backoff. Source: cluster autoscaler")
            .duration_or(within_a_day(), base.backoff_max),
        backoff_reset: t
            .key("backoff_reset", "A backoff is forgotten after. Source: cluster autoscaler")
            .duration_or(within_a_day(), base.backoff_reset),
        max_node_provision: t
            .key("max_node_provision", "A node not ready is given up. Source: cluster autoscaler")
            .duration_or(positive_within_a_day(), base.max_node_provision),
        scale_down_unneeded: t
            .key("scale_down_unneeded", "A node without pods, or whose pods fit elsewhere, is removed. Source: cluster autoscaler")
            .shown("\"10m\"; \"5m\" with optimize-utilization (estimate)")
            .duration_or(within_a_day(), base.scale_down_unneeded),
        scale_down_unready: t
            .key(
                "scale_down_unready",
                "A node that is not ready and has no pods is removed; GKE's auto-repair comes first unless it is off. Source: \
                 cluster autoscaler, --scale-down-unready-time",
            )
            .duration_or(within_a_day(), base.scale_down_unready),
        scale_down_after_add: t
            .key("scale_down_after_add", "No removal after a scale-up. Source: cluster autoscaler")
            .duration_or(within_a_day(), base.scale_down_after_add),
        max_parallel_deletes: t
            .key("max_parallel_deletes", "Nodes deleted at one time. Source: cluster autoscaler")
            .u32_or(1..=1_000, base.max_parallel_deletes),
        expander: t
            .key(
                "expander",
                "Which pool gets a scale-up: the first in order, as a ComputeClass does, and upstream's config map of priorities \
                 from the highest number down; the cheapest per replica, as GKE does without one; the one with the \
                 fewest unused GPUs",
            )
            .choice_or(
                &[
                    ("priority", Expander::Priority),
                    ("price", Expander::Price),
                    ("least-waste", Expander::LeastWaste),
                ],
                base.expander,
            ),
        drain: t
            .key(
                "drain",
                "Nodes with pods are removed, too, if those fit elsewhere and `cluster.disruption` lets them go. Source: cluster \
                 autoscaler",
            )
            .boolean_or(base.drain),
        scale_down_gpu_utilization: t
            .key(
                "scale_down_gpu_utilization",
                "Largest share of a node's GPUs in use at which it is drained. Source: cluster autoscaler; before its patch \
                 releases of January 2026 (kubernetes/autoscaler#8975) a node at just this share was not: say 0.49",
            )
            .number_or(0.0..=1.0, base.scale_down_gpu_utilization),
        node_delete_delay_after_taint: t
            .key(
                "node_delete_delay_after_taint",
                "From the decision to drain a node until its pods are evicted. Source: cluster autoscaler, flag of that name",
            )
            .duration_or(within_a_day(), base.node_delete_delay_after_taint),
        max_graceful_termination: t
            .key(
                "max_graceful_termination",
                "Longest grace period that a drain grants a pod. Source: cluster autoscaler",
            )
            .duration_or(within_a_day(), base.max_graceful_termination),
        max_pod_eviction_time: t
            .key(
                "max_pod_eviction_time",
                "A drain whose evictions are refused for this long is given up. Source: cluster autoscaler",
            )
            .duration_or(within_a_day(), base.max_pod_eviction_time),
        scale_down_after_delete: t
            .key(
                "scale_down_after_delete",
                "No removal after one that began. Source: cluster autoscaler, --scale-down-delay-after-delete",
            )
            .duration_or(within_a_day(), base.scale_down_after_delete),
        scale_down_after_failure: t
            .key(
                "scale_down_after_failure",
                "No removal after a drain that was given up. Source: cluster autoscaler",
            )
            .duration_or(within_a_day(), base.scale_down_after_failure),
    };
    if autoscaler.backoff_initial > autoscaler.backoff_max {
        t.report(
            Diagnostic::error(Code::Conflict, "`backoff_initial` is above `backoff_max`")
                .at(&t.span_of("backoff_initial"), "")
                .and_at(&t.span_of("backoff_max"), ""),
        );
    }
    autoscaler
}
