//! Fits the coefficients of the step model to measured times.
//!
//! Non-negative least squares on relative errors, repeated with the work of the last solution until it stands. A
//! coefficient that the data do not determine keeps the value it came with: its standard error, from the data's own
//! scatter, is too large a part of it. They are given up one at a time, the worst first, because giving up
//! one often determines the others.

use super::nnls::System;
use super::work::{NAMES, Theta, UNKNOWNS, Unknowns, Work};
use crate::engine::StepModelError;

/// One measured time and what it is made of.
#[derive(Clone, PartialEq, Debug)]
pub struct Point {
    /// File and figure, for people.
    pub name: String,
    /// What was measured \[ms\]; above 0.
    pub measured_ms: f64,
    /// What it is made of, at the coefficients it was asked for.
    pub work: Work,
    /// Weight of its relative error; 1 unless chance is known to add to it.
    pub weight: f64,
    /// How far the work itself may be off as a description, as a share, the same way for all points of one kind; 0
    /// where it is replayed step by step.
    pub described: f64,
}

/// How a coefficient came out.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// From the data, with its standard error as a share of the value.
    Fitted {
        /// Standard error / value: from the scatter of the data, the doubt about those that were kept, and that about
        /// the description of the points.
        error: f64,
    },
    /// The data say nothing of it: it keeps its value.
    Unseen,
    /// The data cannot tell it from another: it keeps its value.
    Inseparable {
        /// The coefficient with which it goes together most.
        from: &'static str,
    },
    /// Not asked for: it keeps its value.
    Kept,
}

impl Outcome {
    /// Whether the value is from the data.
    pub fn is_fitted(&self) -> bool {
        matches!(self, Self::Fitted { .. })
    }
}

/// A data point after the fit.
#[derive(Clone, PartialEq, Debug)]
pub struct Residual {
    /// The point's name.
    pub name: String,
    /// What was measured \[ms\].
    pub measured_ms: f64,
    /// The same by the fit \[ms\].
    pub fitted_ms: f64,
    /// The same by a fit without this point \[ms\]; `None` if the others do not determine it.
    pub left_out_ms: Option<f64>,
    /// How far it is off a fit without it, in units of the scatter that the other points have (no less than 1 %) and of
    /// what that makes uncertain here; `None` if fewer than four points more than unknowns show it.
    pub scatters: Option<f64>,
}

impl Residual {
    /// Relative error of the fit.
    pub fn error(&self) -> f64 {
        self.fitted_ms / self.measured_ms - 1.0
    }

    /// Whether the other points speak against this one.
    pub fn is_outlier(&self) -> bool {
        self.scatters.is_some_and(|scatters| scatters.abs() > OUTLIER)
    }

    /// Relative error of the fit without this point.
    pub fn left_out_error(&self) -> Option<f64> {
        self.left_out_ms.map(|ms| ms / self.measured_ms - 1.0)
    }
}

/// A fit.
#[derive(Clone, PartialEq, Debug)]
pub struct Fit {
    /// The coefficients.
    pub theta: Theta,
    /// How each came out, in the order of [`NAMES`].
    pub outcomes: [Outcome; UNKNOWNS],
    /// Every data point.
    pub residuals: Vec<Residual>,
    /// Rounds until it stood.
    pub rounds: u32,
}

impl Fit {
    /// Median and largest of the absolute values.
    pub fn spread(errors: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
        let mut errors: Vec<f64> = errors.map(f64::abs).collect();
        errors.sort_by(f64::total_cmp);
        Some((median(&errors)?, *errors.last()?))
    }
}

/// Of sorted values.
pub(super) fn median(sorted: &[f64]) -> Option<f64> {
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some(f64::midpoint(sorted[low], sorted[high]))
}

/// Why nothing could be fitted.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum FitError {
    /// There are no data points.
    #[error("there is no data point to fit (open-loop benchmarks only check)")]
    Empty,
    /// No coefficient is determined.
    #[error("the data determine no coefficient; are the constants those of this GPU and model?")]
    Nothing,
    /// The data lead to coefficients that no engine has.
    #[error("the data lead to impossible coefficients ({0}); are the times in the right unit?")]
    Impossible(#[from] StepModelError),
    /// It does not settle.
    #[error("the fit does not settle after {ROUNDS} rounds")]
    Unsettled,
}

