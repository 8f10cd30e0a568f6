//! `[cluster.routing]`: how a request reaches a replica.

use super::spans::{positive_within_a_day, within_a_day};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::Fields;
use crate::gateway::{Admission, Detector, KeepAlive, Picker, Policy, PrefixMemory, Saturation};
use crate::units::SimDuration;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain(Policy),
    RandomPerConnection,
    EndpointPicker,
}

/// Reads `[cluster.routing]`, a table of `[cluster]`; `has_picker`: the set-up is one with an endpoint picker.
pub(super) fn routing(cluster: &Fields<'_>, has_picker: bool) -> Policy {
    let table = cluster.key("routing", "How a request reaches a replica").table_or_empty();
    let kind = table
        .key("policy", "Who gets the next request. Source: kube-proxy's iptables mode is random")
        .shown("\"random\"; \"epp\" with the presets `inference-gateway` and `llm-d`")
        .choice(&[
            ("random", Kind::Plain(Policy::Random)),
            ("random_per_connection", Kind::RandomPerConnection),
            ("round_robin", Kind::Plain(Policy::RoundRobin)),
            ("least_request", Kind::Plain(Policy::LeastRequest)),
            ("p2c", Kind::Plain(Policy::PowerOfTwo)),
            ("epp", Kind::EndpointPicker),
            ("session_affinity", Kind::Plain(Policy::SessionAffinity)),
            ("prefix_affinity", Kind::Plain(Policy::PrefixAffinity)),
        ])
        .unwrap_or(if has_picker { Kind::EndpointPicker } else { Kind::Plain(Policy::Random) });
    // Every key is read whatever the policy is, so that all of them are checked and documented.
    let (keep_alive, picker) = (keep_alive(&table), picker(&table));
    match kind {
        Kind::Plain(policy) => policy,
        Kind::RandomPerConnection => Policy::RandomPerConnection(keep_alive),
        Kind::EndpointPicker => Policy::EndpointPicker(picker),
    }
}

/// Keys of `random_per_connection`.
fn keep_alive(table: &Fields<'_>) -> KeepAlive {
    KeepAlive {
        idle_timeout: table
            .key(
                "keep_alive",
                "random_per_connection: an idle connection is closed. Source: vLLM's server, 5 s",
            )
            .duration_or(within_a_day(), SimDuration::from_secs(5)),
        mean_requests: table
            .key(
                "requests_per_connection",
                "random_per_connection: a connection is closed after this many requests on average",
            )
            .shown("no limit")
            .number(1.0..=1e9),
    }
}

/// Keys of `epp`.
fn picker(table: &Fields<'_>) -> Picker {
    let weight = |key, doc, default| table.key(key, doc).number_or(0.0..=1e6, default);
    let queue_weight = weight(
        "queue_weight",
        "epp: weight of the queue scorer. Source: inference gateway, 2",
        2.0,
    );
    let kv_weight = weight(
        "kv_weight",
        "epp: weight of the KV-cache scorer. Source: inference gateway, 2",
        2.0,
    );
    let prefix_weight = weight(
        "prefix_weight",
        "epp: weight of the prefix scorer. Source: inference gateway, 3",
        3.0,
    );
    let load_weight = weight(
        "load_weight",
        "epp: weight of the load-aware scorer, 0.5 falling to 0 at 128 waiting",
        0.0,
    );
    let default = Picker::default();
    let prefix = prefix_memory(table, &default.prefix);
    let admission = admission(table);
    let period = positive_within_a_day();
    Picker {
        queue_weight,
        kv_weight,
        prefix_weight,
        load_weight,
        prefix,
        admission,
        refresh: table
            .key("refresh", "epp: period at which it reads the metrics. Source: inference gateway")
            .duration_or(period.clone(), SimDuration::from_millis(50)),
        metrics_staleness: table
            .key(
                "metrics_staleness",
                "epp: a pod whose metrics are older has no room left. Source: inference gateway",
            )
            .duration_or(period, default.metrics_staleness),
    }
}

/// What becomes of requests while the pods are saturated.
fn admission(table: &Fields<'_>) -> Admission {
    let shed = table
        .key("shed", "epp: refuses the requests of sheddable streams while the pods are saturated")
        .boolean_or(false);
    let flow_control = table
        .key(
            "flow_control",
            "epp: holds all requests while the pods are saturated; those of higher `priority` go first. Source: the \
             feature gate flowControl, off",
        )
        .boolean_or(false);
    let limits = saturation(table);
    match (shed, flow_control) {
        (true, true) => {
            table.report(
                Diagnostic::error(Code::Conflict, "with `flow_control` nothing is shed")
                    .at(&table.span_of("flow_control"), "requests wait")
                    .and_at(&table.span_of("shed"), "requests are refused"),
            );
            Admission::All
        }
        (true, false) => Admission::Shed(limits),
        (false, true) => Admission::Hold(limits),
        (false, false) => Admission::All,
    }
}

fn prefix_memory(table: &Fields<'_>, default: &PrefixMemory) -> PrefixMemory {
    PrefixMemory {
        block_tokens: table
            .key(
                "prefix_block_tokens",
                "epp: tokens of a block of its prefix index. Source: autoTune",
            )
            .shown("as many as a block of a pod's KV cache has")
            .u32(1..=1 << 20),
        max_blocks: table
            .key("prefix_max_blocks", "epp: blocks of a prompt that it looks at. Source: 256")
            .u32_or(1..=1 << 20, default.max_blocks),
        blocks_per_pod: table
            .key("prefix_blocks_per_pod", "epp: blocks that it remembers per pod")
            .shown("as many as a pod's KV cache has")
            .u32(1..=1 << 30),
    }
}

fn saturation(table: &Fields<'_>) -> Saturation {
    Saturation {
        detector: table
            .key(
                "saturation_detector",
                "epp: `threshold`: all pods are saturated; `utilization`, in newer releases: they are on average",
            )
            .choice_or(
                &[("threshold", Detector::Threshold), ("utilization", Detector::Utilization)],
                Detector::Threshold,
            ),
        queue: table
            .key(
                "saturation_queue",
                "epp: a pod with more requests waiting is saturated. Source: 5",
            )
            .u32_or(0..=1 << 20, 5),
        kv_usage: table
            .key("saturation_kv_usage", "epp: so is one with a fuller KV cache. Source: 0.8")
            .number_or(0.0..=1.0, 0.8),
    }
}
