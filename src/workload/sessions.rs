//! Conversations: a session begins at the instant of an open process, and its next turn is sent a think time after
//! the answer to the turn before. When a turn is sent therefore depends on the system under test; what is said does
//! not: each session draws from a random stream of its own, per turn in the order prompt, answer, think time.
//! Open sessions do not wait: a turn is sent a think time after the turn before, whatever becomes of that.
//!
//! A turn's prompt is the system prompt, all that was said before, and what the user adds. Token counts without
//! the chat template.
// Source: the sessions of inference-perf (conversation replay) and BLIS.

use super::draw;
use super::lengths::LengthDist;
use super::process::ProcessTimes;
use super::rate::Generated;
use super::request::{Request, TextId};
use super::{ParamError, not_negative};
use crate::rng::{Generator, Seed, Stream};
use crate::units::{SimDuration, SimTime};
use rand::Rng as _;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::iter::Peekable;

/// What happens when a prompt and its answer would pass `max_context`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Growth {
    /// The conversation ends before that turn.
    #[default]
    Accumulate,
    /// The oldest tokens after the system prompt are left out. What is left no longer begins as before, so only
    /// the system prompt is found in a prefix cache from then on.
    Window,
}

/// The pause between an answer and the next turn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Think {
    /// Always the same \[s\].
    Constant(f64),
    /// Lognormal with this mean and standard deviation, clipped \[s\].
    Lognormal {
        /// Mean before clipping.
        mean: f64,
        /// Standard deviation before clipping.
        sd: f64,
        /// Shorter pauses become this.
        min: f64,
        /// Longer pauses become this.
        max: f64,
    },
}

/// Conversations of one stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    /// When sessions begin.
    pub arrivals: Generated,
    /// Turns of a session.
    pub turns: LengthDist,
    /// What the user says first, an own system prompt or document included \[tokens\].
    pub first_prompt_tokens: LengthDist,
    /// What the user adds in a later turn \[tokens\].
    pub prompt_tokens: LengthDist,
    /// The answers \[tokens\].
    pub output_tokens: LengthDist,
    /// Pause before the next turn.
    pub think: Think,
    /// Length of the system prompt that sessions share; 0 for none \[tokens\].
    pub system_prompt_tokens: u32,
    /// How many different system prompts there are; each session has one of them, all equally likely.
    pub system_prompts: u32,
    /// Longest prompt and answer together \[tokens\].
    pub max_context: u32,
    /// What happens beyond.
    pub growth: Growth,
    /// Turns do not wait for answers: the think time is the distance between two turns.
    pub open: bool,
}

impl Sessions {
    /// The first parameter that cannot be.
    pub fn check(&self) -> Result<(), ParamError> {
        self.arrivals.check()?;
        match self.think {
            Think::Constant(s) => not_negative("think_time", s).map(drop)?,
            Think::Lognormal { mean, sd, min, max } => {
                super::positive("think_time.mean", mean)?;
                not_negative("think_time.sd", sd)?;
                not_negative("think_time.min", min)?;
                if min.max(0.0) > max || max.is_nan() {
                    return Err(ParamError::new("think_time.max", "is below the shortest pause"));
                }
            }
        }
        if self.system_prompts == 0 {
            return Err(ParamError::new("system_prompts", "must be at least 1"));
        }
        let least = u64::from(self.system_prompt_tokens) + 2;
        if u64::from(self.max_context) < least {
            let message = format!("must be at least {least}, to hold the system prompt and a turn");
            return Err(ParamError::new("max_context", message));
        }
        Ok(())
    }

    /// The texts of the sessions of a workload's stream.
    pub(super) fn texts(&self, seed: Seed, stream: u64) -> SessionTexts {
        SessionTexts {
            seed,
            stream,
            system_prompts: self.system_prompts,
            system_prompt_tokens: self.system_prompt_tokens,
        }
    }
}

/// Index of a session's random stream within its purpose: the workload's stream in the high half.
fn index(stream: u64, session: u64) -> u64 {
    stream << 40 | session
}

/// Texts of sessions, computed from their ids: system prompts come first, then each session's texts.
#[derive(Clone, Debug)]
pub(super) struct SessionTexts {
    seed: Seed,
    stream: u64,
    system_prompts: u32,
    system_prompt_tokens: u32,
}

/// A window that slides starts a new text, at most once a turn.
const TEXTS_PER_SESSION: u64 = 1 << 12;

