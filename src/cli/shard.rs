//! Parts of a sweep on several machines: what a part leaves behind, and `hpasim merge`.

use super::experiment::{self, Sources};
use super::{Context, Exit, output, sweep};
use crate::export::{read_units, unit_key};
use crate::rng::Seed;
use crate::sim::Measures;
use crate::sweep::{Outcome, Shard, SweepResult, Unit};
use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file that tells which sweep a part belongs to.
pub(super) const FILE: &str = "shard.json";

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

/// What `shard.json` holds: how to load the sweep again, and a digest that tells one sweep from another.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    experiment: PathBuf,
    hpa: Option<PathBuf>,
    current: Option<PathBuf>,
    set: Vec<String>,
    seed: Option<u64>,
    digest: String,
}

impl Origin {
    /// The origin of a part of the sweep with this digest.
    pub(super) fn new(sources: &Sources<'_>, context: &Context, digest: String) -> Self {
        Self {
            experiment: sources.experiment.to_owned(),
            hpa: sources.hpa.map(Path::to_owned),
            current: sources.current.map(Path::to_owned),
            set: context.common.set.clone(),
            seed: context.common.seed.map(|seed| seed.0),
            digest,
        }
    }

    /// The bytes of `shard.json`.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("paths were given as text");
        bytes.push(b'\n');
        bytes
    }
}

/// `I/N` with 1 <= I <= N, or `auto/N`: the index of a Kubernetes Indexed Job, which counts from 0.
pub(super) fn parse(text: &str) -> Result<Shard, String> {
    let wrong = || "a shard is I/N with I from 1 to N, or auto/N in an Indexed Job".to_owned();
    let (index, count) = text.split_once('/').ok_or_else(wrong)?;
    let count: usize = count.parse().map_err(|_| wrong())?;
    let index = if index == "auto" {
        let index = std::env::var("JOB_COMPLETION_INDEX")
            .map_err(|_| "auto/N needs JOB_COMPLETION_INDEX, which an Indexed Job sets")?;
        index.parse::<usize>().map_err(|_| wrong())?.saturating_add(1)
    } else {
        index.parse().map_err(|_| wrong())?
    };
    if (1..=count).contains(&index) { Ok(Shard { index, count }) } else { Err(wrong()) }
}

/// Runs `hpasim merge`.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let mut origin: Option<(Origin, &Path)> = None;
    let mut units: BTreeMap<String, Measures> = BTreeMap::new();
    for part in &args.parts {
        let path = part.join(FILE);
        let bytes = output::read_input(&path)
            .with_context(|| format!("`{}` is no part of a sweep", part.display()))?;
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
        let log = output::read_input(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
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
    let all = (0..plan.cases.len())
        .flat_map(|case| (0..plan.replications).map(move |replication| Unit { case, replication }));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_count_from_one() {
        assert_eq!(parse("2/3"), Ok(Shard { index: 2, count: 3 }));
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0", "/"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
