//! What `profile fit` and `profile check` read. No input may panic.

#![no_main]

use hpasim::calibrate::{bench_json, benchmark, requests::RequestTrace, steps};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match first % 4 {
        0 => drop(bench_json::read("bench.json", &text)),
        1 => drop(benchmark::read(&text)),
        2 => drop(RequestTrace::read(&text)),
        _ => drop(steps::read(&text)),
    }
});
