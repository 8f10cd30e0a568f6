//! One benchmark against one simulated server: a client as the tools have it, the engine as it is.

use super::benchmark::{Figure, Measured};
use super::lengths::lengths;
use super::plan::{Gaps, Load, Plan};
use crate::engine::{Effect, EngineConfig, EngineRequest, Prompt, Replica, RequestRecord};
use crate::rng::{Seed, Stream};
use crate::stats::LatencyHistogram;
use crate::units::{PS_PER_MS, PS_PER_US, RequestId, SimDuration, SimTime};
use crate::workload::{ParamError, draw};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a run gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The figures as a benchmark tool computes them.
    pub figures: Measured,
    /// Mean number of requests between send and last token.
    pub in_flight: f64,
    /// Times a request was preempted.
    pub preemptions: u64,
    /// Requests that the server refused.
    pub refused: u64,
}

/// Plays `plan` against a server of `config` once.
///
/// # Errors
/// A length that cannot be drawn.
pub fn run(
    plan: &Plan,
    config: &Arc<EngineConfig>,
    api_work: SimDuration,
    seed: Seed,
) -> Result<Outcome, ParamError> {
    let count = plan.requests as usize;
    let prompts = lengths(plan.prompt.0, plan.prompt.1, count, seed, 0)?;
    let outputs = lengths(plan.output.0, plan.output.1, count, seed, 1)?;
    let mut client = Client::new(plan, seed);
    let mut replica = Replica::new(Arc::clone(config), SimTime::ZERO);
    let mut front = FrontEnd { work: api_work, ..FrontEnd::default() };
    let mut effects = Vec::new();
    let mut seen = Seen::default();
    loop {
        let send = client.peek();
        let next = send.into_iter().chain(front.peek()).min();
        let change = replica.next_change();
        let Some(until) = next.into_iter().chain(change).min() else { break };
        replica.advance_to(until, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Gaps(run) => seen.gaps.add_progression(
                    run.first,
                    run.increment,
                    run.steps,
                    run.tokens_per_step,
                ),
                Effect::Finished(record) => {
                    client.done(until.max(record.end));
                    seen.records.push(record);
                }
            }
        }
        if next != Some(until) {
            continue;
        }
        while let Some(at) = client.peek().filter(|&at| at <= until) {
            let (id, clock) = client.send(at);
            seen.sent.push(clock);
            front.take(at, id);
        }
        while let Some(id) = front.give(until) {
            replica.enqueue(EngineRequest {
                id: RequestId(id as u64),
                arrival: until,
                prompt_tokens: prompts[id],
                output_tokens: outputs[id],
                priority: 0,
                prompt: Prompt::Unique,
            });
        }
    }
    Ok(seen.outcome())
}

/// The load generator.
struct Client {
    /// Times of an open loop, or the starts of the users.
    due: VecDeque<SimTime>,
    /// A closed loop sends again after each answer.
    closed: bool,
    /// The first requests come at once.
    bursts: bool,
    sent: usize,
    total: usize,
}

impl Client {
    fn new(plan: &Plan, seed: Seed) -> Self {
        let total = plan.requests as usize;
        let (due, closed) = match plan.load {
            Load::AllAtOnce => (vec![SimTime::ZERO; total], false),
            Load::ClosedLoop { users } => (vec![SimTime::ZERO; (users as usize).min(total)], true),
            Load::Open { rate, gaps } => (arrivals(rate, gaps, total, seed), false),
        };
        let bursts = !matches!(plan.load, Load::Open { .. });
        Self { due: due.into(), closed, bursts, sent: 0, total }
    }

    fn peek(&self) -> Option<SimTime> {
        if self.sent == self.total { None } else { self.due.front().copied() }
    }

    /// The next request and when the client's clock for it starts. The requests of a burst are on their way
    /// together, but a client gets to start their clocks one after the other.
    fn send(&mut self, at: SimTime) -> (usize, SimTime) {
        self.due.pop_front();
        let id = self.sent;
        self.sent += 1;
        let burst = at == SimTime::ZERO && self.bursts;
        (id, if burst { at + SEND * id as u64 } else { at })
    }

    fn done(&mut self, now: SimTime) {
        if self.closed {
            self.due.push_back(now);
        }
    }
}

/// Arrival times of an open loop, the first at zero.
fn arrivals(rate: f64, gaps: Gaps, count: usize, seed: Seed) -> Vec<SimTime> {
    let mut rng = seed.stream(Stream::Arrivals, 0);
    let mut unit: Vec<f64> = (0..count)
        .map(|_| match gaps {
            Gaps::Exponential => draw::exponential(&mut rng),
            Gaps::Gamma { cv } if cv > 0.0 => {
                let shape = 1.0 / (cv * cv);
                draw::gamma(&mut rng, shape) / shape
            }
            Gaps::Constant | Gaps::Gamma { .. } => 1.0,
        })
        .collect();
    // A row states the rate of one long or short realisation: all realisations here have exactly that rate.
    let factor = count as f64 / unit.iter().sum::<f64>();
    for gap in &mut unit {
        *gap *= factor;
    }
    let mut at = -unit.first().copied().unwrap_or(0.0);
    unit.iter()
        .map(|gap| {
            at += gap;
            SimTime::ZERO + SimDuration::from_secs_f64(at / rate)
        })
        .collect()
}

/// From one hand-over to the engine to the next: the first request of a burst goes alone into the next step.
// ASSUMPTION(A212): a tenth of a millisecond; anything between an engine's wake-up and a step gives the same.
const HAND_OVER: SimDuration = SimDuration::from_ps(PS_PER_MS / 10);
/// From one request of a burst to the next at the client, whose clock starts when it gets to it.
// ASSUMPTION(A213): 0.5 ms of an asynchronous Python client: at 4096 prompts at once the measured TTFT percentiles
// lie 2 s before what the duration implies.
const SEND: SimDuration = SimDuration::from_ps(PS_PER_MS / 2);
/// From the engine's output to the client.
// Source: BLIS defaults (inference-sim f90a1e3a): 0.78 ms after the last step.
const DELIVER: SimDuration = SimDuration::from_ps(780 * PS_PER_US);

