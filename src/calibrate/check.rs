//! Measured against simulated: one row, and medians over many.

use super::benchmark::{Figure, Measured, Row};
use super::drive;
use super::plan::{Gaps, Load, Plan, Reason, Server, plan};
use crate::engine::EngineConfig;
use crate::rng::Seed;
use crate::units::SimDuration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Realisations of lengths and arrivals per row, of which the mean is compared.
const REPLICATIONS: u64 = 20;

/// A row is saturated where this share of what the server can hold at once is in flight.
// ASSUMPTION(A210): from 90 % on, waiting times depend on chance more than on the server.
const SATURATED: f64 = 0.9;
/// An open loop is saturated where less than this share of the offered rate is served.
const SERVED: f64 = 0.95;

/// A row's server as it is simulated.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The engine.
    pub engine: EngineConfig,
    /// Work of the API server per request.
    pub api_work: SimDuration,
}

/// Looks up what a row's server is, or says why there is none.
pub type Lookup<'a> = dyn Fn(&Server) -> Result<Machine, Reason> + Sync + 'a;

/// The three quantities that medians are taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Time per output token, or the gap between tokens where that is what a row states.
    Tpot,
    /// Requests or output tokens per second, where the server decides them: not of an open loop below saturation.
    Throughput,
    /// Time to first token, of rows below saturation.
    Ttft,
    /// Time to first token, of all rows.
    TtftAll,
}

impl Kind {
    /// All kinds in the order of the table.
    pub const ALL: [Self; 4] = [Self::Tpot, Self::Throughput, Self::Ttft, Self::TtftAll];

    /// Name on the command line and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tpot => "tpot",
            Self::Throughput => "throughput",
            Self::Ttft => "ttft",
            Self::TtftAll => "ttft_all",
        }
    }

    /// The figures that stand for this kind; the first one that a row states counts.
    pub const fn figures(self) -> &'static [Figure] {
        match self {
            Self::Tpot => &[Figure::TpotMean, Figure::TpotP50, Figure::ItlMean, Figure::ItlP50],
            Self::Throughput => &[Figure::ReqPerS, Figure::OutTokPerS],
            Self::Ttft | Self::TtftAll => &[Figure::TtftMean, Figure::TtftP50],
        }
    }
}

/// A row that was simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// How it was simulated.
    pub plan: Plan,
    /// The simulated figures; means over the realisations.
    pub simulated: Measured,
    /// Whether the server could not serve what was asked of it at once.
    pub saturated: bool,
}

/// What became of a row.
pub type Outcome = Result<Checked, Reason>;

impl Checked {
    /// (simulated - measured) / measured.
    pub fn error(&self, row: &Row, figure: Figure) -> Option<f64> {
        let (measured, simulated) = (row.measured(figure)?, self.simulated[figure as usize]?);
        Some(simulated / measured - 1.0)
    }

    /// The figure and the error that count for `kind`; `None` if the row says nothing about it.
    pub fn counted(&self, row: &Row, kind: Kind) -> Option<(Figure, f64)> {
        let first_token = matches!(kind, Kind::Ttft | Kind::TtftAll);
        if first_token && self.plan.remote_client || kind == Kind::Ttft && self.saturated {
            return None;
        }
        // What keeps up with an open loop has the throughput that was offered, whatever a step takes.
        let offered = matches!(self.plan.load, Load::Open { .. }) && !self.saturated;
        if kind == Kind::Throughput && offered {
            return None;
        }
        kind.figures().iter().find_map(|&figure| Some((figure, self.error(row, figure)?)))
    }
}