// ASSUMPTION(A220): measured times are good to 0.5 % (batches of one kind on one server spread by 0.6 % from the
// 10th to the 90th percentile): a smaller scatter of few points is luck, and makes no coefficient certain.
const NOISE: f64 = 0.005;
// ASSUMPTION(A221): a coefficient counts as fitted if its standard error is below 30 % of it.
const CERTAIN: f64 = 0.3;
// ASSUMPTION(A342): a coefficient that follows from the constants of GPU and model is good to 25 %; the standard errors
// of the others contain what that does to them.
const KEPT: f64 = 0.25;
// ASSUMPTION(A378): the front-end time that a fit keeps is good to 10 ms, by which the time to first token of one user
// on an idle server differs between hosts (docs/accuracy.md).
const KEPT_INGEST_MS: f64 = 10.0;
// ASSUMPTION(A377): few points do not tell their own scatter. Until they do it is no less than 1 %, about what the step
// model misses of measured steps where many determine it (docs/accuracy.md: medians of 0.3 to 1.8 %), as if from four
// more points.
const EXPECTED: (f64, f64) = (0.01, 4.0);
/// Below this share of every measured time a coefficient counts as unseen.
const UNSEEN: f64 = 0.005;
/// Weight of the start values in the rounds that find out what the data determine: with it the others stay
/// near their values instead of taking over each other's part. The last fit is without it.
const PRIOR: f64 = 0.01;
/// Rounds of pure refitting before a coefficient is given up: the first works are those of the start.
const WARM: u32 = 3;
const ROUNDS: u32 = 60;
/// Relative change of the coefficients at which the fit stands.
const STANDS: f64 = 1e-5;
/// Place of the front-end time.
const INGEST: usize = UNKNOWNS - 1;
/// Places of the coefficients that are zero on no hardware: all but those of a sequence and the front end.
const NEVER_ZERO: [usize; 4] = [0, 1, 3, 4];
/// A point that is so many times the scatter of the others off is not of their kind: with seven points more than
/// unknowns chance does that to one point of a thousand.
const OUTLIER: f64 = 6.0;
/// A leverage from which on the other points do not determine this one.
const ALONE: f64 = 0.99;

/// Fits. `points` answers with the data at given coefficients, the same points each time; `start` holds the values
/// from the constants of GPU and model, `wanted` says which may change.
///
/// # Errors
/// If there is no data, if it determines nothing, or if the rounds do not settle.
pub fn fit(
    start: &Theta,
    wanted: [bool; UNKNOWNS],
    mut points: impl FnMut(&Theta) -> Result<Vec<Point>, StepModelError>,
) -> Result<Fit, FitError> {
    let mut outcomes: [Outcome; UNKNOWNS] =
        wanted.map(|wanted| if wanted { Outcome::Fitted { error: 0.0 } } else { Outcome::Kept });
    let derived = start.unknowns();
    let mut x = derived;
    for round in 1..=ROUNDS {
        let theta = start.with(&x);
        let data = points(&theta)?;
        if data.is_empty() {
            return Err(FitError::Empty);
        }
        let free = |outcomes: &[Outcome; UNKNOWNS]| -> Vec<usize> {
            (0..UNKNOWNS).filter(|&i| outcomes[i].is_fitted()).collect()
        };
        let mut set = free(&outcomes);
        let mut solved = solve(&data, &derived, &set, PRIOR);
        if round > WARM {
            while let Some((worst, outcome)) = uncertain(&data, &derived, &solved, &set) {
                outcomes[worst] = outcome;
                set = free(&outcomes);
                if set.is_empty() {
                    return Err(FitError::Nothing);
                }
                solved = solve(&data, &derived, &set, PRIOR);
            }
            solved = solve(&data, &derived, &set, 0.0);
        }
        let change = (0..UNKNOWNS)
            .map(|i| (solved[i] - x[i]).abs() / derived[i].max(x[i]).max(f64::MIN_POSITIVE))
            .fold(0.0, f64::max);
        // Schedules are discrete: where a replayed run flips between two, half steps settle it.
        let step = if round <= ROUNDS / 2 { 1.0 } else { 0.5 };
        for i in 0..UNKNOWNS {
            x[i] += step * (solved[i] - x[i]);
        }
        let settled = if round > ROUNDS / 2 { 100.0 * STANDS } else { STANDS };
        if round > WARM && change < settled {
            return Ok(finish(start, outcomes, &data, &x, round));
        }
    }
    Err(FitError::Unsettled)
}

