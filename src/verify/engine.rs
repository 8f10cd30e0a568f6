//! Replays recorded decisions of the real vLLM scheduler.
//!
//! A recording is JSON lines: a header with the scheduler's configuration and the requests, then one line
//! per iteration of the engine-core loop. The scheduler is driven the same way, and every recorded key of
//! every line is compared.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::scheduler::{Batch, OutputSink, Scheduler};
use crate::engine::{
    EngineRequest, FinishReason, Prompt, RequestRecord, SchedulerConfig, SchedulerRules,
    SchedulingPolicy, Segment, TokenSpan,
};
use crate::units::{RequestId, SimDuration, SimTime};

/// What a replay found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct EngineReplay {
    /// Name in the recording's header.
    pub name: String,
    /// Calls of `schedule()` compared.
    pub steps: u64,
    /// Lines that differ, plus one if the recording ends too early.
    pub mismatches: u64,
    /// The first differences in full.
    pub first: Vec<String>,
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct EngineReplayError {
    /// Line of the recording, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

/// Differences reported in full per recording.
const FIRST_MAX: usize = 3;
/// Blocks and tokens of the largest pool that is replayed; far above any GPU's, and sums stay in range.
const POOL_BLOCKS_MAX: u32 = 1 << 24;
const POOL_TOKENS_MAX: u64 = 1 << 31;
/// The latest iteration that a recording may name: what a JSON number keeps exactly.
const STEP_MAX: u64 = 1 << 53;

#[derive(Deserialize)]
struct Header {
    kind: String,
    name: String,
    vllm: String,
    config: RecordedConfig,
    requests: Vec<RecordedRequest>,
}

/// The scheduler's flags; an absent one has vLLM's default. An unknown one is refused: it may matter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedConfig {
    max_num_seqs: u32,
    max_num_batched_tokens: u32,
    num_gpu_blocks: u32,
    block_size: Option<u32>,
    max_model_len: u32,
    enable_prefix_caching: Option<bool>,
    enable_chunked_prefill: Option<bool>,
    policy: Option<String>,
    async_scheduling: Option<bool>,
    long_prefill_token_threshold: Option<u32>,
    long_prefill_token_threshold_adaptive: Option<bool>,
    scheduler_reserve_full_isl: Option<bool>,
    watermark: Option<f64>,
    prefill_schedule_interval: Option<u32>,
    max_num_active_seqs: Option<u32>,
}

#[derive(Deserialize)]
struct RecordedRequest {
    arrival_step: u64,
    /// Its index if absent.
    arrival_time: Option<f64>,
    max_tokens: u32,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    abort_step: Option<u64>,
    prompt: Vec<(String, u64, u32, u32)>,
}

/// One iteration, as recorded and as replayed.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Line {
    t: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    add: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    abort: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    new: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    res: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pre: Vec<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    hit: BTreeMap<u64, u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<[u32; 3]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blk: Option<BTreeMap<u64, Vec<u32>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    u: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    o: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fin: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<[u32; 3]>,
}

/// Replays one recording.
///
/// # Errors
/// When the recording cannot be read or is not one; differences are no error.
pub fn replay(reader: impl BufRead) -> Result<EngineReplay, EngineReplayError> {
    let mut lines = reader.lines().zip(1u64..).filter(|(text, _)| {
        // Blank lines carry nothing.
        !text.as_ref().is_ok_and(|text| text.trim().is_empty())
    });
    let Some((text, line)) = lines.next() else {
        return Err(EngineReplayError { line: 1, message: "the recording is empty".to_owned() });
    };
    let header: Header = parse(text, line)?;
    if header.kind != "header" {
        let message = format!("kind `{}` instead of a `header`", header.kind);
        return Err(EngineReplayError { line, message });
    }
    let mut driver = Driver::new(&header).map_err(|message| EngineReplayError { line, message })?;
    let mut report = EngineReplay { name: header.name, ..EngineReplay::default() };
    for (text, line) in lines {
        let mut recorded: Line = parse(text, line)?;
        // Both are sets.
        recorded.pre.sort_unstable();
        recorded.abort.sort_unstable();
        report.steps += u64::from(recorded.s.is_some());
        let replayed = driver.iterate(recorded.blk.is_some());
        if replayed.as_ref() != Some(&recorded) {
            report.mismatches += 1;
            if report.first.len() < FIRST_MAX {
                report.first.push(difference(line, &recorded, replayed.as_ref()));
            }
        }
    }
    if let Some(extra) = driver.iterate(false) {
        report.mismatches += 1;
        report.first.push(format!("the recording ends before {}", as_text(&extra)));
    }
    Ok(report)
}

fn parse<T: for<'a> Deserialize<'a>>(
    text: std::io::Result<String>,
    line: u64,
) -> Result<T, EngineReplayError> {
    let fail = |message| EngineReplayError { line, message };
    let text = text.map_err(|e| fail(e.to_string()))?;
    // Each line of the recording is a text of one line to the parser.
    let column = |e: serde_json::Error| e.to_string().replacen(" at line 1 column", ", column", 1);
    serde_json::from_str(&text).map_err(|e| fail(column(e)))
}