impl SessionTexts {
    fn text(&self, session: u64, slides: u64) -> TextId {
        let local = u64::from(self.system_prompts)
            + session * TEXTS_PER_SESSION
            + slides.min(TEXTS_PER_SESSION - 1);
        TextId::of_stream(self.stream, local)
    }

    /// Ordinal of a text's session.
    pub(super) fn session(&self, local: u64) -> u64 {
        local.saturating_sub(u64::from(self.system_prompts)) / TEXTS_PER_SESSION
    }

    /// The system prompt of a session's text.
    pub(super) fn base(&self, local: u64) -> Option<(u64, u32)> {
        let session = local.checked_sub(u64::from(self.system_prompts))? / TEXTS_PER_SESSION;
        let mut rng = self.seed.stream(Stream::Sessions, 1 << 63 | index(self.stream, session));
        let choice = u128::from(rng.next_u64()) * u128::from(self.system_prompts);
        (self.system_prompt_tokens > 0)
            .then_some(((choice >> 64) as u64, self.system_prompt_tokens))
    }
}

/// The sessions of one stream at work. Only those that go on are kept.
pub(super) struct SessionPool {
    spec: Sessions,
    texts: SessionTexts,
    seed: Seed,
    stream: u64,
    /// When sessions begin.
    starts: Peekable<ProcessTimes>,
    begun: u64,
    start: SimDuration,
    until: SimTime,
    /// Next turns: (when, session).
    ready: BinaryHeap<Reverse<(SimTime, u64)>>,
    live: BTreeMap<u64, Session>,
}

/// A session that goes on.
struct Session {
    rng: Generator,
    turns_left: u32,
    first: bool,
    /// The next turn: what the user adds, the answer, and the pause after it.
    next: Turn,
    /// Said so far, without the system prompt \[tokens\].
    history: u32,
    slides: u64,
}

#[derive(Clone, Copy)]
struct Turn {
    prompt: u32,
    output: u32,
    think: SimDuration,
}

impl SessionPool {
    /// The sessions that begin, and the turns that are sent, from `start` on and before `until`.
    pub(super) fn new(
        spec: &Sessions,
        seed: Seed,
        stream: u64,
        start: SimDuration,
        until: SimTime,
    ) -> Self {
        let own_end = SimTime::ZERO + until.saturating_since(SimTime::ZERO + start);
        let starts = ProcessTimes::new(&spec.arrivals, seed, stream, own_end);
        Self {
            spec: spec.clone(),
            texts: spec.texts(seed, stream),
            seed,
            stream,
            starts: starts.peekable(),
            begun: 0,
            start,
            until,
            ready: BinaryHeap::new(),
            live: BTreeMap::new(),
        }
    }

    fn next_start(&mut self) -> Option<SimTime> {
        let start = self.start;
        self.starts.peek().map(|at| *at + start)
    }

    /// When the next turn is sent.
    pub(super) fn peek(&mut self) -> Option<SimTime> {
        let ready = self.ready.peek().map(|Reverse((at, _))| *at);
        self.next_start().into_iter().chain(ready).min()
    }

    /// Sends the next turn; returns its session.
    pub(super) fn send(&mut self) -> (usize, Request) {
        let ready = self.ready.peek().map(|Reverse((at, _))| *at);
        let (at, id) = match (self.next_start(), ready) {
            (Some(start), ready) if ready.is_none_or(|at| start < at) => {
                self.starts.next();
                (start, self.begin())
            }
            _ => self.ready.pop().expect("peeked").0,
        };
        let session = self.live.get_mut(&id).expect("a session that is ready goes on");
        let turn = session.next;
        let system = self.spec.system_prompt_tokens;
        let prompt = session.history.saturating_add(turn.prompt);
        let room = self.spec.max_context.saturating_sub(turn.output).max(system + 1) - system;
        if prompt > room {
            session.slides += 1;
        }
        let request = Request {
            arrival: at,
            prompt_tokens: system + prompt.min(room),
            output_tokens: turn.output,
            text: self.texts.text(id, session.slides),
        };
        session.history = prompt.min(room).saturating_add(turn.output);
        (id as usize, request)
    }

    fn begin(&mut self) -> u64 {
        let id = self.begun;
        self.begun += 1;
        let rng = self.seed.stream(Stream::Sessions, index(self.stream, id));
        let next = Turn { prompt: 0, output: 0, think: SimDuration::ZERO };
        let mut session = Session { rng, turns_left: 0, first: true, next, history: 0, slides: 0 };
        session.turns_left = self.spec.turns.sample(&mut session.rng);
        session.draw(&self.spec);
        self.live.insert(id, session);
        id
    }

