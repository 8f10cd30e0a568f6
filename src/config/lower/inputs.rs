//! The files that an experiment names: read once, remembered, and listed with their digests.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use crate::config::diagnostic::{Code, Diagnostic, Diagnostics, Sources, Span};
use crate::config::experiment::{Input, Loader};
use crate::config::profile::{Constants, GpuProfile, NoName};
use crate::config::reader::Fields;
use crate::config::trace_file;
use crate::units::SimDuration;
use crate::workload::{Interpolation, RateCurve, Recorded};

/// Flags that name a manifest, relative to the working directory; sources of what they say have these names.
pub(crate) const HPA_FLAG: &str = "--hpa";
pub(crate) const CURRENT_FLAG: &str = "--current";

/// What reading a file gave: its bytes, or the operating system's words.
type Bytes = Result<Rc<[u8]>, String>;

/// Reads and remembers files.
pub(crate) struct Inputs<'l> {
    loader: &'l dyn Loader,
    /// Folder of the experiment file.
    folder: PathBuf,
    constants: &'l Constants,
    sources: RefCell<Sources>,
    files: RefCell<BTreeMap<String, Bytes>>,
    order: RefCell<Vec<Input>>,
    traces: RefCell<BTreeMap<String, Option<Recorded>>>,
}

impl<'l> Inputs<'l> {
    /// For an experiment at `path`.
    pub(crate) fn new(loader: &'l dyn Loader, path: &str, constants: &'l Constants) -> Self {
        let folder = Path::new(path).parent().map(Path::to_path_buf).unwrap_or_default();
        Self {
            loader,
            folder,
            constants,
            sources: RefCell::default(),
            files: RefCell::default(),
            order: RefCell::default(),
            traces: RefCell::default(),
        }
    }

