//! Result files of `vllm bench serve --save-result --save-detailed`.
// Source: vllm bench serve: arrays `input_lens`, `output_lens`, and in recent versions `start_times` from a
// monotonic clock; a failed request keeps its place with zeros; a file may hold several appended objects.

use super::collect::{Collector, Row, Verdict};
use super::number::{TimeUnit, time};
use super::{Content, Imported, ReadOptions, TraceError};
use serde_json::Value;
use std::io::Read;

pub(super) fn read(input: impl Read, options: &ReadOptions) -> Result<Imported, TraceError> {
    let mut results = Vec::new();
    for value in serde_json::Deserializer::from_reader(input).into_iter::<Value>() {
        match value {
            Ok(value) => results.push(value),
            Err(e) if e.is_io() => return Err(TraceError::Io(e.into())),
            Err(e) => {
                return Err(TraceError::file(e.line() as u64, format!("is not JSON: {e}"), None));
            }
        }
    }
    let count = results.len();
    let array = |result: &Value, key: &str| result.get(key).and_then(Value::as_array).cloned();
    let Some(result) = results.pop() else {
        return Err(TraceError::file(0, "is empty", None));
    };
    let (Some(prompts), Some(outputs)) =
        (array(&result, "input_lens"), array(&result, "output_lens"))
    else {
        let hint = "run `vllm bench serve` with --save-result --save-detailed".to_owned();
        return Err(TraceError::file(0, "has no `input_lens` and `output_lens`", Some(hint)));
    };
    let starts = array(&result, "start_times");
    let mut collector = Collector::new("vllm-bench", options);
    for (i, prompt) in prompts.iter().enumerate() {
        let start = match &starts {
            Some(starts) => starts.get(i).and_then(|s| time(&s.to_string(), TimeUnit::S)),
            None => Some(0),
        };
        let tokens = [prompt.as_i64(), outputs.get(i).and_then(Value::as_i64)];
        // There are no lines: the place in the array stands for one.
        let verdict = match (start, tokens) {
            // Its start may be missing, too: zero, long before a monotonic clock's time of day.
            (Some(at), [Some(_), Some(0)]) => {
                Verdict::Drop((at > 0 || starts.is_none()).then_some(at), "failed request")
            }
            (Some(at), [Some(prompt), Some(output)]) => {
                Verdict::Keep(Row { at, prompt, output, ..Row::default() })
            }
            _ => Verdict::Bad("unreadable", format!("entry {i} is not complete")),
        };
        collector.push(i as u64 + 1, verdict);
    }
    let (trace, mut report) = collector.finish()?;
    if count > 1 {
        report.notes.push(format!("the file holds {count} results; the last one was read"));
    }
    if starts.is_none() {
        report.notes.push(
            "no `start_times` (older vLLM): every request arrives at 0, usable only as a sample of lengths"
                .to_owned(),
        );
    }
    Ok(Imported { content: Content::Trace(trace), report })
}
