//! `hpasim sweep`: all cases, the recommendation, and the files that go with it.

use super::experiment::{self, Loaded, Sources};
use super::progress::{Bar, UnitLog};
use super::{Context, Exit, interrupt, output, page, shard};
use crate::export::{self, Deployable, File, adapters};
use crate::report;
use crate::sweep::{self, Options, Outcome, Shard, SweepResult};
use anyhow::anyhow;
use std::path::{Path, PathBuf};

/// Where the log of finished units lies below the output directory.
pub(super) const LOG: &str = "units.jsonl";
/// Find the settings that meet the SLO at the least cost
///
/// Simulates every case of the experiment with several replications of load and delays, prints the cases that
/// no other case beats in both cost and SLO attainment, recommends the cheapest one whose attainment holds at
/// its lower confidence bound, and writes it as a manifest.
///
/// Ends with code 1 if no case meets the SLO.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Experiment file
    #[arg(value_name = "EXP.toml")]
    experiment: PathBuf,
    /// HPA manifest to vary instead of the experiment's `[hpa]`
    #[arg(long, value_name = "FILE")]
    hpa: Option<PathBuf>,
    /// HPA manifest in use today, simulated as one more case; savings are stated against it
    #[arg(long, value_name = "FILE")]
    current: Option<PathBuf>,
    /// Continue an interrupted sweep: skip the units that the output directory's log has
    #[arg(long)]
    resume: bool,
    /// Run one of N equal parts of the units; `hpasim merge` joins them. `auto/N` takes I from JOB_COMPLETION_INDEX
    #[arg(long, value_name = "I/N", value_parser = shard::parse)]
    shard: Option<Shard>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let sources = Sources {
        experiment: &args.experiment,
        hpa: args.hpa.as_deref(),
        current: args.current.as_deref(),
    };
    let loaded = experiment::load("sweep", &sources, context)?;
    let plan = &loaded.experiment.plan;
    let directory = context.output_directory(&loaded.experiment.name)?;
    output::prepare(&directory)?;
    if plan.cases.len() == 1 {
        context.note("note: one case, nothing to choose from: `[sweep]` names what to vary");
    }
    let part = args.shard.unwrap_or(Shard::WHOLE);
    let mut log = UnitLog::open(&directory.join(LOG), args.resume, plan)?;
    if args.resume && log.known_units() > 0 {
        context.note(&format!("{} units are known from `{LOG}`", log.known_units()));
    }
    interrupt::watch(context);
    let known = log.take_known();
    let mut bar = Bar::new(plan, known.len(), context, &mut log);
    let options = Options {
        jobs: context.jobs(),
        shard: part,
        known: &|unit| known.get(&unit).copied(),
        cancelled: &interrupt::asked,
    };
    let mut finished = |unit, outcome: &Outcome| bar.finished(unit, outcome);
    let result = sweep::run(plan, &options, &mut finished).map_err(anyhow::Error::msg)?;
    bar.finish();
    let done: usize = result.cases.iter().map(|case| case.done().count()).sum();
    let failed: usize = result.cases.iter().map(|case| case.failures().count()).sum();
    let all = plan.units(part, |_| 0.0).len();
    if done + failed < all {
        context.note(&format!("interrupted: {done} of {all} units are done"));
        context.note("hint: the same command with `--resume` goes on from here");
        return Ok(Exit::Interrupted);
    }
    if args.shard.is_some() {
        let origin = shard::Origin::new(&sources, context, loaded.provenance.digest());
        let files = [
            File::new(LOG, export::units_jsonl(plan, &result)),
            File::new(shard::FILE, origin.to_json()),
        ];
        output::write_files(&directory, &files)?;
        context.note(&output::written(&directory, &files));
        return Ok(Exit::Done);
    }
    finish(&loaded, &result, &directory, context)
}

/// Writes the files and prints the summary of a whole sweep.
pub(super) fn finish(
    loaded: &Loaded,
    result: &SweepResult,
    directory: &Path,
    context: &Context,
) -> anyhow::Result<Exit> {
    let plan = &loaded.experiment.plan;
    let slo = &plan.cases[0].scenario.slo;
    let warnings = sweep::warnings(plan, result);
    let deployable = deployable(loaded, result);
    let mut files = vec![
        File::new("cases.csv", export::cases_csv(plan, result)),
        File::new("runs.csv", export::runs_csv(plan, result)),
        File::new(
            "summary.json",
            export::sweep_summary_json(
                &loaded.provenance,
                plan,
                result,
                slo,
                &warnings,
                deployable.as_ref(),
            ),
        ),
        // In plan order, so that the file does not depend on which unit ended first.
        File::new(LOG, export::units_jsonl(plan, result)),
    ];
    if let Some(deployable) = &deployable {
        let made = deployable.files().map_err(|refused| anyhow!(refused.join("\n")))?;
        let below = |file: File| File { path: format!("recommended/{}", file.path), ..file };
        files.extend(made.into_iter().map(below));
    }
    let heading = experiment::heading(&plan.cases[0].scenario, loaded);
    files.extend(page::files(loaded, result, &heading, &warnings, context));
    // Files of an earlier recommendation do not outlive it, nor do charts of metrics that are gone.
    let recommended = adapters::FILES.map(|name| format!("recommended/{name}"));
    for path in recommended.iter().filter(|path| files.iter().all(|file| file.path != **path)) {
        output::remove(&directory.join(path))?;
    }
    output::write_files(directory, &files)?;
    let charts: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    output::remove_others(directory, report::html::CHARTS, is_chart, &charts)?;
    output::print(&report::sweep_summary(plan, result, &heading))?;
    for warning in &warnings {
        context.warn(&warning.text);
    }
    context.note(&output::written(directory, &files));
    Ok(if result.recommended.is_some() { Exit::Done } else { Exit::Negative })
}

/// Whether a file name is that of a chart of a sweep.
fn is_chart(name: &str) -> bool {
    let ours = ["pareto", "surface", "timeline-"].iter().any(|stem| name.starts_with(stem));
    ours && output::is_picture(name)
}

/// The recommended HPA, ready to be written.
fn deployable(loaded: &Loaded, result: &SweepResult) -> Option<Deployable> {
    let plan = &loaded.experiment.plan;
    let index = result.recommended?;
    let scenario = &plan.cases[index].scenario;
    let own = loaded.experiment.manifests[index].as_ref();
    let figures = &result.cases[index];
    let header = export::recommendation_header(&loaded.provenance, plan, figures, index);
    super::export::deployable(scenario, own, header, &loaded.experiment)
}
