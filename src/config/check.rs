//! Checks single files of any kind that hpasim reads.

use super::diagnostic::{Code, Diagnostic, Diagnostics, Severity, Span};
use super::experiment::{Loader, Options};
use super::profile::{Constants, GpuProfile};
use super::tree::Value;
use super::{load, lower, manifest_file, trace_file, tree};
use crate::hpa::{ControllerConfig, ValidationOptions};
use crate::sim::Signal;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What the file is, in a few words; `None` if it has errors.
    pub summary: Option<String>,
    /// All findings.
    pub findings: Diagnostics,
}

/// What a file is, by its name and its first keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Experiment,
    Profile,
    Manifest,
    Trace,
}

/// Checks the file at `path`: `.toml` is an experiment or a profile, `.yaml`, `.yml` and `.json` a manifest,
/// anything else a trace; standard input is what its text looks like. `options` apply to experiments.
pub fn check(loader: &dyn Loader, path: &str, options: &Options) -> Checked {
    let bytes = match loader.read(path) {
        Ok(bytes) => bytes,
        Err(reason) => return unreadable(path, &reason),
    };
    let kind = kind_of(path, &bytes);
    if kind == Kind::Experiment {
        return experiment(&Read { loader, path, bytes }, path, options);
    }
    if kind == Kind::Trace {
        return trace(path, &bytes);
    }
    match String::from_utf8(bytes) {
        Ok(text) if kind == Kind::Profile => profile(path, text),
        Ok(text) => manifest(path, &text),
        Err(_) => unreadable(path, "the file is not UTF-8"),
    }
}

/// A loader that has read one file already: standard input can be read but once.
struct Read<'a> {
    loader: &'a dyn Loader,
    path: &'a str,
    bytes: Vec<u8>,
}

impl Loader for Read<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        if path == self.path { Ok(self.bytes.clone()) } else { self.loader.read(path) }
    }
}

fn kind_of(path: &str, bytes: &[u8]) -> Kind {
    let extension = std::path::Path::new(path).extension().map(std::ffi::OsStr::to_ascii_lowercase);
    let by_text = (path == "-").then(|| extension_of(&String::from_utf8_lossy(bytes)));
    match by_text.or(extension.as_ref().and_then(|e| e.to_str())) {
        Some("yaml" | "yml" | "json") => return Kind::Manifest,
        Some("toml") => {}
        _ => return Kind::Trace,
    }
    let mut sources = super::Sources::default();
    let source = sources.add(path, String::from_utf8_lossy(bytes));
    let table = tree::parse(&sources, source).unwrap_or_default();
    let is_profile = table.get("gpu").is_some()
        || matches!(table.get("model").map(|e| &e.node.value), Some(Value::String(_)))
        || table.get("coefficients").is_some();
    if is_profile { Kind::Profile } else { Kind::Experiment }
}

/// The extension that a file with this text would have: all TOML files of hpasim state their `schema`, all
/// objects of Kubernetes their `apiVersion`.
fn extension_of(text: &str) -> &'static str {
    if text.lines().any(|line| line.trim_start().starts_with("schema")) {
        "toml"
    } else if text.contains("apiVersion") {
        "yaml"
    } else {
        "csv"
    }
}

fn unreadable(path: &str, reason: &str) -> Checked {
    let mut findings = Diagnostics::default();
    let source = findings.sources.add(path, "");
    findings.push(Diagnostic::unreadable(path, reason, &Span { source, range: 0..0 }));
    Checked { summary: None, findings }
}

fn finish(findings: Diagnostics, summary: Option<String>) -> Checked {
    let summary = summary.filter(|_| !findings.has_errors());
    Checked { summary, findings }
}

fn experiment(loader: &dyn Loader, path: &str, options: &Options) -> Checked {
    match load::load(loader, path, options) {
        Ok(loaded) => {
            let plan = &loaded.experiment.plan;
            let (cases, replications) = (plan.cases.len(), plan.replications);
            let summary = if cases == 1 {
                "experiment with one case".to_owned()
            } else {
                format!("experiment with {cases} cases x {replications} replications")
            };
            finish(loaded.warnings, Some(summary))
        }
        Err(findings) => finish(findings, None),
    }
}

