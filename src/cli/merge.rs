//! `hpasim merge`: the parts of one sweep become the whole.

use super::experiment::{self, Sources};
use super::shard::{FILE, Origin};
use super::{Context, Exit, output, sweep};
use crate::export::{read_units, unit_key};
use crate::rng::Seed;
use crate::sim::Measures;
use crate::sweep::{Outcome, Shard, SweepResult, Unit};
use anyhow::{Context as _, anyhow, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Join the parts of one sweep
///
/// Takes the output directories of all `hpasim sweep --shard I/N` and writes what the whole sweep would have
/// written, byte for byte. Runs nothing; the experiment's files must be where the parts found them.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Output directories of the parts
    #[arg(value_name = "DIR", required = true)]
    parts: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let mut origin: Option<(Origin, &Path)> = None;
    let mut units: BTreeMap<String, Measures> = BTreeMap::new();
    for part in &args.parts {
        let path = part.join(FILE);
        let bytes = output::read_input(&path)
            .with_context(|| format!("`{}` is no part of a sweep", part.display()))
            .map_err(|error| {
                anyhow!("{error:#}\nhint: `hpasim sweep EXP.toml --shard I/N -o DIR` writes a part")
            })?;
        let found: Origin = serde_json::from_slice(&bytes)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        match &origin {
            Some((first, folder)) if *first != found => {
                bail!(
                    "`{}` and `{}` are parts of different sweeps",
                    folder.display(),
                    part.display()
                )
            }
            Some(_) => {}
            None => origin = Some((found, part)),
        }
        let path = part.join(sweep::LOG);
        let log = output::read_input(&path)?;
        units.extend(read_units(&String::from_utf8_lossy(&log)));
    }
    let (origin, _) = origin.context("no part was given")?;

    let sources = Sources {
        experiment: &origin.experiment,
        hpa: origin.hpa.as_deref(),
        current: origin.current.as_deref(),
    };
    let mut common = context.common.clone();
    common.set.clone_from(&origin.set);
    common.seed = origin.seed.map(Seed);
    let context = &Context { common };
    let loaded = experiment::load("sweep", &sources, context)?;
    ensure!(
        loaded.provenance.digest() == origin.digest,
        "`{}` or a file it names has changed since the parts ran",
        origin.experiment.display()
    );
    let plan = &loaded.experiment.plan;
    let all = plan.units(Shard::WHOLE, |_| 0.0).into_iter();
    let outcomes: Vec<(Unit, Option<Outcome>)> = all
        .map(|unit| (unit, units.get(&unit_key(plan, unit)).copied().map(Outcome::Done)))
        .collect();
    let missing = outcomes.iter().filter(|(_, outcome)| outcome.is_none()).count();
    ensure!(
        missing == 0,
        "{missing} of {} units are in none of the parts: they were interrupted, or a part is missing",
        outcomes.len()
    );
    let result = SweepResult::of(plan, outcomes);
    let directory = context.output_directory(&loaded.experiment.name)?;
    sweep::finish(&loaded, &result, &directory, context)
}