/// Rows divided by the measured value; unknowns in units of their derived value.
fn system(data: &[Point], x: &Unknowns, derived: &Unknowns, set: &[usize]) -> System {
    let mut system = System::default();
    for point in data {
        let fixed: f64 =
            (0..UNKNOWNS).filter(|i| !set.contains(i)).map(|i| point.work.by[i] * x[i]).sum();
        let y = point.measured_ms;
        let scale = point.weight / y;
        system.rhs.push((y - point.work.rest_ms - fixed) * scale);
        let column = |&i: &usize| point.work.by[i] * unit(derived[i]) * scale;
        system.rows.push(set.iter().map(column).collect());
    }
    system
}

/// The unit in which an unknown is solved for: its derived value, or 1 where that is 0.
fn unit(derived: f64) -> f64 {
    if derived > 0.0 { derived } else { 1.0 }
}

fn solve(data: &[Point], derived: &Unknowns, set: &[usize], prior: f64) -> Unknowns {
    let mut x = *derived;
    let mut system = system(data, derived, derived, set);
    if prior > 0.0 {
        for (k, &i) in set.iter().enumerate() {
            let mut row = vec![0.0; set.len()];
            row[k] = prior;
            system.rows.push(row);
            system.rhs.push(prior * derived[i] / unit(derived[i]));
        }
    }
    let solved = system.solve();
    for (&i, value) in set.iter().zip(solved) {
        x[i] = value * unit(derived[i]);
    }
    x
}

/// Scatter of the data of weight 1 about the solution, as a share; no less than with so many points of [`EXPECTED`]
/// scatter more, and than [`NOISE`].
fn scatter(data: &[Point], x: &Unknowns, free: usize) -> f64 {
    let error = |p: &Point| p.weight * (p.work.at(x) / p.measured_ms - 1.0);
    let sum: f64 = data.iter().map(|p| error(p).powi(2)).sum();
    let over = data.len().saturating_sub(free) as f64;
    let (expected, more) = EXPECTED;
    let own = sum / over.max(1.0);
    own.max((sum + more * expected * expected) / (over + more)).sqrt().max(NOISE)
}

/// How far a coefficient that is kept may be off, in units of its derived value.
fn doubt(i: usize, derived: &Unknowns) -> f64 {
    if i == INGEST { KEPT_INGEST_MS / unit(derived[i]) } else { KEPT }
}

/// Standard errors of the unknowns of `set`, in units of their derived values: from the scatter of the data, the doubt
/// about the unknowns that are kept, and that about the description of the points.
fn standard_errors(
    data: &[Point],
    x: &Unknowns,
    derived: &Unknowns,
    set: &[usize],
    kept: &[usize],
    covariance: &[Vec<f64>],
) -> Vec<f64> {
    let rows = system(data, x, derived, set).rows;
    let kept_rows = system(data, x, derived, kept).rows;
    let sigma = scatter(data, x, set.len());
    let variance = |c: &Vec<f64>, own: f64| {
        // What a row off by one share makes of this unknown.
        let pull = |row: &Vec<f64>| c.iter().zip(row).map(|(c, r)| c * r).sum::<f64>();
        let taken = |j: usize| {
            let sum: f64 = rows.iter().zip(&kept_rows).map(|(row, kept)| pull(row) * kept[j]).sum();
            doubt(kept[j], derived) * sum
        };
        let taken: f64 = (0..kept.len()).map(|j| taken(j).powi(2)).sum();
        // Descriptions are off the same way: more points of one kind are no remedy.
        let off = data.iter().zip(&rows).map(|(p, row)| p.described * p.weight * pull(row).abs());
        sigma * sigma * own + taken + off.sum::<f64>().powi(2)
    };
    covariance.iter().enumerate().map(|(k, c)| variance(c, c[k]).sqrt()).collect()
}

/// The unknowns that are not in `set`.
fn others(set: &[usize]) -> Vec<usize> {
    (0..UNKNOWNS).filter(|i| !set.contains(i)).collect()
}

