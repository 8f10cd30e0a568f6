//! The tables of a sweep: `cases.csv` and `runs.csv`.

use super::number::number;
use super::table::Table;
use crate::sim::Measures;
use crate::sweep::{Outcome, Plan, SweepResult};

/// `cases.csv`: one row per case with its varied keys, then mean, lower and upper confidence bound of each
/// measure. Cells are empty where a quantity does not exist or where one replication gives no interval.
pub fn cases_csv<S>(plan: &Plan<S>, result: &SweepResult) -> Vec<u8> {
    let keys = plan.knob_keys();
    let measures = Measures::COLUMNS
        .iter()
        .flat_map(|name| [(*name).to_owned(), format!("{name}_ci_low"), format!("{name}_ci_high")]);
    let header = ["case_id"].iter().chain(&keys).map(|key| (*key).to_owned()).chain(measures);
    let mut table = Table::new(header);
    for (case, outcome) in plan.cases.iter().zip(&result.cases) {
        let knobs = keys.iter().map(|key| case.knob(key).to_owned());
        let values = outcome
            .summary
            .iter()
            .flat_map(|interval| [interval.mean, interval.low, interval.high].map(number));
        table.row(std::iter::once(case.id.clone()).chain(knobs).chain(values));
    }
    table.finish()
}

/// `runs.csv`: one row per case and replication (from 0) with the raw measures; cells of a failed unit are
/// empty, units that were not run have no row.
pub fn runs_csv<S>(plan: &Plan<S>, result: &SweepResult) -> Vec<u8> {
    let keys = plan.knob_keys();
    let header = ["case_id"].iter().chain(&keys).chain(&["replication"]).chain(Measures::COLUMNS);
    let mut table = Table::new(header);
    for (case, outcomes) in plan.cases.iter().zip(&result.cases) {
        for (replication, outcome) in outcomes.runs.iter().enumerate() {
            let values: Vec<String> = match outcome {
                None => continue,
                Some(Outcome::Done(measures)) => {
                    measures.values().into_iter().map(number).collect()
                }
                Some(Outcome::Failed(_)) => vec![String::new(); Measures::COLUMNS.len()],
            };
            let knobs = keys.iter().map(|key| case.knob(key).to_owned());
            let start = std::iter::once(case.id.clone()).chain(knobs);
            table.row(start.chain([replication.to_string()]).chain(values));
        }
    }
    table.finish()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rng::Seed;
    use crate::sweep::{Case, Objective, Unit};

    /// Two cases, two replications; the second replication of the second case failed.
    pub(crate) fn example() -> (Plan<()>, SweepResult) {
        let case = |id: &str, target: &str| Case {
            id: id.to_owned(),
            knobs: vec![("metric".into(), "vllm:x".into()), ("target".into(), target.to_owned())],
            scenario: (),
            digest: format!("digest of {id}"),
        };
        let plan = Plan {
            cases: vec![case("c000", "5"), case("c001", "2500m")],
            replications: 2,
            confidence: 0.95,
            seed: Seed(7),
            objective: Objective { attainment: 0.9 },
            current: Some(1),
        };
        let unit = |case, replication, outcome| (Unit { case, replication }, Some(outcome));
        let done = |cost_usd| {
            Outcome::Done(Measures {
                cost_usd,
                slo_attainment: 0.95,
                ttft_p99_s: f64::NAN,
                requests_total: 1000.0,
                ..Measures::default()
            })
        };
        let result = SweepResult::of(
            &plan,
            [
                unit(0, 0, done(1.5)),
                unit(0, 1, done(1.5)),
                unit(1, 0, done(2.0)),
                unit(1, 1, Outcome::Failed("law L1".to_owned())),
            ],
        );
        (plan, result)
    }

    fn lines(bytes: Vec<u8>) -> Vec<String> {
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    /// The header is a contract: names and units.
    #[test]
    fn cases_header_and_cells() {
        let (plan, result) = example();
        let lines = lines(cases_csv(&plan, &result));
        let header: Vec<&str> = lines[0].split(',').collect();
        assert_eq!(header.len(), 3 + 3 * Measures::COLUMNS.len());
        assert!(lines[0].starts_with(
            "case_id,metric,target,requests_total,requests_total_ci_low,requests_total_ci_high,"
        ));
        let cell = |line: usize, name: &str| {
            let column = header.iter().position(|h| *h == name).unwrap();
            lines[line].split(',').nth(column).unwrap().to_owned()
        };
        assert_eq!(cell(1, "cost_usd"), "1.5");
        assert_eq!(cell(1, "cost_usd_ci_low"), "1.5");
        assert_eq!(cell(1, "ttft_p99_s"), "", "undefined");
        assert_eq!(cell(2, "cost_usd"), "2");
        assert_eq!(cell(2, "cost_usd_ci_low"), "", "one replication gives no interval");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn runs_header_and_rows() {
        let (plan, result) = example();
        let lines = lines(runs_csv(&plan, &result));
        assert_eq!(
            lines[0],
            "case_id,metric,target,replication,requests_total,requests_completed,requests_failed,\
             slo_attainment,goodput_rps,ttft_p50_s,ttft_p95_s,ttft_p99_s,tpot_p50_s,tpot_p95_s,\
             tpot_p99_s,itl_p50_s,itl_p95_s,itl_p99_s,e2e_p50_s,e2e_p95_s,e2e_p99_s,queue_p95_s,\
             preemptions,node_hours,gpu_hours,gpu_idle_ratio,cost_usd,\
             usd_per_million_output_tokens,replicas_mean,replicas_max,scale_ups,scale_downs,flaps,\
             slo_violation_minutes,unserved_at_end,prefix_hit_ratio"
        );
        assert!(lines[1].starts_with("c000,vllm:x,5,0,1000,0,0,0.95,"), "{}", lines[1]);
        assert!(lines[4].starts_with("c001,vllm:x,2500m,1,,,"), "{}", lines[4]);
        assert_eq!(lines.len(), 5);
    }
}
