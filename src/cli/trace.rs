//! `hpasim trace`: traces in, out and described.

mod generate;
mod import;
mod show;

use super::output::{print, write_stream};
use super::{Context, Exit};
use crate::workload::Recorded;
use crate::workload::import::write_csv;
use anyhow::Result;
use flate2::{Compression, GzBuilder};
use std::io::{self, Write};
use std::path::Path;

/// Request traces: read those of other tools, generate new ones, describe them.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Turns a trace of another tool into hpasim's own format
    ///
    /// The trace goes to standard output or to `-o FILE` (gzip if its name ends in `.gz`), the import report
    /// to standard error. Locust and Prometheus files hold a rate, not requests: they become a table
    /// `t_s,rate_rps` for `[workload.rate_curve]`.
    Import(import::Args),
    /// Writes the requests of a generated workload
    ///
    /// Either those of an experiment file, as its replications meet them, or those of a preset. The trace goes
    /// to standard output or to `-o FILE`.
    Generate(generate::Args),
    /// Describes a trace: rate, burstiness, lengths
    Stats(import::StatsArgs),
}

/// Runs `hpasim trace`.
pub(crate) fn run(args: &Args, context: &Context) -> Result<Exit> {
    match &args.command {
        Command::Import(args) => import::run(args, context),
        Command::Generate(args) => generate::run(args, context),
        Command::Stats(args) => import::stats(args),
    }
}

/// Writes to `-o`, or to standard output without it; gzip if the name ends in `.gz`.
fn deliver(context: &Context, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let path = context.common.output.as_deref().unwrap_or(Path::new("-"));
    if path.extension().is_none_or(|e| e != "gz") {
        return write_stream(path, write);
    }
    write_stream(path, |out| {
        // No time and no name in the header: the same trace gives the same bytes.
        let mut packed = GzBuilder::new().mtime(0).write(out, Compression::best());
        write(&mut packed)?;
        packed.finish().map(drop)
    })
}

/// Writes a trace in hpasim's format.
fn deliver_trace(trace: &Recorded, comments: &[String], context: &Context) -> Result<()> {
    deliver(context, |out| write_csv(trace, comments, out))
}