/// The least certain of the free unknowns, if it is too uncertain.
fn uncertain(
    data: &[Point],
    derived: &Unknowns,
    x: &Unknowns,
    set: &[usize],
) -> Option<(usize, Outcome)> {
    let system = system(data, x, derived, set);
    let share = |k: usize| system.rows.iter().map(|r| r[k].abs()).fold(0.0, f64::max);
    let unseen = (0..set.len()).filter(|&k| share(k) < UNSEEN);
    if let Some(k) = unseen.min_by(|&a, &b| share(a).total_cmp(&share(b))) {
        return Some((set[k], Outcome::Unseen));
    }
    let Some(covariance) = system.covariance() else {
        // Two columns are the same: the one whose constant leaves less of the times in doubt goes.
        let pairs = (0..set.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let (a, b) = pairs
            .max_by(|&(a, b), &(c, d)| alike(&system, a, b).total_cmp(&alike(&system, c, d)))?;
        let doubted = |k: usize| doubt(set[k], derived) * share(k);
        let (worst, partner) = if doubted(a) > doubted(b) { (b, a) } else { (a, b) };
        return Some((set[worst], Outcome::Inseparable { from: NAMES[set[partner]] }));
    };
    let errors = standard_errors(data, x, derived, set, &others(set), &covariance);
    // In units of the derived value; a larger solution counts in its own unit.
    let error = |k: usize| errors[k] / (x[set[k]] / unit(derived[set[k]])).max(1.0);
    // A term that takes no time at all is one that another has swallowed.
    let gone = (0..set.len()).find(|&k| NEVER_ZERO.contains(&set[k]) && x[set[k]] == 0.0);
    let worst = match gone {
        Some(k) => k,
        None => (0..set.len())
            .max_by(|&a, &b| error(a).total_cmp(&error(b)))
            .filter(|&k| error(k) > CERTAIN)?,
    };
    let together = |k: usize| {
        covariance[worst][k].abs() / (covariance[k][k] * covariance[worst][worst]).sqrt()
    };
    let partner = (0..set.len())
        .filter(|&k| k != worst)
        .max_by(|&a, &b| together(a).total_cmp(&together(b)))
        .filter(|&k| together(k) > 0.5);
    Some((
        set[worst],
        partner.map_or(Outcome::Unseen, |k| Outcome::Inseparable { from: NAMES[set[k]] }),
    ))
}

/// Cosine between two columns.
fn alike(system: &System, a: usize, b: usize) -> f64 {
    let dot = |i: usize, j: usize| system.rows.iter().map(|r| r[i] * r[j]).sum::<f64>();
    dot(a, b).abs() / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE)
}

fn finish(
    start: &Theta,
    mut outcomes: [Outcome; UNKNOWNS],
    data: &[Point],
    x: &Unknowns,
    rounds: u32,
) -> Fit {
    let derived = start.unknowns();
    // A coefficient at its bound takes no part in the errors of the others.
    let set: Vec<usize> = (0..UNKNOWNS).filter(|&i| outcomes[i].is_fitted()).collect();
    let inner: Vec<usize> = set.iter().copied().filter(|&i| x[i] > 0.0).collect();
    let system = system(data, x, &derived, &inner);
    let covariance = system.covariance();
    let errors = covariance.as_ref().map_or(vec![0.0; inner.len()], |c| {
        standard_errors(data, x, &derived, &inner, &others(&set), c)
    });
    for (&i, error) in inner.iter().zip(errors) {
        outcomes[i] = Outcome::Fitted { error: error * unit(derived[i]) / x[i] };
    }
    let over = data.len() as f64 - inner.len() as f64;
    let off = |point: &Point| point.weight * (point.work.at(x) / point.measured_ms - 1.0);
    let squares: f64 = data.iter().map(|point| off(point).powi(2)).sum();
    let residuals = data
        .iter()
        .zip(&system.rows)
        .map(|(point, row)| {
            let fitted_ms = point.work.at(x);
            let leverage = covariance.as_ref().map_or(1.0, |c| {
                let n = row.len();
                (0..n).map(|a| (0..n).map(|b| row[a] * c[a][b] * row[b]).sum::<f64>()).sum()
            });
            // The residual without the point follows from its leverage; no fit needs to be repeated.
            let determined = leverage < ALONE;
            let left_out_ms = determined
                .then(|| point.measured_ms + (fitted_ms - point.measured_ms) / (1.0 - leverage));
            // Source: externally studentised residuals; Cook and Weisberg, "Residuals and Influence in
            // Regression", 1982.
            let scatters = (determined && over > 3.5).then(|| {
                let others = (squares - off(point).powi(2) / (1.0 - leverage)) / (over - 1.0);
                off(point) / (others.max(EXPECTED.0.powi(2)) * (1.0 - leverage)).sqrt()
            });
            let (name, measured_ms) = (point.name.clone(), point.measured_ms);
            Residual { name, measured_ms, fitted_ms, left_out_ms, scatters }
        })
        .collect();
    Fit { theta: start.with(x), outcomes, residuals, rounds }
}

