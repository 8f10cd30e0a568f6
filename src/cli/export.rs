//! `hpasim export`: an HPA as manifests for the adapter that a cluster has.

use super::experiment::{self, Sources};
use super::{Context, Exit, output};
use crate::config::{Experiment, parse_duration};
use crate::export::adapters::{self, Format, Surroundings, Triggers};
use crate::export::{self, Deployable};
use crate::hpa::validation::is_dns1123_label;
use crate::manifest::{self, HpaManifest};
use crate::pipeline::{Adapter, PipelineConfig};
use crate::sim::{Fallback, FallbackBehavior, HpaSetup, KedaConfig, Scenario};
use crate::units::Milli;
use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Write an HPA as manifests for kubectl
///
/// Takes the recommendation of a finished sweep, or the HPA of an experiment as it stands, and writes it for the
/// metrics adapter that the cluster has, with what that adapter needs beside it. Refuses what the API server of
/// the given release would refuse. `-o -` prints what is to be applied, ready for `kubectl apply -f -`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Directory of a finished sweep, or an experiment file
    #[arg(value_name = "DIR|EXP.toml")]
    from: PathBuf,
    /// How metrics reach the HPA [default: the adapter that was simulated]
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,
    /// Kubernetes release of the cluster [default: the one that was simulated]
    #[arg(long, value_name = "V", value_parser = super::backtest::kube_minor)]
    kube_version: Option<u32>,
    /// Namespace of the deployment
    #[arg(long, value_name = "NS", value_parser = namespace)]
    namespace: Option<String>,
    /// Name of the HPA object instead of its own
    #[arg(long, value_name = "NAME")]
    hpa_name: Option<String>,
    /// Address of the Prometheus that KEDA asks
    #[arg(long, value_name = "URL", default_value = Surroundings::PROMETHEUS_URL)]
    prometheus_url: String,
}

impl clap::ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Gmp, Self::GmpExternal, Self::PrometheusAdapter, Self::Keda, Self::GkeNative]
    }
    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

/// A namespace, as the API server admits it.
fn namespace(text: &str) -> Result<String, String> {
    if is_dns1123_label(text) {
        return Ok(text.to_owned());
    }
    Err("a namespace is at most 63 lower case letters, digits and `-`, no `-` at its ends"
        .to_owned())
}

/// The HPA of a scenario of `experiment`, ready to be written: its `own` object if it has one, below `header`. `None`
/// without an HPA.
pub(super) fn deployable(
    scenario: &Scenario,
    own: Option<&HpaManifest>,
    header: String,
    experiment: &Experiment,
) -> Option<Deployable> {
    let setup = scenario.autoscaler.hpa()?;
    Some(Deployable {
        manifest: export::hpa_manifest(own, &setup.spec, &experiment.name),
        header,
        format: format_of(&scenario.pipeline.adapter),
        surroundings: surroundings(&scenario.pipeline, setup, &experiment.queries),
        kube_minor: setup.controller.kube_minor,
    })
}

/// The format for the adapter of an experiment.
fn format_of(adapter: &Adapter) -> Format {
    match adapter {
        Adapter::PrometheusAdapter { .. } => Format::PrometheusAdapter,
        Adapter::Keda { .. } => Format::Keda,
        Adapter::GkeNative => Format::GkeNative,
        Adapter::Stackdriver { .. } | Adapter::Direct => Format::Gmp,
    }
}