fn profile(path: &str, text: String) -> Checked {
    let mut findings = Diagnostics::default();
    let source = findings.sources.add(path, text);
    let profile = match Constants::builtin() {
        Ok(constants) => GpuProfile::parse(&mut findings, source, &constants),
        Err(broken) => return finish(broken, None),
    };
    let summary = profile.map(|p| format!("GPU profile `{}`", p.name));
    finish(findings, summary)
}

fn manifest(path: &str, text: &str) -> Checked {
    let mut findings = Diagnostics::default();
    match manifest_file::read(&mut findings.sources, path, text) {
        Err(errors) => {
            findings.items = errors;
            finish(findings, None)
        }
        Ok((hpas, warnings)) => {
            findings.items = warnings;
            let source = findings.sources.add(path, text);
            let options = ValidationOptions {
                kube_minor: ControllerConfig::DEFAULT_MINOR,
                scale_to_zero: false,
            };
            for hpa in &hpas {
                let spec = hpa.spec.defaulted();
                for error in spec.validate(&options) {
                    let range = manifest_file::locate(text, &error.path);
                    let title = format!("{}: {}", error.path, error.message);
                    findings.push(
                        Diagnostic::error(Code::Manifest, title)
                            .at(&Span { source, range }, "the API server refuses this"),
                    );
                }
                for (index, metric) in spec.metrics.iter().enumerate() {
                    let resource = matches!(metric.kind.as_str(), "Resource" | "ContainerResource");
                    let name = metric.metric_name();
                    let known = lower::signal_of(name);
                    if known.is_some_and(|signal| resource == (signal == Signal::Cpu)) {
                        continue;
                    }
                    let range = manifest_file::locate(text, &format!("spec.metrics[{index}]"));
                    findings.push(
                        Diagnostic::warning(
                            Code::UnknownMetric,
                            format!("metric `{name}` cannot be simulated"),
                        )
                        .at(&Span { source, range }, "hpasim has no such signal"),
                    );
                }
            }
            if hpas.is_empty() {
                findings.push(
                    Diagnostic::error(
                        Code::Manifest,
                        format!("`{path}` holds no HorizontalPodAutoscaler"),
                    )
                    .at(&Span { source, range: 0..0 }, ""),
                );
            }
            let summary = match hpas.as_slice() {
                [one] => format!("HorizontalPodAutoscaler `{}`", one.name()),
                several => format!("{} HorizontalPodAutoscalers", several.len()),
            };
            finish(findings, Some(summary))
        }
    }
}

fn trace(path: &str, bytes: &[u8]) -> Checked {
    let mut findings = Diagnostics::default();
    match trace_file::trace(&mut findings.sources, path, bytes) {
        Ok((trace, warnings)) => {
            findings.items = warnings;
            let span = trace.span().as_secs_f64() / 3600.0;
            let summary = format!("trace of {} requests over {span:.2} h", trace.requests.len());
            finish(findings, Some(summary))
        }
        Err(errors) => {
            findings.items = errors;
            debug_assert!(findings.items.iter().all(|d| d.severity == Severity::Error));
            finish(findings, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Standard input: its text comes once.
    struct Once(Cell<&'static str>);

    impl Loader for Once {
        fn read(&self, path: &str) -> Result<Vec<u8>, String> {
            assert_eq!(path, "-");
            Ok(self.0.take().into())
        }
    }

    #[test]
    fn standard_input_is_what_its_text_tells() {
        for (text, what) in [
            ("arrival_s,prompt_tokens,output_tokens\n0,1,1\n", "trace of 1 requests"),
            ("schema = 1\nname = \"x\"\ngpu = \"l4\"\nmodel = \"qwen3-8b\"\n", "GPU profile `x`"),
            (
                "schema = 1\nduration = \"1h\"\n[model]\nprofile = \"l4-qwen3-8b\"\n[workload.poisson]\nrate_rps = 1.0\n\
                 prompt_tokens = 9\noutput_tokens = 9\n[replicas]\nfixed = 1\n[slo]\nttft = \"2s\"\n\
                 tpot = \"100ms\"\n",
                "experiment with one case",
            ),
        ] {
            let checked = check(&Once(Cell::new(text)), "-", &Options::default());
            let summary = checked.summary.unwrap_or_else(|| checked.findings.to_string());
            assert!(summary.starts_with(what), "{summary}");
        }
    }
}