#[cfg(test)]
mod tests {
    use super::super::work::Steps;
    use super::*;
    use crate::engine::StepCoefficients;

    /// Llama-3.1-8B on an A100, changed by factors.
    fn theta(factors: Unknowns) -> Theta {
        let step = StepCoefficients {
            t0_ms: 0.8,
            m_ms: 9.94 * factors[0],
            c_ms_per_token: 0.0698 * factors[1],
            p: 1.4,
            c_seq_ms: 0.012 * factors[2],
            c_kv_us: 0.085 * factors[3],
            c_att_1e6_ms: 3.5 * factors[4],
            cpu_step_ms: 0.0,
            cpu_seq_ms: 0.0,
            cpu_launch_ms: 0.0,
            graph_tokens: u32::MAX,
            g_table: None,
        };
        Theta { step, ingest_ms: 12.0 * factors[5] }
    }

    fn decode(n: f64, context: f64) -> Steps {
        Steps { count: 1.0, tokens: n, decodes: n, kv_tokens: n * context, pairs: 0.0 }
    }

    fn prefill(tokens: f64, before: f64) -> Steps {
        let pairs = tokens * (before + tokens / 2.0);
        Steps { count: 1.0, tokens, decodes: 0.0, kv_tokens: 0.0, pairs }
    }

    /// Data of `truth` for these steps; prefills are seen with the front-end time.
    fn data(truth: &Theta, at: &Theta, steps: &[Steps], noise: &[f64]) -> Vec<Point> {
        let of = |s: &Steps, theta: &Theta| {
            let mut work = Work::of(s, theta);
            work.by[5] = f64::from(u8::from(s.decodes == 0.0));
            work
        };
        let noise = noise.iter().copied().chain(std::iter::repeat(0.0));
        steps
            .iter()
            .zip(noise)
            .enumerate()
            .map(|(i, (s, noise))| Point {
                name: format!("point {i}"),
                measured_ms: of(s, truth).at(&truth.unknowns()) * (1.0 + noise),
                work: of(s, at),
                weight: 1.0,
                described: 0.0,
            })
            .collect()
    }

    fn rich() -> Vec<Steps> {
        let decodes = [(1.0, 256.0), (1.0, 8256.0), (16.0, 512.0), (64.0, 1024.0), (256.0, 700.0)];
        let crowds = [(128.0, 2000.0), (256.0, 100.0), (400.0, 500.0)];
        let prefills = [64.0, 512.0, 2048.0, 8192.0];
        let decodes = decodes.into_iter().chain(crowds).map(|(n, context)| decode(n, context));
        decodes.chain(prefills.map(|t| prefill(t, 0.0))).collect()
    }

    #[test]
    fn recovers_all_coefficients() {
        let (start, truth) = (theta([1.0; 6]), theta([1.3, 0.7, 1.5, 0.8, 1.2, 2.0]));
        let fit = fit(&start, [true; 6], |at| Ok(data(&truth, at, &rich(), &[]))).unwrap();
        for (i, (got, want)) in fit.theta.unknowns().into_iter().zip(truth.unknowns()).enumerate() {
            assert!((got / want - 1.0).abs() < 1e-3, "{}: {got} for {want}", NAMES[i]);
            assert!(fit.outcomes[i].is_fitted(), "{fit:?}");
        }
    }

    #[test]
    fn what_the_data_do_not_say_keeps_its_value() {
        let (start, truth) = (theta([1.0; 6]), theta([1.3, 1.0, 1.0, 1.0, 1.0, 1.0]));
        // Decode steps of one user only: nothing on prefill, front end and other users.
        let steps = [decode(1.0, 100.0), decode(1.0, 200.0), decode(1.0, 300.0)];
        let fit = fit(&start, [true; 6], |at| Ok(data(&truth, at, &steps, &[]))).unwrap();
        assert!(fit.outcomes[0].is_fitted(), "{fit:?}");
        assert!((fit.theta.step.m_ms / truth.step.m_ms - 1.0).abs() < 1e-3, "{fit:?}");
        assert!(!fit.outcomes[1..].iter().any(Outcome::is_fitted), "{fit:?}");
        assert_eq!(fit.theta.unknowns()[1..], start.unknowns()[1..]);
    }

