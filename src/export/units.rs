//! `units.jsonl`: one line per finished unit, appended as units finish, read again by `--resume`.
//!
//! A line is keyed by a digest of everything that decides the unit's result, so a line of another
//! experiment, another seed or another version is never taken for this one. Values are written as decimal
//! strings that read back to the same bits.

use crate::sim::Measures;
use crate::sweep::{Outcome, Plan, SweepResult, Unit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line. Field names are part of the file format.
#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    case_id: String,
    replication: u32,
    /// In the order of [`Measures::COLUMNS`]; `NaN` where a quantity does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    measures: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// Digest of everything that decides the result of a unit: the case, the seed, the replication, the version
/// and the measures' names.
pub fn unit_key<S>(plan: &Plan<S>, unit: Unit) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    part(env!("CARGO_PKG_VERSION"));
    part(&Measures::COLUMNS.join(","));
    part(&plan.cases[unit.case].digest);
    part(&plan.seed.0.to_string());
    part(&unit.replication.to_string());
    hasher.finalize().to_hex().as_str()[..32].to_owned()
}

/// The line of a finished unit, with its line feed.
pub fn unit_line<S>(plan: &Plan<S>, unit: Unit, outcome: &Outcome) -> String {
    let (measures, failed) = match outcome {
        Outcome::Done(measures) => {
            let values = measures.values().iter().map(|value| format!("{value:?}")).collect();
            (Some(values), None)
        }
        Outcome::Failed(message) => (None, Some(message.clone())),
    };
    let line = Line {
        key: unit_key(plan, unit),
        case_id: plan.cases[unit.case].id.clone(),
        replication: unit.replication,
        measures,
        failed,
    };
    serde_json::to_string(&line).expect("strings and numbers are JSON") + "\n"
}

/// The lines of all finished units in plan order.
pub fn units_jsonl<S>(plan: &Plan<S>, result: &SweepResult) -> Vec<u8> {
    let mut text = String::new();
    for (case, outcomes) in result.cases.iter().enumerate() {
        for (replication, outcome) in (0..).zip(&outcomes.runs) {
            if let Some(outcome) = outcome {
                text.push_str(&unit_line(plan, Unit { case, replication }, outcome));
            }
        }
    }
    text.into_bytes()
}

/// Finished units by their key, from the text of a log. Lines that are torn (the writer was killed) or of
/// another format are skipped, failed units are run again, and of several lines with one key the last counts.
pub fn read_units(text: &str) -> BTreeMap<String, Measures> {
    let mut found = BTreeMap::new();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
        let values: Option<Vec<f64>> =
            line.measures.iter().flatten().map(|value| value.parse().ok()).collect();
        if let Some(measures) = values.and_then(|values| Measures::from_values(&values)) {
            found.insert(line.key, measures);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::sweep::tests::example;
    use super::*;

    #[test]
    fn lines_round_trip_to_the_bit() {
        let (plan, _) = example();
        let unit = Unit { case: 1, replication: 1 };
        let measures = Measures {
            cost_usd: 0.1 + 0.2,
            ttft_p50_s: 1e-300,
            ttft_p95_s: f64::NAN,
            requests_total: 123_456_789.0,
            ..Measures::default()
        };
        let line = unit_line(&plan, unit, &Outcome::Done(measures));
        let read = read_units(&line);
        let bits = |m: &Measures| -> Vec<u64> { m.values().iter().map(|v| v.to_bits()).collect() };
        assert_eq!(bits(&read[&unit_key(&plan, unit)]), bits(&measures));
    }

    #[test]
    fn the_whole_log_is_in_plan_order() {
        let (plan, result) = example();
        let text = String::from_utf8(units_jsonl(&plan, &result)).unwrap();
        assert_eq!(text.lines().count(), 4);
        assert!(text.lines().next().unwrap().contains("\"case_id\":\"c000\",\"replication\":0"));
        assert_eq!(read_units(&text).len(), 3, "the failed unit is not known");
    }

    #[test]
    fn torn_foreign_and_failed_lines_are_skipped() {
        let (plan, _) = example();
        let unit = |case| Unit { case, replication: 0 };
        let good = unit_line(&plan, unit(0), &Outcome::Done(Measures::default()));
        let failed = unit_line(&plan, unit(1), &Outcome::Failed("law \"L1\"".to_owned()));
        let torn = good.trim_end();
        let text = format!("{good}{failed}not json\n{{\"key\":\"k\"}}\n{torn}");
        assert_eq!(read_units(&text).len(), 1);
        assert!(read_units(torn).is_empty());
    }

    #[test]
    fn keys_tell_units_apart() {
        let (mut plan, _) = example();
        let unit = |case, replication| Unit { case, replication };
        let base = unit_key(&plan, unit(0, 0));
        assert_ne!(base, unit_key(&plan, unit(0, 1)));
        assert_ne!(base, unit_key(&plan, unit(1, 0)));
        plan.seed.0 += 1;
        assert_ne!(base, unit_key(&plan, unit(0, 0)));
    }
}
