//! JSON lines, or an array of objects: Mooncake and its dialects, inference-perf, and hpasim's own names.
//!
//! Times are milliseconds in Mooncake and aiperf, seconds in qwen-bailian; prefix blocks have 512 tokens in
//! Mooncake, 16 in qwen-bailian. Both can be set, because a wrong unit makes a rate a thousand times too high.

use super::collect::{Collector, Row, Verdict};
use super::lines::Lines;
use super::number::{TimeUnit, time, tokens, unit_of};
use super::{Content, Format, Imported, ReadOptions, TraceError};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};

/// Whether a file that starts with `head` is an answer of Prometheus, or the list of series of one.
pub(super) fn is_prometheus(head: &[u8]) -> bool {
    mentions(head, "resultType") || (head.starts_with(b"[") && mentions(head, "values"))
}

/// Whether it is a result of `vllm bench serve`.
pub(super) fn is_bench(head: &[u8]) -> bool {
    mentions(head, "input_lens") || mentions(head, "num_prompts")
}

fn mentions(head: &[u8], key: &str) -> bool {
    let quoted = format!("\"{key}\"");
    head.windows(quoted.len()).any(|w| w == quoted.as_bytes())
}

/// Which keys a row has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Mooncake,
    Bailian,
    /// inference-perf's `per_request_lifecycle_metrics.json`.
    // Source: kubernetes-sigs/inference-perf, request lifecycle report: `start_time` of a monotonic clock [s],
    // `info`, `error`. Older releases have the counts flat in `info`, newer ones nested.
    InferencePerf,
    Own,
}

/// Places of the token counts in inference-perf's `info`, newest first.
const PERF_PROMPT: [&str; 2] = ["/request_metrics/text/input_tokens", "/input_tokens"];
const PERF_OUTPUT: [&str; 2] = ["/response_metrics/output_tokens", "/output_tokens"];

impl Dialect {
    fn of(row: &Map<String, Value>, options: &ReadOptions) -> Option<Self> {
        let own = options.columns.arrival.as_deref().unwrap_or("arrival_s");
        if row.contains_key("chat_id") {
            Some(Self::Bailian)
        } else if row.contains_key("start_time") && row.contains_key("info") {
            Some(Self::InferencePerf)
        } else if row.contains_key(own) {
            Some(Self::Own)
        } else {
            row.contains_key("input_length").then_some(Self::Mooncake)
        }
    }
}

struct Reader<'o> {
    dialect: Dialect,
    options: &'o ReadOptions,
    unit: TimeUnit,
    block: u32,
    /// Prefix blocks seen so far, and the row (an index into `names`) that had each of them first.
    seen: BTreeMap<u64, u32>,
    /// Names of the rows with prefix blocks, as others refer to them.
    names: Vec<String>,
    taken: BTreeSet<String>,
    prompt_total: u64,
    reused_total: u64,
    wrong_blocks: u64,
    has_blocks: bool,
    /// Last arrival of each session, for rows that give a delay instead of a time.
    sessions: BTreeMap<String, i128>,
    delays: u64,
}

/// What a row says besides numbers; owned, because a [`Row`] only borrows.
#[derive(Default)]
struct Texts {
    session: String,
    group: String,
    class: String,
}

/// Reads one object per line.
pub(super) fn read_lines<R: BufRead>(
    mut lines: Lines<R>,
    options: &ReadOptions,
) -> Result<Imported, TraceError> {
    let mut rows = Rows::new(options);
    while let Some((number, line)) = lines.next()? {
        match serde_json::from_slice(line) {
            Ok(row) => rows.push(number, row)?,
            Err(e) => {
                let bad = Verdict::Bad("no JSON", format!("is not JSON: {e}"));
                rows.collector.push(number, bad);
            }
        }
    }
    rows.finish()
}

/// Reads an array of objects. They have no lines: the place in the array, from 1, stands for one.
pub(super) fn read_array(input: impl Read, options: &ReadOptions) -> Result<Imported, TraceError> {
    let all: Vec<Value> = serde_json::from_reader(input)
        .map_err(|e| TraceError::file(e.line() as u64, format!("is not JSON: {e}"), None))?;
    let mut rows = Rows::new(options);
    for (i, row) in all.into_iter().enumerate() {
        rows.push(i as u64 + 1, row)?;
    }
    rows.finish()
}

/// Rows as they come.
struct Rows<'o> {
    options: &'o ReadOptions,
    reader: Option<Reader<'o>>,
    collector: Collector,
    texts: Texts,
}

impl<'o> Rows<'o> {
    fn new(options: &'o ReadOptions) -> Self {
        let collector = Collector::new("jsonl", options);
        Self { options, reader: None, collector, texts: Texts::default() }
    }