fn difference(line: u64, recorded: &Line, replayed: Option<&Line>) -> String {
    let replayed = replayed.map_or_else(|| "nothing left to do".to_owned(), as_text);
    format!("line {line}:\n  recorded {}\n  replayed {replayed}", as_text(recorded))
}

fn as_text(line: &Line) -> String {
    serde_json::to_string(line).expect("plain numbers always serialise")
}

/// The engine-core loop on the recording's step clock.
struct Driver {
    scheduler: Scheduler,
    /// (arrival step, request), in order of arrival and index.
    arrivals: Vec<(u64, EngineRequest)>,
    next_arrival: usize,
    /// (abort step, id), in order.
    aborts: Vec<(u64, RequestId)>,
    next_abort: usize,
    /// Batches in flight with the iteration that made them, oldest first.
    in_flight: Vec<(u64, Batch)>,
    depth: usize,
    t: u64,
}

impl Driver {
    fn new(header: &Header) -> Result<Self, String> {
        let config = lower(&header.config, &header.vllm)?;
        let depth = if config.async_scheduling { 2 } else { 1 };
        let mut arrivals = Vec::with_capacity(header.requests.len());
        let mut aborts = Vec::new();
        let time_of =
            |(index, r): (usize, &RecordedRequest)| r.arrival_time.unwrap_or(index as f64);
        let times: Vec<f64> = header.requests.iter().enumerate().map(time_of).collect();
        let mut sorted = times.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        for ((id, request), time) in (0u64..).zip(&header.requests).zip(times) {
            // Of arrival times only the order matters.
            let rank = sorted.partition_point(|other| other.total_cmp(&time).is_lt());
            let arrival = SimTime::from_ps(rank as u64);
            arrivals.push((request.arrival_step, lower_request(id, request, arrival)?));
            aborts.extend(request.abort_step.map(|step| (step, RequestId(id))));
        }
        arrivals.sort_by_key(|(step, _)| *step);
        aborts.sort_unstable();
        Ok(Self {
            scheduler: Scheduler::new(config, true),
            arrivals,
            next_arrival: 0,
            aborts,
            next_abort: 0,
            in_flight: Vec::new(),
            depth,
            t: 0,
        })
    }

    /// One iteration; `None` when everything is done.
    fn iterate(&mut self, with_blocks: bool) -> Option<Line> {
        let mut line = Line::default();
        self.take_inputs(&mut line);
        if !self.scheduler.has_work() && self.in_flight.is_empty() {
            self.t = self.t.max(self.arrivals.get(self.next_arrival)?.0);
            self.take_inputs(&mut line);
        }
        line.t = self.t;
        let now = SimTime::from_ps(self.t);
        let mut fills_up = false;
        if self.scheduler.has_work() {
            let mut batch = Batch::default();
            self.scheduler.schedule(now, &mut batch);
            self.describe_schedule(&batch, with_blocks, &mut line);
            fills_up = batch.shape().tokens > 0 || self.scheduler.has_work();
            self.in_flight.push((self.t, batch));
        }
        let waits = !fills_up || self.in_flight.len() >= self.depth;
        if waits && !self.in_flight.is_empty() {
            let (made, batch) = self.in_flight.remove(0);
            let mut sink = Lists::default();
            self.scheduler.update_from_output(&batch, now, &mut sink);
            line.u = (self.depth > 1).then_some(made);
            line.o = sink.tokens;
            line.fin = sink.finished;
            line.b = Some(self.counts());
        }
        self.t += 1;
        Some(line)
    }

    fn take_inputs(&mut self, line: &mut Line) {
        while let Some((step, request)) = self.arrivals.get(self.next_arrival)
            && *step <= self.t
        {
            line.add.push(request.id.0);
            self.scheduler.add(request.clone(), SimTime::from_ps(*step));
            self.next_arrival += 1;
        }
        while let Some(&(step, id)) = self.aborts.get(self.next_abort)
            && step <= self.t
        {
            let now = SimTime::from_ps(self.t);
            if self.scheduler.abort(id, now, FinishReason::Aborted).is_some() {
                line.abort.push(id.0);
            }
            self.next_abort += 1;
        }
        line.abort.sort_unstable();
    }

    fn describe_schedule(&self, batch: &Batch, with_blocks: bool, line: &mut Line) {
        let scheduled = self.scheduler.scheduled(batch);
        line.s = Some(scheduled.flat_map(|(id, tokens)| [id.0, u64::from(tokens)]).collect());
        for admission in batch.admitted() {
            let list = if admission.resumed { &mut line.res } else { &mut line.new };
            list.push(admission.id.0);
            if admission.hit_tokens > 0 {
                line.hit.insert(admission.id.0, admission.hit_tokens);
            }
        }
        line.pre = batch.preempted().iter().map(|id| id.0).collect();
        line.pre.sort_unstable();
        line.a = Some(self.counts());
        if with_blocks {
            let ids = self.scheduler.block_ids(batch);
            line.blk = Some(ids.map(|(id, blocks)| (id.0, blocks.to_vec())).collect());
        }
    }

