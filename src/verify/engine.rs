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

#[derive(Deserialize)]
struct Header {
    kind: String,
    name: String,
    vllm: String,
    config: RecordedConfig,
    requests: Vec<RecordedRequest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedConfig {
    max_num_seqs: u32,
    max_num_batched_tokens: u32,
    num_gpu_blocks: u32,
    block_size: u32,
    max_model_len: u32,
    enable_prefix_caching: bool,
    enable_chunked_prefill: bool,
    policy: String,
    async_scheduling: bool,
    long_prefill_token_threshold: u32,
    #[serde(default)]
    long_prefill_token_threshold_adaptive: bool,
    #[serde(default)]
    scheduler_reserve_full_isl: bool,
    #[serde(default)]
    watermark: f64,
    #[serde(default = "one")]
    prefill_schedule_interval: u32,
    #[serde(default)]
    max_num_active_seqs: Option<u32>,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
struct RecordedRequest {
    arrival_step: u64,
    arrival_time: f64,
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
    let text = text.map_err(|e| EngineReplayError { line, message: e.to_string() })?;
    serde_json::from_str(&text).map_err(|e| EngineReplayError { line, message: e.to_string() })
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
        for (id, request) in (0u64..).zip(&header.requests) {
            arrivals.push((request.arrival_step, lower_request(id, request)?));
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
    let policy = match c.policy.as_str() {
        "fcfs" => SchedulingPolicy::Fcfs,
        "priority" => SchedulingPolicy::Priority,
        other => return Err(format!("`policy`: `{other}` is neither `fcfs` nor `priority`")),
    };
    let config = SchedulerConfig {
        rules: rules_of(vllm)?,
        max_num_seqs: c.max_num_seqs,
        max_num_batched_tokens: c.max_num_batched_tokens,
        num_gpu_blocks: c.num_gpu_blocks,
        block_size: c.block_size,
        max_model_len: c.max_model_len,
        enable_prefix_caching: c.enable_prefix_caching,
        enable_chunked_prefill: c.enable_chunked_prefill,
        policy,
        async_scheduling: c.async_scheduling,
        long_prefill_token_threshold: c.long_prefill_token_threshold,
        long_prefill_token_threshold_adaptive: c.long_prefill_token_threshold_adaptive,
        scheduler_reserve_full_isl: c.scheduler_reserve_full_isl,
        watermark: c.watermark,
        prefill_schedule_interval: c.prefill_schedule_interval,
        max_num_active_seqs: c.max_num_active_seqs,
    };
    // A recording may set max_model_len past its pool, as long as no request gets there.
    match config.validate().into_iter().find(|e| e.field != "max_model_len") {
        Some(error) => Err(error.to_string()),
        None => Ok(config),
    }
}

fn rules_of(vllm: &str) -> Result<SchedulerRules, String> {
    if vllm.starts_with("0.33.") {
        Ok(SchedulerRules::V0_33)
    } else if vllm.starts_with("0.11.") {
        Ok(SchedulerRules::V0_11)
    } else {
        Err(format!("`vllm`: release `{vllm}` is not supported, only 0.11 and 0.33"))
    }
}

fn lower_request(id: u64, request: &RecordedRequest) -> Result<EngineRequest, String> {
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
        // Only the order matters; a millionth keeps fractions apart.
        arrival: SimTime::from_ps((request.arrival_time * 1e6) as u64),
        prompt_tokens,
        output_tokens: request.max_tokens,
        priority: request.priority,
        prompt: Prompt::Spans(Arc::from(spans)),
    })
}
