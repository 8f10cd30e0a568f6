//! What a careful colleague would say about a result before it is applied.

use super::plan::{Case, Plan};
use super::result::SweepResult;
use crate::hpa::HpaSpec;
use crate::sim::{HpaSetup, Signal, realise};
use crate::stats::paired_difference;
use crate::units::{PS_PER_S, SimDuration, SimTime};

/// Direction changes per day of simulated time from which a case is said to flap.
// ASSUMPTION(A60): once every six hours; no source gives a limit.
const FLAPS_PER_DAY: f64 = 4.0;

/// One remark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// What kind of remark, for machines: lower case with hyphens; never changes its meaning.
    pub code: &'static str,
    /// The case it is about; `None` for the sweep as a whole.
    pub case: Option<usize>,
    /// The remark, one sentence without a full stop.
    pub text: String,
}

/// All remarks: first about the sweep, then about the recommended case.
pub fn warnings(plan: &Plan, result: &SweepResult) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut sweep = |code, text: Option<String>| {
        found.extend(text.map(|text| Warning { code, case: None, text }));
    };
    sweep("failed-units", failed_units(plan, result));
    sweep("single-replication", single_replication(plan));
    sweep("unreachable-target", unreachable_targets(plan));
    for text in idle_metrics(plan, result) {
        sweep("idle-metric", Some(text));
    }
    if let Some(index) = result.recommended {
        let mut case = |code, text: Option<String>| {
            found.extend(text.map(|text| Warning { code, case: Some(index), text }));
        };
        case("target-within-tolerance", target_within_tolerance(plan, index));
        case("edge-of-grid", edge_of_grid(plan, result, index));
        case("short-scale-down-window", short_scale_down_window(plan, result, index));
        case("limited-by-max-replicas", limited_by_max(plan, result, index));
        case("flapping", flapping(plan, result, index));
        case("within-noise", within_noise(plan, result, index));
        case("unserved-at-end", unserved(result, index));
        case("held-at-clients", held_at_clients(plan, result, index));
    }
    found
}

fn failed_units(plan: &Plan, result: &SweepResult) -> Option<String> {
    let mut failures = result.cases.iter().zip(&plan.cases).flat_map(|(outcome, case)| {
        outcome.failures().map(move |(replication, message)| (&case.id, replication, message))
    });
    let (id, replication, message) = failures.next()?;
    let others = failures.count();
    let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
    Some(format!(
        "replication {replication} of {id} failed{more}, a bug of this program: {message}"
    ))
}

fn single_replication(plan: &Plan) -> Option<String> {
    (plan.replications == 1).then(|| {
        "one replication gives no confidence interval: set `sweep.replications` to 5 or more"
            .to_owned()
    })
}

/// Cases whose gauge cannot rise far enough above its target for the HPA to add a replica.
fn unreachable_targets(plan: &Plan) -> Option<String> {
    let stuck: Vec<(&Case, String)> =
        plan.cases.iter().filter_map(|case| Some((case, bounded_below_target(case)?))).collect();
    let (first, why) = stuck.first()?;
    let others = stuck.len() - 1;
    let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
    Some(format!("{}{more} can never scale up: {why}", first.id))
}

/// Why no metric of the case can exceed its target by more than the tolerance.
fn bounded_below_target(case: &Case) -> Option<String> {
    let setup = case.scenario.autoscaler.hpa()?;
    let mut why = None;
    for (target, feed) in average_targets(&setup.spec).iter().zip(&setup.feeds) {
        let max_num_seqs = f64::from(case.scenario.engine.scheduler.max_num_seqs);
        // A comparison gives 0 or 1, a window function over the rate of something else has no bound here.
        if feed.above.is_some() {
            return None;
        }
        let gpus = f64::from(case.scenario.cluster.gpus_per_replica);
        let gpu = &case.scenario.devices.gpu;
        let (bound, reason) = match feed.signal {
            Signal::NumRequestsRunning => (max_num_seqs, format!("max_num_seqs {max_num_seqs}")),
            Signal::KvCacheUsagePerc => (1.0, "1 (a full cache)".to_owned()),
            Signal::GpuUtil | Signal::DutyCycle => {
                let most = 100.0 * gpu.util_max * gpus;
                (most, format!("{most:.0} (a GPU that never idles)"))
            }
            Signal::FbUsed => {
                let most = gpu.fb_serving_mib * gpus;
                (most, format!("{most:.0} MiB (constant once a server listens)"))
            }
            _ => return None,
        };
        let bound = bound * feed.factor;
        let target = (*target)?;
        if bound > target * (1.0 + setup.controller.tolerance) {
            return None;
        }
        why = Some(format!(
            "`{}` is at most {reason}, not above the target {target} by more than the tolerance",
            feed.signal.name()
        ));
    }
    why
}

