//! Which case is best, and by how much.

use super::case_result::CaseResult;
use super::plan::Objective;
use crate::stats::{Interval, paired_difference};
use std::cmp::Ordering;

/// What changing from one case to another saves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Savings {
    /// Cost of the present case minus cost of the other, replication by replication \[USD\].
    pub cost_usd: Interval,
    /// The same as a share of the present case's mean cost; NaN if that is zero.
    pub share: f64,
}

/// Cases that no other complete case beats: none is at most as expensive with at least the same SLO
/// attainment, and better in one of the two. By ascending cost, then descending attainment, then index.
pub fn pareto_front(cases: &[CaseResult]) -> Vec<usize> {
    let mut order = candidates(cases);
    order.sort_by(|&a, &b| by_cost(cases, a, b));
    let mut front: Vec<usize> = Vec::new();
    for index in order {
        // Sorted by cost: a case is on the front if it attains more than all cheaper ones.
        let better =
            front.last().is_none_or(|&last| attainment(cases, index) > attainment(cases, last));
        if better {
            front.push(index);
        }
    }
    front
}

/// The cheapest complete case whose SLO attainment holds at the lower confidence bound; a single
/// replication has no bound, then its value decides.
pub fn recommend(cases: &[CaseResult], objective: &Objective) -> Option<usize> {
    candidates(cases)
        .into_iter()
        .filter(|&index| {
            cases[index].measure("slo_attainment").low_or_mean() >= objective.attainment
        })
        .min_by(|&a, &b| by_cost(cases, a, b))
}

/// What `to` saves against `from`; `None` if they have no replications in common.
pub fn savings(from: &CaseResult, to: &CaseResult, confidence: f64) -> Option<Savings> {
    let pairs: Vec<(f64, f64)> = from
        .done()
        .filter_map(|(replication, before)| {
            let (_, after) = to.done().find(|(other, _)| *other == replication)?;
            Some((before.cost_usd, after.cost_usd))
        })
        .collect();
    let (before, after): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    if before.is_empty() {
        return None;
    }
    let cost_usd = paired_difference(&before, &after, confidence);
    let base = crate::stats::mean(before);
    Some(Savings { cost_usd, share: if base > 0.0 { cost_usd.mean / base } else { f64::NAN } })
}

/// Cases that may be compared: all replications ran, and both figures are defined.
fn candidates(cases: &[CaseResult]) -> Vec<usize> {
    let comparable = |case: &CaseResult| {
        case.is_complete()
            && !case.measure("cost_usd").mean.is_nan()
            && !case.measure("slo_attainment").mean.is_nan()
    };
    (0..cases.len()).filter(|&index| comparable(&cases[index])).collect()
}

fn attainment(cases: &[CaseResult], index: usize) -> f64 {
    cases[index].measure("slo_attainment").mean
}

/// Ascending cost, then GPU time (prices may be zero), then descending attainment, then index.
fn by_cost(cases: &[CaseResult], a: usize, b: usize) -> Ordering {
    let mean = |index: usize, column: &str| cases[index].measure(column).mean;
    mean(a, "cost_usd")
        .total_cmp(&mean(b, "cost_usd"))
        .then(mean(a, "gpu_hours").total_cmp(&mean(b, "gpu_hours")))
        .then(attainment(cases, b).total_cmp(&attainment(cases, a)))
        .then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use crate::sim::Measures;
    use crate::sweep::execute::{Outcome, Unit};
    use crate::sweep::plan::{Plan, tests::plan};
    use crate::sweep::result::SweepResult;

    /// Aggregates `runs[case][replication]` = (cost, attainment).
    fn result(plan: &Plan<usize>, runs: &[&[(f64, f64)]]) -> SweepResult {
        let outcomes = runs.iter().enumerate().flat_map(|(case, runs)| {
            runs.iter().zip(0..).map(move |(&(cost_usd, slo_attainment), replication)| {
                let measures = Measures { slo_attainment, cost_usd, ..Measures::default() };
                (Unit { case, replication }, Some(Outcome::Done(measures)))
            })
        });
        SweepResult::of(plan, outcomes)
    }

    #[test]
    fn front_keeps_only_unbeaten_cases() {
        let plan = plan(6, 1);
        let result = result(
            &plan,
            &[
                &[(5.0, 0.9)],
                &[(3.0, 0.8)],
                &[(4.0, 0.8)],
                &[(9.0, 1.0)],
                &[(5.0, 0.95)],
                &[(9.0, 1.0)],
            ],
        );
        // Case 2 costs more than case 1 for the same; 0 is beaten by 4 at the same cost; 5 repeats 3.
        assert_eq!(result.pareto, [1, 4, 3]);
    }

    #[test]
    fn recommendation_holds_at_the_lower_bound() {
        let plan = plan(3, 3);
        let result = result(
            &plan,
            &[
                // Mean 0.9933 meets 0.99, but its lower bound does not.
                &[(1.0, 1.0), (1.0, 0.98), (1.0, 1.0)],
                &[(2.0, 0.995), (2.0, 0.996), (2.0, 0.995)],
                &[(3.0, 1.0), (3.0, 1.0), (3.0, 1.0)],
            ],
        );
        assert_eq!(result.recommended, Some(1));
    }

    #[test]
    fn nothing_is_recommended_when_nothing_holds() {
        let plan = plan(2, 1);
        assert_eq!(result(&plan, &[&[(1.0, 0.5)], &[(2.0, 0.98)]]).recommended, None);
    }

    #[test]
    fn a_failed_replication_rules_a_case_out() {
        let plan = plan(2, 2);
        let done = |case, replication, cost_usd| {
            let measures = Measures { cost_usd, slo_attainment: 1.0, ..Measures::default() };
            (Unit { case, replication }, Some(Outcome::Done(measures)))
        };
        let failed = (Unit { case: 0, replication: 1 }, Some(Outcome::Failed("law L2".into())));
        let result =
            SweepResult::of(&plan, [done(0, 0, 1.0), failed, done(1, 0, 2.0), done(1, 1, 2.0)]);
        assert_eq!((result.recommended, result.pareto.as_slice()), (Some(1), &[1][..]));
        assert_eq!(result.cases[0].failures().collect::<Vec<_>>(), [(1, "law L2")]);
        assert!(!result.cases[0].is_complete() && result.cases[1].is_complete());
    }

    #[test]
    fn savings_are_paired() {
        let mut plan = plan(2, 2);
        plan.current = Some(0);
        let result = result(&plan, &[&[(10.0, 1.0), (20.0, 1.0)], &[(8.0, 1.0), (18.0, 1.0)]]);
        let savings = result.savings.unwrap();
        assert_eq!((savings.cost_usd.mean, savings.cost_usd.low), (2.0, 2.0));
        assert!((savings.share - 2.0 / 15.0).abs() < 1e-12);
    }
}
