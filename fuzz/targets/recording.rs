//! What `verify` and `backtest` read. No input may panic.

#![no_main]

use hpasim::{backtest, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    match first % 3 {
        0 => drop(verify::hpa::replay(bytes).map_err(|e| e.to_string())),
        1 => drop(verify::engine::replay(bytes).map_err(|e| e.to_string())),
        _ => {
            let text = String::from_utf8_lossy(bytes);
            drop(backtest::parse(&text).map_err(|e| e.to_string()));
        }
    }
});
