//! `hpasim check`: experiments, profiles, manifests and traces, all findings at once.

use super::{Context, Exit, Files, output};
use crate::config::{Options, check};
use std::path::PathBuf;

/// Check files without running anything
///
/// `.toml` files are experiments or GPU profiles, `.yaml` and `.json` files are HPA manifests, all others are
/// traces; what standard input (`-`) is, its text tells. Shows every finding with its source line and what to do
/// about it.
///
/// Ends with code 2 if any file has an error.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Files to check
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let options = Options { overrides: context.common.set.clone(), ..Options::default() };
    let mut failed = Vec::new();
    for file in &args.files {
        let path = file.to_string_lossy();
        let checked = check(&Files, &path, &options);
        match checked.summary {
            Some(summary) => {
                context.show(&checked.findings);
                output::print(&format!("{path}: {summary}\n"))?;
            }
            None => failed.push(checked.findings),
        }
    }
    // Errors last, so that they are what one sees; the caller shows them and ends with code 2.
    match failed.pop() {
        None => Ok(Exit::Done),
        Some(last) => {
            for findings in &failed {
                context.show(findings);
            }
            Err(last.into())
        }
    }
}
