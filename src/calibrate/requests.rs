//! Per-request traces of one real server: replayed with the same arrivals and lengths, and compared.
//!
//! CSV with the columns `input_tokens`, `output_tokens`, `arrival_s`, `first_token_s`, `last_token_s`, and
//! optionally `request_id`, `queued_s` (seen by the engine) and `scheduled_s` (first scheduled). All times are
//! seconds on one clock.

use super::data::{DataError, Table, whole};
use super::fit::{Point, median};
use super::replay::{Arrivals, Job, Replayed, replay};
use super::work::{Theta, Timeline, Work};
use crate::engine::{EngineConfig, FinishReason};
use crate::units::{SimDuration, SimTime};
use std::sync::Arc;

/// One request as it was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct MeasuredRequest {
    /// Lengths.
    pub job: Job,
    /// When the client sent it \[s\].
    pub arrival_s: f64,
    /// When the engine had it \[s\].
    pub queued_s: Option<f64>,
    /// When it was first scheduled \[s\].
    pub scheduled_s: Option<f64>,
    /// Its first token \[s\].
    pub first_token_s: f64,
    /// Its last token \[s\].
    pub last_token_s: f64,
}

/// A trace in order of arrival.
#[derive(Clone, PartialEq, Debug)]
pub struct RequestTrace {
    /// The requests.
    pub requests: Vec<MeasuredRequest>,
}

/// The columns without which a file is no such trace.
const REQUIRED: [&str; 5] =
    ["input_tokens", "output_tokens", "arrival_s", "first_token_s", "last_token_s"];

/// Clocks of two processes on one machine may differ by this much \[s\].
const CLOCKS_S: f64 = 0.05;

impl RequestTrace {
    /// Whether a CSV header is that of such a trace.
    pub fn is_header(header: &str) -> bool {
        let has = |name: &&str| header.split(',').any(|h| h.trim().trim_matches('"') == *name);
        REQUIRED.iter().filter(|name| has(name)).count() >= 3
    }

    /// Reads a trace.
    ///
    /// # Errors
    /// All faults of the text, with their lines.
    pub fn read(text: &str) -> Result<Self, Vec<DataError>> {
        let mut table = Table::new(text, &REQUIRED);
        let mut requests = Vec::new();
        while let Some(mut row) = table.next() {
            let tokens = [row.required("input_tokens", 1.0), row.required("output_tokens", 1.0)];
            let times = ["arrival_s", "first_token_s", "last_token_s"]
                .map(|name| row.required(name, f64::MIN));
            let queued_s = row.number("queued_s", f64::MIN);
            let scheduled_s = row.number("scheduled_s", f64::MIN);
            let ([Some(input), Some(output)], [Some(arrival_s), Some(first), Some(last)]) =
                (tokens, times)
            else {
                continue;
            };
            let before = row.errors.len();
            if input.max(output) > f64::from(1u32 << 24) || input.fract() + output.fract() != 0.0 {
                row.fault(format!("{input} and {output} are no lengths in tokens"));
            }
            if last < first {
                row.fault(format!("the last token ({last}) is before the first ({first})"));
            }
            if first < arrival_s - CLOCKS_S {
                row.fault(format!("the first token ({first}) is before the arrival ({arrival_s})"));
            }
            if row.errors.len() == before {
                requests.push(MeasuredRequest {
                    job: Job { prompt_tokens: input as u32, output_tokens: output as u32 },
                    arrival_s,
                    queued_s,
                    scheduled_s,
                    first_token_s: first,
                    last_token_s: last,
                });
            }
        }
        if table.errors.is_empty() && requests.is_empty() {
            table.errors.push(whole("the file holds no request"));
        }
        if !table.errors.is_empty() {
            return Err(table.errors);
        }
        requests.sort_by(|a, b| a.arrival_s.total_cmp(&b.arrival_s));
        let span_s = requests[requests.len() - 1].arrival_s - requests[0].arrival_s;
        if span_s > SimTime::MAX_HORIZON.as_secs_f64() {
            return Err(vec![whole(format!(
                "the arrivals span {span_s} s, more than 90 days; are the times in seconds?"
            ))]);
        }
        Ok(Self { requests })
    }

    /// The first arrival \[s\]; times count from there.
    fn start_s(&self) -> f64 {
        self.requests[0].arrival_s
    }

    /// Replays the trace on a server.
    pub fn replay(&self, config: &Arc<EngineConfig>, with_steps: bool) -> Replayed {
        let start = self.start_s();
        let jobs: Vec<Job> = self.requests.iter().map(|r| r.job).collect();
        let at = |r: &MeasuredRequest| {
            SimTime::ZERO + SimDuration::from_secs_f64((r.arrival_s - start).max(0.0))
        };
        let arrivals = Arrivals::At(self.requests.iter().map(at).collect());
        replay(config, &jobs, &arrivals, with_steps)
    }

