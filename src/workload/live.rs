//! Arrivals that depend on the system they feed: closed-loop users, conversations, an open loop with a cap on
//! connections, and one that starts when its test run is answered.

use super::client::{ArrivalSource, ClosedLoop, Wait};
use super::draw;
use super::request::{Request, TextId};
use super::sessions::SessionPool;
use super::spec::{Arrivals, BoxedSource, WorkloadSpec};
use crate::rng::{self, Generator, Seed};
use crate::units::{RequestId, SimDuration, SimTime};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::iter::Peekable;

/// All streams of a workload as one [`ArrivalSource`].
///
/// An open stream's request that finds all connections taken is sent when one becomes free: its arrival is then
/// that instant, because a load generator's clock starts with the send. A stream may have a cap of its own
/// besides the one of the whole workload.
pub struct Live {
    streams: Vec<Stream>,
    /// Which stream and user sent a request that is under way; only where somebody asks.
    owners: BTreeMap<u64, Owner>,
    next_id: u64,
    /// All streams together.
    connections: Connections,
}

/// One stream, open or closed, with its connections.
struct Stream {
    source: Source,
    connections: Connections,
}

enum Source {
    Open(Peekable<BoxedSource>),
    Tested(Tested),
    Users(UserPool),
    Sessions(Box<SessionPool>),
}

/// An open stream that starts when its first request, sent alone before, is answered.
struct Tested {
    requests: Peekable<BoxedSource>,
    start: SimTime,
    output_tokens: u32,
    test_run: TestRun,
}

#[derive(Clone, Copy)]
enum TestRun {
    Due {
        at: SimTime,
    },
    UnderWay,
    /// All requests come this much later than without it.
    Answered {
        took: SimDuration,
    },
    GivenUp,
}

/// How long a server that does not answer is tried, and the pause after a failure.
// Source: vllm 0.11.0, benchmarks/serve.py, --ready-check-timeout-sec, and lib/ready_checker.py.
const READY_CHECK_TIMEOUT: SimDuration = SimDuration::from_secs(600);
const RETRY_INTERVAL: SimDuration = SimDuration::from_secs(5);

impl Tested {
    fn peek(&mut self) -> Option<SimTime> {
        let first = self.requests.peek()?.arrival;
        match self.test_run {
            TestRun::Due { at } => Some(at),
            TestRun::Answered { took } => Some(first + took),
            TestRun::UnderWay | TestRun::GivenUp => None,
        }
    }

    /// The next request, and whether the stream waits for its answer.
    fn send(&mut self) -> Option<(bool, Request)> {
        if let TestRun::Due { .. } = self.test_run {
            self.test_run = TestRun::UnderWay;
            let first = *self.requests.peek()?;
            return Some((true, Request { output_tokens: self.output_tokens, ..first }));
        }
        Some((false, self.requests.next()?))
    }

    fn tested(&mut self, now: SimTime, answered: bool) {
        let took = now - self.start;
        self.test_run = if answered {
            TestRun::Answered { took }
        } else if took + RETRY_INTERVAL < READY_CHECK_TIMEOUT {
            TestRun::Due { at: now + RETRY_INTERVAL }
        } else {
            TestRun::GivenUp
        };
    }
}

/// Who must be told of an end.
struct Owner {
    stream: usize,
    /// The user who waits in a closed loop, or the session; of a test run, 0.
    user: Option<usize>,
}

/// Connections in use and their cap.
struct Connections {
    cap: Option<u32>,
    in_flight: u32,
    /// When the last connection became free while all were taken.
    free_at: SimTime,
}

impl Connections {
    fn new(cap: Option<u32>) -> Self {
        Self { cap, in_flight: 0, free_at: SimTime::ZERO }
    }

    fn full(&self) -> bool {
        self.cap.is_some_and(|cap| self.in_flight >= cap)
    }

