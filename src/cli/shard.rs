//! Parts of a sweep on several machines: which part a run is, and what it leaves behind for `hpasim merge`.

use super::Context;
use super::experiment::Sources;
use crate::sweep::Shard;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file that tells which sweep a part belongs to.
pub(super) const FILE: &str = "shard.json";

/// What `shard.json` holds: how to load the sweep again, and a digest that tells one sweep from another.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    pub(super) experiment: PathBuf,
    pub(super) hpa: Option<PathBuf>,
    pub(super) current: Option<PathBuf>,
    pub(super) set: Vec<String>,
    pub(super) seed: Option<u64>,
    pub(super) digest: String,
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