    fn counts(&self) -> [u32; 3] {
        let s = &self.scheduler;
        [s.num_running(), s.num_waiting(), s.free_blocks()]
    }
}

#[derive(Default)]
struct Lists {
    tokens: Vec<u64>,
    finished: Vec<u64>,
}

impl OutputSink for Lists {
    fn token(&mut self, id: impl FnOnce() -> RequestId) {
        self.tokens.push(id().0);
    }
    fn gap(&mut self, _gap: SimDuration, _tokens: u64) {}
    fn finished(&mut self, record: RequestRecord) {
        self.finished.push(record.id.0);
    }
}

fn lower(c: &RecordedConfig, vllm: &str) -> Result<SchedulerConfig, String> {
    let rules = rules_of(vllm)?;
    let policy = match c.policy.as_deref() {
        None | Some("fcfs") => SchedulingPolicy::Fcfs,
        Some("priority") => SchedulingPolicy::Priority,
        Some(other) => return Err(format!("`policy`: `{other}` is neither `fcfs` nor `priority`")),
    };
    // Source: vllm 0.11.0 and 0.33.0, config/scheduler.py and config/cache.py.
    let config = SchedulerConfig {
        rules,
        max_num_seqs: c.max_num_seqs,
        max_num_batched_tokens: c.max_num_batched_tokens,
        num_gpu_blocks: c.num_gpu_blocks,
        block_size: c.block_size.unwrap_or(16),
        max_model_len: c.max_model_len,
        enable_prefix_caching: c.enable_prefix_caching.unwrap_or(true),
        enable_chunked_prefill: c.enable_chunked_prefill.unwrap_or(true),
        policy,
        async_scheduling: c.async_scheduling.unwrap_or(rules >= SchedulerRules::V0_33),
        long_prefill_token_threshold: c.long_prefill_token_threshold.unwrap_or(0),
        long_prefill_token_threshold_adaptive: c
            .long_prefill_token_threshold_adaptive
            .unwrap_or(false),
        scheduler_reserve_full_isl: c.scheduler_reserve_full_isl.unwrap_or(true),
        watermark: c.watermark.unwrap_or(0.0),
        prefill_schedule_interval: c.prefill_schedule_interval.unwrap_or(1),
        max_num_active_seqs: c.max_num_active_seqs,
    };
    let (blocks, size) = (config.num_gpu_blocks, config.block_size);
    if blocks > POOL_BLOCKS_MAX || u64::from(blocks) * u64::from(size) > POOL_TOKENS_MAX {
        return Err(format!("`num_gpu_blocks`: {blocks} blocks of {size} tokens are out of range"));
    }
    // A recording may set max_model_len past its pool, as long as no request gets there.
    match config.validate().into_iter().find(|e| e.field != "max_model_len") {
        Some(error) => Err(error.to_string()),
        None => Ok(config),
    }
}

fn rules_of(vllm: &str) -> Result<SchedulerRules, String> {
    let mut parts = vllm.split('.');
    match (parts.next(), parts.next()) {
        (Some("0"), Some("33")) => Ok(SchedulerRules::V0_33),
        (Some("0"), Some("11")) => Ok(SchedulerRules::V0_11),
        _ => Err(format!("`vllm`: release `{vllm}` is not supported, only 0.11 and 0.33")),
    }
}

fn lower_request(
    id: u64,
    request: &RecordedRequest,
    arrival: SimTime,
) -> Result<EngineRequest, String> {
    if request.arrival_step > STEP_MAX {
        return Err(format!("request {id}: arrival_step {} is out of range", request.arrival_step));
    }
    if request.max_tokens == 0 {
        return Err(format!("request {id}: max_tokens must be at least 1"));
    }
    let mut spans = Vec::with_capacity(request.prompt.len());
    let mut prompt_tokens = 0u32;
    for (kind, n, start, end) in &request.prompt {
        let segment = match kind.as_str() {
            "s" => Segment::Text(*n),
            "o" => Segment::Output(RequestId(*n)),
            other => return Err(format!("request {id}: prompt part of unknown kind `{other}`")),
        };
        let len = end
            .checked_sub(*start)
            .ok_or_else(|| format!("request {id}: prompt part {start}..{end} is turned round"))?;
        prompt_tokens = prompt_tokens
            .checked_add(len)
            .ok_or_else(|| format!("request {id}: the prompt is too long"))?;
        spans.push(TokenSpan { segment, start: *start, len });
    }
    spans.retain(|span| span.len > 0);
    if prompt_tokens == 0 {
        return Err(format!("request {id}: the prompt is empty"));
    }
    Ok(EngineRequest {
        id: RequestId(id),
        arrival,
        prompt_tokens,
        output_tokens: request.max_tokens,
        priority: request.priority,
        prompt: Prompt::Spans(Arc::from(spans)),
    })
}