    fn free(&mut self, now: SimTime) {
        if self.full() {
            self.free_at = now;
        }
        self.in_flight -= 1;
    }
}

impl Stream {
    /// When its next request is sent, whatever the other streams do.
    fn peek(&mut self) -> Option<SimTime> {
        if self.connections.full() {
            return None;
        }
        let at = match &mut self.source {
            Source::Open(requests) => requests.peek()?.arrival,
            Source::Tested(tested) => tested.peek()?,
            Source::Users(pool) => pool.peek()?,
            Source::Sessions(pool) => pool.peek()?,
        };
        Some(at.max(self.connections.free_at))
    }
}

impl Live {
    /// The streams of `spec` before `until`. The same seed gives the same users with the same lengths and
    /// pauses, whatever the system does with their requests.
    pub fn new(spec: &WorkloadSpec, seed: Seed, until: SimTime) -> Self {
        let streams = spec.streams().iter().enumerate().map(|(i, stream)| {
            let source = match &stream.arrivals {
                Arrivals::ClosedLoop(users) => {
                    let start = SimTime::ZERO + stream.start;
                    let end = stream.duration.map_or(until, |d| (start + d).min(until));
                    Source::Users(UserPool::new(users.clone(), seed, i as u64, start, end))
                }
                Arrivals::Sessions(sessions) if !sessions.open => {
                    let end = stream
                        .duration
                        .map_or(until, |d| (SimTime::ZERO + stream.start + d).min(until));
                    let pool = SessionPool::new(sessions, seed, i as u64, stream.start, end);
                    Source::Sessions(Box::new(pool))
                }
                Arrivals::Replay(..)
                | Arrivals::Generated(..)
                | Arrivals::VllmBench(..)
                | Arrivals::Sessions(_) => {
                    let requests = stream.source(seed, i as u64, until);
                    let requests = requests.expect("an open stream").peekable();
                    match stream.test_run() {
                        None => Source::Open(requests),
                        Some(output_tokens) => {
                            let start = SimTime::ZERO + stream.start;
                            let test_run = TestRun::Due { at: start };
                            Source::Tested(Tested { requests, start, output_tokens, test_run })
                        }
                    }
                }
            };
            Stream { source, connections: Connections::new(stream.max_connections) }
        });
        Self {
            streams: streams.collect(),
            owners: BTreeMap::new(),
            next_id: 0,
            connections: Connections::new(spec.clients().max_connections),
        }
    }

    /// Earliest next request and its stream; equal times in the order of the streams.
    fn next(&mut self) -> Option<(SimTime, usize)> {
        if self.connections.full() {
            return None;
        }
        let free_at = self.connections.free_at;
        let next = |(i, stream): (usize, &mut Stream)| Some((stream.peek()?, i));
        let first = self.streams.iter_mut().enumerate().filter_map(next).min()?;
        Some((first.0.max(free_at), first.1))
    }
}

impl ArrivalSource for Live {
    fn waits(&self) -> bool {
        let waits =
            |s: &Stream| s.connections.cap.is_some() || !matches!(s.source, Source::Open(_));
        self.connections.cap.is_some() || self.streams.iter().any(waits)
    }

    fn peek(&mut self) -> Option<SimTime> {
        self.next().map(|(at, _)| at)
    }

    fn next_arrival(&mut self) -> Option<Request> {
        let (at, index) = self.next()?;
        let stream = &mut self.streams[index];
        let (user, request) = match &mut stream.source {
            Source::Open(requests) => (None, requests.next()?),
            Source::Tested(tested) => {
                let (waits, request) = tested.send()?;
                (waits.then_some(0), request)
            }
            Source::Users(pool) => {
                let (user, request) = pool.send();
                (Some(user), request)
            }
            Source::Sessions(pool) => {
                let (session, request) = pool.send();
                (Some(session), request)
            }
        };
        if user.is_some() || stream.connections.cap.is_some() {
            self.owners.insert(self.next_id, Owner { stream: index, user });
            stream.connections.in_flight += 1;
        }
        self.connections.in_flight += 1;
        self.next_id += 1;
        Some(Request { arrival: at, ..request })
    }