    #[test]
    fn what_the_data_cannot_tell_apart_is_named() {
        let (start, truth) = (theta([1.0; 6]), theta([1.0, 1.0, 1.0, 2.0, 1.0, 1.0]));
        // Context grows with the batch: per sequence and per token are one.
        let steps = [1.0, 32.0, 64.0, 128.0, 256.0].map(|n| decode(n, 500.0));
        let fit = fit(&start, [true; 6], |at| Ok(data(&truth, at, &steps, &[]))).unwrap();
        let named = [2, 3].map(|i| matches!(fit.outcomes[i], Outcome::Inseparable { .. }));
        assert!(named.contains(&true), "{fit:?}");
    }

    /// Context grows with the prompts: a cost of context that is kept too high is missing from that of prefill.
    #[test]
    fn doubt_about_what_is_kept_is_part_of_the_error() {
        let (start, truth) = (theta([1.0; 6]), theta([1.0, 1.0, 1.0, 0.75, 1.0, 1.0]));
        let steps = [512.0, 1024.0, 2048.0].map(|t| {
            let prefill = prefill(t, 0.0);
            Steps { decodes: 8.0, tokens: 8.0 + t, kv_tokens: 400.0 * t, ..prefill }
        });
        let wanted = [true, true, false, false, false, false];
        let fit = fit(&start, wanted, |at| Ok(data(&truth, at, &steps, &[]))).unwrap();
        let Outcome::Fitted { error } = fit.outcomes[1] else { panic!("{fit:?}") };
        let actual = (fit.theta.step.c_ms_per_token / truth.step.c_ms_per_token - 1.0).abs();
        assert!(actual > 0.05, "{fit:?}");
        // The cost was 25 % off, which is what is assumed.
        assert!((error / actual - 1.0).abs() < 0.4, "{error} {actual}");
    }

    /// One short benchmark of one user: its time to first token is the front end's more than it is prefill.
    #[test]
    fn what_is_least_known_explains_a_lone_time() {
        let (start, truth) = (theta([1.0; 6]), theta([1.25, 0.8, 1.0, 1.0, 1.0, 1.5]));
        let steps = [prefill(128.0, 0.0), decode(1.0, 256.0)];
        let fit = fit(&start, [true; 6], |at| Ok(data(&truth, at, &steps, &[]))).unwrap();
        let fitted: Vec<usize> = (0..UNKNOWNS).filter(|&i| fit.outcomes[i].is_fitted()).collect();
        assert_eq!(fitted, [0, INGEST], "{fit:?}");
        let actual = (fit.theta.ingest_ms / truth.ingest_ms - 1.0).abs();
        let Outcome::Fitted { error } = fit.outcomes[INGEST] else { panic!("{fit:?}") };
        assert!(actual < 0.15 && actual < 2.0 * error, "{actual} {error}");
    }

