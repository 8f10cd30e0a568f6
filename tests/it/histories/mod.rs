//! Autoscaled runs against recordings of real clusters, where the shared data folder exists.

mod clock;
mod low_load;
mod record;
mod service;
mod setup;
mod trajectory;

use hpasim::config::{Loader, Options, load};
use hpasim::rng::Seed;
use hpasim::sim::{RecordLevel, RunRecord, Scenario, run_workload};
use record::History;
use setup::Setup;
use std::collections::BTreeMap;
use std::path::Path;
use trajectory::{Kind, Milestones, Trajectory};

/// Realisations of a history: a recording is one, and seeds differ as repeated recordings do. A loop that decides by
/// what it did itself needs more of them for a steady median than given replicas do.
const CLOSED_LOOP_SEEDS: u64 = 25;
const SEEDS: u64 = 9;

struct Files<'a>(&'a BTreeMap<String, String>);

impl Loader for Files<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|t| t.as_bytes().to_vec()).ok_or_else(|| "no such file".to_owned())
    }
}

fn histories() -> Option<Vec<History>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/autoscaling_histories");
    if !folder.is_dir() {
        println!("skipped: {} does not exist", folder.display());
        return None;
    }
    Some(History::all(&folder))
}

/// The history with this id; says so where the folder does not hold it.
fn by_id<'a>(histories: &'a [History], id: &str) -> Option<&'a History> {
    let found = histories.iter().find(|history| history.id == id);
    if found.is_none() {
        println!("skipped: {id} is not among the histories");
    }
    found
}

fn scenario(setup: &Setup) -> Scenario {
    match load(&Files(&setup.files), "experiment.toml", &Options::default()) {
        Ok(loaded) => loaded.experiment.base,
        Err(findings) => panic!("{}\n{findings}", setup.files["experiment.toml"]),
    }
}

