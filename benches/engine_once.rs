//! Runs one engine load once, for instruction counts and profiles:
//! `engine_once light|modern|saturated fast|stepwise [requests]`.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, reason = "a bench")]

mod engine_load;

use engine_load::{LIGHT, MODERN, SATURATED, config, requests, run};
use hpasim::engine::EngineMode;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let mut load = match args.first().map(String::as_str) {
        Some("modern") => MODERN,
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
    let start = std::time::Instant::now();
    let digest = run(&config, &requests);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{load:?} {mode:?}: digest {digest:016x}, {seconds:.3} s, {:.0} requests/s",
        load.requests as f64 / seconds
    );
}
