//! When the streams of a fleet really started.
//!
//! A record tells each stream's start to 15 s, taken from the creation of its job; the job then downloads a dataset.
//! Two clocks saw the same completions: each client counted its own, and the controller logged the rate of all of them.
//! The starts that make the two agree are those of the controller's clock, which is the one of replicas and gauges.

use super::record::History;

/// Scrapes of a recorded stack are this far apart \[s\]. A logged rate ends at the last one, and is that of the time between
/// the two that a minute holds: `rate` extrapolates their difference to its window.
const SCRAPE_S: f64 = 30.0;
/// How far a start may be from the record's \[s\].
const BEFORE_S: i32 = 30;
const AFTER_S: i32 = 90;

/// Completions of one client: (seconds since its start, completed so far).
struct Curve {
    start_s: f64,
    points: Vec<(f64, f64)>,
}

impl Curve {
    fn at(&self, t: f64) -> f64 {
        let i = self.points.partition_point(|p| p.0 <= t);
        match (i.checked_sub(1).map(|i| self.points[i]), self.points.get(i)) {
            (None, _) => 0.0,
            (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (t - a.0) / (b.0 - a.0),
            (Some(a), None) => a.1,
        }
    }
}

/// Seconds to add to the start of each load of `history`; none where the two clocks were not recorded.
pub(super) fn shifts(history: &History) -> Option<Vec<f64>> {
    let logged = history.series.get("request_rate_1m_per_min")?;
    let loads = history.record["load"].as_array()?;
    let curves: Option<Vec<Curve>> = loads
        .iter()
        .map(|load| {
            let name = load["name"].as_str()?;
            let seen = history.series.get(&format!("completed:{name}"))?;
            let mut points: Vec<(f64, f64)> = seen.iter().map(|p| (p.0 - seen[0].0, p.1)).collect();
            let end = *history.figures.get(&format!("{name}:duration"))?;
            points.push((end, load["requests"].as_f64()?));
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Some(Curve { start_s: seen[0].0, points })
        })
        .collect();
    let curves = curves?;
    let mut shifts = vec![0_i32; curves.len()];
    // One stream after the other, until none moves: the streams overlap only in part.
    for _ in 0..20 {
        let before = shifts.clone();
        for i in 0..shifts.len() {
            let with = |shift: i32| {
                let mut tried = shifts.clone();
                tried[i] = shift;
                apart(logged, &curves, &tried)
            };
            let best = (-BEFORE_S..=AFTER_S).min_by(|a, b| with(*a).total_cmp(&with(*b)));
            shifts[i] = best.unwrap();
        }
        if shifts == before {
            break;
        }
    }
    Some(shifts.into_iter().map(f64::from).collect())
}

/// How badly the log agrees with the clients. Beyond a few percent an error counts linearly: a logged rate is an
/// extrapolation from two scrapes.
fn apart(logged: &[(f64, f64)], curves: &[Curve], shifts: &[i32]) -> f64 {
    let completed = |t: f64| -> f64 {
        curves.iter().zip(shifts).map(|(c, s)| c.at(t - c.start_s - f64::from(*s))).sum()
    };
    let error = |(t, rate): &(f64, f64)| {
        const PARTS: u32 = 6;
        let per_minute = |part: u32| {
            let end = t - SCRAPE_S * (f64::from(part) + 0.5) / f64::from(PARTS);
            (completed(end) - completed(end - SCRAPE_S)) * 60.0 / SCRAPE_S
        };
        let mean = (0..PARTS).map(per_minute).sum::<f64>() / f64::from(PARTS);
        let error = (mean - rate) / (20.0 + 0.03 * rate);
        (1.0 + error * error).sqrt() - 1.0
    };
    logged.iter().map(error).sum()
}