    fn push(&mut self, number: u64, row: Value) -> Result<(), TraceError> {
        let Value::Object(row) = row else {
            let bad = Verdict::Bad("no object", "is not a JSON object".into());
            self.collector.push(number, bad);
            return Ok(());
        };
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let new = Reader::new(&row, self.options, number)?;
                // Numbers of hpasim's own format count from zero; dates do not.
                let own = new.dialect == Dialect::Own && self.options.time_unit.is_none();
                if own && new.unit != TimeUnit::Iso {
                    self.collector.keep_zero();
                }
                none.insert(new)
            }
        };
        let verdict = reader.row(&row, &mut self.texts);
        self.collector.push(number, verdict);
        Ok(())
    }

    fn finish(self) -> Result<Imported, TraceError> {
        let (recorded, mut report) = self.collector.finish()?;
        if let Some(reader) = self.reader {
            reader.finish(&mut report);
        }
        Ok(Imported { content: Content::Trace(recorded), report })
    }
}

impl<'o> Reader<'o> {
    fn new(
        row: &Map<String, Value>,
        options: &'o ReadOptions,
        number: u64,
    ) -> Result<Self, TraceError> {
        let forced = options.format == Some(Format::Mooncake);
        let dialect = Dialect::of(row, options).filter(|d| !forced || *d != Dialect::Own);
        let Some(dialect) = dialect else {
            let keys: Vec<&str> = row.keys().map(String::as_str).collect();
            let hint = format!("its keys are: {}", keys.join(", "));
            let wanted = if forced {
                "`timestamp`, `input_length` and `output_length`"
            } else {
                "`arrival_s`, `prompt_tokens` and `output_tokens`"
            };
            return Err(TraceError::file(number, format!("has no {wanted}"), Some(hint)));
        };
        let (unit, block) = match dialect {
            Dialect::Mooncake => (TimeUnit::Ms, 512),
            Dialect::Bailian => (TimeUnit::S, 16),
            Dialect::InferencePerf | Dialect::Own => (TimeUnit::S, 512),
        };
        let first = row.get(arrival_key(dialect, options)).map(text).unwrap_or_default();
        Ok(Self {
            dialect,
            options,
            unit: options.time_unit.unwrap_or_else(|| unit_of(&first, unit)),
            block: options.block_tokens.unwrap_or(block).max(1),
            seen: BTreeMap::new(),
            names: Vec::new(),
            taken: BTreeSet::new(),
            prompt_total: 0,
            reused_total: 0,
            wrong_blocks: 0,
            has_blocks: false,
            sessions: BTreeMap::new(),
            delays: 0,
        })
    }

