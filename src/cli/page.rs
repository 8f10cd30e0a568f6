//! `report.html` of a sweep: one more look at the cases it shows over time, and what was taken for granted.

use super::Context;
use super::experiment::Loaded;
use crate::cluster::{Capacity, FaultKind, ImagePull, ModelLoad, ScriptedFault};
use crate::config::profile::{COEFFICIENTS, GpuProfile, Status};
use crate::export::File;
use crate::gateway::Policy;
use crate::pipeline::Adapter;
use crate::report::Heading;
use crate::report::html::{self, Background, Estimate, Fact, Timeline};
use crate::rng::Dist;
use crate::sim::{Autoscaler, RecordLevel, Scenario, run_workload};
use crate::sweep::{SweepResult, Warning};
use crate::units::SimDuration;
use crate::workload::Arrivals;

/// The page and its charts.
///
/// A sweep keeps no timelines, so the cases shown are run once more, their first replication only.
pub(super) fn files(
    loaded: &Loaded,
    result: &SweepResult,
    heading: &Heading,
    warnings: &[Warning],
    context: &Context,
) -> Vec<File> {
    let plan = &loaded.experiment.plan;
    let shown = html::shown_cases(plan, result);
    let timelines = timelines(loaded, &shown, context.jobs());
    let index = shown.first().map_or(0, |(_, index)| *index);
    let scenario = &plan.cases[index].scenario;
    let background = Background {
        facts: facts(loaded, scenario),
        estimates: html::estimates().into_iter().filter(|e| may_act(e, scenario)).collect(),
    };
    html::sweep_page(plan, result, heading, &loaded.provenance, warnings, &background, &timelines)
}

