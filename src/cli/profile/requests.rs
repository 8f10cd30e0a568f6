//! `hpasim profile check --requests`: a per-request trace of a real server, replayed.

use super::server::ServerArgs;
use super::{Exit, load, output, signed_percent};
use crate::calibrate::requests::{Figures, RequestTrace};
use crate::cli::terminal_width;
use crate::config::profile::Constants;
use crate::report::{Align, text_table};
use anyhow::anyhow;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Replays the trace in `path` on the server of `profile` and prints both sides.
pub(super) fn run(
    path: &Path,
    profile: &str,
    server: &ServerArgs,
    constants: &Constants,
) -> anyhow::Result<Exit> {
    let shown = path.display().to_string();
    let text = output::read_text(path)?;
    let trace = RequestTrace::read(&text).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|e| format!("{shown}: {e}")).collect();
        anyhow!("{}", lines.join("\n"))
    })?;
    let profile = load(profile, constants)?;
    let engine = server.engine(&profile)?;
    let scheduler = engine.scheduler.clone();
    let replayed = trace.replay(&Arc::new(engine), false);
    let mut out = String::new();
    writeln!(
        out,
        "{shown}: {} requests on {} (vLLM {}, max_num_seqs {}, max_num_batched_tokens {}, \
         KV cache {} tokens)",
        trace.requests.len(),
        profile.name,
        server.version(),
        scheduler.max_num_seqs,
        scheduler.max_num_batched_tokens,
        scheduler.num_gpu_blocks * scheduler.block_size,
    )?;
    out.push_str(&table(&trace.figures(), &Figures::of(&replayed)));
    let preemptions: u64 = replayed.records.iter().map(|r| u64::from(r.preemptions)).sum();
    let unanswered = replayed.records.len() - replayed.answered().count();
    writeln!(out, "preemptions in the simulation: {preemptions}")?;
    if unanswered > 0 {
        writeln!(out, "{unanswered} requests do not fit the simulated server and are left out")?;
    }
    output::print(&out)?;
    Ok(Exit::Done)
}

/// Measured and simulated figures of a trace.
pub(super) fn table(measured: &Figures, simulated: &Figures) -> String {
    let columns = ["figure", "measured", "simulated", "error"]
        .map(|name| (name.to_owned(), if name == "figure" { Align::Left } else { Align::Right }));
    let both = |a: Option<f64>, b: Option<f64>| a.zip(b);
    let rows: Vec<Vec<String>> = [
        ("mean TTFT, s", Some((measured.ttft_mean_s, simulated.ttft_mean_s))),
        ("median TTFT, s", Some((measured.ttft_p50_s, simulated.ttft_p50_s))),
        ("mean queue time, s", both(measured.queue_mean_s, simulated.queue_mean_s)),
        ("mean TPOT, ms", both(measured.tpot_mean_ms, simulated.tpot_mean_ms)),
        ("makespan, s", Some((measured.makespan_s, simulated.makespan_s))),
        ("output tokens/s", Some((measured.tokens_per_s, simulated.tokens_per_s))),
    ]
    .into_iter()
    .filter_map(|(name, pair)| {
        let (measured, simulated) = pair?;
        // A figure that was not measured to be anything has no relative error.
        let error =
            if measured > 0.0 { signed_percent(simulated / measured - 1.0) } else { String::new() };
        let number = |x: f64| format!("{x:.3}");
        Some(vec![name.to_owned(), number(measured), number(simulated), error])
    })
    .collect();
    text_table(&columns, &rows, terminal_width())
}