/// What the manifests of an experiment are written for.
fn surroundings(
    pipeline: &PipelineConfig,
    setup: &HpaSetup,
    queries: &BTreeMap<String, String>,
) -> Surroundings {
    Surroundings {
        namespace: None,
        scrape_interval: pipeline.scrape_interval,
        prometheus_url: Surroundings::PROMETHEUS_URL.to_owned(),
        queries: queries.clone(),
        keda: setup.keda.clone(),
        triggers: match &pipeline.adapter {
            Adapter::Keda { cached, ignore_null_values } => Triggers {
                use_cached_metrics: cached.is_some(),
                ignore_null_values: *ignore_null_values,
            },
            Adapter::Stackdriver { .. }
            | Adapter::PrometheusAdapter { .. }
            | Adapter::GkeNative
            | Adapter::Direct => Triggers::default(),
        },
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let (name, mut hpa) =
        if args.from.is_dir() { swept(&args.from)? } else { experiment(&args.from, context)? };
    hpa.format = args.format.unwrap_or(hpa.format);
    hpa.kube_minor = args.kube_version.unwrap_or(hpa.kube_minor);
    hpa.surroundings.namespace.clone_from(&args.namespace);
    hpa.surroundings.prometheus_url.clone_from(&args.prometheus_url);
    let metadata = &mut hpa.manifest.object.metadata;
    metadata.name = args.hpa_name.clone().or(metadata.name.take());
    metadata.namespace = args.namespace.clone().or(metadata.namespace.take());
    let refused = adapters::refusals(hpa.format, &hpa.manifest, hpa.kube_minor);
    if !refused.is_empty() {
        bail!("Kubernetes 1.{} would refuse this HPA:\n{}", hpa.kube_minor, refused.join("\n"));
    }
    let files = hpa.files().map_err(|refused| anyhow!(refused.join("\n")))?;
    if context.common.output.as_deref().is_some_and(|path| path.as_os_str() == "-") {
        output::print(&adapters::to_apply(&files))?;
        return Ok(Exit::Done);
    }
    let directory = context.output_directory(&format!("{name}/manifests"))?;
    for path in adapters::FILES.iter().filter(|path| files.iter().all(|file| file.path != **path)) {
        output::remove(&directory.join(path))?;
    }
    output::write_files(&directory, &files)?;
    context.note(&output::written(&directory, &files));
    Ok(Exit::Done)
}

/// The HPA of an experiment as it stands.
fn experiment(path: &Path, context: &Context) -> anyhow::Result<(String, Deployable)> {
    let sources = Sources { experiment: path, hpa: None, current: None };
    let loaded = experiment::load("export", &sources, context)?;
    let experiment = &loaded.experiment;
    let provenance = &loaded.provenance;
    let of = if experiment.base_is_first_case {
        "with the first of all values that its sweep varies"
    } else {
        "as it stands there"
    };
    let header = format!(
        "The HPA of experiment {}, {of}: not the result of a sweep.\nMade by: {}",
        provenance.experiment, provenance.command
    );
    let own = experiment.base_manifest.as_ref();
    let Some(hpa) = deployable(&experiment.base, own, header, experiment) else {
        bail!("{}: its replicas are given, there is no HPA to export", path.display());
    };
    experiment::tell_first_case(&loaded, context);
    Ok((experiment.name.clone(), hpa))
}

/// The recommendation that a sweep left in `directory`.
fn swept(directory: &Path) -> anyhow::Result<(String, Deployable)> {
    let path = directory.join("summary.json");
    let shown = path.display();
    let bytes = output::read_input(&path).with_context(|| {
        format!("`{}` is not the directory of a finished sweep", directory.display())
    })?;
    let summary: Value = serde_json::from_slice(&bytes).with_context(|| shown.to_string())?;
    let found = &summary["recommended_hpa"];
    if found.is_null() {
        let why = match summary["kind"].as_str() {
            Some("sweep") if summary["recommended"].is_null() => {
                "no case of this sweep meets the SLO"
            }
            Some("sweep") => "the recommended case has no HPA",
            Some("run") => "this is the summary of a run, and only a sweep recommends",
            _ => "this is not the summary of a sweep",
        };
        bail!(
            "{shown}: no recommendation: {why}\nhint: `hpasim export EXP.toml` writes the HPA of an experiment as it stands"
        );
    }
    let odd = |what: &str| anyhow!("{shown}: `recommended_hpa.{what}` is not what a sweep writes");
    let text = |key: &str| found[key].as_str().ok_or_else(|| odd(key));
    let flag = |key: &str| found[key].as_bool().ok_or_else(|| odd(key));
    let read = manifest::read(&found["manifest"].to_string()).map_err(|_| odd("manifest"))?;
    let format = text("format")?;
    let format = Format::ALL.iter().find(|f| f.1 == format).ok_or_else(|| odd("format"))?.0;
    let minor = found["kube_minor"].as_u64().and_then(|minor| u32::try_from(minor).ok());
    let scrape_interval = parse_duration(text("scrape_interval")?);
    let hpa = Deployable {
        manifest: read.hpas.into_iter().next().ok_or_else(|| odd("manifest"))?,
        header: text("header")?.to_owned(),
        format,
        surroundings: Surroundings {
            namespace: None,
            scrape_interval: scrape_interval.map_err(|_| odd("scrape_interval"))?,
            prometheus_url: Surroundings::PROMETHEUS_URL.to_owned(),
            queries: queries(&found["queries"]).ok_or_else(|| odd("queries"))?,
            keda: match &found["keda"] {
                Value::Null => None,
                keda => Some(keda_config(keda).ok_or_else(|| odd("keda"))?),
            },
            triggers: Triggers {
                use_cached_metrics: flag("use_cached_metrics")?,
                ignore_null_values: flag("ignore_null_values")?,
            },
        },
        kube_minor: minor.ok_or_else(|| odd("kube_minor"))?,
    };
    let experiment = summary["provenance"]["experiment"].as_str().unwrap_or("export");
    Ok((experiment.to_owned(), hpa))
}

fn queries(value: &Value) -> Option<BTreeMap<String, String>> {
    let text = |(name, query): (&String, &Value)| Some((name.clone(), query.as_str()?.to_owned()));
    value.as_object()?.iter().map(text).collect()
}

fn keda_config(value: &Value) -> Option<KedaConfig> {
    let span = |key: &str| parse_duration(value[key].as_str()?).ok();
    let count = |value: &Value| u32::try_from(value.as_u64()?).ok();
    Some(KedaConfig {
        polling_interval: span("polling_interval")?,
        cooldown_period: span("cooldown_period")?,
        initial_cooldown_period: span("initial_cooldown_period")?,
        min_replica_count: count(&value["min_replica_count"])?,
        idle_replica_count: match &value["idle_replica_count"] {
            Value::Null => None,
            idle => Some(count(idle)?),
        },
        activation_threshold: Milli(value["activation_threshold_milli"].as_i64()?),
        fallback: match &value["fallback"] {
            Value::Null => None,
            fallback => Some(Fallback {
                failure_threshold: count(&fallback["failure_threshold"])?,
                replicas: count(&fallback["replicas"])?,
                behavior: {
                    let name = fallback["behavior"].as_str()?;
                    FallbackBehavior::ALL.iter().find(|own| own.0 == name)?.1
                },
            }),
        },
    })
}
