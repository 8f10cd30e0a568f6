//! A trace in any format. No input may panic, and what is written again is read as the same requests that share the same.

#![no_main]

use hpasim::workload::import::{Content, Format, ReadOptions, read, read_trace, write_csv};
use libfuzzer_sys::fuzz_target;

/// The first byte chooses the format; most say that it is found out.
const FORMATS: [Option<Format>; 9] = [
    None,
    Some(Format::Csv),
    Some(Format::Azure),
    Some(Format::Burstgpt),
    Some(Format::Locust),
    Some(Format::Jsonl),
    Some(Format::Mooncake),
    Some(Format::VllmBench),
    Some(Format::Prometheus),
];

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    let format = FORMATS.get(*first as usize).copied().flatten();
    let options = ReadOptions { format, ..ReadOptions::default() };
    match read(bytes, &options) {
        Ok(imported) => {
            let Content::Trace(trace) = imported.content else { return };
            let mut csv: Vec<u8> = Vec::new();
            write_csv(&trace, &[], &mut csv).expect("memory takes all");
            let again = read_trace(csv.as_slice(), &ReadOptions::strict()).expect("our own format");
            assert_eq!((again.requests, again.texts), (trace.requests, trace.texts));
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
});
