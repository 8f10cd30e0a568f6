//! Runs independent units on several threads and puts every answer into its own slot.

use crate::sim::Measures;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// One (case, replication).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Unit {
    /// Index into the plan's cases.
    pub case: usize,
    /// Replication, from 0.
    pub replication: u32,
}

/// What became of a unit.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, and there are few")]
pub enum Outcome {
    /// It ran to its end.
    Done(Measures),
    /// A law was broken inside it: a bug of the simulator, with the panic's message. Other units are not
    /// affected.
    Failed(String),
}

/// Told of each unit that finished, always from the thread that called the sweep, in the order of finishing, which
/// depends on the machine. An error stops the sweep as a cancellation does (the log of finished units cannot be
/// written).
pub type Finished<'a> = dyn FnMut(Unit, &Outcome) -> Result<(), String> + 'a;

/// Runs `work` for every unit on `jobs` threads, starting them in the given order, and returns the outcomes in
/// that order. `None` marks units that were not begun because `cancelled` said so or `finished` failed.
///
/// A panic inside `work` is caught and becomes that unit's [`Outcome::Failed`]. The answer does not depend
/// on `jobs`, provided `work` is a function of its argument.
///
/// # Errors
/// The message of `finished`, after the units in flight have ended; or that no threads could be started.
pub fn execute(
    units: &[Unit],
    jobs: usize,
    cancelled: &(dyn Fn() -> bool + Sync),
    finished: &mut Finished<'_>,
    work: &(dyn Fn(Unit) -> Measures + Sync),
) -> Result<Vec<Option<Outcome>>, String> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; units.len()];
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let mut trouble = None;
    let jobs = jobs.clamp(1, units.len().max(1));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(jobs)
        .build()
        .map_err(|error| format!("cannot start {jobs} threads: {error}"))?;
    // The workers take units from a cursor instead of a parallel iterator, which would split the list and start
    // units out of order; progress is reported from this thread.
    pool.in_place_scope(|scope| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move |_| {
                while !cancelled() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&unit) = units.get(index) else { return };
                    let failed = |panic: Box<dyn std::any::Any + Send>| {
                        let text = panic_text(&*panic).unwrap_or("unknown panic");
                        Outcome::Failed(text.to_owned())
                    };
                    let outcome = catch_unwind(AssertUnwindSafe(|| work(unit)))
                        .map_or_else(failed, Outcome::Done);
                    if sender.send((index, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (index, outcome) in receiver {
            if trouble.is_none()
                && let Err(message) = finished(units[index], &outcome)
            {
                trouble = Some(message);
                next.store(units.len(), Ordering::Relaxed);
            }
            outcomes[index] = Some(outcome);
        }
    });
    trouble.map_or(Ok(outcomes), Err)
}

/// The message of a panic, if it is a text.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> Option<&str> {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| panic.downcast_ref::<&str>().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::plan::{Shard, tests::plan};
    use std::sync::atomic::AtomicBool;

    fn cost(cost_usd: f64) -> Measures {
        Measures { cost_usd, ..Measures::default() }
    }

    fn number(unit: Unit) -> f64 {
        unit.case as f64 * 10.0 + f64::from(unit.replication)
    }

    #[test]
    fn outcomes_are_in_order_for_any_number_of_jobs() {
        let units = plan(9, 3).units(Shard::WHOLE, |_| 1.0);
        let run = |jobs| {
            execute(&units, jobs, &|| false, &mut |_, _| Ok(()), &|unit| cost(number(unit)))
                .unwrap()
        };
        let one = run(1);
        assert_eq!(one, run(4));
        assert_eq!(one, run(100));
        for (unit, outcome) in units.iter().zip(&one) {
            assert_eq!(*outcome, Some(Outcome::Done(cost(number(*unit)))));
        }
    }

    #[test]
    fn a_panic_is_the_failure_of_its_unit_only() {
        let units = plan(4, 1).units(Shard::WHOLE, |_| 1.0);
        let outcomes = execute(&units, 2, &|| false, &mut |_, _| Ok(()), &|unit| {
            assert!(unit.case != 2, "law L1: case {} lost a request", unit.case);
            cost(0.0)
        })
        .unwrap();
        let failed: Vec<bool> =
            outcomes.iter().map(|o| matches!(o, Some(Outcome::Failed(_)))).collect();
        assert_eq!(failed, [false, false, true, false]);
        assert_eq!(outcomes[2], Some(Outcome::Failed("law L1: case 2 lost a request".to_owned())));
    }

    #[test]
    fn cancelled_units_are_not_begun() {
        let units = plan(50, 1).units(Shard::WHOLE, |_| 1.0);
        let stop = AtomicBool::new(false);
        let outcomes =
            execute(&units, 1, &|| stop.load(Ordering::SeqCst), &mut |_, _| Ok(()), &|unit| {
                stop.store(unit.case == 4, Ordering::SeqCst);
                cost(1.0)
            })
            .unwrap();
        assert_eq!(outcomes.iter().filter(|o| o.is_some()).count(), 5);
    }

    #[test]
    fn a_failing_log_stops_the_sweep() {
        let mut lines = 0;
        let mut log = |_: Unit, _: &Outcome| {
            lines += 1;
            if lines < 3 { Ok(()) } else { Err("no space left on device".to_owned()) }
        };
        let units = plan(1000, 1).units(Shard::WHOLE, |_| 1.0);
        let answer = execute(&units, 2, &|| false, &mut log, &|_| cost(1.0));
        assert_eq!(answer, Err("no space left on device".to_owned()));
        assert_eq!(lines, 3);
    }
}