    fn unsent(&mut self, end: SimTime) -> u64 {
        let mut count = 0;
        for stream in &mut self.streams {
            let (requests, late) = match &mut stream.source {
                Source::Open(requests) => (requests, SimDuration::ZERO),
                Source::Tested(Tested {
                    requests, test_run: TestRun::Answered { took }, ..
                }) => (requests, *took),
                _ => continue,
            };
            while requests.next_if(|request| request.arrival + late < end).is_some() {
                count += 1;
            }
        }
        count
    }

    fn on_done(&mut self, now: SimTime, id: RequestId, answered: bool) {
        self.connections.free(now);
        let Some(Owner { stream, user }) = self.owners.remove(&id.0) else { return };
        let stream = &mut self.streams[stream];
        stream.connections.free(now);
        match (&mut stream.source, user) {
            (Source::Users(pool), Some(user)) => pool.done(now, user),
            (Source::Sessions(pool), Some(session)) => pool.done(now, session),
            (Source::Tested(tested), Some(_)) => tested.tested(now, answered),
            _ => {}
        }
    }
}

/// The users of one closed-loop stream.
struct UserPool {
    spec: ClosedLoop,
    seed: Seed,
    ordinal: u64,
    start: SimTime,
    end: SimTime,
    /// Rows of the user schedule that have been carried out.
    row: usize,
    users: Vec<User>,
    /// (next send, user).
    ready: BinaryHeap<Reverse<(SimTime, usize)>>,
}

struct User {
    waits: Generator,
    lengths: Generator,
    sent: SimTime,
    /// After this instant the user sends no more.
    until: SimTime,
}

impl UserPool {
    fn new(spec: ClosedLoop, seed: Seed, ordinal: u64, start: SimTime, end: SimTime) -> Self {
        let mut pool = Self {
            spec,
            seed,
            ordinal,
            start,
            end,
            row: 0,
            users: Vec::new(),
            ready: BinaryHeap::new(),
        };
        while pool.row < pool.spec.users().len() {
            pool.carry_out_row();
        }
        pool
    }

    /// Spawns or stops users one after the other, as the row's rate says. Users that stop finish what they
    /// have sent; the last ones spawned stop first.
    fn carry_out_row(&mut self) {
        let (at_s, wanted, rate) = self.spec.users()[self.row];
        self.row += 1;
        let at = self.start + SimDuration::from_secs_f64(at_s);
        let active: Vec<usize> =
            (0..self.users.len()).filter(|&i| self.users[i].until > at).collect();
        let step = |k: usize| SimDuration::from_secs_f64(k as f64 / rate);
        for k in 0..(wanted as usize).saturating_sub(active.len()) {
            self.spawn(at + step(k));
        }
        let surplus = active.len().saturating_sub(wanted as usize);
        for (k, &i) in active.iter().rev().take(surplus).enumerate() {
            self.users[i].until = at + step(k);
        }
    }

    fn spawn(&mut self, at: SimTime) {
        let index = (self.ordinal << 32) | self.users.len() as u64;
        self.ready.push(Reverse((at, self.users.len())));
        self.users.push(User {
            waits: self.seed.stream(rng::Stream::Clients, index),
            // Index 0 of this purpose belongs to the open streams.
            lengths: self.seed.stream(rng::Stream::Lengths, (1 << 63) | index),
            sent: at,
            until: self.end,
        });
    }

    /// When the next user sends; users whose time is over are passed by.
    fn peek(&self) -> Option<SimTime> {
        self.ready.peek().map(|Reverse((at, _))| *at)
    }

