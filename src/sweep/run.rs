//! A sweep over simulated scenarios.

use super::arrivals::ArrivalStore;
use super::execute::{Finished, Outcome, Unit, execute};
use super::plan::{Plan, Shard};
use super::result::SweepResult;
use crate::sim::{Measures, RecordLevel, run_realised, run_workload};

/// How to run a sweep. Nothing here changes a result.
pub struct Options<'a> {
    /// Units at the same time, at least 1.
    pub jobs: usize,
    /// Which part of the units to run.
    pub shard: Shard,
    /// Results of units that need not be run again (from a log of finished units).
    pub known: &'a dyn Fn(Unit) -> Option<Measures>,
    /// Whether to stop; units in flight end first.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// Runs every unit of the shard that is not known, and aggregates what is there.
///
/// # Errors
/// The message of `finished`, if it fails.
pub fn run(
    plan: &Plan,
    options: &Options<'_>,
    finished: &mut Finished<'_>,
) -> Result<SweepResult, String> {
    let mut known: Vec<(Unit, Option<Outcome>)> = Vec::new();
    let mut units: Vec<Unit> = Vec::new();
    for unit in plan.units(options.shard, |case| case.scenario.duration.as_secs_f64()) {
        match (options.known)(unit) {
            Some(measures) => known.push((unit, Some(Outcome::Done(measures)))),
            None => units.push(unit),
        }
    }
    let mut arrivals = ArrivalStore::new(plan);
    for unit in &units {
        arrivals.expect(unit.case, unit.replication);
    }
    let work = |unit: Unit| {
        let scenario = &plan.cases[unit.case].scenario;
        let seed = plan.seed.replication(u64::from(unit.replication));
        if !scenario.workload.is_realisable() {
            return run_workload(scenario, seed, RecordLevel::Measures).measures;
        }
        let arrivals = arrivals.take(unit.case, unit.replication, scenario, seed);
        run_realised(scenario, seed, &arrivals, RecordLevel::Measures).measures
    };
    let outcomes = execute(&units, options.jobs, options.cancelled, finished, &work)?;
    Ok(SweepResult::of(plan, known.into_iter().chain(units.into_iter().zip(outcomes))))
}
