//! Turns what happened into measures: latencies, objectives, minutes of violation, accounting.

use super::measures::Measures;
use super::record::{Accounting, RecordLevel, RequestRow, Series, TimelineRow};
use super::scenario::Slo;
use crate::engine::{Effect, FinishReason, RequestRecord};
use crate::stats::LatencyHistogram;
use crate::units::{PS_PER_S, PodId, SimDuration, SimTime};

/// Length of one bin of the per-minute statistics.
const MINUTE: SimDuration = SimDuration::from_secs(60);

/// Statistics of one run, fed as requests end. Memory is bounded by the length of the run in minutes and
/// the number of histogram buckets, not by the number of requests (unless every request is recorded).
#[derive(Debug)]
pub(super) struct Collector {
    slo: Slo,
    warmup: SimTime,
    horizon: SimTime,
    level: RecordLevel,
    accounting: Accounting,
    ttft: LatencyHistogram,
    tpot: LatencyHistogram,
    itl: LatencyHistogram,
    e2e: LatencyHistogram,
    queue: LatencyHistogram,
    counted: Counted,
    minutes: Vec<Minute>,
    requests: Vec<RequestRow>,
}

/// Sums over the requests that arrived after the warm-up.
#[derive(Debug, Default)]
struct Counted {
    total: u64,
    completed: u64,
    failed: u64,
    unfinished: u64,
    met: u64,
    decided: u64,
    preemptions: u64,
    output_tokens: u64,
    /// Prompt tokens of scheduled requests, and how many of them the prefix cache had.
    scheduled_tokens: u64,
    cached_tokens: u64,
}

/// The requests that arrived in one minute.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    arrived: u32,
    met: u32,
    decided: u32,
    first_tokens: u32,
    ttft_sum_ps: u64,
}

/// Whether a request met both objectives; `None` if that is not known yet.
fn verdict(record: &RequestRecord, slo: &Slo) -> Option<bool> {
    let ttft_met = record.first_token.map(|first| first - record.arrival <= slo.ttft);
    match record.reason {
        FinishReason::Length => Some(ttft_met == Some(true) && mean_gap_within(record, slo.tpot)),
        FinishReason::Killed | FinishReason::Aborted | FinishReason::Rejected => Some(false),
        FinishReason::Unfinished => {
            let waited = record.end - record.arrival;
            let too_late = ttft_met == Some(false) || (ttft_met.is_none() && waited > slo.ttft);
            too_late.then_some(false)
        }
    }
}

/// `(last - first) / (tokens - 1) <= tpot`, in integers. One token has no gap.
fn mean_gap_within(record: &RequestRecord, tpot: SimDuration) -> bool {
    match decode_span(record) {
        Some((span, gaps)) => {
            u128::from(span.as_ps()) <= u128::from(tpot.as_ps()) * u128::from(gaps)
        }
        None => true,
    }
}

/// Time from the first to the last token and the number of gaps in it, if there is any.
fn decode_span(record: &RequestRecord) -> Option<(SimDuration, u64)> {
    let (first, last) = (record.first_token?, record.last_token?);
    let gaps = u64::from(record.output_tokens).checked_sub(1)?;
    (gaps > 0).then(|| (last - first, gaps))
}

impl Collector {
    /// Statistics of requests that arrive from `warmup` on, in a run that ends at `horizon`.
    pub(super) fn new(slo: Slo, warmup: SimTime, horizon: SimTime, level: RecordLevel) -> Self {
        let minutes = horizon.as_ps().div_ceil(MINUTE.as_ps()) as usize;
        Self {
            slo,
            warmup,
            horizon,
            level,
            accounting: Accounting::default(),
            ttft: LatencyHistogram::new(),
            tpot: LatencyHistogram::new(),
            itl: LatencyHistogram::new(),
            e2e: LatencyHistogram::new(),
            queue: LatencyHistogram::new(),
            counted: Counted::default(),
            minutes: vec![Minute::default(); minutes],
            requests: Vec::new(),
        }
    }

    /// A request arrived at the front end.
    pub(super) fn arrived(&mut self, at: SimTime) {
        self.accounting.arrived += 1;
        if at >= self.warmup {
            self.counted.total += 1;
        }
        if self.level > RecordLevel::Measures {
            self.minute(at).arrived += 1;
        }
    }

    /// A client tries again.
    pub(super) fn retried(&mut self) {
        self.accounting.retries += 1;
    }

    /// The gateway sheds an attempt.
    pub(super) fn shed(&mut self) {
        self.accounting.shed += 1;
    }

    /// The gateway holds an attempt back.
    pub(super) fn held(&mut self) {
        self.accounting.held += 1;
    }

    /// Requests that have arrived so far.
    pub(super) fn arrivals(&self) -> u64 {
        self.accounting.arrived
    }

