//! The validated experiment: everything a command needs to run it.

use super::profile::GpuProfile;
use crate::manifest::HpaManifest;
use crate::sim::Scenario;
use crate::sweep::Plan;
use std::collections::BTreeMap;

/// Reads files for [`load`](fn@super::load); implemented by `cli`, and by a map of strings in tests.
pub trait Loader {
    /// The bytes of `path`, which is already resolved against the file that names it. Errors are one
    /// line, as the operating system words it.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// What the command line adds to an experiment file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--set`, in order: `KEY=VALUE`. VALUE is TOML; what is no TOML is taken as a string.
    pub overrides: Vec<String>,
    /// `--hpa FILE`: this manifest instead of the file's `[hpa]`. Relative to the working directory.
    pub hpa: Option<String>,
    /// `--current FILE`: the manifest in use today becomes the last case of the plan.
    pub current: Option<String>,
}

/// A file that was read, for the digest of the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The resolved path.
    pub path: String,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub digest: String,
}

/// A validated experiment.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// `name`: letters, digits, `-`, `_`, `.`; names the output directory.
    pub name: String,
    /// The file without its sweep: what `run` runs. A file whose metrics come from the sweep alone has its
    /// first case here.
    pub base: Scenario,
    /// Whether [`Experiment::base`] is the first case, because `[hpa]` names no metric.
    pub base_is_first_case: bool,
    /// The HPA object of [`Experiment::base`], if it has one.
    pub base_manifest: Option<HpaManifest>,
    /// The grid; a file without `[sweep]` has one case, its base.
    pub plan: Plan<Scenario>,
    /// The HPA object of each case of the plan, ready to export.
    pub manifests: Vec<Option<HpaManifest>>,
    /// The GPU profile of the base.
    pub profile: GpuProfile,
    /// Which price a node has and where it comes from, in words.
    pub price_note: String,
    /// The query that the adapter answers a metric name with, by name: `[[pipeline.rules]]` of the base.
    pub queries: BTreeMap<String, String>,
    /// Every file that was read, in order.
    pub inputs: Vec<Input>,
}
