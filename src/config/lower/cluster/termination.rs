//! `[cluster.termination]`: from the deletion of a pod to a free GPU.

use super::{Preset, day};
use crate::cluster::presets;
use crate::cluster::{DeletionCost, ShutdownMode, TerminationConfig};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::Fields;
use crate::units::SimDuration;

/// Reads the table.
pub(super) fn termination(
    table: &Fields<'_>,
    vllm_minor: u32,
    preset: Preset,
) -> TerminationConfig {
    let t = table.key("termination", "From the deletion of a pod to a free GPU").table_or_empty();
    let by_version = presets::shutdown_of_vllm(vllm_minor);
    let abort = t
        .key("shutdown", "What the server does on SIGTERM. Source: vllm#34730")
        .shown("\"abort\"; \"drain\" before vLLM 0.18")
        .choice_or(&[("abort", true), ("drain", false)], by_version == ShutdownMode::Abort);
    let timeout = t
        .key("shutdown_timeout", "--shutdown-timeout: a draining server stops after this long")
        .shown("as long as the grace period allows")
        .duration(day());
    let shutdown = match (abort, timeout) {
        (true, None) => ShutdownMode::Abort,
        (true, Some(_)) => {
            if t.has("shutdown") {
                t.report(
                    Diagnostic::error(
                        Code::Conflict,
                        "a server that aborts has no shutdown_timeout",
                    )
                    .at(&t.key_span("shutdown_timeout"), "")
                    .and_at(&t.span_of("shutdown"), "")
                    .help("set `shutdown = \"drain\"`"),
                );
            }
            ShutdownMode::Drain { timeout: timeout.unwrap_or(SimDuration::MAX) }
        }
        (false, timeout) => ShutdownMode::Drain { timeout: timeout.unwrap_or(SimDuration::MAX) },
    };
    let base = match t.key("preset", "Published values of grace period and preStop hook").choice_or(
        &[("guide", 0), ("inference-gateway", 1), ("kserve", 2)],
        i32::from(preset == Preset::InferenceGateway),
    ) {
        1 => presets::termination_inference_gateway(shutdown),
        2 => presets::termination_kserve(shutdown),
        _ => presets::termination_guide(shutdown),
    };
    let result = TerminationConfig {
        grace: t
            .key("grace", "terminationGracePeriodSeconds. Source: Kubernetes; the guide sets none")
            .duration_or(day(), base.grace),
        pre_stop: t
            .key("pre_stop", "Sleep of the preStop hook. Source: the guide has none")
            .duration_or(day(), base.pre_stop),
        shutdown,
        endpoint_removal: t
            .key("endpoint_removal", "From the deletion until no new request comes. Estimate")
            .delay_or(&base.endpoint_removal),
        deletion_cost: t
            .key(
                "deletion_cost",
                "What some controller of yours writes into each pod's `controller.kubernetes.io/pod-deletion-cost`, \
                 known without delay: the cheapest of the ready pods go first. Source: ReplicaSet controller",
            )
            .choice_or(
                &[
                    ("none", DeletionCost::None),
                    ("running_requests", DeletionCost::RunningRequests),
                ],
                DeletionCost::None,
            ),
    };
    if result.pre_stop > result.grace {
        t.report(
            Diagnostic::error(Code::Conflict, "`pre_stop` is longer than the grace period")
                .at(&t.span_of("pre_stop"), "")
                .and_at(&t.span_of("grace"), "")
                .help("the kubelet kills the pod when `grace` is over, the hook included"),
        );
    }
    result
}
