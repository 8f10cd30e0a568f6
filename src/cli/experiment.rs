//! Loading an experiment for a command, and what its outputs say about its origin.

use super::{Context, Files, quoted, terminal_width};
use crate::config::{self, Experiment, Options};
use crate::export::Provenance;
use crate::report::Heading;
use crate::sim::{Scenario, Slo, realise};
use crate::units::SimDuration;
use crate::workload::{Arrivals, StreamSpec, Summary};
use anyhow::bail;
use std::path::Path;

/// The files that a command was given.
pub(crate) struct Sources<'a> {
    /// The experiment.
    pub(crate) experiment: &'a Path,
    /// The HPA instead of the experiment's own.
    pub(crate) hpa: Option<&'a Path>,
    /// The HPA in use today.
    pub(crate) current: Option<&'a Path>,
}

/// A validated experiment with its origin.
pub(crate) struct Loaded {
    /// The experiment.
    pub(crate) experiment: Experiment,
    /// Where the results come from.
    pub(crate) provenance: Provenance,
}

/// Reads and checks the experiment for `hpasim <command>`; shows warnings.
///
/// # Errors
/// [`config::Diagnostics`] with all findings.
pub(crate) fn load(
    command: &str,
    sources: &Sources<'_>,
    context: &Context,
) -> anyhow::Result<Loaded> {
    one_from_stdin(sources)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut overrides = context.common.set.clone();
    if let Some(seed) = context.common.seed {
        overrides.push(format!("seed={}", seed.0));
    }
    let options =
        Options { overrides, hpa: sources.hpa.map(text), current: sources.current.map(text) };
    let loaded = config::load(&Files, &text(sources.experiment), &options)?;
    context.show(&loaded.warnings);
    let experiment = loaded.experiment;
    let provenance = Provenance {
        experiment: experiment.name.clone(),
        command: command_line(command, sources, context),
        inputs: experiment.inputs.iter().map(|i| (i.path.clone(), i.digest.clone())).collect(),
        overrides: context.common.set.clone(),
        seed: experiment.plan.seed.0,
        profile_estimate: experiment.profile.estimate(),
    };
    Ok(Loaded { experiment, provenance })
}

/// Tells that "the file as it stands" is the first case of its sweep, where its `[hpa]` names no metric.
pub(crate) fn tell_first_case(loaded: &Loaded, context: &Context) {
    let experiment = &loaded.experiment;
    if let (true, Some(first)) = (experiment.base_is_first_case, experiment.plan.cases.first()) {
        context.note(&format!(
            "note: `[hpa]` names no metric: this is {}, the first case of `[sweep]`",
            first.id
        ));
    }
}

/// Standard input gives its text once, and a second `-` would be taken for the same file.
fn one_from_stdin(sources: &Sources<'_>) -> anyhow::Result<()> {
    let named = [
        ("EXP.toml", Some(sources.experiment)),
        ("--hpa", sources.hpa),
        ("--current", sources.current),
    ];
    let is_stdin = |path: &Path| path.as_os_str() == "-";
    let from_stdin = named.into_iter().filter(|(_, path)| path.is_some_and(is_stdin));
    let from_stdin: Vec<&str> = from_stdin.map(|(name, _)| name).collect();
    if from_stdin.len() > 1 {
        bail!(
            "`-` is given for {}: standard input can stand for one file only\nhint: name a file for the others",
            from_stdin.join(" and ")
        );
    }
    Ok(())
}

/// The command that makes the same result, without options that change none (jobs, output, colour).
fn command_line(command: &str, sources: &Sources<'_>, context: &Context) -> String {
    let mut words = vec!["hpasim".to_owned(), command.to_owned()];
    words.push(quoted(&sources.experiment.to_string_lossy()));
    for (flag, path) in [("--hpa", sources.hpa), ("--current", sources.current)] {
        if let Some(path) = path {
            words.extend([flag.to_owned(), quoted(&path.to_string_lossy())]);
        }
    }
    if let Some(seed) = context.common.seed {
        words.extend(["--seed".to_owned(), seed.0.to_string()]);
    }
    for argument in &context.common.set {
        words.extend(["--set".to_owned(), quoted(argument)]);
    }
    words.join(" ")
}

/// What tables say about a scenario.
pub(crate) fn heading(scenario: &Scenario, loaded: &Loaded) -> Heading {
    Heading {
        workload: workload(scenario, loaded),
        slo: objective(&scenario.slo),
        price: loaded.experiment.price_note.clone(),
        profile: loaded.provenance.profile_estimate.clone().unwrap_or_default(),
        width: terminal_width(),
    }
}

/// The load in one line: figures of the first replication, which vary from one to the next.
fn workload(scenario: &Scenario, loaded: &Loaded) -> String {
    let span = duration(scenario.duration);
    if scenario.workload.is_closed_loop() {
        let is_sessions = |s: &StreamSpec| matches!(s.arrivals, Arrivals::Sessions(_));
        let who = if scenario.workload.streams().iter().any(is_sessions) {
            "conversations"
        } else {
            "closed loop of users"
        };
        return format!("{who} over {span}");
    }
    let arrivals = realise(scenario, loaded.experiment.plan.seed.replication(0));
    let Some(summary) = Summary::of(&arrivals) else {
        return format!("no requests in {span}");
    };
    let rate = summary.requests as f64 / scenario.duration.as_secs_f64();
    let busiest = summary.windows.iter().find(|window| window.width_s == 60);
    let peak = busiest.map_or(String::new(), |window| {
        format!(" ({:.2}/s in the peak minute)", window.max as f64 / 60.0)
    });
    format!(
        "{} requests in {span}, {rate:.2}/s{peak}, mean tokens {:.0} in + {:.0} out",
        summary.requests, summary.prompt.mean, summary.output.mean
    )
}

/// `TTFT <= 2s and TPOT <= 0.1s for 99 % of requests`.
fn objective(slo: &Slo) -> String {
    format!(
        "TTFT <= {} and TPOT <= {} for {} %",
        duration(slo.ttft),
        duration(slo.tpot),
        (slo.attainment * 1e6).round() / 1e4
    )
}

/// `24 h`, `10 min`, `2 s`, `100 ms`.
pub(super) fn duration(span: SimDuration) -> String {
    let s = span.as_secs_f64();
    let (value, unit) = match s {
        s if s >= 7_200.0 => (s / 3_600.0, "h"),
        s if s >= 120.0 => (s / 60.0, "min"),
        s if s >= 1.0 || s == 0.0 => (s, "s"),
        s => (s * 1000.0, "ms"),
    };
    format!("{} {unit}", (value * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(SimDuration::from_secs(86_400)), "24 h");
        assert_eq!(duration(SimDuration::from_secs(600)), "10 min");
        assert_eq!(duration(SimDuration::from_secs(2)), "2 s");
        assert_eq!(duration(SimDuration::from_millis(100)), "100 ms");
    }

    #[test]
    fn objective_reads_well() {
        let slo = Slo {
            ttft: SimDuration::from_secs(2),
            tpot: SimDuration::from_millis(100),
            attainment: 0.995,
        };
        assert_eq!(objective(&slo), "TTFT <= 2 s and TPOT <= 100 ms for 99.5 %");
    }
}
