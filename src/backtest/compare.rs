//! Decisions against a recording.

use super::Series;
use super::driver::{Row, named};

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

/// Agreement with a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Series compared with.
    pub series: String,
    /// Share of syncs with the recorded count.
    pub agreement: f64,
    /// The first difference.
    pub first: Option<Divergence>,
    /// The largest difference.
    pub worst: Option<Divergence>,
    /// Recorded steps as time \[s\], from, to, and whether a decision within 30 s of it goes there.
    pub steps: Vec<(f64, i32, i32, bool)>,
    /// Reproduced steps that no decision of this HPA made: the replicas read from the recording had already
    /// changed and the HPA kept them. They tell less than a decision.
    pub followed: usize,
    /// Own steps (time \[s\], to) to a count that the recording does not pass within 30 s.
    pub extra: Vec<(f64, i32)>,
}

/// Compares with `replicas_desired`, else `replicas_current`; `None` without either.
pub fn compare(rows: &[Row], actual: &[Series]) -> Option<Comparison> {
    let record = named(actual, "replicas_desired").or_else(|| named(actual, "replicas_current"))?;
    let (from, to) = (rows.first()?.t_s, rows.last()?.t_s);
    let (mut same, mut first, mut worst) = (0_usize, None, None::<Divergence>);
    for (i, row) in rows.iter().enumerate() {
        let Some(recorded) = record.held(row.t_s).map(|v| v.round() as i32) else { continue };
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
    // Own counts that hold somewhere in an interval, its start included.
    let passes = |a: f64, b: f64, want: i32| {
        let start = rows.partition_point(|r| r.t_s <= a).saturating_sub(1);
        rows[start..].iter().take_while(|r| r.t_s <= b).any(|r| r.desired == want)
    };
    let decides = |a: f64, b: f64, want: i32| {
        rows.iter()
            .filter(|r| r.t_s >= a && r.t_s <= b)
            .any(|r| r.desired == want && r.current != want)
    };
    let steps: Vec<(f64, i32, i32, bool)> = points
        .windows(2)
        .filter(|p| p[0].1 != p[1].1 && p[1].0 > from && p[1].0 <= to + NEAR_S)
        .map(|p| {
            let reproduced = passes(p[1].0 - NEAR_S, p[1].0 + NEAR_S, p[1].1);
            (p[1].0, p[0].1, p[1].1, reproduced)
        })
        .collect();
    let followed =
        steps.iter().filter(|s| s.3 && !decides(s.0 - NEAR_S, s.0 + NEAR_S, s.2)).count();
    let extra = rows
        .windows(2)
        .filter(|r| r[0].desired != r[1].desired)
        .filter(|r| {
            let (a, b) = (r[1].t_s - NEAR_S, r[1].t_s + NEAR_S);
            let near = points.iter().filter(|p| p.0 > a && p.0 <= b).map(|p| p.1);
            let near: Vec<i32> = near.chain(record.held(a).map(|v| v.round() as i32)).collect();
            let (low, high) = (near.iter().min(), near.iter().max());
            low.is_none_or(|l| r[1].desired < *l) || high.is_none_or(|h| r[1].desired > *h)
        })
        .map(|r| (r[1].t_s, r[1].desired))
        .collect();
    let agreement = same as f64 / rows.len() as f64;
    Some(Comparison {
        series: record.name.clone(),
        agreement,
        first,
        worst,
        steps,
        followed,
        extra,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::parse;

    #[test]
    fn steps_are_matched_within_thirty_seconds() {
        let row = |i: usize, desired| Row {
            t_s: 15.0 * i as f64,
            current: 1,
            reporting: 1,
            values: vec![],
            proposed: None,
            desired,
            reason: String::new(),
        };
        let rows: Vec<Row> =
            [1, 1, 2, 2, 2, 2, 2, 9, 2, 2].iter().enumerate().map(|(i, d)| row(i, *d)).collect();
        let actual = parse("t_s,replicas_desired\n0,1\n45,2\n75,2\n105,2\n120,5\n").unwrap();
        let found = compare(&rows, &actual).unwrap();
        assert_eq!(found.steps, [(45.0, 1, 2, true), (120.0, 2, 5, false)]);
        assert_eq!(found.extra, [(105.0, 9)]);
        assert_eq!(found.followed, 0);
        // The same counts, but already there when read: followed, not decided.
        let kept: Vec<Row> = rows.iter().map(|r| Row { current: r.desired, ..r.clone() }).collect();
        assert_eq!(compare(&kept, &actual).unwrap().followed, 1);
        assert_eq!(found.first.unwrap().row, 2);
        assert_eq!(found.worst.unwrap().desired, 9);
        assert_eq!(found.agreement, 0.6);
    }
}