    /// As many points as unknowns do not show their scatter, and still err by it.
    #[test]
    fn stated_errors_are_those_of_repetition() {
        let (start, truth) = (theta([1.0; 6]), theta([1.2, 0.8, 1.0, 1.1, 1.2, 1.3]));
        let wanted = [true, true, false, false, true, true];
        let mut seed = 1u32;
        let mut uniform = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed) / f64::from(u32::MAX) - 0.5
        };
        for extra in [0, 3] {
            let mut steps = vec![decode(1.0, 256.0)];
            steps.extend([64.0, 512.0, 2048.0].map(|t| prefill(t, 0.0)));
            steps.extend((0..extra).map(|k| prefill(256.0 * f64::from(k + 1), 0.0)));
            let mut squares = [0.0; UNKNOWNS];
            for _ in 0..200 {
                // Sums of twelve uniform numbers are near enough to normal ones, here of 1 %.
                let mut normal = || 0.01 * (0..12).map(|_| uniform()).sum::<f64>();
                let noise: Vec<f64> = steps.iter().map(|_| normal()).collect();
                let start = Theta {
                    step: StepCoefficients { c_kv_us: 0.085 * 1.1, ..start.step.clone() },
                    ..start
                };
                let fit = fit(&start, wanted, |at| Ok(data(&truth, at, &steps, &noise))).unwrap();
                for (i, (got, want)) in
                    fit.theta.unknowns().into_iter().zip(truth.unknowns()).enumerate()
                {
                    if let Outcome::Fitted { error } = fit.outcomes[i] {
                        squares[i] += ((got - want) / (error * got)).powi(2) / 200.0;
                    }
                }
            }
            for i in [0, 1, INGEST] {
                assert!(
                    (0.7..1.3).contains(&squares[i].sqrt()),
                    "{extra} {}: {squares:?}",
                    NAMES[i]
                );
            }
        }
    }

    #[test]
    fn a_point_of_little_weight_says_little() {
        let (start, truth) = (theta([1.0; 6]), theta([1.1, 1.0, 1.0, 1.0, 1.0, 1.0]));
        let steps = [256.0, 300.0, 400.0].map(|context| decode(1.0, context));
        let wanted = [true, false, false, false, false, false];
        let m_ms = |weight: f64| {
            let noisy = fit(&start, wanted, |at| {
                let mut data = data(&truth, at, &steps, &[0.0, 0.0, 0.3]);
                data[2].weight = weight;
                Ok(data)
            });
            noisy.unwrap().theta.step.m_ms / truth.step.m_ms - 1.0
        };
        assert!(m_ms(1.0) > 0.05, "{}", m_ms(1.0));
        assert!(m_ms(0.1).abs() < 0.005, "{}", m_ms(0.1));
    }

    #[test]
    fn leaving_a_point_out_is_what_it_says() {
        let (start, truth) = (theta([1.0; 6]), theta([1.1, 1.0, 1.0, 1.2, 1.0, 1.0]));
        let steps = [256.0, 9000.0, 20_000.0, 30_000.0].map(|context| decode(1.0, context));
        let noise = [0.01, -0.015, 0.01, 0.02];
        let wanted = [true, false, false, true, false, false];
        let all = fit(&start, wanted, |at| Ok(data(&truth, at, &steps, &noise))).unwrap();
        let without = fit(&start, wanted, |at| Ok(data(&truth, at, &steps, &noise)[..3].to_vec()));
        let theta = without.unwrap().theta;
        let expected = Work::of(&steps[3], &theta).at(&theta.unknowns());
        let got = all.residuals[3].left_out_ms.unwrap();
        assert!((got / expected - 1.0).abs() < 2e-3, "{got} {expected}");
    }

    /// One of twelve times is 30 % too long: it moves the fit, and is the one that is named.
    #[test]
    fn a_time_that_the_others_speak_against_is_an_outlier() {
        let (start, truth) = (theta([1.0; 6]), theta([1.2, 0.8, 1.5, 1.1, 1.2, 1.3]));
        let outliers = |at: usize, noise: f64| -> Vec<String> {
            let mut noise: Vec<f64> =
                (0..rich().len()).map(|i| if i % 2 == 0 { noise } else { -noise }).collect();
            noise[at] += 0.3;
            let fit = fit(&start, [true; 6], |at| Ok(data(&truth, at, &rich(), &noise))).unwrap();
            let named = fit.residuals.iter().filter(|r| r.is_outlier());
            named.map(|r| r.name.clone()).collect()
        };
        for at in [2, 4, 10] {
            assert_eq!(outliers(at, 0.005), [format!("point {at}")]);
        }
        let quiet =
            fit(&start, [true; 6], |at| Ok(data(&truth, at, &rich(), &[0.01, -0.01, 0.02])));
        assert!(!quiet.unwrap().residuals.iter().any(Residual::is_outlier));
    }

    #[test]
    fn no_data_is_an_error() {
        let start = theta([1.0; 6]);
        assert_eq!(fit(&start, [true; 6], |_| Ok(Vec::new())), Err(FitError::Empty));
        let steps = [decode(1.0, 100.0)];
        let none = fit(&start, [false; 6], |at| Ok(data(&start, at, &steps, &[]))).unwrap();
        assert_eq!(none.outcomes, [const { Outcome::Kept }; 6]);
        assert_eq!(none.theta, start);
    }
}
