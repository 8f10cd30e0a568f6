//! `summary.json`: the result for machines, with its origin.

use super::provenance::Provenance;
use super::recommended::Deployable;
use crate::sim::{Link, Measures, RunRecord, Slo, mean_links};
use crate::stats::Interval;
use crate::sweep::{Plan, SweepResult, Warning};
use serde_json::{Map, Value, json};

/// Version of the layout of `summary.json`; raised when a field changes its meaning.
const LAYOUT: u32 = 1;

/// `summary.json` of a sweep.
pub fn sweep_summary_json<S>(
    provenance: &Provenance,
    plan: &Plan<S>,
    result: &SweepResult,
    slo: &Slo,
    warnings: &[Warning],
    deployable: Option<&Deployable>,
) -> Vec<u8> {
    let case = |index: usize| case_value(plan, result, index);
    let id = |index: &usize| plan.cases[*index].id.clone();
    let done: usize = result.cases.iter().map(|case| case.done().count()).sum();
    let failures: Vec<Value> = result
        .cases
        .iter()
        .zip(&plan.cases)
        .flat_map(|(outcome, case)| {
            outcome.failures().map(|(replication, message)| {
                json!({ "case_id": case.id, "replication": replication, "message": message })
            })
        })
        .collect();
    let savings = result.savings.map(
        |savings| json!({ "cost_usd": interval(&savings.cost_usd), "share": float(savings.share) }),
    );
    let warnings: Vec<Value> = warnings
        .iter()
        .map(|warning| {
            json!({
                "code": warning.code,
                "case_id": warning.case.as_ref().map(id),
                "text": warning.text,
            })
        })
        .collect();
    let value = json!({
        "kind": "sweep",
        "layout": LAYOUT,
        "provenance": provenance_value(provenance),
        "objective": slo_value(slo),
        "confidence": plan.confidence,
        "replications": plan.replications,
        "cases": plan.cases.len(),
        "units_done": done,
        "units_failed": failures.len(),
        "recommended": result.recommended.map(case),
        "recommended_hpa": deployable.map(Deployable::to_json),
        "current": plan.current.map(case),
        "savings": savings,
        "pareto": result.pareto.iter().map(id).collect::<Vec<_>>(),
        "warnings": warnings,
        "failures": failures,
    });
    rendered(&value)
}

/// `summary.json` of a run: the measures and the account of all requests of each replication.
pub fn run_summary_json(provenance: &Provenance, slo: &Slo, runs: &[RunRecord]) -> Vec<u8> {
    let runs: Vec<Value> = runs
        .iter()
        .enumerate()
        .map(|(replication, record)| {
            let measures: Map<String, Value> = Measures::COLUMNS
                .iter()
                .zip(record.measures.values())
                .map(|(name, value)| ((*name).to_owned(), float(value)))
                .collect();
            let account = &record.accounting;
            let start_up = mean_links(&record.budgets()).map(|(means, pods)| {
                let links = Link::ALL.iter().zip(means);
                let links: Map<String, Value> =
                    links.map(|(link, mean)| (format!("{}_s", link.name()), float(mean))).collect();
                json!({ "pods": pods, "mean": links })
            });
            json!({
                "replication": replication,
                "measures": measures,
                "start_up": start_up,
                "requests": {
                    "arrived": account.arrived,
                    "completed": account.completed,
                    "refused": account.refused,
                    "rejected": account.rejected,
                    "killed": account.killed,
                    "cancelled": account.cancelled,
                    "unfinished": account.unfinished,
                },
                "retries": account.retries,
                "shed": account.shed,
                "held": account.held,
                "unsent": account.unsent,
                "pools": record.pools.iter().map(|pool| json!({
                    "name": pool.name,
                    "node_hours": float(pool.node_hours),
                    "cost_usd": float(pool.cost_usd),
                })).collect::<Vec<Value>>(),
            })
        })
        .collect();
    let value = json!({
        "kind": "run",
        "layout": LAYOUT,
        "provenance": provenance_value(provenance),
        "objective": slo_value(slo),
        "replications": runs,
    });
    rendered(&value)
}

fn provenance_value(provenance: &Provenance) -> Value {
    let inputs: Vec<Value> = provenance
        .inputs
        .iter()
        .map(|(path, digest)| json!({ "path": path, "blake3": digest }))
        .collect();
    json!({
        "hpasim_version": Provenance::VERSION,
        "experiment": provenance.experiment,
        "command": provenance.command,
        "seed": provenance.seed,
        "digest": provenance.digest(),
        "inputs": inputs,
        "set": provenance.overrides,
        "profile_estimate": provenance.profile_estimate,
    })
}

fn slo_value(slo: &Slo) -> Value {
    json!({
        "ttft_s": slo.ttft.as_secs_f64(),
        "tpot_s": slo.tpot.as_secs_f64(),
        "attainment": slo.attainment,
    })
}

fn case_value<S>(plan: &Plan<S>, result: &SweepResult, index: usize) -> Value {
    let case = &plan.cases[index];
    let knobs: Map<String, Value> =
        case.knobs.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let measures: Map<String, Value> = Measures::COLUMNS
        .iter()
        .zip(&result.cases[index].summary)
        .map(|(name, summary)| ((*name).to_owned(), interval(summary)))
        .collect();
    json!({ "case_id": case.id, "knobs": knobs, "measures": measures })
}

fn interval(interval: &Interval) -> Value {
    json!({
        "mean": float(interval.mean),
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
    })
}

/// A number; null where a quantity does not exist.
fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn rendered(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("values have string keys");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::sweep::tests::example;
    use super::*;
    use crate::units::SimDuration;

    fn slo() -> Slo {
        Slo {
            ttft: SimDuration::from_secs(2),
            tpot: SimDuration::from_millis(100),
            attainment: 0.9,
        }
    }

    #[test]
    fn sweep_summary_has_result_and_origin() {
        let (plan, result) = example();
        let provenance = Provenance {
            experiment: "l4".into(),
            command: "hpasim sweep l4.toml".into(),
            inputs: vec![("l4.toml".into(), "abc".into())],
            overrides: vec!["slo.ttft=2s".into()],
            seed: 7,
            profile_estimate: None,
        };
        let warning = Warning { code: "flapping", case: Some(0), text: "it flaps".into() };
        let bytes = sweep_summary_json(&provenance, &plan, &result, &slo(), &[warning], None);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["provenance"]["seed"], 7);
        assert_eq!(value["provenance"]["inputs"][0]["blake3"], "abc");
        assert_eq!(value["recommended"]["case_id"], "c000");
        assert_eq!(value["recommended"]["knobs"]["target"], "5");
        assert_eq!(value["recommended"]["measures"]["cost_usd"]["mean"], 1.5);
        assert_eq!(value["recommended"]["measures"]["ttft_p99_s"]["mean"], Value::Null);
        assert_eq!(value["current"]["case_id"], "c001");
        assert_eq!(value["units_failed"], 1);
        assert_eq!(value["failures"][0]["message"], "law L1");
        assert_eq!(value["warnings"][0]["case_id"], "c000");
        assert_eq!(value["objective"]["ttft_s"], 2.0);
        assert!(bytes.ends_with(b"}\n"));
    }

    #[test]
    fn run_summary_accounts_for_every_request() {
        let mut record = RunRecord::default();
        record.accounting.arrived = 10;
        record.accounting.completed = 9;
        record.accounting.killed = 1;
        let bytes = run_summary_json(&Provenance::default(), &slo(), &[record]);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["replications"][0]["requests"]["killed"], 1);
        assert_eq!(value["replications"][0]["measures"]["requests_total"], 0.0);
    }
}