fn runs(setup: &Setup, level: RecordLevel, seeds: u64) -> Vec<RunRecord> {
    let scenario = scenario(setup);
    (0..seeds).map(|i| run_workload(&scenario, Seed(1).replication(i), level)).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median of what the realisations have, with their least and most; `None` if most have nothing.
fn spread(values: impl Iterator<Item = Option<f64>>) -> Option<(f64, f64, f64)> {
    let all: Vec<Option<f64>> = values.collect();
    let mut some: Vec<f64> = all.iter().flatten().copied().collect();
    if some.len() * 2 <= all.len() {
        return None;
    }
    some.sort_by(f64::total_cmp);
    Some((median(some.clone()), some[0], some[some.len() - 1]))
}

fn shown(value: Option<(f64, f64, f64)>, digits: usize) -> String {
    value.map_or("-".into(), |(m, a, b)| format!("{m:.digits$} ({a:.digits$}..{b:.digits$})"))
}

/// Histories whose load is fully recorded.
const FULLY_RECORDED: [&str; 3] =
    ["h100-llama8b-hpa-moderate", "h100-llama8b-hpa-smooth", "v100-deepseek7b-hpa-r0"];
/// How far the median realisation of those may be off: first scale-up \[s\], share of the mean replicas, maximum.
const FIRST_UP_S: f64 = 30.0;
const MEAN_SHARE: f64 = 0.10;
const MAXIMUM: f64 = 1.0;

/// Closed loop: load, engine, metrics, HPA and start-up together.
#[test]
fn autoscaled_histories() {
    let Some(histories) = histories() else { return };
    let mut compared = 0;
    for history in &histories {
        if !history.is_for("closed_loop") {
            continue;
        }
        let Some(kind) = Kind::of(history) else { continue };
        let setup = match setup::setup(history) {
            Ok(setup) => setup,
            Err(reason) => {
                println!("{}: left out: {reason}", history.id);
                continue;
            }
        };
        let recorded = Trajectory::recorded(history, kind);
        let runs = runs(&setup, RecordLevel::Timeline, CLOSED_LOOP_SEEDS);
        let simulated: Vec<Trajectory> = runs
            .iter()
            .map(|run| Trajectory::simulated(run, &recorded, kind, setup.lead_s))
            .collect();
        let found: Vec<Milestones> = simulated.iter().map(Trajectory::milestones).collect();
        let real = recorded.milestones();
        let known = if history.load_is_known() { "load recorded" } else { "load not recorded" };
        println!("\n{} ({known})", history.id);
        let row = |what: &str, real: Option<f64>, of: &dyn Fn(&Milestones) -> Option<f64>, d| {
            let simulated = spread(found.iter().map(of));
            let error = real.zip(simulated).map(|(r, s)| s.0 - r);
            let real = real.map_or("-".into(), |r| format!("{r:.d$}"));
            let error = error.map_or("-".into(), |e| format!("{e:+.d$}"));
            println!("  {what:<14} {real:>7} {error:>7}   {}", shown(simulated, d));
        };
        row("first up s", real.first_up_s, &|m| m.first_up_s, 0);
        row("maximum at s", real.max_at_s, &|m| m.max_at_s, 0);
        row("first down s", real.first_down_s, &|m| m.first_down_s, 0);
        row("back to min s", real.back_to_min_s, &|m| m.back_to_min_s, 0);
        row("maximum", Some(real.max), &|m| Some(m.max), 0);
        row("mean", Some(real.mean), &|m| Some(m.mean), 2);
        let apart = median(simulated.iter().map(|s| s.difference(&recorded)).collect());
        println!("  mean difference {apart:.2} replicas, {:.0} %", 100.0 * apart / real.mean);
        if !FULLY_RECORDED.contains(&history.id.as_str()) {
            continue;
        }
        let middle = |of: &dyn Fn(&Milestones) -> f64| median(found.iter().map(of).collect());
        let up = middle(&|m| m.first_up_s.unwrap_or(f64::INFINITY));
        assert!((up - real.first_up_s.unwrap()).abs() <= FIRST_UP_S, "{}: {up}", history.id);
        let mean = middle(&|m| m.mean);
        assert!((mean / real.mean - 1.0).abs() <= MEAN_SHARE, "{}: {mean}", history.id);
        assert!((middle(&|m| m.max) - real.max).abs() <= MAXIMUM, "{}", history.id);
        compared += 1;
    }
    let there = FULLY_RECORDED.iter().filter(|id| by_id(&histories, id).is_some());
    assert_eq!(compared, there.count());
}

/// Figures that are means over clients or over time, with the recorded replicas where no HPA decides, and the share of
/// each that is reached. Others are printed only: overload (TTFT), what the client lost, what no file calibrates.
const CLOSE: [(&str, &str, f64); 8] = [
    ("h100-llama8b-fleet", "TPOT mean ms", 0.20),
    // Not `ext-a`: a little below its capacity there is no queue, a little above there is.
    ("h100-llama8b-fleet-high", "TTFT mean ms", 0.25),
    ("h100-llama8b-fleet-mid", "TTFT mean ms", 0.25),
    ("h100-llama8b-fleet", "completed", 0.01),
    ("h100-llama8b-hpa-flat", "KV usage mean", 0.25),
    ("h100-qwen32b-hpa", "ready mean", 0.10),
    ("h100-qwen32b-hpa", "maximum", 0.01),
    ("v100-deepseek7b", "latency mean s", 0.30),
];

#[test]
fn histories_with_given_replicas_and_summaries() {
    let Some(histories) = histories() else { return };
    let mut compared = 0;
    for history in &histories {
        let figures = service::figures(history);
        if figures.is_empty() {
            continue;
        }
        let setup = match setup::setup(history) {
            Ok(setup) => setup,
            Err(reason) => {
                println!("\n{}: left out: {reason}", history.id);
                continue;
            }
        };
        let runs = runs(&setup, RecordLevel::Requests, SEEDS);
        println!("\n{}", history.id);
        for figure in figures {
            let values = runs.iter().map(|run| Some((figure.read)(run, history)));
            let simulated = spread(values.filter(|v| v.is_some_and(f64::is_finite)));
            let digits = if figure.recorded < 10.0 { 3 } else { 1 };
            let error = simulated.map_or(f64::NAN, |s| 100.0 * (s.0 / figure.recorded - 1.0));
            println!(
                "  {:<16} {:>10.digits$}   {}  {error:+.0} %",
                figure.name,
                figure.recorded,
                shown(simulated, digits)
            );
            let known = CLOSE.iter().find(|c| history.id.starts_with(c.0) && figure.name == c.1);
            if let Some((_, _, share)) = known {
                assert!(error.abs() <= 100.0 * share, "{}: {} {error}", history.id, figure.name);
                compared += 1;
            }
        }
    }
    assert!(compared >= CLOSE.len(), "{compared}");
}