    /// The built-in constants.
    pub(crate) fn constants(&self) -> &'l Constants {
        self.constants
    }

    /// The texts that diagnostics point into.
    pub(crate) fn sources(&self) -> RefMut<'_, Sources> {
        self.sources.borrow_mut()
    }

    /// The texts and the files that were read.
    pub(crate) fn into_parts(self) -> (Sources, Vec<Input>) {
        (self.sources.into_inner(), self.order.into_inner())
    }

    /// `path` as seen from where the program runs: relative to the experiment file, `..` folded.
    pub(crate) fn resolve(&self, path: &str) -> String {
        let mut out = PathBuf::new();
        for part in self.folder.join(path).components() {
            match part {
                Component::ParentDir
                    if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
                {
                    out.pop();
                }
                Component::CurDir => {}
                other => out.push(other),
            }
        }
        out.to_string_lossy().into_owned()
    }

    /// The bytes of a resolved path.
    pub(crate) fn read(&self, path: &str) -> Bytes {
        if let Some(known) = self.files.borrow().get(path) {
            return known.clone();
        }
        let bytes: Bytes = self.loader.read(path).map(Rc::from);
        if let Ok(bytes) = &bytes {
            let digest = blake3::hash(bytes).to_hex().to_string();
            self.order.borrow_mut().push(Input { path: path.to_owned(), digest });
        }
        self.files.borrow_mut().insert(path.to_owned(), bytes.clone());
        bytes
    }

    /// The bytes of a resolved path that was read before.
    pub(crate) fn read_known(&self, path: &str) -> Bytes {
        self.files.borrow().get(path).cloned().unwrap_or_else(|| Err("not read".to_owned()))
    }

    /// A path relative to the working directory in the form that [`Inputs::resolve`] takes back to it.
    pub(crate) fn relative_to_folder(&self, path: &str) -> String {
        let mut out = PathBuf::new();
        if Path::new(path).is_relative() {
            for part in self.folder.components() {
                if matches!(part, Component::Normal(_)) {
                    out.push("..");
                }
            }
        }
        out.push(path);
        out.to_string_lossy().into_owned()
    }

    /// The text of a resolved path.
    pub(crate) fn read_text(&self, path: &str) -> Result<String, String> {
        let bytes = self.read(path)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| "the file is not UTF-8".to_owned())
    }

    /// A file that is named at `span` cannot be read.
    pub(super) fn unreadable(&self, path: &str, reason: &str, span: &Span) -> Diagnostic {
        let finding = Diagnostic::unreadable(path, reason, span);
        if [HPA_FLAG, CURRENT_FLAG].contains(&self.sources().get(span.source).name.as_str()) {
            return finding;
        }
        finding.help("paths are relative to the experiment file")
    }

    /// A profile from its text; its findings are reported through `fields`.
    pub(crate) fn profile(
        &self,
        name: &str,
        text: &str,
        fields: &Fields<'_>,
    ) -> Option<GpuProfile> {
        let mut found = Diagnostics { sources: self.sources().clone(), items: Vec::new() };
        let source = found.sources.add(name, text);
        let profile = GpuProfile::parse(&mut found, source, self.constants);
        *self.sources() = found.sources;
        for item in found.items {
            fields.report(item);
        }
        profile
    }

    /// The profile of this name, built in or composed.
    pub(crate) fn named_profile(&self, name: &str) -> Result<GpuProfile, NoName> {
        GpuProfile::named(name, self.constants)
    }

    /// A text that `fields` names at `span`, with its source; an unreadable file is reported.
    fn named_text(&self, path: &str, span: &Span, fields: &Fields<'_>) -> Option<(String, String)> {
        let path = self.resolve(path);
        match self.read_text(&path) {
            Ok(text) => Some((path, text)),
            Err(reason) => {
                fields.report(self.unreadable(&path, &reason, span));
                None
            }
        }
    }

    /// A trace in hpasim's own format; what is wrong with it is reported.
    pub(crate) fn trace(&self, path: &str, span: &Span, fields: &Fields<'_>) -> Option<Recorded> {
        let path = self.resolve(path);
        if let Some(known) = self.traces.borrow().get(&path) {
            return known.clone();
        }
        let trace = match self.read(&path) {
            Ok(bytes) => {
                let read = trace_file::trace(&mut self.sources(), &path, &bytes);
                match read {
                    Ok((trace, warnings)) => {
                        report_all(warnings, span, fields);
                        Some(trace)
                    }
                    Err(errors) => {
                        report_all(errors, span, fields);
                        None
                    }
                }
            }
            Err(reason) => {
                fields.report(self.unreadable(&path, &reason, span));
                return None;
            }
        };
        self.traces.borrow_mut().insert(path, trace.clone());
        trace
    }

    /// Rows of numbers of a CSV file with the given header; what is wrong with it is reported.
    fn rows<const N: usize>(
        &self,
        path: &str,
        header: [&str; N],
        span: &Span,
        fields: &Fields<'_>,
    ) -> Option<Vec<[f64; N]>> {
        let (path, text) = self.named_text(path, span, fields)?;
        let mut rows = Vec::new();
        let mut errors = Vec::new();
        let mut offset = 0;
        let mut seen_header = false;
        for line in text.split_inclusive('\n') {
            let start = offset;
            offset += line.len();
            let row = line.trim();
            if row.is_empty() || row.starts_with('#') {
                continue;
            }
            let cells: Vec<&str> = row.split(',').map(str::trim).collect();
            if !seen_header {
                seen_header = true;
                if cells == header {
                    continue;
                }
                let label = format!("the header must be `{}`", header.join(","));
                errors.push((start..start + line.trim_end().len(), label));
                break;
            }
            let numbers: Option<Vec<f64>> = cells
                .iter()
                .map(|c| c.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0))
                .collect();
            match numbers.and_then(|n| <[f64; N]>::try_from(n).ok()) {
                Some(numbers)
                    if rows.last().is_none_or(|last: &[f64; N]| last[0] <= numbers[0]) =>
                {
                    rows.push(numbers);
                }
                Some(_) => {
                    let label = "earlier than the row before".to_owned();
                    errors.push((start..start + line.trim_end().len(), label));
                }
                None => {
                    let label = format!("{N} numbers of at least 0 were expected");
                    errors.push((start..start + line.trim_end().len(), label));
                }
            }
        }
        if rows.is_empty() && errors.is_empty() {
            errors.push((0..0, format!("no rows; the header is `{}`", header.join(","))));
        }
        if errors.is_empty() {
            return Some(rows);
        }
        let source = self.sources().add(path.as_str(), text);
        for (range, label) in errors.into_iter().take(5) {
            fields.report(
                Diagnostic::error(
                    Code::TraceRow,
                    format!("`{path}` has a row that cannot be read"),
                )
                .at(&Span { source, range }, label)
                .and_at(span, "read because of this"),
            );
        }
        None
    }

    /// A replica schedule: when, and how many.
    pub(crate) fn schedule(
        &self,
        path: &str,
        span: &Span,
        fields: &Fields<'_>,
    ) -> Option<Vec<(SimDuration, u32)>> {
        let rows = self.rows(path, ["t_s", "replicas"], span, fields)?;
        Some(rows.iter().map(|r| (SimDuration::from_secs_f64(r[0]), r[1] as u32)).collect())
    }

    /// A rate series.
    pub(crate) fn rates(
        &self,
        path: &str,
        interpolation: Interpolation,
        span: &Span,
        fields: &Fields<'_>,
    ) -> Option<RateCurve> {
        let path = self.resolve(path);
        match self.read(&path) {
            Ok(bytes) => trace_file::rates(&mut self.sources(), &path, &bytes, interpolation)
                .map_err(|errors| report_all(errors, span, fields))
                .ok(),
            Err(reason) => {
                fields.report(self.unreadable(&path, &reason, span));
                None
            }
        }
    }

    /// Lengths, one per line.
    pub(crate) fn lengths(&self, path: &str, span: &Span, fields: &Fields<'_>) -> Option<Vec<u32>> {
        let (path, text) = self.named_text(path, span, fields)?;
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let values: Option<Vec<u32>> =
            lines.map(|l| l.parse().ok().filter(|n| *n >= 1 && *n < 1 << 31)).collect();
        if values.as_ref().is_none_or(Vec::is_empty) {
            fields.report(
                Diagnostic::error(Code::TraceRow, format!("`{path}` is not a list of lengths"))
                    .at(span, "one whole number of at least 1 per line"),
            );
            return None;
        }
        values
    }
}

/// Reports what is wrong with a file that is named at `span`.
fn report_all(errors: Vec<Diagnostic>, span: &Span, fields: &Fields<'_>) {
    for error in errors {
        // What has no place of its own is shown where the file is named.
        let placed = error.primary.is_some();
        fields.report(if placed {
            error.and_at(span, "read because of this")
        } else {
            error.at(span, "")
        });
    }
}
