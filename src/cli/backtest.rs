//! `hpasim backtest`: recorded series through the exact HPA.

use super::{Context, Exit, output};
use crate::backtest::{self, MetricIs, Setup};
use crate::config::{minor_of, parse_duration, read_manifest};
use crate::export::File;
use crate::hpa::ControllerConfig;
use anyhow::{Context as _, anyhow, bail};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Replay recorded metrics through the HPA
///
/// Prints what the HPA would have decided and, given the actual replica series, where it differs. Settings are
/// changed with `--set hpa.KEY=VALUE`, as in `--set hpa.max_replicas=8`. Series are Prometheus `query_range` JSON,
/// wide CSV (`t_s` or a time stamp, one column per series) or long CSV (`t_s,series,value`); for a Utilization
/// target they hold percent of the request. A divergence is a
/// result, not a failure: the exit code is 0 with and without one.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Manifest of the HPA (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    hpa: PathBuf,
    /// Recorded metric series
    #[arg(long, value_name = "FILE")]
    metrics: PathBuf,
    /// Recorded replica series (`replicas_current`, `replicas_desired`, `replicas_ready`, `pods_reporting`, or the
    /// names of kube-state-metrics)
    #[arg(long, value_name = "FILE")]
    actual: Option<PathBuf>,
    /// What the metrics hold [default: as-seen for `metric_avg:` and `external:`, else gauge]
    #[arg(long, value_enum)]
    metric_is: Option<Kind>,
    // ASSUMPTION(A63): two minutes, inside what recorded vLLM clusters with warm nodes needed (1 to 4 minutes).
    /// From a pod's creation to its first sample where the reporting pods are not recorded; A..B runs both ends
    /// and the middle
    #[arg(long, value_name = "DURATION", default_value = "120s")]
    startup: String,
    /// Kubernetes release whose controller decides
    #[arg(long, value_name = "V", value_parser = kube_minor, default_value = "1.36")]
    kube_version: u32,
    /// How late the recorded replicas may show a change: the distance of the polls, or what a plot resolves
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    resolution: String,
    /// Print the chain that led to each change: samples, ratio, windows, policies, conditions
    #[arg(long)]
    explain: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Kind {
    /// The raw gauge: scrape and ingestion delay it
    Gauge,
    /// The value as the HPA saw it
    AsSeen,
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let (hpas, warnings) =
        read_manifest(&args.hpa.to_string_lossy(), &output::read_text(&args.hpa)?)?;
    context.show(&warnings);
    let [object] = hpas.as_slice() else {
        bail!("{}: {} HPAs, one is needed", args.hpa.display(), hpas.len());
    };
    let spec = backtest::apply(&object.spec, &context.common.set)?;
    let series = |path: &Path| -> anyhow::Result<_> {
        backtest::parse(&output::read_text(path)?).with_context(|| path.display().to_string())
    };
    let metrics = series(&args.metrics)?;
    let actual = args.actual.as_deref().map(series).transpose()?;
    let metric_is = args.metric_is.map(|kind| match kind {
        Kind::Gauge => MetricIs::Gauge,
        Kind::AsSeen => MetricIs::AsSeen,
    });
    let names: Vec<String> =
        spec.defaulted().metrics.iter().map(|m| m.metric_name().to_owned()).collect();
    let resolution_s = parse_duration(&args.resolution)
        .map_err(|e| anyhow!("--resolution `{}`: {e}", args.resolution))?
        .as_secs_f64();
    let (mut told, mut runs) = (String::new(), Vec::new());
    for startup_s in startups(&args.startup)? {
        let setup = Setup {
            spec: &spec,
            metrics: &metrics,
            actual: actual.as_deref(),
            metric_is,
            startup_s,
            kube_minor: args.kube_version,
        };
        let rows = backtest::run(&setup)?;
        writeln!(told, "start-up time {startup_s} s")?;
        told.push_str(&backtest::changes_text(&rows, &names, args.explain));
        if let Some(found) =
            actual.as_deref().and_then(|a| backtest::compare(&rows, a, resolution_s))
        {
            told.push_str(&backtest::comparison_text(&found, &rows));
        }
        told.push('\n');
        runs.push((startup_s, rows));
    }
    writeln!(told, "{}", backtest::OPEN_LOOP)?;
    output::print(&told)?;
    if context.common.output.is_some() {
        let directory = context.output_directory("backtest")?;
        let last = runs.last().map_or(&[][..], |r| r.1.as_slice());
        let file =
            |path: &str, text: String| File { path: path.to_owned(), bytes: text.into_bytes() };
        let files = [
            file("decisions.csv", backtest::decisions_csv(&runs, &names)),
            file("timeline.csv", backtest::timeline_csv(last, &names, actual.as_deref())),
        ];
        output::write_files(&directory, &files)?;
        context.note(&output::written(&directory, &files));
    }
    Ok(Exit::Done)
}

/// `1.34` or `v1.34.2`, as the minor release.
pub(super) fn kube_minor(text: &str) -> Result<u32, String> {
    let supported = ControllerConfig::SUPPORTED_MINORS;
    minor_of(text, "1", &supported)
        .ok_or_else(|| format!("a release from 1.{} to 1.{}", supported.start(), supported.end()))
}

/// The start-up times that an argument asks for \[s\].
fn startups(argument: &str) -> anyhow::Result<Vec<f64>> {
    let parse = |text: &str| {
        parse_duration(text)
            .map(crate::units::SimDuration::as_secs_f64)
            .map_err(|e| anyhow!("--startup `{text}`: {e}"))
    };
    let Some((a, b)) = argument.split_once("..") else { return Ok(vec![parse(argument)?]) };
    let (a, b) = (parse(a)?, parse(b)?);
    if a > b {
        bail!("--startup `{argument}`: the range ends before it starts");
    }
    Ok(vec![a, f64::midpoint(a, b), b])
}