    /// What was measured.
    pub fn figures(&self) -> Figures {
        let of = |f: &dyn Fn(&MeasuredRequest) -> Option<f64>| -> Vec<f64> {
            self.requests.iter().filter_map(f).collect()
        };
        let last = self.requests.iter().map(|r| r.last_token_s).fold(f64::MIN, f64::max);
        Figures::new(
            of(&|r| Some(r.first_token_s - r.arrival_s)),
            &of(&|r| Some(r.scheduled_s? - r.queued_s?)),
            &of(&|r| {
                let gaps = r.job.output_tokens - 1;
                (gaps > 0).then(|| (r.last_token_s - r.first_token_s) / f64::from(gaps))
            }),
            last - self.start_s(),
            self.requests.iter().map(|r| u64::from(r.job.output_tokens)).sum(),
        )
    }

    /// Data points for a fit: the replay at `theta` says what work the measured times are made of. Requests are
    /// taken in groups by arrival: the step in which a single one finishes depends on chance.
    pub fn points(&self, name: &str, config: &Arc<EngineConfig>, theta: &Theta) -> Vec<Point> {
        let replayed = self.replay(config, true);
        let timeline = Timeline::new(&replayed.steps, theta);
        let start = self.start_s();
        let pairs: Vec<_> = self
            .requests
            .iter()
            .zip(&replayed.records)
            .filter(|(_, record)| record.reason == FinishReason::Length)
            .collect();
        let size = pairs.len().div_ceil(GROUPS).max(1);
        let mut points = Vec::new();
        for (group, members) in pairs.chunks(size).enumerate() {
            let mut decode = (Work::default(), 0.0);
            let mut first = (Work::default(), 0.0);
            for (measured, record) in members {
                let (Some(first_token), Some(last_token)) = (record.first_token, record.last_token)
                else {
                    continue;
                };
                decode.0.add(&timeline.between(first_token, last_token, theta), 1.0);
                decode.1 += measured.last_token_s - measured.first_token_s;
                first.0.add(&timeline.between(SimTime::ZERO, first_token, theta), 1.0);
                first.1 += measured.first_token_s - start;
            }
            for (what, (work, sum_s)) in [("first to last token", decode), ("first token", first)] {
                if sum_s > 0.0 {
                    let mut mean = Work::default();
                    mean.add(&work, 1.0 / members.len() as f64);
                    points.push(Point {
                        name: format!(
                            "{name} {}..{}: {what}",
                            group * size + 1,
                            group * size + members.len()
                        ),
                        measured_ms: sum_s * 1e3 / members.len() as f64,
                        work: mean,
                        weight: 1.0,
                        described: 0.0,
                    });
                }
            }
        }
        points
    }
}

/// Groups of requests that become data points.
const GROUPS: usize = 15;

/// Figures of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Figures {
    /// Mean time from arrival to first token \[s\].
    pub ttft_mean_s: f64,
    /// Median of the same \[s\].
    pub ttft_p50_s: f64,
    /// Mean time from the engine's queue to the first scheduling \[s\].
    pub queue_mean_s: Option<f64>,
    /// Mean gap after the first token, mean over requests \[ms\].
    pub tpot_mean_ms: Option<f64>,
    /// From the first arrival to the last token \[s\].
    pub makespan_s: f64,
    /// Output tokens per second of makespan.
    pub tokens_per_s: f64,
}

impl Figures {
    fn new(
        mut ttfts: Vec<f64>,
        queues: &[f64],
        tpots: &[f64],
        makespan_s: f64,
        tokens: u64,
    ) -> Self {
        ttfts.sort_by(f64::total_cmp);
        Self {
            ttft_mean_s: mean(&ttfts).unwrap_or(0.0),
            ttft_p50_s: median(&ttfts).unwrap_or(0.0),
            queue_mean_s: mean(queues),
            tpot_mean_ms: mean(tpots).map(|s| s * 1e3),
            makespan_s,
            tokens_per_s: if makespan_s > 0.0 { tokens as f64 / makespan_s } else { 0.0 },
        }
    }

    /// Of a replay.
    pub fn of(replayed: &Replayed) -> Self {
        let queues: Vec<f64> = replayed
            .answered()
            .filter_map(|r| Some((r.first_scheduled? - r.queued).as_secs_f64()))
            .collect();
        let tokens = replayed.answered().map(|r| u64::from(r.output_tokens)).sum();
        let makespan_s = replayed.makespan_s();
        Self::new(replayed.ttfts_s(), &queues, &replayed.tpots_s(), makespan_s, tokens)
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