    /// A turn was answered, or failed: the user takes it as it is.
    // ASSUMPTION(A310): a failed turn does not end a conversation; what the user saw of it is quoted all the same.
    pub(super) fn done(&mut self, now: SimTime, session: usize) {
        let id = session as u64;
        let Some(session) = self.live.get_mut(&id) else { return };
        let at = now + session.next.think;
        session.turns_left -= 1;
        if session.turns_left == 0 || at >= self.until || !session.draw(&self.spec) {
            self.live.remove(&id);
        } else {
            self.ready.push(Reverse((at, id)));
        }
    }
}

/// All turns of open sessions, in time order: each is taken as answered when it is sent.
impl Iterator for SessionPool {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        self.peek()?;
        let (session, request) = self.send();
        self.done(request.arrival, session);
        Some(request)
    }
}

impl Session {
    /// Draws the next turn; false if it would not fit any more.
    fn draw(&mut self, spec: &Sessions) -> bool {
        let prompt = if self.first { &spec.first_prompt_tokens } else { &spec.prompt_tokens };
        self.first = false;
        let prompt = prompt.sample(&mut self.rng);
        let output = spec.output_tokens.sample(&mut self.rng);
        let think = spec.think.sample(&mut self.rng);
        self.next = Turn { prompt, output, think };
        let said = u64::from(self.history) + u64::from(prompt) + u64::from(output);
        spec.growth == Growth::Window
            || u64::from(spec.system_prompt_tokens) + said <= u64::from(spec.max_context)
    }
}

impl Think {
    fn sample(self, rng: &mut Generator) -> SimDuration {
        let seconds = match self {
            Self::Constant(s) => s,
            Self::Lognormal { mean, sd, min, max } => {
                let variance = draw::ln(1.0 + (sd / mean) * (sd / mean));
                let z = draw::normal(rng) * variance.sqrt();
                draw::exp(draw::ln(mean) - variance / 2.0 + z).clamp(min, max)
            }
        };
        SimDuration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Arrivals, RateModel, Renewal, Texts, WorkloadSpec};

    fn spec() -> Sessions {
        let tokens = |n| LengthDist::constant(n).unwrap();
        Sessions {
            arrivals: Generated::new(RateModel::Constant(0.1), Renewal::Deterministic),
            turns: tokens(3),
            first_prompt_tokens: tokens(40),
            prompt_tokens: tokens(10),
            output_tokens: tokens(20),
            think: Think::Constant(5.0),
            system_prompt_tokens: 100,
            system_prompts: 2,
            max_context: 1000,
            growth: Growth::Accumulate,
            open: false,
        }
    }

    /// Answers every turn after `service` seconds: (session, seconds, prompt, text).
    fn talk(spec: &Sessions, service: u64, until: u64) -> Vec<(usize, f64, u32, TextId)> {
        let until = SimTime::from_secs(until);
        let mut pool = SessionPool::new(spec, Seed(1), 0, SimDuration::ZERO, until);
        let mut out = Vec::new();
        let mut answers: BinaryHeap<Reverse<(SimTime, usize)>> = BinaryHeap::new();
        loop {
            let end = answers.peek().map(|Reverse((at, _))| *at);
            match (pool.peek(), end) {
                (Some(at), end) if end.is_none_or(|end| at < end) => {
                    let (session, request) = pool.send();
                    assert_eq!(request.arrival, at);
                    answers.push(Reverse((at + SimDuration::from_secs(service), session)));
                    out.push((session, at.as_secs_f64(), request.prompt_tokens, request.text));
                }
                (_, Some(_)) => {
                    let Reverse((at, session)) = answers.pop().unwrap();
                    pool.done(at, session);
                }
                _ => return out,
            }
        }
    }

    #[test]
    fn a_turn_follows_its_answer_and_quotes_all_before() {
        let sent = talk(&spec(), 2, 100);
        let first: Vec<_> = sent.iter().filter(|s| s.0 == 0).map(|s| (s.1, s.2)).collect();
        // 100 + 40; + 20 answered + 10; + 20 + 10.
        assert_eq!(first, [(10.0, 140), (17.0, 170), (24.0, 200)]);
        assert!(sent.iter().filter(|s| s.0 == 0).all(|s| s.3 == sent[0].3));
        assert_eq!(sent.iter().filter(|s| s.0 == 1).count(), 3);
        assert!(sent.iter().all(|s| s.1 < 100.0));
    }

