//! `hpasim schema`: the keys of an experiment file.

use super::{Context, Exit, output};
use crate::config::{registry, schema};
use std::path::Path;

/// Print the JSON schema of the experiment file, for editors
///
/// Put `#:schema ./experiment.schema.json` into the first line of an experiment to get completion and checks
/// in editors that understand it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The same as a page of the manual
    #[arg(long, conflicts_with = "diagnostics")]
    markdown: bool,
    /// The table of all findings instead
    #[arg(long)]
    diagnostics: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let text = if args.diagnostics {
        schema::diagnostics_markdown()
    } else if args.markdown {
        schema::markdown(&registry())
    } else {
        serde_json::to_string_pretty(&schema::json_schema(&registry()))? + "\n"
    };
    let path = context.common.output.as_deref().unwrap_or(Path::new("-"));
    output::write_stream(path, |out| out.write_all(text.as_bytes()))?;
    Ok(Exit::Done)
}
