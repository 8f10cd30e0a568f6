//! From a tree to a scenario: every key of an experiment file except `[sweep]`.

mod arrivals;
mod cluster;
mod devices;
mod engine;
mod hpa;
mod inputs;
mod lengths;
mod pipeline;
mod places;
mod refused;
mod routing;
mod sessions;
mod signals;
mod spans;
pub(super) mod sweep;
mod workload;

pub(super) use inputs::{CURRENT_FLAG, HPA_FLAG, Inputs};
pub(super) use signals::signal_of;

use spans::{any_span, positive_within_a_day};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Code, Diagnostic};
use super::profile::GpuProfile;
use super::reader::Fields;
use super::registry::Kind;
use super::tree::Value;
use super::values::{Problem, integer_of};
use crate::cluster::{ModelLoad, NodePool};
use crate::gateway::Policy;
use crate::manifest::HpaManifest;
use crate::sim::{Autoscaler, Scenario, Signal, Slo};
use crate::units::SimDuration;
use crate::workload::WorkloadSpec;

/// Version of the file format.
pub(super) const SCHEMA: u32 = 1;

/// What a file says besides the sweep.
pub(super) struct Lowered {
    /// One case.
    pub(super) scenario: Scenario,
    /// The GPU profile.
    pub(super) profile: GpuProfile,
    /// The HPA object, if there is one.
    pub(super) manifest: Option<HpaManifest>,
    /// Which price is used, in words.
    pub(super) price_note: String,
    /// Queries of `[[pipeline.rules]]`, by metric name.
    pub(super) queries: BTreeMap<String, String>,
}

/// Keys that name and seed an experiment but do not change a case.
pub(super) struct Header {
    /// `name`.
    pub(super) name: String,
    /// `seed`.
    pub(super) seed: u64,
}

