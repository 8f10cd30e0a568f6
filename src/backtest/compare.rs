//! Decisions against a recording.

use super::driver::Row;
use super::{Series, matching};

/// How far a decision may be from a recorded step to count as the same \[s\].
const NEAR_S: f64 = 30.0;

/// Where the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Index of the row.
    pub row: usize,
    /// Decided here.
    pub desired: i32,
    /// In the recording.
    pub recorded: i32,
}

/// A recorded step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// When it was recorded \[s\].
    pub t_s: f64,
    /// Count before.
    pub from: i32,
    /// Count after.
    pub to: i32,
    /// The desired count changes to it near that time.
    pub reproduced: bool,
    /// It does so only because the replicas read had already changed and the HPA kept them.
    pub followed: bool,
}

/// Agreement with a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Series compared with.
    pub series: String,
    /// Syncs that have a recorded count.
    pub compared: usize,
    /// Share of those with the recorded count.
    pub agreement: f64,
    /// The first difference.
    pub first: Option<Divergence>,
    /// The largest difference.
    pub worst: Option<Divergence>,
    /// Recorded steps.
    pub steps: Vec<Step>,
    /// Own steps (time \[s\], to) to a count that the recording does not pass near that time.
    pub extra: Vec<(f64, i32)>,
}

impl Comparison {
    /// Recorded steps that were reproduced.
    pub fn reproduced(&self) -> usize {
        self.steps.iter().filter(|s| s.reproduced).count()
    }
    /// Reproduced steps that no decision of this HPA made. They tell less than a decision.
    pub fn followed(&self) -> usize {
        self.steps.iter().filter(|s| s.followed).count()
    }
}

/// Compares with `replicas_desired`, else `replicas_current`; `None` without either.
///
/// A count recorded at T took effect in the `resolution_s` seconds before: the distance of the polls or the
/// pixels of a plot. A step is near if it lies at most 30 s off that span.
pub fn compare(rows: &[Row], actual: &[Series], resolution_s: f64) -> Option<Comparison> {
    let record = matching::desired_series(actual)?;
    let (from, to) = (rows.first()?.t_s, rows.last()?.t_s);
    let recorded_at = |t: f64| record.held(t).map(|v| v.round() as i32);
    let (mut compared, mut same, mut first, mut worst) =
        (0_usize, 0_usize, None, None::<Divergence>);
    for (i, row) in rows.iter().enumerate() {
        let Some(recorded) = recorded_at(row.t_s) else { continue };
        compared += 1;
        if recorded == row.desired {
            same += 1;
            continue;
        }
        let here = Divergence { row: i, desired: row.desired, recorded };
        first.get_or_insert(here);
        if worst.is_none_or(|w| (w.desired - w.recorded).abs() < (row.desired - recorded).abs()) {
            worst = Some(here);
        }
    }
    let points: Vec<(f64, i32)> =
        record.samples.iter().filter_map(|s| Some((s.0, s.1?.round() as i32))).collect();
    // Own steps: row index of each change of the desired count; the first row changes what it read.
    let before = |i: usize| if i == 0 { rows[0].current } else { rows[i - 1].desired };
    let own: Vec<&Row> =
        (0..rows.len()).filter(|i| rows[*i].desired != before(*i)).map(|i| &rows[i]).collect();
    let step = |p: &[(f64, i32)]| {
        let (t_s, want) = p[1];
        let near = |r: &Row| r.t_s >= t_s - resolution_s - NEAR_S && r.t_s <= t_s + NEAR_S;
        let reproduced = own.iter().any(|r| near(r) && r.desired == want);
        let decided = rows.iter().any(|r| near(r) && r.desired == want && r.current != want);
        Step { t_s, from: p[0].1, to: want, reproduced, followed: reproduced && !decided }
    };
    let steps: Vec<Step> = points
        .windows(2)
        .filter(|p| p[0].1 != p[1].1 && p[1].0 > from && p[1].0 <= to + NEAR_S)
        .map(step)
        .collect();
    let lacking = |r: &&&Row| {
        let (a, b) = (r.t_s - NEAR_S, r.t_s + NEAR_S + resolution_s);
        let near = points.iter().filter(|p| p.0 > a && p.0 <= b).map(|p| p.1);
        let near: Vec<i32> = near.chain(recorded_at(a)).collect();
        let (low, high) = (near.iter().min(), near.iter().max());
        low.is_some_and(|l| r.desired < *l) || high.is_some_and(|h| r.desired > *h)
    };
    let extra = own.iter().filter(lacking).map(|r| (r.t_s, r.desired)).collect();
    let agreement = if compared == 0 { 0.0 } else { same as f64 / compared as f64 };
    Some(Comparison {
        series: record.name.clone(),
        compared,
        agreement,
        first,
        worst,
        steps,
        extra,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::parse;

    fn rows(desired: &[i32], current: &[i32]) -> Vec<Row> {
        let row = |(i, (d, c)): (usize, (&i32, &i32))| Row {
            t_s: 15.0 * i as f64,
            current: *c,
            desired: *d,
            ..Row::default()
        };
        desired.iter().zip(current).enumerate().map(row).collect()
    }

    const DESIRED: [i32; 10] = [1, 1, 2, 2, 2, 2, 2, 9, 2, 2];

    fn outcome(found: &Comparison) -> Vec<(f64, bool, bool)> {
        found.steps.iter().map(|s| (s.t_s, s.reproduced, s.followed)).collect()
    }

    #[test]
    fn steps_are_matched_within_thirty_seconds() {
        let actual = parse("t_s,replicas_desired\n0,1\n45,2\n75,2\n105,2\n120,5\n").unwrap();
        let found = compare(&rows(&DESIRED, &[1; 10]), &actual, 0.0).unwrap();
        assert_eq!(outcome(&found), [(45.0, true, false), (120.0, false, false)]);
        assert_eq!(found.extra, [(105.0, 9)]);
        // The same counts, but already there when read: followed, not decided.
        let kept = compare(&rows(&DESIRED, &DESIRED), &actual, 0.0).unwrap();
        assert_eq!(outcome(&kept)[0], (45.0, true, true));
        assert_eq!((kept.reproduced(), kept.followed()), (1, 1));
        assert_eq!(found.first.unwrap().row, 2);
        assert_eq!(found.worst.unwrap().desired, 9);
        assert_eq!((found.compared, found.agreement), (10, 0.6));
    }

    #[test]
    fn a_count_reached_long_before_does_not_reproduce_a_step() {
        let actual = parse("t_s,replicas_current\n0,1\n120,2\n").unwrap();
        let early = rows(&[1, 2, 2, 2, 2, 2, 2, 2, 2, 2], &[1; 10]);
        let found = compare(&early, &actual, 0.0).unwrap();
        assert_eq!(outcome(&found), [(120.0, false, false)]);
        assert_eq!(found.extra, [(15.0, 2)]);
        // A recording that is only good to 90 s cannot tell them apart.
        let found = compare(&early, &actual, 90.0).unwrap();
        assert_eq!(outcome(&found), [(120.0, true, false)]);
        assert_eq!(found.extra, []);
        // The first row may be a step too, and syncs before the recording do not count.
        let actual = parse("t_s,replicas_current\n30,1\n").unwrap();
        let found = compare(&rows(&[2, 1, 1], &[1; 3]), &actual, 0.0).unwrap();
        assert_eq!((found.compared, found.agreement), (1, 1.0));
    }
}