    fn send(&mut self) -> (usize, Request) {
        let Reverse((at, user)) = self.ready.pop().expect("peeked");
        let (prompt_tokens, output_tokens) =
            self.spec.lengths().sample(&mut self.users[user].lengths);
        self.users[user].sent = at;
        let text = TextId::UNIQUE.in_stream(self.ordinal);
        (user, Request { arrival: at, prompt_tokens, output_tokens, text })
    }

    fn done(&mut self, now: SimTime, user: usize) {
        let wait = self.spec.wait();
        let state = &mut self.users[user];
        let seconds = SimDuration::from_secs_f64;
        let at = match wait {
            Wait::Constant(s) => now + seconds(s),
            Wait::Between(a, b) => now + seconds(a + (b - a) * draw::uniform(&mut state.waits)),
            Wait::Exponential(mean) => now + seconds(mean * draw::exponential(&mut state.waits)),
            Wait::Pacing(s) => (state.sent + seconds(s)).max(now),
        };
        if at < state.until {
            self.ready.push(Reverse((at, user)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Clients, LengthModel, Recorded, StreamSpec, VllmBench};

    fn users(rows: Vec<(f64, u32, f64)>, wait: Wait) -> WorkloadSpec {
        let lengths = LengthModel::constant(10, 20).unwrap();
        WorkloadSpec::single(Arrivals::ClosedLoop(ClosedLoop::new(rows, wait, lengths).unwrap()))
            .unwrap()
    }

    /// Serves every request in `service` seconds; returns the send times.
    fn serve(spec: &WorkloadSpec, service: u64, until: u64) -> Vec<SimTime> {
        let mut live = Live::new(spec, Seed(1), SimTime::from_secs(until));
        let mut sent = Vec::new();
        let mut ends: BinaryHeap<Reverse<(SimTime, u64)>> = BinaryHeap::new();
        loop {
            let end = ends.peek().map(|Reverse(e)| e.0);
            match (live.peek(), end) {
                (Some(at), end) if end.is_none_or(|e| at < e) => {
                    let request = live.next_arrival().unwrap();
                    assert_eq!(request.arrival, at);
                    ends.push(Reverse((at + SimDuration::from_secs(service), sent.len() as u64)));
                    sent.push(at);
                }
                (_, Some(_)) => {
                    let Reverse((at, id)) = ends.pop().unwrap();
                    live.on_done(at, RequestId(id), true);
                }
                _ => return sent,
            }
        }
    }

    #[test]
    fn a_user_sends_waits_and_sends_again() {
        let sent = serve(&users(vec![(0.0, 1, 1.0)], Wait::Constant(3.0)), 2, 16);
        let expected: Vec<SimTime> = [0, 5, 10, 15].map(SimTime::from_secs).into();
        assert_eq!(sent, expected);
        let paced = serve(&users(vec![(0.0, 1, 1.0)], Wait::Pacing(4.0)), 2, 9);
        assert_eq!(paced, [0, 4, 8].map(SimTime::from_secs));
    }

    #[test]
    fn throughput_is_users_over_response_and_wait() {
        // Source: the closed-loop law N = X (R + Z).
        let spec = users(vec![(0.0, 40, 1000.0)], Wait::Between(5.0, 15.0));
        let rate = serve(&spec, 2, 10_000).len() as f64 / 10_000.0;
        assert!((rate / (40.0 / 12.0) - 1.0).abs() < 0.02, "{rate}");
    }

    #[test]
    fn users_come_and_go_by_the_schedule() {
        let spec = users(vec![(0.0, 2, 1.0), (10.0, 0, 1.0)], Wait::Constant(1.0));
        let sent = serve(&spec, 1, 60);
        assert_eq!(sent[..3], [0, 1, 2].map(SimTime::from_secs));
        assert!(*sent.last().unwrap() < SimTime::from_secs(11));
    }

    /// One request a second for five seconds.
    fn replayed() -> StreamSpec {
        let row = |s| Request {
            arrival: SimTime::from_secs(s),
            prompt_tokens: 1,
            output_tokens: 1,
            ..Request::default()
        };
        let recorded = Recorded::new((0..5).map(row).collect());
        StreamSpec::new(Arrivals::Replay(recorded, crate::workload::Transform::default()))
    }

    #[test]
    fn a_cap_turns_an_open_loop_into_a_closed_one() {
        let clients = Clients { max_connections: Some(1), ..Clients::default() };
        let spec = WorkloadSpec::new(vec![replayed()], clients).unwrap();
        assert_eq!(serve(&spec, 3, 100), [0, 3, 6, 9, 12].map(SimTime::from_secs));
    }

    #[test]
    fn each_stream_has_its_own_cap_start_and_number_of_requests() {
        let capped = StreamSpec { max_connections: Some(1), ..replayed() };
        let late = StreamSpec { start: SimDuration::from_secs(2), requests: Some(2), ..replayed() };
        let spec = WorkloadSpec::new(vec![capped, late], Clients::default()).unwrap();
        assert!(!spec.is_realisable());
        // The capped stream sends at 0, 3, .., 12; the other one at 2 and 3, whatever the first one does.
        assert_eq!(serve(&spec, 3, 100), [0, 2, 3, 3, 6, 9, 12].map(SimTime::from_secs));
    }

    #[test]
    fn a_load_starts_when_its_test_run_is_answered() {
        let bench = |test_run| {
            let bench =
                VllmBench { request_rate: 2.0, num_prompts: 4, seed: 1, burstiness: 1.0, test_run };
            let lengths = LengthModel::constant(10, 20).unwrap();
            let arrivals = Arrivals::VllmBench(bench, lengths);
            let start = SimDuration::from_secs(5);
            let stream = StreamSpec { start, ..StreamSpec::new(arrivals) };
            WorkloadSpec::new(vec![stream], Clients::default()).unwrap()
        };
        let spec = bench(Some(7));
        assert!(!spec.is_realisable());
        let plain: Vec<SimTime> =
            bench(None).source(Seed(1), SimTime::from_secs(100)).map(|r| r.arrival).collect();
        let mut expected = vec![SimTime::from_secs(5)];
        expected.extend(plain.iter().map(|at| *at + SimDuration::from_secs(3)));
        assert_eq!(serve(&spec, 3, 100), expected);

        let mut live = Live::new(&spec, Seed(1), SimTime::from_secs(100));
        let test = live.next_arrival().unwrap();
        assert_eq!((test.prompt_tokens, test.output_tokens), (10, 7));
        assert_eq!((live.peek(), live.unsent(SimTime::from_secs(90))), (None, 0));
        live.on_done(SimTime::from_secs(8), RequestId(0), true);
        assert_eq!(live.unsent(expected[3]), 2);

        // Nobody answers: again every 5 s, for ten minutes.
        let mut live = Live::new(&spec, Seed(1), SimTime::from_secs(2000));
        let mut tries = Vec::new();
        while let Some(request) = live.next_arrival() {
            live.on_done(request.arrival, RequestId(tries.len() as u64), false);
            tries.push(request.arrival.as_secs_f64());
        }
        let every_5_s: Vec<f64> = (0..120).map(|k| 5.0 + 5.0 * f64::from(k)).collect();
        assert_eq!(tries, every_5_s);
        assert_eq!(live.unsent(SimTime::from_secs(2000)), 0);
    }

    #[test]
    fn the_cap_of_the_workload_counts_all_streams() {
        let clients = Clients { max_connections: Some(1), ..Clients::default() };
        let two = vec![replayed(), StreamSpec { requests: Some(1), ..replayed() }];
        let spec = WorkloadSpec::new(two, clients).unwrap();
        assert_eq!(serve(&spec, 3, 100), [0, 3, 6, 9, 12, 15].map(SimTime::from_secs));
    }
}
