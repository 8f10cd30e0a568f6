//! `hpasim trace generate`.

use super::{deliver_trace, show};
use crate::cli::{Context, Exit, Files};
use crate::config::{self, parse_duration};
use crate::rng::Seed;
use crate::units::{SimDuration, SimTime};
use crate::workload::{
    Arrivals, Generated, LengthModel, RateModel, Recorded, Renewal, Request, Summary, WorkloadSpec,
    presets,
};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

/// Arguments of `hpasim trace generate`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// An experiment file; its `[workload]`, `seed` and `duration` count
    #[arg(value_name = "EXP.toml", required_unless_present = "preset", conflicts_with = "preset")]
    experiment: Option<PathBuf>,
    /// Which replication of the experiment, from 0
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "preset")]
    replication: u64,
    /// A named arrival process instead of an experiment: `poisson`, or a preset such as azure-conv-like
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Lengths of the requests, by preset [default: those of the arrival preset, else azure-conv-like]
    #[arg(long, value_name = "NAME", requires = "preset")]
    lengths: Option<String>,
    /// How long [default: the curve's own length]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "preset")]
    duration: Option<SimDuration>,
    /// Leave out the beginning: this instant becomes time zero
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "preset")]
    from: Option<SimDuration>,
    /// Mean rate over the duration [requests/s] [default: the preset's own]
    #[arg(long, value_name = "RPS", requires = "preset")]
    rate: Option<f64>,
    /// Multiply sojourns, knots and time constants, but not the rates
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "preset")]
    modulation_stretch: f64,
    /// Prompt and output always this many tokens long, as in `512,128`
    #[arg(long, value_name = "PROMPT,OUTPUT", requires = "preset", conflicts_with = "lengths")]
    fixed_lengths: Option<String>,
}

/// Seed of a preset without `--seed`.
const SEED: Seed = Seed(1);

/// Runs `hpasim trace generate`.
pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let (trace, recipe) = match (&args.experiment, &args.preset) {
        (Some(path), _) => of_experiment(path, args, context)?,
        (None, Some(name)) => of_preset(name, args, context)?,
        (None, None) => bail!("give an experiment file or `--preset NAME`"),
    };
    let Some(summary) = Summary::of(&trace.requests) else {
        bail!("the workload has no request in this time");
    };
    context.note(show::summary(&summary).trim_end());
    deliver_trace(&trace, &[recipe], context)?;
    Ok(Exit::Done)
}

fn of_experiment(
    path: &std::path::Path,
    args: &Args,
    context: &Context,
) -> Result<(Recorded, String)> {
    let options =
        config::Options { overrides: context.common.set.clone(), ..config::Options::default() };
    let name = path.to_string_lossy();
    let loaded = config::load(&Files, &name, &options)?;
    context.show(&loaded.warnings);
    let experiment = loaded.experiment;
    let scenario = &experiment.base;
    if scenario.workload.is_closed_loop() {
        bail!("the arrivals of a closed loop depend on the answers: there is no trace to write");
    }
    if scenario.workload.has_test_run() {
        bail!(
            "the load starts when its test run is answered: there is no trace to write; leave out `test_run_tokens`"
        );
    }
    let seed = context.common.seed.unwrap_or(experiment.plan.seed);
    let until = SimTime::ZERO + scenario.duration;
    let seed_of_run = seed.replication(args.replication);
    let requests = scenario.workload.materialise(seed_of_run, until).to_vec();
    let trace = Recorded::realised(requests, &scenario.workload.texts(seed_of_run));
    let mut recipe = format!(
        "generated from the experiment `{}`, seed {}, replication {}",
        experiment.name, seed.0, args.replication
    );
    for set in &context.common.set {
        recipe.push_str(", ");
        recipe.push_str(set);
    }
    Ok((trace, recipe))
}

fn of_preset(name: &str, args: &Args, context: &Context) -> Result<(Recorded, String)> {
    let mut recipe = vec![format!("hpasim trace generate --preset {name}")];
    let mut g = if name == "poisson" {
        Generated::new(RateModel::Constant(1.0), Renewal::Exponential)
    } else {
        presets::arrivals(name)?
    };
    let own_lengths =
        if presets::LENGTHS.contains(&name) { name } else { presets::LENGTHS[0] }.to_owned();
    let lengths = if let Some(pair) = &args.fixed_lengths {
        recipe.push(format!("--fixed-lengths {pair}"));
        fixed(pair)?
    } else {
        let lengths = args.lengths.clone().unwrap_or(own_lengths);
        recipe.push(format!("--lengths {lengths}"));
        presets::lengths(&lengths)?
    };
    g.modulation_stretch = args.modulation_stretch;
    g.check()?;
    if args.modulation_stretch != 1.0 {
        recipe.push(format!("--modulation-stretch {}", args.modulation_stretch));
    }
    let from = args.from.unwrap_or_default();
    if from > SimDuration::ZERO {
        recipe.push(format!("--from {from}"));
    }
    let duration = args
        .duration
        .or_else(|| g.natural_duration().map(|d| d.saturating_sub(from)))
        .with_context(|| format!("`{name}` has no end of its own: give `--duration`"))?;
    let end = SimTime::ZERO + from.saturating_add(duration);
    if duration == SimDuration::ZERO || end > SimTime::MAX_HORIZON {
        bail!("the duration must lie between 0 and 90 days");
    }
    recipe.push(format!("--duration {duration}"));
    if let Some(rate) = args.rate {
        // Requests expected up to the end, less those before the start.
        let whole = from.as_secs_f64() + duration.as_secs_f64();
        let before =
            if from > SimDuration::ZERO { g.mean_rps(from) * from.as_secs_f64() } else { 0.0 };
        let expected = g.mean_rps(SimDuration::from_secs_f64(whole)) * whole - before;
        g.rate_scale = rate * duration.as_secs_f64() / expected;
        recipe.push(format!("--rate {rate}"));
    }
    let seed = context.common.seed.unwrap_or(SEED);
    recipe.push(format!("--seed {}", seed.0));
    let spec = WorkloadSpec::single(Arrivals::Generated(g, lengths))?;
    let rows = spec.source(seed, end).filter(|r| r.arrival >= SimTime::ZERO + from);
    let rows = rows.map(|r| Request { arrival: r.arrival - from, ..r }).collect();
    Ok((Recorded::new(rows), recipe.join(" ")))
}

fn fixed(pair: &str) -> Result<LengthModel> {
    let parts = pair.split_once(',').and_then(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?)));
    let (prompt, output) =
        parts.with_context(|| format!("`{pair}` is not of the form PROMPT,OUTPUT"))?;
    Ok(LengthModel::constant(prompt, output)?)
}
