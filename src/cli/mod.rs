//! The command line: the only module that opens files, reads the clock and the environment, and prints.
//!
//! Results go to standard output, everything else to standard error. Every command has its own file with its
//! arguments (`Args`) and a function `run(args, &Context)`; doc comments of arguments are the manual.

#![allow(clippy::disallowed_methods, reason = "IO, clock and environment belong here")]

mod backtest;
mod check;
mod experiment;
mod explain;
mod export;
mod interrupt;
mod manual;
mod merge;
mod output;
mod page;
mod profile;
mod progress;
mod run;
mod schema;
mod shard;
mod sweep;
mod trace;
mod verify;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Diagnostics, Loader};
use crate::rng::Seed;

/// Tunes Kubernetes autoscaling for LLM serving offline.
///
/// Simulates vLLM replicas on GPU nodes under the exact HPA algorithm and finds the metric, target, windows
/// and policies that meet an SLO at the least cost.
#[derive(Parser, Debug)]
#[command(name = "hpasim", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What to do. A command is listed here when it works: a module `cli::<command>` with `Args` (derives
/// `clap::Args`) and `run(args, &Context) -> anyhow::Result<Exit>`, a variant here, an arm in `dispatch`.
#[derive(Subcommand, Debug)]
enum Command {
    Sweep(sweep::Args),
    Merge(merge::Args),
    Run(run::Args),
    Explain(explain::Args),
    Export(export::Args),
    Trace(trace::Args),
    Verify(verify::Args),
    Backtest(backtest::Args),
    Check(check::Args),
    Profile(profile::Args),
    Schema(schema::Args),
    Completions(manual::Completions),
    Man(manual::Man),
}

/// Options of every command.
#[derive(clap::Args, Debug, Clone)]
pub(crate) struct Common {
    /// Directory for the files written (default: `out/NAME` of the experiment); `-` is standard output where one
    /// file is written
    #[arg(short, long, value_name = "DIR", global = true)]
    pub(crate) output: Option<PathBuf>,
    /// Units to simulate at the same time [default: all cores]; does not change any result
    #[arg(short, long, value_name = "N", global = true,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// Seed of all random streams instead of the file's: a number, or any word such as a commit hash
    #[arg(long, value_name = "SEED", global = true, value_parser = parse_seed,
          allow_negative_numbers = true)]
    pub(crate) seed: Option<Seed>,
    /// Sets a key of the experiment file, with the same checks as the file; repeatable
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub(crate) set: Vec<String>,
    /// Print results and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print more about what is done; repeatable
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// When to use colour; NO_COLOR is honoured
    #[arg(long, value_name = "WHEN", global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done; for a sweep, a recommendation was found.
    Done,
    /// It ran, but no case meets the SLO, or a check found a difference.
    Negative,
    /// Interrupted; finished work is kept.
    Interrupted,
}

/// Exit code of a usage, configuration, input or output error.
const FAILURE: u8 = 2;

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Negative => 1,
            Self::Interrupted => 130,
        }
    }
}

/// What a command knows besides its own arguments.
pub(crate) struct Context {
    pub(crate) common: Common,
}

impl Context {
    /// Number of units to simulate at the same time.
    pub(crate) fn jobs(&self) -> usize {
        self.common.jobs.map_or_else(
            || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            usize::from,
        )
    }

    /// A remark on standard error, unless `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.common.quiet {
            complain(text);
        }
    }

    /// The output directory: the one given, or `out/<name>`.
    ///
    /// # Errors
    /// If it is `-`, because these commands write several files.
    pub(crate) fn output_directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        match &self.common.output {
            Some(path) if path.as_os_str() == "-" => {
                anyhow::bail!("`--output -`: this command writes several files, name a directory")
            }
            Some(path) => Ok(path.clone()),
            None => Ok(PathBuf::from("out").join(name)),
        }
    }

    /// A warning on standard error, unless `--quiet`.
    pub(crate) fn warn(&self, text: &str) {
        self.note(&format!("warning: {text}"));
    }

    /// Shows findings on standard error. Warnings alone are left out under `--quiet`.
    pub(crate) fn show(&self, findings: &Diagnostics) {
        if !findings.items.is_empty() && (findings.has_errors() || !self.common.quiet) {
            // anstream takes the styles out where they are not wanted.
            complain(findings.render(true, terminal_width()).trim_end_matches('\n'));
        }
    }
}