/// Reads `schema`, `name` and `seed`. `stem` is the file's name without extension.
pub(super) fn header(root: &Fields<'_>, stem: &str) -> Header {
    let supported = Kind::Integer { min: i64::from(SCHEMA), max: i64::from(SCHEMA) };
    let schema = root.key("schema", "Version of the file format").required().parse(
        supported,
        None,
        |node| integer_of(node, &(i64::MIN..=i64::MAX)),
    );
    if let Some(other) = schema.filter(|s| *s != i64::from(SCHEMA)) {
        root.report(
            Diagnostic::error(Code::Schema, format!("schema {other} is not supported"))
                .at(&root.span_of("schema"), format!("this version reads schema {SCHEMA}")),
        );
    }
    let name = root
        .key("name", "Names the output directory and the exported object")
        .shown("the file's name")
        .string()
        .unwrap_or(stem)
        .to_owned();
    let valid = !name.is_empty()
        && !name.starts_with(['.', '-'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !valid && root.has("name") {
        root.report(
            Diagnostic::error(Code::Range, "`name` must be letters, digits, `-`, `_` or `.`")
                .at(&root.span_of("name"), "names a directory"),
        );
    }
    let kind = Kind::Integer { min: 0, max: i64::MAX };
    let seed =
        root.key("seed", "Seed of all random streams").parse(kind, Some("1".into()), |node| {
            match node.value {
                Value::Integer(number) => u64::try_from(number).map_err(|_| {
                    Problem::new(Code::Range, "must be between 0 and 2^64 - 1", "out of range")
                }),
                _ => Err(Problem::wrong_type("an integer", node)),
            }
        });
    Header { name, seed: seed.unwrap_or(1) }
}

/// Reads everything but the sweep. `None` if an error was reported.
pub(super) fn scenario(root: &Fields<'_>, inputs: &Inputs<'_>, name: &str) -> Option<Lowered> {
    let before = root.context().errors();
    let longest = SimDuration::LONGEST_RUN;
    let second = SimDuration::from_secs(1);
    let duration = root
        .key("duration", "Length of the run, at most 90 days")
        .shown("the length of the trace")
        .duration(second..=longest);
    let warmup =
        root.key("warmup", "Left out of all statistics").duration_or(any_span(), SimDuration::ZERO);
    let timeline_interval = root
        .key("timeline_interval", "Distance of the rows of timeline.csv")
        .duration_or(second..=longest, SimDuration::from_secs(15));
    let profile = engine::model(root, inputs);
    let engine::Engine { minor: vllm_minor, gpu_memory_utilization, config: engine } =
        engine::engine(root, profile.as_ref());
    let max_model_len = engine.as_ref().map_or(u32::MAX, |e| e.scheduler.max_model_len);
    let workload = workload::workload(root, inputs, max_model_len);
    let mut cluster = cluster::cluster(root, profile.as_ref(), vllm_minor, inputs.constants());
    let pipeline = pipeline::pipeline(root, profile.as_ref(), gpu_memory_utilization, vllm_minor);
    let controller = pipeline::controller(root, cluster.kube_minor);
    let autoscaler = hpa::autoscaler(root, inputs, &pipeline, controller, name);
    let slo = slo(root);
    let (node_usd_per_hour, mut price_note, given) = cost(root, &cluster);
    price_note.push_str(&cluster.set_prices(node_usd_per_hour, &given));
    let duration = length_of_run(root, duration, workload.as_ref(), warmup);
    if root.context().errors() > before {
        return None;
    }
    let autoscaler = autoscaler?;
    warn_about_limits(root, &autoscaler.autoscaler, &cluster);
    warn_about_shedding(root, cluster.gateway, workload.as_ref());
    warn_about_an_empty_queue(root, cluster.gateway, &autoscaler.autoscaler);
    let queries = pipeline.names.queries();
    let scenario = Scenario {
        engine: Arc::new(engine?),
        cluster: cluster.cluster,
        devices: pipeline.devices,
        pipeline: pipeline.config,
        gateway: cluster.gateway,
        autoscaler: autoscaler.autoscaler,
        workload: workload?,
        slo,
        duration: duration?,
        warmup,
        timeline_interval,
        expose_at: Vec::new(),
    };
    let manifest = autoscaler.manifest;
    Some(Lowered { scenario, profile: profile?, manifest, price_note, queries })
}

fn slo(root: &Fields<'_>) -> Slo {
    let t = root.key("slo", "What a request must meet; both limits count").table_or_empty();
    Slo {
        ttft: t
            .key("ttft", "Longest time to first token")
            .duration_or(positive_within_a_day(), SimDuration::from_secs(2)),
        tpot: t
            .key("tpot", "Longest mean gap after the first token")
            .duration_or(positive_within_a_day(), SimDuration::from_millis(100)),
        attainment: t
            .key("attainment", "Share of requests that must meet both")
            .number_or(0.01..=1.0, 0.99),
    }
}

/// The price of a node, what is known of it, and where prices of the experiment come from.
fn cost(root: &Fields<'_>, cluster: &cluster::Lowered) -> (f64, String, String) {
    let t = root.key("cost", "Prices").table_or_empty();
    let given = t
        .key("node_usd_per_hour", "Price of one node [USD/h]")
        .shown("the machine type's price in the profile, with its date")
        .number(0.0..=1e6);
    let date = t
        .key("price_date", "Date of the prices given here and in `[[cluster.pools]]`")
        .shown("not known")
        .string();
    if let Some(date) = date.filter(|date| !is_date(date)) {
        t.report(
            Diagnostic::error(Code::Range, format!("`{date}` is not a date"))
                .at(&t.span_of("price_date"), "")
                .help("write \"2026\", \"2026-11\" or \"2026-11-24\""),
        );
    } else if date.is_some() && given.is_none() && !cluster.has_given_prices() {
        t.report(
            Diagnostic::error(Code::Conflict, "`cost.price_date` dates a price that is not given")
                .at(&t.key_span("price_date"), "")
                .help("set `cost.node_usd_per_hour`, or `usd_per_hour` of a pool"),
        );
    }
    let source = match date {
        Some(date) => format!("from the experiment, as of {date}"),
        None => "from the experiment, undated".to_owned(),
    };
    let machine = cluster.machine_type.as_str();
    let (price, note) = match (given, &cluster.price) {
        (Some(price), _) => (price, format!("{price} USD/h per {machine}, {source}")),
        (None, Some((price, basis))) => (*price, format!("{price} USD/h per {machine}, {basis}")),
        (None, None) => {
            root.report(
                Diagnostic::error(
                    Code::MissingKey,
                    format!("the price of `{machine}` is not known"),
                )
                .at(t.span(), "")
                .help("set `cost.node_usd_per_hour`"),
            );
            (0.0, String::new())
        }
    };
    (price, note, source)
}

/// A year, a month of a year, or a day.
fn is_date(text: &str) -> bool {
    let number = |part: &str, digits: usize, max: u32| {
        part.len() == digits
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse().is_ok_and(|n: u32| (1..=max).contains(&n))
    };
    let mut parts = text.split('-');
    parts.next().is_some_and(|year| number(year, 4, 9999))
        && parts.next().is_none_or(|month| number(month, 2, 12))
        && parts.next().is_none_or(|day| number(day, 2, 31))
        && parts.next().is_none()
}

fn length_of_run(
    root: &Fields<'_>,
    duration: Option<SimDuration>,
    workload: Option<&WorkloadSpec>,
    warmup: SimDuration,
) -> Option<SimDuration> {
    let natural = workload.and_then(WorkloadSpec::natural_duration);
    let length = duration.or(natural.map(|n| n.min(SimDuration::LONGEST_RUN)));
    let Some(length) = length else {
        if workload.is_some() && !root.has("duration") {
            root.report(
                Diagnostic::error(Code::MissingKey, "`duration` is missing")
                    .at(root.span(), "")
                    .help(
                        "this workload has no end of its own; set for example `duration = \"24h\"`",
                    ),
            );
        }
        return None;
    };
    if warmup >= length {
        root.report(
            Diagnostic::error(Code::Conflict, "`warmup` leaves nothing of the run")
                .at(&root.span_of("warmup"), "")
                .help(format!("the run lasts {}", super::duration::text(length))),
        );
    }
    Some(length)
}

/// Shedding without anything to shed.
fn warn_about_shedding(root: &Fields<'_>, gateway: Policy, workload: Option<&WorkloadSpec>) {
    let Some(workload) = workload.filter(|_| gateway.sheds()) else { return };
    if !(0..workload.streams().len()).any(|stream| workload.is_sheddable(stream)) {
        let title = "`cluster.routing.shed` sheds nothing: no stream has a priority below 0";
        root.report(
            Diagnostic::warning(Code::Suspicious, title)
                .at(&root.span_at("cluster.routing.shed"), "")
                .help("set `priority = -1` in the `[[workload.stream]]` that may be shed"),
        );
    }
}

/// The queue of a gateway that holds nothing.
fn warn_about_an_empty_queue(root: &Fields<'_>, gateway: Policy, autoscaler: &Autoscaler) {
    let Autoscaler::Hpa(setup) = autoscaler else { return };
    let signal = Signal::FlowControlQueueSize;
    if !gateway.holds() && setup.feeds.iter().any(|feed| feed.signal == signal) {
        let title = format!("`{}` stays 0: the gateway holds nothing", signal.name());
        root.report(
            Diagnostic::warning(Code::Suspicious, title)
                .at(&root.span_at("cluster.routing"), "")
                .help("set `policy = \"epp\"` and `flow_control = true` in `[cluster.routing]`"),
        );
    }
}

/// Limits that cannot both be reached.
fn warn_about_limits(root: &Fields<'_>, autoscaler: &Autoscaler, cluster: &cluster::Lowered) {
    let Autoscaler::Hpa(setup) = autoscaler else { return };
    let pools = &cluster.cluster.pools;
    let nodes: u64 = pools.iter().map(|pool| u64::from(pool.max_nodes)).sum();
    let fit = |pool: &NodePool| u64::from(pool.max_nodes) * u64::from(pool.replicas_per_node);
    let room: u64 = pools.iter().map(fit).sum();
    let wanted = u64::try_from(setup.spec.max_replicas).unwrap_or(0);
    if wanted > room {
        root.report(
            Diagnostic::warning(
                Code::Suspicious,
                format!("{wanted} replicas do not fit on {nodes} nodes"),
            )
            .at(&root.span_at("cluster.max_nodes"), format!("room for {room}"))
            .help(
                "pods beyond that stay Pending; raise `cluster.max_nodes` or lower `max_replicas`",
            ),
        );
    }
    let ModelLoad::Storage(load) = &cluster.cluster.startup.load else { return };
    let densest = pools.iter().map(|pool| pool.replicas_per_node).max().unwrap_or(1);
    let needed = wanted.min(room).div_ceil(u64::from(densest));
    let limit = load.attach_limit.map_or(u64::MAX, u64::from);
    if needed > limit {
        root.report(
            Diagnostic::warning(
                Code::Suspicious,
                format!("{needed} nodes would need the model's volume, which {limit} can have"),
            )
            .at(&root.span_at("cluster.model_storage"), "")
            .help(
                "pods beyond that stay ContainerCreating (FailedAttachVolume); choose another `model_storage`, give \
                 the volume more throughput, or state `cluster.startup.attach_limit` for several volumes",
            ),
        );
    }
}
