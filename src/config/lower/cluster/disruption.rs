//! `[cluster.disruption]`: what the deployment's PodDisruptionBudget and annotations say.

use crate::cluster::{Budget, Disruption, IntOrPercent, presets};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::Fields;
use crate::config::registry::Kind;
use crate::config::tree::{Node, Value};
use crate::config::values::Problem;

/// Reads the table.
pub(super) fn disruption(table: &Fields<'_>) -> Disruption {
    let t = table
        .key("disruption", "What keeps replicas on their nodes when the autoscaler would move them")
        .table_or_empty();
    let base = presets::NO_PROTECTION;
    let min = t
        .key(
            "min_available",
            "PodDisruptionBudget: pods that stay Ready through drains; a percentage of the wanted replicas is rounded up",
        )
        .shown("no budget (source: the guide has none)")
        .parse(Kind::IntOrPercent, None, int_or_percent);
    let max = t
        .key(
            "max_unavailable",
            "PodDisruptionBudget: pods that may be missing of the wanted replicas; a percentage is rounded up",
        )
        .shown("no budget (source: the guide has none)")
        .parse(Kind::IntOrPercent, None, int_or_percent);
    if min.is_some() && max.is_some() {
        t.report(
            Diagnostic::error(
                Code::Conflict,
                "a budget has one of `min_available` and `max_unavailable`",
            )
            .at(&t.key_span("max_unavailable"), "")
            .and_at(&t.key_span("min_available"), ""),
        );
    }
    let budget = min.map(Budget::MinAvailable).or(max.map(Budget::MaxUnavailable));
    let safe_to_evict = t
        .key(
            "safe_to_evict",
            "cluster-autoscaler.kubernetes.io/safe-to-evict; false: no node with a replica is drained",
        )
        .boolean_or(base.safe_to_evict);
    Disruption { budget, safe_to_evict }
}

/// An integer, or a string of an integer and a percent sign.
fn int_or_percent(node: &Node) -> Result<IntOrPercent, Problem> {
    let wrong =
        || Problem::wrong_type("a number of pods or a percentage, as in 1 or \"25%\"", node);
    match &node.value {
        Value::Integer(pods) => u32::try_from(*pods).map(IntOrPercent::Int).map_err(|_| wrong()),
        Value::String(text) => match text.strip_suffix('%').map(str::parse::<u32>) {
            Some(Ok(percent)) if percent <= 100 => Ok(IntOrPercent::Percent(percent)),
            Some(_) => {
                let title = "must be a whole percentage from 0% to 100%";
                Err(Problem::new(Code::Range, title, "not one"))
            }
            None => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}
