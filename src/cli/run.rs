//! `hpasim run`: one case in full detail.

use super::experiment::{self, Sources};
use super::progress::Count;
use super::{Context, Exit, output};
use crate::cluster::ModelLoad;
use crate::engine::EngineMode;
use crate::engine::metrics::exposition;
use crate::export::{self, File};
use crate::hpa::HpaSpec;
use crate::manifest::HpaManifest;
use crate::report;
use crate::sim::{Autoscaler, MetricsPage, RecordLevel, RunRecord, Scenario, run_workload};
use crate::sweep::{Case, Plan};
use crate::units::{SimDuration, SimTime};
use anyhow::{Context as _, bail};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Scale writes that are printed; all are in `decisions.csv`.
const MAX_SCALE_WRITES: usize = 20;

/// Simulate one case and show what happened
///
/// Prints requests, latencies, replicas, cost and the scale decisions, and writes the timeline, every reconcile
/// with the numbers that led to it, every phase change of pods and nodes, the events, and what `hpasim explain` needs.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Experiment file
    #[arg(value_name = "EXP.toml")]
    experiment: PathBuf,
    /// HPA manifest instead of the experiment's `[hpa]`
    #[arg(long, value_name = "FILE")]
    hpa: Option<PathBuf>,
    /// Case of the experiment's sweep, by its id; without it the file as it stands, sweep left out. A file whose
    /// `[hpa]` names no metric stands for the first case
    #[arg(long, value_name = "ID")]
    case: Option<String>,
    /// Realisations of load and delays; the files of all but the first go to replication-N/
    #[arg(short, long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    replications: u32,
    /// How replicas advance; both write the same bytes
    #[arg(long, value_name = "ENGINE", value_enum)]
    engine: Option<Engine>,
    /// Write `requests.csv` too: one row per request
    #[arg(long)]
    requests: bool,
    /// Print what `kubectl get hpa --watch` and `kubectl get pods --watch` would have shown, instead of the summary
    #[arg(long)]
    watch: bool,
    /// Write what each replica's /metrics shows at this time (`90s`, `1h30m`), to metrics/; may be repeated
    #[arg(long, value_name = "T", value_parser = crate::config::parse_duration)]
    scrape_at: Vec<SimDuration>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// Decode runs in closed form
    Fast,
    /// Every step
    Stepwise,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let sources = Sources { experiment: &args.experiment, hpa: args.hpa.as_deref(), current: None };
    let loaded = experiment::load("run", &sources, context)?;
    let plan = &loaded.experiment.plan;
    let mut scenario = match &args.case {
        None => {
            experiment::tell_first_case(&loaded, context);
            loaded.experiment.base.clone()
        }
        Some(id) => case(plan, id)?.scenario.clone(),
    };
    if let Some(engine) = args.engine {
        Arc::make_mut(&mut scenario.engine).mode = match engine {
            Engine::Fast => EngineMode::Fast,
            Engine::Stepwise => EngineMode::Stepwise,
        };
    }
    if let Some(late) = args.scrape_at.iter().find(|at| **at > scenario.duration) {
        let [late, end] = [*late, scenario.duration].map(experiment::duration);
        bail!("--scrape-at: the run of {end} ends before {late}");
    }
    scenario.expose_at = args.scrape_at.iter().map(|at| SimTime::ZERO + *at).collect();
    scenario.expose_at.sort_unstable();
    let directory = context.output_directory(&loaded.experiment.name)?;
    output::prepare(&directory)?;
    let level = if args.requests { RecordLevel::Requests } else { RecordLevel::Timeline };
    let records = simulate(&scenario, plan.seed, args.replications, level, context);

    let spec = spec_of(&scenario);
    let mut files = Vec::new();
    for (replication, record) in records.iter().enumerate() {
        let folder =
            if replication == 0 { String::new() } else { format!("replication-{replication}/") };
        files.extend(tables(record, &scenario, &spec, &folder, args.requests));
        files.extend(pages(record, &loaded.experiment.profile.model.name, &folder));
    }
    let mut provenance = loaded.provenance.clone();
    if let Some(id) = &args.case {
        let _ = write!(provenance.command, " --case {id}");
    }
    if args.replications > 1 {
        let _ = write!(provenance.command, " --replications {}", args.replications);
    }
    let summary = export::run_summary_json(&provenance, &scenario.slo, &records);
    files.push(File::new("summary.json", summary));
    output::write_files(&directory, &files)?;

    if args.watch {
        let object = loaded.experiment.base_manifest.as_ref();
        let name = object.map(HpaManifest::name).filter(|name| !name.is_empty());
        output::print(&report::watch(
            &records[0],
            name.unwrap_or(&loaded.experiment.name),
            scenario.cluster.startup.sidecars,
        ))?;
        context.note(&output::written(&directory, &files));
        return Ok(Exit::Done);
    }
    let heading = experiment::heading(&scenario, &loaded);
    let has_hpa = matches!(scenario.autoscaler, Autoscaler::Hpa(_));
    let shown = has_hpa.then_some(&spec);
    output::print(&report::run_summary(&records, plan.confidence, &heading, shown))?;
    let log = report::scale_log(&records[0], &spec, MAX_SCALE_WRITES);
    if !log.is_empty() {
        output::print(&format!("\n{log}"))?;
    }
    context.note(&output::written(&directory, &files));
    Ok(Exit::Done)
}