/// Simulates `row` on the engine that `lookup` finds for it. The result depends on `seed` and the row only.
///
/// # Errors
/// Why it cannot be modelled.
pub fn check(row: &Row, lookup: &Lookup<'_>, seed: Seed) -> Outcome {
    let plan = plan(row)?;
    let Machine { engine: mut config, api_work } = lookup(&plan.server)?;
    config.ingest = drive::waiting(config.ingest, api_work);
    let config = Arc::new(config);
    let random = plan.prompt.0 != super::lengths::Shape::Fixed
        || plan.output.0 != super::lengths::Shape::Fixed
        || !matches!(
            plan.load,
            Load::AllAtOnce | Load::ClosedLoop { .. } | Load::Open { gaps: Gaps::Constant, .. }
        );
    let replications = if random { REPLICATIONS } else { 1 };
    let mut sum: Measured = [None; Figure::ALL.len()];
    let (mut in_flight, mut refused) = (0.0, 0);
    for index in 0..replications {
        let run = drive::run(&plan, &config, api_work, seed.replication(index))
            .map_err(|e| Reason::DoesNotFit(e.to_string()))?;
        for (total, value) in sum.iter_mut().zip(run.figures) {
            if let Some(value) = value {
                *total = Some(total.unwrap_or(0.0) + value / replications as f64);
            }
        }
        in_flight += run.in_flight / replications as f64;
        refused += run.refused;
    }
    if refused > 0 {
        let max_model_len = config.scheduler.max_model_len;
        return Err(Reason::DoesNotFit(format!("requests longer than {max_model_len} tokens")));
    }
    let saturated = saturated(row, &plan, &config, in_flight);
    Ok(Checked { plan, simulated: sum, saturated })
}

/// Whether the load filled the server: everything at once, more in flight than 90 % of what fits, or an offered
/// rate that was not served. What was measured decides if the row states enough, else what was simulated.
fn saturated(row: &Row, plan: &Plan, config: &EngineConfig, simulated_in_flight: f64) -> bool {
    let scheduler = &config.scheduler;
    let context = plan.prompt.1 + plan.output.1 / 2.0;
    let kv = f64::from(scheduler.num_gpu_blocks) * f64::from(scheduler.block_size) / context;
    let limit = SATURATED * kv.min(f64::from(scheduler.max_num_seqs));
    let rate = row.measured(Figure::ReqPerS);
    match plan.load {
        Load::AllAtOnce => true,
        Load::ClosedLoop { users } => f64::from(users) > limit,
        Load::Open { rate: offered, .. } => {
            let e2e = row.measured(Figure::E2eMean).or_else(|| {
                let first = row.measured(Figure::TtftMean)?;
                Some(first + row.measured(Figure::TpotMean)? * (plan.output.1 - 1.0))
            });
            let in_flight = match (rate, e2e) {
                (Some(rate), Some(e2e)) => rate * e2e / 1e3,
                _ => simulated_in_flight,
            };
            // The drain after the last arrival is part of the measured duration.
            let span = f64::from(plan.requests) / offered;
            let drain = e2e.map_or(0.0, |ms| ms / 1e3);
            let unserved = rate.is_some_and(|r| r * (1.0 + drain / span) < SERVED * offered);
            in_flight > limit || unserved
        }
    }
}

/// A GPU's family: `A100` of `A100-80`.
pub fn family(gpu: &str) -> &str {
    gpu.split('-').next().unwrap_or(gpu)
}

/// Medians of absolute errors: for each name one per kind, with the number of rows.
pub type Medians = BTreeMap<String, [Option<(f64, usize)>; Kind::ALL.len()]>;

/// Medians of all rows by `name`.
pub fn medians<'a>(
    rows: impl Iterator<Item = (&'a Row, &'a Outcome)>,
    name: impl Fn(&Row) -> String,
) -> Medians {
    let mut errors: BTreeMap<String, [Vec<f64>; Kind::ALL.len()]> = BTreeMap::new();
    for (row, outcome) in rows {
        let Ok(checked) = outcome else { continue };
        let of_gpu = errors.entry(name(row)).or_default();
        for (list, kind) in of_gpu.iter_mut().zip(Kind::ALL) {
            list.extend(checked.counted(row, kind).map(|(_, error)| error.abs()));
        }
    }
    errors
        .into_iter()
        .map(|(name, lists)| {
            let medians = lists.map(|mut list| {
                list.sort_unstable_by(f64::total_cmp);
                drive::quantile(&list, 0.5).map(|median| (median, list.len()))
            });
            (name, medians)
        })
        .collect()
}

/// Rows left out, counted by kind of reason.
pub fn left_out<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for reason in outcomes.filter_map(|outcome| outcome.as_ref().err()) {
        *counts.entry(reason.kind()).or_insert(0) += 1;
    }
    counts
}