    /// Nobody took the request.
    pub(super) fn refused(&mut self, record: RequestRecord) {
        self.accounting.refused += 1;
        self.judge(&record);
        self.keep(record, None);
    }

    /// What a replica did.
    pub(super) fn effect(&mut self, effect: &Effect, pod: PodId) {
        match effect {
            Effect::Gaps(run) => {
                self.itl.add_progression(run.first, run.increment, run.steps, run.tokens_per_step);
            }
            Effect::Finished(record) => self.finished(record, Some(pod)),
        }
    }

    /// A request ended that no replica had: its client went, or the run ended.
    pub(super) fn left(&mut self, record: &RequestRecord) {
        self.finished(record, None);
    }

    /// The warm-up ends: token gaps count from here (requests are selected by their arrival).
    pub(super) fn restart(&mut self) {
        self.itl = LatencyHistogram::new();
    }

    fn finished(&mut self, record: &RequestRecord, pod: Option<PodId>) {
        match record.reason {
            FinishReason::Length => self.accounting.completed += 1,
            FinishReason::Aborted => self.accounting.cancelled += 1,
            FinishReason::Rejected => self.accounting.rejected += 1,
            FinishReason::Killed => self.accounting.killed += 1,
            FinishReason::Unfinished => self.accounting.unfinished += 1,
        }
        self.judge(record);
        if record.arrival >= self.warmup {
            self.latencies(record);
        }
        self.keep(*record, pod);
    }

    fn latencies(&mut self, record: &RequestRecord) {
        let counted = &mut self.counted;
        counted.preemptions += u64::from(record.preemptions);
        counted.output_tokens += u64::from(record.output_tokens);
        if let Some(first) = record.first_token {
            self.ttft.add(first - record.arrival, 1);
        }
        if let Some(scheduled) = record.first_scheduled {
            counted.scheduled_tokens += u64::from(record.prompt_tokens);
            counted.cached_tokens += u64::from(record.cached_tokens);
            self.queue.add(scheduled - record.queued, 1);
        }
        if record.reason == FinishReason::Length {
            if let Some((span, gaps)) = decode_span(record) {
                self.tpot.add(span / gaps, 1);
            }
            self.e2e.add(record.end - record.arrival, 1);
        }
    }

    /// Counts a request's end against the objectives.
    fn judge(&mut self, record: &RequestRecord) {
        let verdict = verdict(record, &self.slo);
        if record.arrival >= self.warmup {
            match record.reason {
                FinishReason::Length => self.counted.completed += 1,
                FinishReason::Unfinished => self.counted.unfinished += 1,
                FinishReason::Killed | FinishReason::Aborted | FinishReason::Rejected => {
                    self.counted.failed += 1;
                }
            }
            if let Some(met) = verdict {
                self.counted.decided += 1;
                self.counted.met += u64::from(met);
            }
        }
        let first_token = record.first_token;
        let minute = self.minute(record.arrival);
        if let Some(met) = verdict {
            minute.decided += 1;
            minute.met += u32::from(met);
        }
        if let Some(first) = first_token {
            minute.first_tokens += 1;
            minute.ttft_sum_ps =
                minute.ttft_sum_ps.saturating_add((first - record.arrival).as_ps());
        }
    }

    fn minute(&mut self, at: SimTime) -> &mut Minute {
        let index = (at.as_ps() / MINUTE.as_ps()) as usize;
        &mut self.minutes[index]
    }

    fn keep(&mut self, record: RequestRecord, pod: Option<PodId>) {
        if self.level == RecordLevel::Requests {
            self.requests.push(RequestRow { record, pod });
        }
    }

    /// Fills the request and latency columns.
    pub(super) fn fill(&self, measures: &mut Measures) {
        let counted = &self.counted;
        let seconds = (self.horizon - self.warmup).as_secs_f64();
        measures.requests_total = counted.total as f64;
        measures.requests_completed = counted.completed as f64;
        measures.requests_failed = counted.failed as f64;
        measures.unserved_at_end = counted.unfinished as f64;
        measures.slo_attainment = ratio(counted.met as f64, counted.decided as f64);
        measures.goodput_rps = counted.met as f64 / seconds;
        measures.preemptions = counted.preemptions as f64;
        measures.prefix_hit_ratio =
            ratio(counted.cached_tokens as f64, counted.scheduled_tokens as f64);
        let quantiles = |h: &LatencyHistogram| {
            [500, 950, 990].map(|q| h.quantile(q).map_or(f64::NAN, SimDuration::as_secs_f64))
        };
        [measures.ttft_p50_s, measures.ttft_p95_s, measures.ttft_p99_s] = quantiles(&self.ttft);
        [measures.tpot_p50_s, measures.tpot_p95_s, measures.tpot_p99_s] = quantiles(&self.tpot);
        [measures.itl_p50_s, measures.itl_p95_s, measures.itl_p99_s] = quantiles(&self.itl);
        [measures.e2e_p50_s, measures.e2e_p95_s, measures.e2e_p99_s] = quantiles(&self.e2e);
        measures.queue_p95_s = quantiles(&self.queue)[1];
        measures.slo_violation_minutes = self.violation_minutes() as f64;
    }

