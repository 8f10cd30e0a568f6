//! `[cluster.routing]`: how a request reaches a replica.

use crate::config::reader::Fields;
use crate::gateway::{KeepAlive, Picker, Policy};
use crate::units::SimDuration;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain(Policy),
    RandomPerConnection,
    EndpointPicker,
}

/// Reads `[cluster.routing]`, a table of `[cluster]`.
pub(super) fn routing(cluster: &Fields<'_>) -> Policy {
    let table = cluster.key("routing", "How a request reaches a replica").table_or_empty();
    let kind = table
        .key("policy", "Who gets the next request. Source: kube-proxy's iptables mode is random")
        .choice_or(
            &[
                ("random", Kind::Plain(Policy::Random)),
                ("random_per_connection", Kind::RandomPerConnection),
                ("round_robin", Kind::Plain(Policy::RoundRobin)),
                ("least_request", Kind::Plain(Policy::LeastRequest)),
                ("p2c", Kind::Plain(Policy::PowerOfTwo)),
                ("epp", Kind::EndpointPicker),
            ],
            Kind::Plain(Policy::Random),
        );
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
        .number_or(weight, 2.0);
    let refresh = table
        .key("refresh", "epp: period at which it reads the metrics. Source: inference gateway")
        .duration_or(SimDuration::from_millis(1)..=day, SimDuration::from_millis(50));
    match kind {
        Kind::Plain(policy) => policy,
        Kind::RandomPerConnection => {
            Policy::RandomPerConnection(KeepAlive { idle_timeout, mean_requests })
        }
        Kind::EndpointPicker => Policy::EndpointPicker(Picker { queue_weight, kv_weight, refresh }),
    }
}
