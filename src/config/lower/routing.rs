//! `[cluster.routing]`: how a request reaches a replica.

use crate::config::reader::Fields;
use crate::gateway::{Detector, KeepAlive, Picker, Policy, PrefixMemory, Saturation};
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
    let day = SimDuration::from_secs(86_400);
    let idle_timeout = table
        .key(
            "keep_alive",
            "random_per_connection: an idle connection is closed. Source: vLLM's server, 5 s",
        )
        .duration_or(SimDuration::ZERO..=day, SimDuration::from_secs(5));
    let mean_requests = table
        .key(
            "requests_per_connection",
            "random_per_connection: a connection is closed after this many requests on average",
        )
        .shown("no limit")
        .number(1.0..=1e9);
    let weight = 0.0..=1e6;
    let queue_weight = table
        .key("queue_weight", "epp: weight of the queue scorer. Source: inference gateway, 2")
        .number_or(weight.clone(), 2.0);
    let kv_weight = table
        .key("kv_weight", "epp: weight of the KV-cache scorer. Source: inference gateway, 2")
        .number_or(weight.clone(), 2.0);
    let prefix_weight = table
        .key("prefix_weight", "epp: weight of the prefix scorer. Source: inference gateway, 3")
        .number_or(weight.clone(), 3.0);
    let load_weight = table
        .key("load_weight", "epp: weight of the load-aware scorer, 0.5 falling to 0 at 128 waiting")
        .number_or(weight, 0.0);
    let default_picker = Picker::default();
    let default = default_picker.prefix;
    let prefix = PrefixMemory {
        block_tokens: table
            .key("prefix_block_tokens", "epp: tokens of a block of its prefix index. Source: 16")
            .u32_or(1..=1 << 20, default.block_tokens),
        max_blocks: table
            .key("prefix_max_blocks", "epp: blocks of a prompt that it looks at. Source: 256")
            .u32_or(1..=1 << 20, default.max_blocks),
        blocks_per_pod: table
            .key("prefix_blocks_per_pod", "epp: blocks that it remembers per pod")
            .shown("as many as a pod's KV cache has")
            .u32(1..=1 << 30),
    };
    let shed = table
        .key("shed", "epp: refuses the requests of sheddable streams while the pods are saturated")
        .boolean_or(false);
    let detector = table
        .key(
            "saturation_detector",
            "epp: `threshold`: all pods are saturated; `utilization`, in newer releases: they are on average",
        )
        .choice_or(
            &[("threshold", Detector::Threshold), ("utilization", Detector::Utilization)],
            Detector::Threshold,
        );
    let saturation = Saturation {
        detector,
        queue: table
            .key(
                "saturation_queue",
                "epp: a pod with more requests waiting is saturated. Source: 5",
            )
            .u32_or(0..=1 << 20, 5),
        kv_usage: table
            .key("saturation_kv_usage", "epp: so is one with a fuller KV cache. Source: 0.8")
            .number_or(0.0..=1.0, 0.8),
    };
    let refresh = table
        .key("refresh", "epp: period at which it reads the metrics. Source: inference gateway")
        .duration_or(SimDuration::from_millis(1)..=day, SimDuration::from_millis(50));
    let metrics_staleness = table
        .key(
            "metrics_staleness",
            "epp: a pod whose metrics are older has no room left. Source: inference gateway",
        )
        .duration_or(SimDuration::from_millis(1)..=day, default_picker.metrics_staleness);
    match kind {
        Kind::Plain(policy) => policy,
        Kind::RandomPerConnection => {
            Policy::RandomPerConnection(KeepAlive { idle_timeout, mean_requests })
        }
        Kind::EndpointPicker => Policy::EndpointPicker(Picker {
            queue_weight,
            kv_weight,
            prefix_weight,
            load_weight,
            refresh,
            prefix,
            metrics_staleness,
            shed: shed.then_some(saturation),
        }),
    }
}
