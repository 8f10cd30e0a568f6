//! Runs one engine load once, for instruction counts and profiles:
//! `engine_once light|modern|shared|saturated fast|stepwise [requests]`.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, reason = "a bench")]

mod engine_load;

use engine_load::{LIGHT, MODERN, SATURATED, SHARED, config, requests, run};
use hpasim::engine::EngineMode;

/// CPU time of this process, or wall time where the system does not tell [s].
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").ok();
    let on_cpu = stat.and_then(|s| s.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()));
    on_cpu.map_or_else(
        || std::time::UNIX_EPOCH.elapsed().map_or(0.0, |wall| wall.as_secs_f64()),
        |ns| ns / 1e9,
    )
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let mut load = match args.first().map(String::as_str) {
        Some("modern") => MODERN,
        Some("shared") => SHARED,
        Some("saturated") => SATURATED,
        _ => LIGHT,
    };
    let mode = match args.get(1).map(String::as_str) {
        Some("stepwise") => EngineMode::Stepwise,
        _ => EngineMode::Fast,
    };
    // Under `cargo test` a small load suffices.
    let default = if args.is_empty() { 500 } else { load.requests };
    load.requests = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(default);
    let requests = requests(&load);
    let config = config(&load, mode);
    let start = cpu_seconds();
    let outcome = run(&config, &requests);
    let seconds = cpu_seconds() - start;
    println!(
        "{load:?} {mode:?}: {outcome:x?}, {seconds:.3} CPU s, {:.0} requests/s",
        load.requests as f64 / seconds
    );
}
