//! Many cases, several replications of each, in parallel; then what they say together.
//!
//! A *unit* is one (case, replication). Units are independent and single-threaded, every unit fills its own
//! slot of the result, and all sums run in plan order, so the result is the same for any number of jobs.
//! Replication `r` of every case has the same seed: all cases meet the same arrivals and the same start-up
//! delays (common random numbers), and differences between cases are taken pair by pair.
//!
//! Nothing here reads a clock or a file. Progress, cancellation and the log of finished units belong to the
//! caller, who gives [`Options`] and [`Finished`].

mod arrivals;
mod case_result;
mod execute;
mod objective;
mod plan;
mod result;
mod run;
mod warnings;

pub use case_result::CaseResult;
pub use execute::{Finished, Outcome, Unit, execute, panic_text};
pub use objective::{Savings, pareto_front, recommend, savings};
pub use plan::{Case, Objective, Plan, Shard};
pub use result::SweepResult;
pub use run::{Options, run};
pub use warnings::{Warning, warnings};