/// Metrics under which no case ever scaled up, although several targets were tried.
fn idle_metrics(plan: &Plan, result: &SweepResult) -> Vec<String> {
    let single =
        |case: &Case| match case.scenario.autoscaler.hpa().map(|setup| setup.feeds.as_slice()) {
            Some([feed]) => Some(feed.signal),
            _ => None,
        };
    Signal::all()
        .filter_map(|signal| {
            let cases: Vec<usize> = (0..plan.cases.len())
                .filter(|&index| single(&plan.cases[index]) == Some(signal))
                .collect();
            let idle = |&index: &usize| result.cases[index].measure("scale_ups").mean == 0.0;
            (cases.len() > 1 && cases.iter().all(idle)).then(|| {
                let hint = match signal {
                    Signal::NumRequestsWaiting => {
                        ": the queue stays empty until `max_num_seqs` requests run"
                    }
                    _ => "",
                };
                format!("no target of `{}` ever scaled up{hint}", signal.name())
            })
        })
        .collect()
}

/// A neighbour that differs in the target only, and by less than the HPA can tell.
fn target_within_tolerance(plan: &Plan, index: usize) -> Option<String> {
    let case = &plan.cases[index];
    let setup = case.scenario.autoscaler.hpa()?;
    let target = lone_target(setup)?;
    let (other, near) = neighbours(plan, index).find(|(_, other)| {
        *other != target && (other / target - 1.0).abs() <= setup.controller.tolerance
    })?;
    Some(format!(
        "targets {target} and {near} ({}) differ by less than the HPA's tolerance of {}",
        plan.cases[other].id, setup.controller.tolerance
    ))
}

/// The best target is the first or last of its list, so a better one may lie outside.
fn edge_of_grid(plan: &Plan, result: &SweepResult, index: usize) -> Option<String> {
    if result.cases[index].measure("scale_ups").mean == 0.0 {
        return None; // it never left its lowest number of replicas: nothing can be cheaper
    }
    let target = lone_target(plan.cases[index].scenario.autoscaler.hpa()?)?;
    let others: Vec<f64> = neighbours(plan, index).map(|(_, other)| other).collect();
    if others.len() < 2 {
        return None;
    }
    // A higher target means fewer replicas: only the upper edge can hide a cheaper case.
    others.iter().all(|other| *other < target).then(|| {
        format!("target {target} is the highest that was tried: a higher one may be cheaper")
    })
}

/// Cases that differ from `index` in nothing but the target of the one metric, with their targets.
fn neighbours(plan: &Plan, index: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
    let alike = move |other: usize| {
        let (a, b) = (&plan.cases[index], &plan.cases[other]);
        let (Some(x), Some(y)) = (a.scenario.autoscaler.hpa(), b.scenario.autoscaler.hpa()) else {
            return None;
        };
        let same_metric = x.feeds == y.feeds && x.feeds.len() == 1;
        let mut without_target = y.spec.clone();
        let target = without_target.metrics.first_mut()?.target_mut()?;
        let own = &x.spec.metrics.first()?.target()?.average_value;
        target.average_value.clone_from(own);
        let differing = a.knobs.iter().filter(|(key, value)| b.knob(key) != value).count();
        (same_metric && without_target == x.spec && differing == 1)
            .then(|| lone_target(y))
            .flatten()
    };
    (0..plan.cases.len())
        .filter(move |&other| other != index)
        .filter_map(move |other| Some((other, alike(other)?)))
}

/// Replicas that are released sooner than a new one could come back.
fn short_scale_down_window(plan: &Plan, result: &SweepResult, index: usize) -> Option<String> {
    let case = &plan.cases[index];
    let setup = case.scenario.autoscaler.hpa()?;
    if result.cases[index].measure("scale_downs").mean == 0.0 {
        return None;
    }
    let window = scale_down_window(setup);
    let start = case.scenario.cluster.typical_cold_start();
    (window < start).then(|| {
        format!(
            "the scale-down window of {} is shorter than a cold start without a free node (about {})",
            whole_seconds(window),
            whole_seconds(start)
        )
    })
}

fn scale_down_window(setup: &HpaSetup) -> SimDuration {
    setup
        .spec
        .behavior
        .as_ref()
        .and_then(|behavior| behavior.scale_down.as_ref())
        .and_then(|rules| rules.stabilization_window_seconds)
        .map_or(setup.controller.downscale_stabilization, |seconds| {
            SimDuration::from_secs(u64::try_from(seconds).unwrap_or(0))
        })
}