/// A line on standard error; one that nobody can read any more is no reason to fail.
pub(crate) fn complain(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Reads the files that an experiment names.
pub(crate) struct Files;

impl Loader for Files {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        output::read_bytes(path.as_ref()).map_err(|error| error.to_string())
    }
}

/// Columns of the terminal; 100 where it is not known.
pub(crate) fn terminal_width() -> usize {
    let named = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let seen = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    named.or_else(seen).unwrap_or(100).clamp(40, 200)
}

/// A number as it is; any other word by its digest, so that a commit hash can seed a run.
fn parse_seed(text: &str) -> Result<Seed, String> {
    let negative = text.strip_prefix('-').is_some_and(|rest| rest.parse::<f64>().is_ok());
    if text.is_empty() || negative {
        return Err("a seed is a number from 0 on, or any word".to_owned());
    }
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    Ok(Seed(number.unwrap_or_else(|| {
        let digest = blake3::hash(text.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        // Experiment files have 63 bits: TOML integers are signed.
        u64::from_le_bytes(first) >> 1
    })))
}

/// Runs the command line `args` (with the program's name first) and returns the exit code: 0 done, 1 a
/// negative answer, 2 an error of usage, input or output, 130 interrupted. A broken pipe is a quiet success.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output with code 0, the rest to standard error with code 2.
            let code = if error.use_stderr() { FAILURE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match cli.common.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let context = Context { common: cli.common };
    // A panic is a bug of ours, shown as one line; `sweep` catches those of its units itself.
    let verbose = context.common.verbose > 0;
    std::panic::set_hook(Box::new(move |panic| {
        if verbose {
            complain(&panic.to_string());
        }
    }));
    let answer =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dispatch(cli.command, &context)));
    let code = match answer {
        Ok(Ok(exit)) => exit.code(),
        Ok(Err(error)) => report(&error, &context),
        Err(panic) => {
            let text = crate::sweep::panic_text(&*panic).unwrap_or("unknown");
            complain(&format!("error: internal error: {text}"));
            complain(&format!("hint: this is a bug of hpasim {}", env!("CARGO_PKG_VERSION")));
            FAILURE
        }
    };
    ExitCode::from(code)
}

fn dispatch(command: Command, context: &Context) -> anyhow::Result<Exit> {
    match command {
        Command::Sweep(args) => sweep::run(&args, context),
        Command::Merge(args) => merge::run(&args, context),
        Command::Run(args) => run::run(&args, context),
        Command::Explain(args) => explain::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Trace(args) => trace::run(&args, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::Backtest(args) => backtest::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Profile(args) => profile::run(&args, context),
        Command::Schema(args) => schema::run(&args, context),
        Command::Completions(args) => manual::completions(&args, context, Cli::command()),
        Command::Man(args) => manual::man(&args, context, &Cli::command()),
    }
}

/// Prints an error and returns its exit code.
fn report(error: &anyhow::Error, context: &Context) -> u8 {
    let broken_pipe = error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    });
    if broken_pipe {
        return 0;
    }
    match error.downcast_ref::<Diagnostics>() {
        Some(findings) => context.show(findings),
        None => complain(&format!("error: {error:#}")),
    }
    FAILURE
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seeds_are_numbers_or_words() {
        assert_eq!(parse_seed("20261124"), Ok(Seed(20_261_124)));
        assert_eq!(parse_seed("0xff"), Ok(Seed(255)));
        assert_eq!(parse_seed("56d8e01a"), parse_seed("56d8e01a"));
        assert_ne!(parse_seed("56d8e01a"), parse_seed("56d8e01b"));
        assert!(parse_seed("").is_err());
        assert!(parse_seed("-1").is_err());
    }

    #[test]
    fn command_line_can_be_pasted() {
        assert_eq!(quoted("experiments/l4.toml"), "experiments/l4.toml");
        assert_eq!(quoted("hpa.metrics=[\"a b\"]"), "'hpa.metrics=[\"a b\"]'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
