//! `[cluster.termination]`: from the deletion of a pod to a free GPU.

use super::Preset;
use crate::cluster::presets;
use crate::cluster::{DeletionCost, ShutdownMode, TerminationConfig};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::lower::spans::within_a_day;
use crate::config::reader::Fields;
use crate::units::SimDuration;

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Abort,
    Drain,
}

#[derive(Clone, Copy, PartialEq)]
enum Set {
    Guide,
    InferenceGateway,
    KServe,
    LlmD,
}

/// Reads the table.
pub(super) fn termination(
    table: &Fields<'_>,
    vllm_minor: u32,
    preset: Preset,
) -> TerminationConfig {
    let t = table.key("termination", "From the deletion of a pod to a free GPU").table_or_empty();
    let by_version = presets::shutdown_of_vllm(vllm_minor);
    let word = t
        .key("shutdown", "What the server does on SIGTERM. Source: vllm#34730")
        .shown("\"abort\"; \"drain\" before vLLM 0.18 and with the presets kserve and llm-d")
        .choice(&[("abort", Word::Abort), ("drain", Word::Drain)]);
    let timeout = t
        .key("shutdown_timeout", "--shutdown-timeout: a draining server stops after this long")
        .shown("as long as the grace period allows; 30s with preset llm-d")
        .duration(within_a_day());
    let set = t
        .key(
            "preset",
            "Published values of grace period, preStop hook and shutdown. Source: the guide; \
             gateway-api-inference-extension (130 s, hook 30 s); kserve#5496 (60 s, hook 15 s, drain); llm-d#1653 \
             (60 s, drain of 30 s)",
        )
        .choice_or(
            &[
                ("guide", Set::Guide),
                ("inference-gateway", Set::InferenceGateway),
                ("kserve", Set::KServe),
                ("llm-d", Set::LlmD),
            ],
            match preset {
                Preset::InferenceGateway => Set::InferenceGateway,
                Preset::LlmD => Set::LlmD,
                Preset::None
                | Preset::Guide
                | Preset::ReferenceArchitecture
                | Preset::Snapshots => Set::Guide,
            },
        );
    let base = match set {
        Set::Guide => presets::termination_guide(by_version),
        Set::InferenceGateway => presets::termination_inference_gateway(by_version),
        Set::KServe => presets::termination_kserve(by_version),
        Set::LlmD => presets::termination_llm_d(by_version),
    };
    let shutdown = shutdown(&t, word, timeout, base.shutdown);
    let result = TerminationConfig {
        grace: t
            .key("grace", "terminationGracePeriodSeconds. Source: Kubernetes; the guide sets none")
            .duration_or(within_a_day(), base.grace),
        pre_stop: t
            .key("pre_stop", "Sleep of the preStop hook. Source: the guide has none")
            .duration_or(within_a_day(), base.pre_stop),
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
    if let Some(timeout) = timeout
        && result.pre_stop + timeout > result.grace
        && result.pre_stop <= result.grace
    {
        let title = "the grace period ends before `pre_stop` and `shutdown_timeout` are over";
        t.report(
            Diagnostic::warning(Code::Suspicious, title)
                .at(&t.span_of("shutdown_timeout"), "what is left of it then is cut off")
                .help("raise `grace`: it should be at least the sum of both"),
        );
    }
    result
}

/// What the server does on SIGTERM: what is given goes before what is `published`.
fn shutdown(
    t: &Fields<'_>,
    word: Option<Word>,
    timeout: Option<SimDuration>,
    published: ShutdownMode,
) -> ShutdownMode {
    match (word, timeout, published) {
        (Some(Word::Abort), given, _) => {
            if given.is_some() {
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
            ShutdownMode::Abort
        }
        (_, Some(timeout), _) => ShutdownMode::Drain { timeout },
        (Some(Word::Drain), None, ShutdownMode::Abort) => {
            ShutdownMode::Drain { timeout: SimDuration::MAX }
        }
        (_, None, published) => published,
    }
}
