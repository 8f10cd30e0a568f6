//! `hpasim verify`: replays recordings of the real software.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use flate2::read::MultiGzDecoder;
use rayon::prelude::*;
use serde_json::Value;

use super::{Context, Exit, output};
use crate::verify::{engine, hpa};

/// First bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Differences printed in full, over all files.
const SHOWN_MAX: usize = 10;
/// What the lines of a recording of the HPA controller hold.
const HPA_LINES: &str =
    "one scenario per line, with `name`, `controller`, `hpa_spec_defaulted` and `steps`";
/// What the lines of a recording of the scheduler hold.
const ENGINE_LINES: &str =
    "first the settings, then one scheduling step per line, each with its `kind`";

/// Replay recorded decisions of the real software
///
/// Prints the first differences in full and, last, `N steps, M mismatches`. Exit code 0 only if nothing differs, 1
/// if something does, 2 if a recording cannot be read.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Recorded reconciles of the real HPA controller
    Hpa(Recordings),
    /// Recorded calls of the real vLLM scheduler
    Engine(Recordings),
}

#[derive(clap::Args, Debug)]
struct Recordings {
    /// Recordings (.jsonl or .jsonl.gz), folders of them, or `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// What a replay of one recording found.
struct Found {
    steps: u64,
    mismatches: u64,
    /// The first differences in full.
    first: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match &args.what {
        What::Hpa(recordings) => drive(&recordings.files, HPA_LINES, context, |reader| {
            let found = hpa::replay(reader)?;
            Ok(Found { steps: found.steps, mismatches: found.mismatches, first: found.first })
        }),
        What::Engine(recordings) => drive(&recordings.files, ENGINE_LINES, context, |reader| {
            let found = engine::replay(reader)?;
            Ok(Found { steps: found.steps, mismatches: found.mismatches, first: found.first })
        }),
    }
}

/// Replays every recording and sums up, in the order of the files.
fn drive(
    arguments: &[PathBuf],
    lines: &str,
    context: &Context,
    replay: impl Fn(Box<dyn BufRead + '_>) -> anyhow::Result<Found> + Sync,
) -> anyhow::Result<Exit> {
    let mut files = Vec::new();
    for path in arguments {
        collect(path, &mut files)?;
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(context.jobs()).build()?;
    let found: Vec<anyhow::Result<Found>> = pool.install(|| {
        files
            .par_iter()
            .map(|path| {
                let bytes = output::read_input(path)?;
                replay(unpacked(&bytes)).map_err(|error| {
                    anyhow!("{}: {error:#}\nhint: {}", path.display(), hint(&bytes, lines))
                })
            })
            .collect()
    });
    let (mut text, mut steps, mut mismatches, mut shown) = (String::new(), 0, 0, 0);
    for (path, found) in files.iter().zip(found) {
        let found = found?;
        steps += found.steps;
        mismatches += found.mismatches;
        if context.common.verbose > 0 || found.mismatches > 0 {
            let (n, m) = (found.steps, found.mismatches);
            writeln!(text, "{}: {n} steps, {m} mismatches", path.display())?;
        }
        for difference in found.first.into_iter().take(SHOWN_MAX - shown) {
            shown += 1;
            writeln!(text, "{}", difference.trim_end())?;
        }
    }
    writeln!(text, "{steps} steps, {mismatches} mismatches")?;
    output::print(&text)?;
    Ok(if mismatches == 0 { Exit::Done } else { Exit::Negative })
}

/// The recordings that an argument names: itself, or those below a folder, by name.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let before = files.len();
    walk(path, files)?;
    if files.len() == before {
        bail!("{}: no .jsonl or .jsonl.gz file in this folder", path.display());
    }
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut entries: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            walk(&path, files)?;
        } else if name.ends_with(".jsonl") || name.ends_with(".jsonl.gz") {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines of a recording, unpacked if need be.
fn unpacked(bytes: &[u8]) -> Box<dyn BufRead + '_> {
    if bytes.starts_with(&GZIP_MAGIC) {
        Box::new(BufReader::new(MultiGzDecoder::new(bytes)))
    } else {
        Box::new(bytes)
    }
}

/// What to do about a file that is no recording: `lines` says what the lines of one hold.
fn hint(bytes: &[u8], lines: &str) -> String {
    let of_lines = format!("a recording is JSON lines: {lines}");
    match serde_json::from_slice(bytes) {
        Ok(Value::Array(_)) => {
            format!("{of_lines}; this is one JSON array, which `jq -c '.[]' FILE` writes as lines")
        }
        Ok(_) if bytes.trim_ascii().contains(&b'\n') => {
            format!("{of_lines}; this is one JSON value, which `jq -c . FILE` writes as a line")
        }
        _ => of_lines,
    }
}