/// The part of an `ingest` time that a request waits without work for it.
pub fn waiting(ingest: SimDuration, api_work: SimDuration) -> SimDuration {
    ingest.saturating_sub(api_work + HAND_OVER)
}

/// The API server before the engine: one thread that turns all requests in its hands in turn, so that a burst is
/// through together, and hands them over one by one.
#[derive(Default)]
struct FrontEnd {
    work: SimDuration,
    now: SimTime,
    /// Work done so far for each request in hand \[ps\].
    done: u64,
    /// (work at which it is through, request), in order of arrival.
    in_hand: VecDeque<(u64, usize)>,
    /// (time of the hand-over, request).
    through: VecDeque<(SimTime, usize)>,
    free_at: SimTime,
}

impl FrontEnd {
    /// Works until `now`, not past the next request that is through.
    fn progress(&mut self, now: SimTime) {
        let sharing = self.in_hand.len() as u64;
        if let Some(each) = now.saturating_since(self.now).as_ps().checked_div(sharing) {
            self.done += each;
        }
        self.now = now;
    }

    fn take(&mut self, at: SimTime, id: usize) {
        self.progress(at);
        self.in_hand.push_back((self.done + self.work.as_ps(), id));
    }

    /// When the work for the first request in hand ends.
    fn ends(&self) -> Option<SimTime> {
        let (through, _) = self.in_hand.front()?;
        let left = through.saturating_sub(self.done) * self.in_hand.len() as u64;
        Some(self.now + SimDuration::from_ps(left))
    }

    /// When something happens next.
    fn peek(&self) -> Option<SimTime> {
        let over = self.through.front().map(|&(at, _)| at);
        self.ends().into_iter().chain(over).min()
    }

    /// The next request that is handed over by `now`.
    fn give(&mut self, now: SimTime) -> Option<usize> {
        while self.ends().is_some_and(|end| end <= now) {
            self.progress(now);
            if let Some((through, id)) = self.in_hand.pop_front() {
                self.done = self.done.max(through);
                self.free_at = self.free_at.max(now) + HAND_OVER;
                self.through.push_back((self.free_at, id));
            }
        }
        if self.through.front()?.0 > now {
            return None;
        }
        self.through.pop_front().map(|(_, id)| id)
    }
}

/// What the client saw.
#[derive(Default)]
struct Seen {
    sent: Vec<SimTime>,
    records: Vec<RequestRecord>,
    gaps: LatencyHistogram,
}

impl Seen {
    fn outcome(&self) -> Outcome {
        let mut figures: Measured = [None; Figure::ALL.len()];
        let (mut ttft, mut tpot, mut e2e) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tokens, mut end) = (0u64, SimTime::ZERO);
        let mut preemptions = 0;
        for record in &self.records {
            preemptions += u64::from(record.preemptions);
            let (Some(first), Some(last)) = (record.first_token, record.last_token) else {
                continue;
            };
            let sent = self.sent[record.id.0 as usize];
            ttft.push(ms(first + DELIVER - sent));
            e2e.push(ms(last + DELIVER - sent));
            if record.output_tokens > 1 {
                tpot.push(ms(last - first) / f64::from(record.output_tokens - 1));
            }
            tokens += u64::from(record.output_tokens);
            end = end.max(last);
        }
        let mut set = |figure: Figure, value: Option<f64>| figures[figure as usize] = value;
        let start = self.sent.first().copied().unwrap_or(SimTime::ZERO);
        let seconds = end.saturating_since(start).as_secs_f64();
        if seconds > 0.0 {
            set(Figure::ReqPerS, Some(e2e.len() as f64 / seconds));
            set(Figure::OutTokPerS, Some(tokens as f64 / seconds));
        }
        let in_flight = if seconds > 0.0 { e2e.iter().sum::<f64>() / 1e3 / seconds } else { 0.0 };
        for values in [&mut ttft, &mut tpot, &mut e2e] {
            values.sort_unstable_by(f64::total_cmp);
        }
        set(Figure::TtftMean, mean(&ttft));
        set(Figure::TtftP50, quantile(&ttft, 0.5));
        set(Figure::TtftP90, quantile(&ttft, 0.9));
        set(Figure::TtftP95, quantile(&ttft, 0.95));
        set(Figure::TtftP99, quantile(&ttft, 0.99));
        set(Figure::TpotMean, mean(&tpot));
        set(Figure::TpotP50, quantile(&tpot, 0.5));
        set(Figure::TpotP99, quantile(&tpot, 0.99));
        set(Figure::ItlMean, self.gaps.mean().map(ms));
        set(Figure::ItlP50, self.gaps.quantile(500).map(ms));
        set(Figure::ItlP99, self.gaps.quantile(990).map(ms));
        set(Figure::E2eMean, mean(&e2e));
        set(Figure::E2eP90, quantile(&e2e, 0.9));
        set(Figure::E2eP99, quantile(&e2e, 0.99));
        let refused = self.records.iter().filter(|r| r.first_token.is_none()).count() as u64;
        Outcome { figures, in_flight, preemptions, refused }
    }
}

fn ms(duration: SimDuration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// Quantile of sorted values by linear interpolation, as the tools' numpy has it.
pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let position = q * sorted.len().checked_sub(1)? as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    Some(sorted[below] + (sorted[above] - sorted[below]) * position.fract())
}
