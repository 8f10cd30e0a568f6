//! Reading inputs and writing results: whole files or none.

use crate::export::File;
use anyhow::{Context as _, Result, anyhow, bail};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The bytes of `path`, or of standard input for `-`. Gzip is the reader's business.
pub(crate) fn read_input(path: &Path) -> Result<Vec<u8>> {
    read_bytes(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// [`read_input`] as text.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_input(path)?)
        .map_err(|_| anyhow!("cannot read `{}`: the file is not UTF-8", path.display()))
}

/// [`read_input`] for callers that name the file themselves.
pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        take_stdin()?;
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    refuse_folder(path)?;
    fs::read(path)
}

/// A folder in place of a file is a frequent slip; the system's own words are hard to find in a longer message.
fn refuse_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::other("it is a folder; name a file in it"));
    }
    Ok(())
}

/// Standard input gives its text once: a second use would see an empty file.
fn take_stdin() -> io::Result<()> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(io::Error::other("standard input can stand for one file only"));
    }
    Ok(())
}

/// `path`, or standard input for `-`, as a stream: for inputs that need not be in memory at once.
pub(crate) fn open_input(path: &Path) -> Result<Box<dyn io::Read>> {
    let failed = || format!("cannot read `{}`", path.display());
    if path.as_os_str() == "-" {
        take_stdin().with_context(failed)?;
        return Ok(Box::new(io::stdin()));
    }
    refuse_folder(path).with_context(failed)?;
    Ok(Box::new(fs::File::open(path).with_context(failed)?))
}

/// Text to standard output. A broken pipe is an error of that kind, which ends the command quietly.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What `write` writes, to `path` or to standard output for `-`, as a stream. The file is written under a
/// temporary name and renamed, so that no reader ever sees half of it.
pub(crate) fn write_stream(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<()> {
    if path.as_os_str() == "-" {
        let mut out = io::BufWriter::new(io::stdout().lock());
        write(&mut out)?;
        return Ok(out.flush()?);
    }
    let mut staged = Staged::default();
    let temporary = staged.place(path)?;
    let failed = || format!("cannot write `{}`", path.display());
    let mut out = io::BufWriter::new(fs::File::create(temporary).with_context(failed)?);
    write(&mut out).and_then(|()| out.flush()).with_context(failed)?;
    drop(out);
    staged.commit()
}

/// Writes all files below `directory`, creating folders as needed. Nothing is renamed into place before every
/// file is completely written, so an error (a full disk) leaves the files of an earlier run as they were.
pub(crate) fn write_files(directory: &Path, files: &[File]) -> Result<()> {
    let mut staged = Staged::default();
    for file in files {
        staged.add(&directory.join(&file.path), &file.bytes)?;
    }
    staged.commit()
}

/// Creates `directory`, so that a name that cannot be one is told before the simulation and not after it.
pub(crate) fn prepare(directory: &Path) -> Result<()> {
    let shown = directory.display();
    if directory.is_file() {
        bail!("cannot write to `{shown}`: it is a file\nhint: `-o` names a folder");
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot create the folder `{shown}`"))
}

/// Removes a file of an earlier result; that it does not exist is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes the files of `folder` below `directory` whose names are `ours` and that are not among the paths `kept`.
pub(crate) fn remove_others(
    directory: &Path,
    folder: &str,
    ours: fn(&str) -> bool,
    kept: &[&str],
) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory.join(folder)) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ours(&name) && !kept.contains(&format!("{folder}/{name}").as_str()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a path is that of a chart.
pub(crate) fn is_picture(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|ending| ending == "svg")
}

/// `written to out/l4: cases.csv, runs.csv, ...`; pictures are one entry per folder.
pub(crate) fn written(directory: &Path, files: &[File]) -> String {
    let mut names: Vec<String> = Vec::new();
    for file in files {
        let name = match file.path.rsplit_once('/') {
            Some((folder, _)) if is_picture(&file.path) => format!("{folder}/*.svg"),
            _ => file.path.clone(),
        };
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    format!("written to {}: {}", directory.display(), names.join(", "))
}

/// Files that are written under temporary names and not yet renamed; removed when dropped.
#[derive(Default)]
struct Staged(Vec<(PathBuf, PathBuf)>);

impl Staged {
    fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.place(path)?;
        fs::write(temporary, bytes).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// The temporary name for `path`, whose folder is created if needed.
    fn place(&mut self, path: &Path) -> Result<PathBuf> {
        let name =
            path.file_name().with_context(|| format!("`{}` names no file", path.display()))?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = folder.join(temporary);
        self.0.push((temporary.clone(), path.to_owned()));
        Ok(temporary)
    }

    fn commit(mut self) -> Result<()> {
        for (temporary, path) in self.0.drain(..) {
            fs::rename(&temporary, &path)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for (temporary, _) in &self.0 {
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory below the build's own, removed when dropped.
    struct Scratch(PathBuf);
    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("hpasim-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }
    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_appear_with_their_folders() {
        let scratch = Scratch::new("write");
        let files = [File::new("cases.csv", "a\n"), File::new("recommended/hpa.yaml", "b\n")];
        write_files(&scratch.0, &files).unwrap();
        assert_eq!(fs::read(scratch.0.join("recommended/hpa.yaml")).unwrap(), b"b\n");
        assert_eq!(names(&scratch.0), ["cases.csv", "recommended"]);
    }

    #[test]
    fn an_error_leaves_the_earlier_files_alone() {
        let scratch = Scratch::new("error");
        fs::write(scratch.0.join("cases.csv"), "earlier").unwrap();
        fs::write(scratch.0.join("recommended"), "a file where a folder is needed").unwrap();
        let files = [File::new("cases.csv", "new"), File::new("recommended/hpa.yaml", "new")];
        assert!(write_files(&scratch.0, &files).is_err());
        assert_eq!(fs::read(scratch.0.join("cases.csv")).unwrap(), b"earlier");
        assert_eq!(names(&scratch.0), ["cases.csv", "recommended"]);
    }
}
