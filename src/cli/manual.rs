//! `hpasim completions` and `hpasim man`: made from the very definition of the command line.

use super::{Context, Exit, output};
use crate::export::File;
use std::path::{Path, PathBuf};

/// Print the completions of a shell
///
/// To standard output, or to `-o FILE`, as in
/// `hpasim completions bash -o ~/.local/share/bash-completion/completions/hpasim`.
#[derive(clap::Args, Debug)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: clap_complete::Shell,
}

/// Print the manual page
///
/// With `-o DIR`, every command has a page of its own there.
#[derive(clap::Args, Debug)]
pub(crate) struct Man {}

/// Runs `completions`.
pub(crate) fn completions(
    args: &Completions,
    context: &Context,
    mut command: clap::Command,
) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "hpasim", &mut script);
    let path = context.common.output.as_deref().unwrap_or(Path::new("-"));
    output::write_stream(path, |out| out.write_all(&script))?;
    Ok(Exit::Done)
}

/// Runs `man`.
pub(crate) fn man(_: &Man, context: &Context, command: &clap::Command) -> anyhow::Result<Exit> {
    let whole = page(command.clone())?;
    let Some(directory) = context.common.output.clone().filter(|path| path.as_os_str() != "-")
    else {
        output::print(&String::from_utf8_lossy(&whole))?;
        return Ok(Exit::Done);
    };
    let directory: PathBuf = directory;
    let mut files = vec![File::new("hpasim.1", whole)];
    for sub in command.get_subcommands() {
        let name = format!("hpasim-{}", sub.get_name());
        let text = page(sub.clone().name(name.clone()))?;
        files.push(File::new(format!("{name}.1"), text));
    }
    output::write_files(&directory, &files)?;
    context.note(&output::written(&directory, &files));
    Ok(Exit::Done)
}

fn page(command: clap::Command) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(text)
}