fn limited_by_max(plan: &Plan, result: &SweepResult, index: usize) -> Option<String> {
    let max = f64::from(plan.cases[index].scenario.autoscaler.hpa()?.spec.max_replicas);
    let hits = result.cases[index].done().filter(|(_, run)| run.replicas_max >= max).count();
    (hits > 0).then(|| {
        format!(
            "{hits} of {} replications reached max_replicas {max}: the load may need more",
            plan.replications
        )
    })
}

fn flapping(plan: &Plan, result: &SweepResult, index: usize) -> Option<String> {
    let scenario = &plan.cases[index].scenario;
    let days = scenario.duration.saturating_sub(scenario.warmup).as_secs_f64() / 86_400.0;
    let flaps = result.cases[index].measure("flaps").mean;
    (flaps > FLAPS_PER_DAY * days.max(0.25)).then(|| {
        format!("it changes direction within 30 minutes {flaps:.1} times per run on average")
    })
}

/// Whether the next case by cost that also holds is told apart from the recommended one.
fn within_noise(plan: &Plan, result: &SweepResult, index: usize) -> Option<String> {
    let holds = |other: &usize| {
        let case = &result.cases[*other];
        *other != index
            && case.is_complete()
            && case.measure("slo_attainment").low_or_mean() >= plan.objective.attainment
    };
    let mean_cost = |other: usize| result.cases[other].measure("cost_usd").mean;
    let next = (0..plan.cases.len())
        .filter(holds)
        .min_by(|&a, &b| mean_cost(a).total_cmp(&mean_cost(b)))?;
    let costs = |case: usize| -> Vec<f64> {
        result.cases[case].done().map(|(_, run)| run.cost_usd).collect()
    };
    let difference = paired_difference(&costs(next), &costs(index), plan.confidence);
    // A cost that is equal in every replication is the same behaviour, not noise.
    let told_apart =
        difference.excludes_zero() || (difference.low == 0.0 && difference.high == 0.0);
    (!told_apart && !difference.low.is_nan()).then(|| {
        format!(
            "its cost is not told apart from that of {}: {:.2} USD less (from {:.2} to {:.2})",
            plan.cases[next].id, difference.mean, difference.low, difference.high
        )
    })
}

fn unserved(result: &SweepResult, index: usize) -> Option<String> {
    let left = result.cases[index].measure("unserved_at_end").mean;
    let total = result.cases[index].measure("requests_total").mean;
    // ASSUMPTION(A61): more than 1 % of all requests left at the end means a queue that still grows.
    (left > 0.01 * total).then(|| {
        format!(
            "{left:.0} requests were still unserved at the end: the run may be too short to judge"
        )
    })
}

/// Requests of an open loop with a cap on connections that were never sent, in the first replication: no figure
/// counts them, so a slow case looks better than it is.
fn held_at_clients(plan: &Plan, result: &SweepResult, index: usize) -> Option<String> {
    let scenario = &plan.cases[index].scenario;
    let workload = &scenario.workload;
    if workload.is_realisable() || workload.is_closed_loop() || workload.has_test_run() {
        return None;
    }
    let (replication, run) = result.cases[index].done().next()?;
    let start = SimTime::ZERO + scenario.warmup;
    let arrivals = realise(scenario, plan.seed.replication(u64::from(replication)));
    let due = arrivals.iter().filter(|request| request.arrival >= start).count() as f64;
    let unsent = due - run.requests_total;
    // ASSUMPTION(A61): as for what is left at the end, 1 %.
    (unsent > 0.01 * due).then(|| {
        format!(
            "{unsent:.0} of {due:.0} requests never left their client, where all connections were taken: no figure counts them"
        )
    })
}

/// The `averageValue` of each metric; `None` where it has none.
fn average_targets(spec: &HpaSpec) -> Vec<Option<f64>> {
    spec.metrics
        .iter()
        .map(|metric| {
            let value = metric.target()?.average_value.as_ref()?;
            Some(value.milli_value() as f64 / 1000.0)
        })
        .collect()
}

/// The target of the only metric.
fn lone_target(setup: &HpaSetup) -> Option<f64> {
    match average_targets(&setup.spec).as_slice() {
        [target] => *target,
        _ => None,
    }
}

fn whole_seconds(span: SimDuration) -> String {
    format!("{} s", (span.as_ps() + PS_PER_S / 2) / PS_PER_S)
}