    #[test]
    fn open_turns_are_stamped_beforehand_and_say_the_same() {
        let open = Sessions { open: true, ..spec() };
        let workload = WorkloadSpec::single(Arrivals::Sessions(Box::new(open))).unwrap();
        assert!(workload.is_realisable());
        let sent = workload.materialise(Seed(1), SimTime::from_secs(100));
        assert!(sent.is_sorted_by_key(|r| r.arrival));
        let closed = talk(&spec(), 2, 100);
        let first: Vec<_> = sent.iter().filter(|r| r.text == closed[0].3).collect();
        let seconds = first.iter().map(|r| r.arrival.as_secs_f64()).collect::<Vec<_>>();
        // Every 5 s from the start at 10 s on, with the prompts of the closed sessions.
        assert_eq!(seconds, [10.0, 15.0, 20.0]);
        assert!(first.iter().map(|r| r.prompt_tokens).eq([140, 170, 200]));
        // Behind a cap they wait for a connection, as any open stream does, but not for their answers.
        let live: Vec<_> = {
            let mut live = crate::workload::Live::new(&workload, Seed(1), SimTime::from_secs(100));
            std::iter::from_fn(|| crate::workload::ArrivalSource::next_arrival(&mut live)).collect()
        };
        assert_eq!(live, sent.to_vec());
    }

    #[test]
    fn what_is_said_does_not_depend_on_the_system() {
        let mut spec = spec();
        spec.prompt_tokens = LengthDist::lognormal_mean_sd(50.0, 40.0, 1, 500).unwrap();
        spec.turns =
            LengthDist::new(crate::workload::LengthKind::Uniform { min: 1, max: 6 }, 1, 9).unwrap();
        let of = |sent: Vec<(usize, f64, u32, TextId)>| {
            let mut turns: Vec<_> = sent.into_iter().map(|s| (s.0, s.2, s.3)).collect();
            turns.sort_unstable();
            turns.retain(|t| t.0 < 20);
            turns
        };
        let (fast, slow) = (of(talk(&spec, 1, 10_000)), of(talk(&spec, 60, 10_000)));
        assert!(fast.len() > 40);
        assert_eq!(fast, slow);
    }

    #[test]
    fn a_full_context_ends_a_conversation_or_slides() {
        let mut spec = spec();
        spec.turns = LengthDist::constant(9).unwrap();
        spec.max_context = 215;
        let ended = talk(&spec, 2, 1000);
        // 140 + 20, 170 + 20, then 200 + 20 is too long.
        assert_eq!(ended.iter().filter(|s| s.0 == 0).count(), 2);
        spec.growth = Growth::Window;
        let slid: Vec<_> = talk(&spec, 2, 1000).into_iter().filter(|s| s.0 == 0).collect();
        assert_eq!(slid.len(), 9);
        assert_eq!(slid.iter().map(|s| s.2).collect::<Vec<_>>()[..4], [140, 170, 195, 195]);
        assert_eq!(slid[0].3, slid[1].3);
        assert!(slid[2].3 != slid[1].3 && slid[3].3 != slid[2].3);
    }

    #[test]
    fn sessions_have_one_of_the_system_prompts() {
        let spec = spec();
        let texts = Texts {
            streams: vec![super::super::text::StreamTexts::Sessions(spec.texts(Seed(1), 0))],
        };
        let mut seen = BTreeMap::new();
        for (_, _, _, text) in talk(&spec, 1, 5000) {
            let (base, tokens) = texts.base(text).expect("a system prompt");
            assert_eq!(tokens, 100);
            *seen.entry(base).or_insert(0) += 1;
            assert_eq!(texts.base(base), None);
        }
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen.values().all(|&n| n > 500), "{seen:?}");
    }

    #[test]
    fn pauses_have_the_mean_they_are_given() {
        let think = Think::Lognormal { mean: 45.0, sd: 40.0, min: 0.0, max: 1e6 };
        let mut rng = Seed(4).stream(Stream::Sessions, 0);
        let n = 40_000;
        let mean = (0..n).map(|_| think.sample(&mut rng).as_secs_f64()).sum::<f64>() / f64::from(n);
        assert!((mean / 45.0 - 1.0).abs() < 0.02, "{mean}");
    }
}