/// The case of the sweep with this id.
fn case<'a>(plan: &'a Plan<Scenario>, id: &str) -> anyhow::Result<&'a Case<Scenario>> {
    let found = plan.cases.iter().find(|case| case.id == id);
    found.with_context(|| match plan.cases.as_slice() {
        [first, .., last] => format!("no case `{id}`: the sweep has {} to {}", first.id, last.id),
        _ => format!("no case `{id}`: the file has no `[sweep]` with several cases"),
    })
}

/// The replications, in order, on as many threads as there are jobs.
fn simulate(
    scenario: &Scenario,
    seed: crate::rng::Seed,
    replications: u32,
    level: RecordLevel,
    context: &Context,
) -> Vec<RunRecord> {
    let jobs = context.jobs();
    let mut count = Count::new(replications as usize, context);
    let seeds: Vec<_> = (0..u64::from(replications)).map(|r| seed.replication(r)).collect();
    let mut records = Vec::new();
    for batch in seeds.chunks(jobs.max(1)) {
        std::thread::scope(|scope| {
            let running: Vec<_> = batch
                .iter()
                .map(|&seed| scope.spawn(move || run_workload(scenario, seed, level)))
                .collect();
            for run in running {
                match run.join() {
                    Ok(record) => {
                        records.push(record);
                        count.finished();
                    }
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }
    records
}

/// The defaulted spec of the scenario's HPA; an empty one without an HPA.
fn spec_of(scenario: &Scenario) -> HpaSpec {
    scenario.autoscaler.hpa().map(|setup| setup.spec.defaulted()).unwrap_or_default()
}

/// The `/metrics` pages that were asked for, as a scrape would get them.
fn pages(record: &RunRecord, model_name: &str, folder: &str) -> Vec<File> {
    let page = |page: &MetricsPage| {
        let seconds = SimDuration::from_ps(page.at.as_ps());
        let name = format!("{folder}metrics/{seconds}-pod-{}.prom", page.pod.0);
        File::new(name, exposition(&page.metrics, &page.gauges, model_name))
    };
    record.pages.iter().map(page).collect()
}

/// The tables of one replication.
fn tables(
    record: &RunRecord,
    scenario: &Scenario,
    spec: &HpaSpec,
    folder: &str,
    requests: bool,
) -> Vec<File> {
    let pools = &scenario.cluster.pools;
    let pools: Vec<_> =
        pools.iter().map(|pool| (pool.name.as_str(), pool.max_nodes, pool.zone.as_str())).collect();
    let has_volume = match &scenario.cluster.startup.load {
        ModelLoad::Storage(load) => load.attach_limit.is_some(),
        ModelLoad::Time(_) => false,
    };
    let file = |name: &str, bytes: Vec<u8>| File::new(format!("{folder}{name}"), bytes);
    let mut files = vec![
        file("timeline.csv", export::timeline_csv(record, spec)),
        file("decisions.csv", export::decisions_csv(record, spec)),
        file("pods.csv", export::pods_csv(record)),
        file("nodes.csv", export::nodes_csv(record, &pools)),
        file("events.csv", export::events_csv(record, &pools, has_volume)),
        file("explain.jsonl", export::explain_jsonl(record)),
    ];
    if requests {
        files.push(file("requests.csv", export::requests_csv(record)));
    }
    files
}