/// The shown cases over time, on at most `jobs` threads; the same for any number of them.
fn timelines(loaded: &Loaded, shown: &[(html::Role, usize)], jobs: usize) -> Vec<Timeline> {
    let plan = &loaded.experiment.plan;
    let seed = plan.seed.replication(0);
    let one = |&(role, case): &(html::Role, usize)| {
        let scenario = &plan.cases[case].scenario;
        Timeline::of(role, case, scenario, &run_workload(scenario, seed, RecordLevel::Timeline))
    };
    let one = &one;
    let mut timelines = Vec::new();
    for batch in shown.chunks(jobs.max(1)) {
        std::thread::scope(|scope| {
            let running: Vec<_> =
                batch.iter().map(|shown| scope.spawn(move || one(shown))).collect();
            for run in running {
                match run.join() {
                    Ok(timeline) => timelines.push(timeline),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }
    timelines
}

/// What was in force in `scenario`, with how it was obtained.
fn facts(loaded: &Loaded, scenario: &Scenario) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |what: &str, value: String, basis: &str| {
        facts.push(Fact { what: what.to_owned(), value, basis: basis.to_owned() });
    };
    let profile = &loaded.experiment.profile;
    fact("GPU profile", format!("{}: {}", profile.name, profile.summary), &status(profile));
    fact("its known error", profile.known_error.clone(), "");
    let holds = format!("vLLM {}; {}", profile.vllm_versions, profile.valid_for);
    fact("it holds for", holds, &profile.sources.join("; "));
    fact("prices", loaded.experiment.price_note.clone(), "");

    let engine = &scenario.engine.scheduler;
    let settings = format!(
        "max_num_seqs {}, max_num_batched_tokens {}, num_gpu_blocks {} of {} tokens, max_model_len {}, prefix caching {}",
        engine.max_num_seqs,
        engine.max_num_batched_tokens,
        engine.num_gpu_blocks,
        engine.block_size,
        engine.max_model_len,
        if engine.enable_prefix_caching { "on" } else { "off" },
    );
    fact("vLLM", settings, "given, or the defaults of its version");
    for pool in &scenario.cluster.pools {
        let value = format!(
            "{} of {}, {} to {} nodes, ready after {}, deleted after {}",
            pool.capacity.as_str(),
            pool.machine_type,
            pool.min_nodes,
            pool.max_nodes,
            spread(&pool.provisioning),
            spread(&pool.delete)
        );
        fact(
            &format!("node pool {}", pool.name),
            value,
            "times are presets unless given; estimates A106, A107",
        );
    }
    let startup = &scenario.cluster.startup;
    let image = match &startup.image {
        ImagePull::Rate { unpacked_bytes, rate } => {
            format!("{:.1} GB at {:.0} MB/s", gb(*unpacked_bytes), gb(rate.median) * 1e3)
        }
        ImagePull::Time(time) => spread(time),
    };
    let load = match &startup.load {
        ModelLoad::Storage(storage) => format!(
            "{:.1} GB at {:.0} MB/s per pod",
            gb(storage.bytes),
            gb(storage.pod_rate.median) * 1e3
        ),
        ModelLoad::Time(time) => spread(time),
    };
    let value = format!(
        "image {image}, volume {}, weights {load}, engine {}",
        spread(&startup.attach),
        spread(&startup.init)
    );
    fact("start of a pod", value, "presets unless given; estimates A110 to A116");
    let adapter = match &scenario.pipeline.adapter {
        Adapter::Stackdriver { .. } => "Cloud Monitoring behind the Stackdriver adapter",
        Adapter::PrometheusAdapter { .. } => "Prometheus behind prometheus-adapter",
        Adapter::Keda { .. } => "Prometheus behind KEDA",
        Adapter::GkeNative => "GKE's own metrics agent",
        Adapter::Direct => "the newest scrape, nothing in between",
    };
    let value = format!(
        "{adapter}; scraped every {}, visible after {}",
        scenario.pipeline.scrape_interval,
        spread(&scenario.pipeline.ingest)
    );
    fact("metrics", value, "estimates A44, A120, A121 unless given");
    if let Autoscaler::Hpa(setup) = &scenario.autoscaler {
        let controller = &setup.controller;
        let value = format!(
            "Kubernetes 1.{}, a sync every {}, tolerance {}, {} to {} replicas",
            controller.kube_minor,
            setup.schedule.sync_period,
            controller.tolerance,
            setup.spec.defaulted().min_replicas.unwrap_or(1),
            setup.spec.max_replicas
        );
        fact("HPA controller", value, "the algorithm is checked against recorded decisions");
    }
    facts
}

/// How the profile's coefficients were obtained, by status.
fn status(profile: &GpuProfile) -> String {
    let all = [Status::Measured, Status::Fitted, Status::Derived, Status::Assumption];
    let of = |status: Status| {
        let names = COEFFICIENTS.iter().zip(&profile.status).filter(|(_, own)| **own == status);
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        (!names.is_empty()).then(|| format!("{}: {}", status.as_str(), names.join(", ")))
    };
    all.into_iter().filter_map(of).collect::<Vec<_>>().join("; ")
}

/// Whether a guess can have moved a result of this scenario; those whose effect is not known here stay.
fn may_act(estimate: &Estimate, scenario: &Scenario) -> bool {
    // These act in other commands, or decide about warnings only.
    if matches!(estimate.part.as_str(), "calibrate" | "backtest" | "cli" | "report") {
        return false;
    }
    let cluster = &scenario.cluster;
    let faults = &cluster.faults;
    let any_fault =
        faults.crash_per_hour > 0.0 || faults.unready_per_hour > 0.0 || !faults.scripted.is_empty();
    let lost = |fault: &ScriptedFault| fault.kind == FaultKind::NodeLoss;
    let any_loss = faults.node_loss_per_hour > 0.0 || faults.scripted.iter().any(lost);
    let recycled = cluster.pools.iter().any(|pool| pool.recycling_lead_time.is_some());
    let spot = cluster.pools.iter().any(|pool| pool.capacity == Capacity::Spot);
    let storage = match &cluster.startup.load {
        ModelLoad::Storage(storage) => Some(storage),
        ModelLoad::Time(_) => None,
    };
    let is = |wanted: fn(&Arrivals) -> bool| {
        scenario.workload.streams().iter().any(|stream| wanted(&stream.arrivals))
    };
    match estimate.tag.as_str() {
        "A280" => cluster.spare_replicas > 0,
        "A281" => spot,
        "A282" | "A283" => any_fault,
        "A320" | "A321" | "A322" => any_loss,
        "A323" => recycled,
        "A113" | "A114" | "A115" | "A331" => storage.is_some(),
        "A332" => storage.is_some_and(|storage| storage.attach_limit.is_some()),
        "A260" => matches!(scenario.gateway, Policy::RandomPerConnection(_)),
        "A261" | "A362" => matches!(scenario.gateway, Policy::EndpointPicker(_)),
        "A341" => scenario.gateway.sheds(),
        // It sizes a warning.
        "A350" => false,
        "A302" => scenario.workload.clients().retries > 0,
        "A201" | "A203" | "A204" => is(|arrivals| matches!(arrivals, Arrivals::Generated(..))),
        "A202" => !is(|arrivals| matches!(arrivals, Arrivals::Replay(..))),
        "A310" | "A311" => is(|arrivals| matches!(arrivals, Arrivals::Sessions(_))),
        _ => true,
    }
}

/// `90 s`, or `4.5 min (95 % within 7 min)`.
fn spread(dist: &Dist) -> String {
    let median = span(dist.median());
    match dist {
        Dist::Constant(_) => median,
        Dist::LogNormal { p95, .. } => format!("{median} (95 % within {})", span(*p95)),
        Dist::Empirical(values) => format!("{median} (one of {} values)", values.len()),
    }
}

fn span(span: SimDuration) -> String {
    super::experiment::duration(span)
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}
