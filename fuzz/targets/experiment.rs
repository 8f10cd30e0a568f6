//! An experiment with the files it names. No input may panic: neither while it is read, nor in its messages, nor, if it is
//! valid, in the first minutes of its run, which must account for every request.
//!
//! The input is the experiment; what follows a line `=== NAME` is the file of that name.

#![no_main]

use hpasim::config::{Loader, Options, load};
use hpasim::rng::Seed;
use hpasim::sim::{RecordLevel, run_workload};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

/// Longest run, and the most requests in it: a fuzzer needs many short runs.
const MINUTES: u64 = 10;
const MOST_REQUESTS: usize = 300;

struct Files<'a>(BTreeMap<&'a str, &'a str>);

impl Loader for Files<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let text = self.0.get(path).ok_or("no such file")?;
        Ok(text.as_bytes().to_vec())
    }
}

fn files(text: &str) -> Files<'_> {
    let mut parts = text.split("\n=== ");
    let experiment = ("experiment.toml", parts.next().unwrap_or_default());
    let others = parts.filter_map(|part| part.split_once('\n'));
    Files(std::iter::once(experiment).chain(others).collect())
}

fuzz_target!(|text: &str| {
    let files = files(text);
    let short = format!("duration={MINUTES}m");
    for overrides in [Vec::new(), vec![short]] {
        let is_short = !overrides.is_empty();
        let options = Options { overrides, ..Options::default() };
        let loaded = match load(&files, "experiment.toml", &options) {
            Ok(loaded) => loaded,
            Err(findings) => {
                let _ = findings.to_string();
                continue;
            }
        };
        let scenario = &loaded.experiment.base;
        let until = hpasim::units::SimTime::from_secs(60 * MINUTES);
        let arrivals = scenario.workload.source(Seed(1), until).take(MOST_REQUESTS).count();
        let is_small = scenario.cluster.pools.iter().all(|pool| pool.min_nodes < 100);
        if is_short && arrivals < MOST_REQUESTS && is_small {
            let run = run_workload(scenario, Seed(1), RecordLevel::Requests);
            assert_eq!(run.accounting.arrived, run.accounting.accounted());
        }
    }
});