    /// Generated tokens of the counted requests.
    pub(super) fn output_tokens(&self) -> u64 {
        self.counted.output_tokens
    }

    fn violation_minutes(&self) -> usize {
        let first = (self.warmup.as_ps() / MINUTE.as_ps()) as usize;
        let violated = |m: &&Minute| f64::from(m.met) < self.slo.attainment * f64::from(m.decided);
        self.minutes.iter().skip(first).filter(violated).count()
    }

    /// Rows of the per-minute series, at the end of each minute.
    pub(super) fn minute_rows(&self, rows: &mut Vec<TimelineRow>) {
        for (i, minute) in self.minutes.iter().enumerate() {
            let at = SimTime::ZERO + MINUTE * (i as u64 + 1);
            let mut row = |series, value| rows.push(TimelineRow { at, series, value });
            row(Series::RequestRate, f64::from(minute.arrived) / MINUTE.as_secs_f64());
            if minute.first_tokens > 0 {
                let mean = minute.ttft_sum_ps as f64 / f64::from(minute.first_tokens);
                row(Series::TtftMean, mean / PS_PER_S as f64);
            }
            if minute.decided > 0 {
                let share = f64::from(minute.met) / f64::from(minute.decided);
                row(Series::SloAttainment, share);
            }
        }
    }

    /// Asserts law L1 and hands out what was kept.
    pub(super) fn into_parts(mut self) -> (Accounting, Vec<RequestRow>) {
        assert_eq!(
            self.accounting.arrived,
            self.accounting.accounted(),
            "law L1: requests conserved: {:?}",
            self.accounting
        );
        self.requests.sort_unstable_by_key(|row| row.record.id);
        (self.accounting, self.requests)
    }
}

/// `a / b`, NaN if there is nothing to divide by.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::RequestId;

    const SLO: Slo = Slo {
        ttft: SimDuration::from_secs(2),
        tpot: SimDuration::from_millis(100),
        attainment: 0.99,
    };

    fn record(first_ms: Option<u64>, last_ms: u64, tokens: u32) -> RequestRecord {
        let at = |ms| SimTime::ZERO + SimDuration::from_millis(ms);
        RequestRecord {
            id: RequestId(0),
            arrival: SimTime::ZERO,
            queued: SimTime::ZERO,
            first_scheduled: first_ms.map(|_| SimTime::ZERO),
            first_token: first_ms.map(at),
            last_token: first_ms.map(|_| at(last_ms)),
            end: at(last_ms),
            prompt_tokens: 10,
            output_tokens: tokens,
            cached_tokens: 0,
            preemptions: 0,
            reason: FinishReason::Length,
        }
    }

    #[test]
    fn both_objectives_decide_at_their_edges() {
        assert_eq!(verdict(&record(Some(2000), 3000, 11), &SLO), Some(true));
        assert_eq!(verdict(&record(Some(2001), 3001, 11), &SLO), Some(false));
        assert_eq!(verdict(&record(Some(2000), 3001, 11), &SLO), Some(false));
        // A single token has no gap.
        assert_eq!(verdict(&record(Some(2000), 2000, 1), &SLO), Some(true));
    }

    #[test]
    fn unfinished_requests_are_missed_only_once_that_is_certain() {
        let unfinished = |first, last| {
            let mut r = record(first, last, 5);
            r.reason = FinishReason::Unfinished;
            verdict(&r, &SLO)
        };
        assert_eq!(unfinished(None, 2000), None);
        assert_eq!(unfinished(None, 2001), Some(false));
        assert_eq!(unfinished(Some(1000), 60_000), None);
        assert_eq!(unfinished(Some(2500), 60_000), Some(false));
    }

    #[test]
    fn warm_up_requests_do_not_count_but_are_accounted_for() {
        let horizon = SimTime::from_secs(120);
        let mut collector =
            Collector::new(SLO, SimTime::from_secs(60), horizon, RecordLevel::Requests);
        collector.arrived(SimTime::ZERO);
        collector.effect(&Effect::Finished(record(Some(100), 200, 2)), PodId(0));
        let mut measures = Measures::default();
        collector.fill(&mut measures);
        assert_eq!(measures.requests_total, 0.0);
        assert!(measures.slo_attainment.is_nan());
        let (accounting, requests) = collector.into_parts();
        assert_eq!((accounting.arrived, accounting.completed, requests.len()), (1, 1, 1));
    }
}
