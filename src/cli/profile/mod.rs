//! `hpasim profile`: GPU profiles, what they say and how sure it is.

mod check;
mod fit;
mod inputs;
mod list;
mod requests;
mod server;
mod show;

use super::{Context, Exit, output};
use crate::config::Diagnostics;
use crate::config::profile::{Constants, GpuProfile};

/// Show the GPU profiles
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// A subcommand has its own file with its arguments and a function `run`.
#[derive(clap::Subcommand, Debug)]
enum Command {
    /// List the built-in profiles with their price, KV cache and known error
    List,
    /// Show one profile: coefficients in words, step times, saturation, KV cache, sources
    Show {
        /// `<gpu>-<model>[-tpN][-fp8]`, or the path of a file
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Compare profiles with published serving benchmarks
    ///
    /// Simulates each row and prints its measured and simulated figures with the relative error, the rows that
    /// cannot be modelled with the reason, and last the medians of absolute errors per GPU. `--output FILE` writes
    /// all figures as CSV. Exit code 1 if a median exceeds `--fail-on`.
    Check(check::Args),
    /// Fit a profile to your own measurements
    ///
    /// From results of `vllm bench serve`, recorded Prometheus series, per-request traces and engine steps, in any
    /// mix. Prints each coefficient with its status, every data point with its error in the fit and in a fit without
    /// it, and whole runs simulated with the fit; `-o NAME.toml` writes the profile. Exit code 1 if the throughput of
    /// an open-loop benchmark is off by more than 10 %.
    Fit(Box<fit::Args>),
}

/// vLLM minor release that the figures are for.
const MINOR: u32 = 33;
/// Its default `gpu_memory_utilization`.
// Source: vllm 0.33.0, engine/arg_utils.py.
const UTILIZATION: f64 = 0.92;

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let constants = Constants::builtin()?;
    match &args.command {
        Command::Check(args) => return check::run(args, &constants, context),
        Command::Fit(args) => return fit::run(args, &constants, context),
        Command::List => list::run(&constants)?,
        Command::Show { name } => {
            let profile = load(name, &constants)?;
            output::print(&show::describe(&profile)?)?;
        }
    }
    Ok(Exit::Done)
}

/// The profile in the file of this path (`-` is standard input), or of this name.
fn load(name: &str, constants: &Constants) -> anyhow::Result<GpuProfile> {
    let mut found = Diagnostics::default();
    if name != "-" && !GpuProfile::is_path(name) {
        return GpuProfile::named(name, constants).map_err(|why| {
            anyhow::anyhow!("there is no profile `{name}`: {}\nhint: {}", why.label, why.help)
        });
    }
    let bytes = output::read_input(name.as_ref())?;
    let source = found.sources.add(name, String::from_utf8_lossy(&bytes));
    GpuProfile::parse(&mut found, source, constants).ok_or_else(|| found.into())
}

/// `1.2 %`.
fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `+1.2 %`.
fn signed_percent(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}