    fn row<'a>(&mut self, row: &Map<String, Value>, texts: &'a mut Texts) -> Verdict<'a> {
        let columns = &self.options.columns;
        let name = |own: &'static str, mapped: &'o Option<String>, other: &'static str| match self
            .dialect
        {
            Dialect::Own => mapped.as_deref().unwrap_or(own),
            Dialect::Mooncake | Dialect::Bailian | Dialect::InferencePerf => other,
        };
        let keys = [
            name("prompt_tokens", &columns.prompt, "input_length"),
            name("output_tokens", &columns.output, "output_length"),
        ];
        let arrival_key = arrival_key(self.dialect, self.options);
        texts.session = ["session_id", "chat_id"]
            .iter()
            .find_map(|k| row.get(*k))
            .map(text)
            .unwrap_or_default();
        texts.class =
            ["class", "type"].iter().find_map(|k| row.get(*k)).map(text).unwrap_or_default();
        texts.group = row.get("prefix_group").map(text).unwrap_or_default();
        let at = match (row.get(arrival_key), row.get("delay")) {
            (Some(value), _) => time(&text(value), self.unit),
            (None, Some(delay)) => {
                self.delays += 1;
                let before = self.sessions.get(&texts.session).copied().unwrap_or(0);
                time(&text(delay), self.unit).map(|d| before + d)
            }
            (None, None) => None,
        };
        let Some(at) = at else {
            let message = format!("`{arrival_key}` is missing or not a time");
            return Verdict::Bad("unreadable time", message);
        };
        if self.unit != TimeUnit::Iso && at < 0 {
            return Verdict::Bad("negative time", format!("`{arrival_key}` is negative"));
        }
        if row.contains_key("delay") || !self.sessions.is_empty() {
            self.sessions.insert(texts.session.clone(), at);
        }
        if self.dialect == Dialect::InferencePerf {
            return perf(at, row);
        }
        let [prompt, output] = keys.map(|k| row.get(k).map(text).and_then(|t| tokens(&t)));
        let (Some(prompt), Some(output)) = (prompt, output) else {
            let [p, o] = keys;
            let message = format!("`{p}` or `{o}` is missing or not a whole number of tokens");
            return Verdict::Bad("unreadable length", message);
        };
        if self.options.model.as_ref().is_some_and(|m| *m != texts.class) {
            return Verdict::Drop(Some(at), "other type");
        }
        let number =
            |key: &str| row.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let mut prefix_tokens = number("prefix_tokens").unwrap_or(0);
        if let Some(Value::Array(ids)) = row.get("hash_ids") {
            let name = self.name(std::mem::take(&mut texts.session));
            let (reused, owner) = self.reuse(ids, prompt);
            prefix_tokens = reused;
            texts.group = owner.map(|row| self.names[row as usize].clone()).unwrap_or_default();
            texts.session = name;
        }
        Verdict::Keep(Row {
            at,
            prompt,
            output,
            session: &texts.session,
            turn: number("turn"),
            prefix_group: &texts.group,
            prefix_tokens,
            class: &texts.class,
        })
    }

    /// The name of a row with prefix blocks: a row is a session of its own, because its blocks say better what it
    /// shares than the history of its conversation would.
    fn name(&mut self, session: String) -> String {
        let row = self.names.len();
        let name = match session.as_str() {
            "" => format!("r{row}"),
            _ if self.taken.contains(&session) => format!("{session}/{row}"),
            _ => session,
        };
        self.taken.insert(name.clone());
        self.names.push(name.clone());
        name
    }

    /// Leading tokens that an earlier row had too (an endless cache, rows in order), and the row that had the last
    /// of them first. The last block is partial and counts for nothing, and one token is always left to compute.
    fn reuse(&mut self, ids: &[Value], prompt: i64) -> (u32, Option<u32>) {
        self.has_blocks = true;
        let row = self.names.len() as u32 - 1;
        let prompt = u32::try_from(prompt).unwrap_or(0);
        if ids.len() as u64 != u64::from(prompt.div_ceil(self.block)) {
            self.wrong_blocks += 1;
        }
        let ids: Vec<u64> = ids.iter().map_while(block_id).collect();
        let whole = prompt.saturating_sub(1) / self.block;
        let known = ids.iter().map_while(|id| self.seen.get(id)).take(whole as usize);
        let (hits, owner) = known.fold((0, None), |(n, _), owner| (n + 1, Some(*owner)));
        for id in ids {
            self.seen.entry(id).or_insert(row);
        }
        let reused = hits * self.block;
        self.prompt_total += u64::from(prompt);
        self.reused_total += u64::from(reused);
        (reused, owner)
    }

    fn finish(self, report: &mut super::Report) {
        report.format = match self.dialect {
            Dialect::Mooncake => "mooncake",
            Dialect::Bailian => "mooncake (bailian)",
            Dialect::InferencePerf => "inference-perf",
            Dialect::Own => "jsonl",
        };
        if self.has_blocks && self.prompt_total > 0 {
            report.prefix_reuse = Some(self.reused_total as f64 / self.prompt_total as f64);
        }
        if self.wrong_blocks > 0 {
            report.notes.push(format!(
                "{} rows do not have ceil(prompt / {}) prefix blocks: is `--block-tokens` right?",
                self.wrong_blocks, self.block
            ));
        }
        if self.delays > 0 {
            report.notes.push(format!(
                "{} rows give a delay instead of a time; it was counted from the row before of the same session",
                self.delays
            ));
        }
    }
}

/// Key of the arrival time.
fn arrival_key(dialect: Dialect, options: &ReadOptions) -> &str {
    match dialect {
        Dialect::Own => options.columns.arrival.as_deref().unwrap_or("arrival_s"),
        Dialect::Mooncake | Dialect::Bailian => "timestamp",
        Dialect::InferencePerf => "start_time",
    }
}

/// A row of inference-perf.
fn perf<'a>(at: i128, row: &Map<String, Value>) -> Verdict<'a> {
    if row.get("error").is_some_and(|error| !error.is_null()) {
        return Verdict::Drop(Some(at), "failed request");
    }
    let count = |places: [&str; 2]| {
        let info = row.get("info")?;
        places.into_iter().find_map(|place| info.pointer(place)).and_then(|n| tokens(&text(n)))
    };
    let (Some(prompt), Some(output)) = (count(PERF_PROMPT), count(PERF_OUTPUT)) else {
        return Verdict::Bad("unreadable length", "has no token counts in `info`".to_owned());
    };
    Verdict::Keep(Row { at, prompt, output, ..Row::default() })
}

/// A prefix block: a number, or a digest as text.
fn block_id(id: &Value) -> Option<u64> {
    match id {
        Value::Number(n) => n.as_u64().or_else(|| n.as_i64().map(i64::cast_unsigned)),
        // FNV-1a.
        Value::String(s) => Some(s.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })),
        _ => None,
    }
}

/// A JSON scalar as text.
fn text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
