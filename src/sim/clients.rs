//! The clients' side of a run: who waits for an answer, who gives up, who tries again.

use crate::engine::{FinishReason, RequestRecord};
use crate::units::{PodId, RequestId, SimDuration, SimTime};
use crate::workload::{Clients, Request};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Pause before the first new attempt; it doubles with each further one.
// ASSUMPTION(A302): one second, as common retry libraries start with; at most half a minute.
const BACKOFF_FIRST: SimDuration = SimDuration::from_secs(1);
const BACKOFF_MAX: SimDuration = SimDuration::from_secs(30);

/// What the clients know of their requests. Keeps nothing per request unless somebody waits for it.
#[derive(Debug)]
pub(super) struct ClientSide {
    clients: Clients,
    /// Completions must be noticed when they happen.
    watching: bool,
    /// When clients give up, in time order because the patience is constant.
    deadlines: VecDeque<Deadline>,
    /// Requests that may be tried again, with the attempts made. Only if there are retries.
    attempts: BTreeMap<RequestId, (Request, u32)>,
    /// Requests under way, if completions are watched.
    under_way: BTreeSet<RequestId>,
    /// What waited at the gateway: when it first came, and the pod that it then went to.
    held: BTreeMap<RequestId, (SimTime, Option<PodId>)>,
    /// Ends that the source of arrivals has not been told of, and whether they were answers.
    pub(super) done: Vec<(SimTime, RequestId, bool)>,
}

/// The end of a client's patience with one attempt.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: SimTime,
    id: RequestId,
    /// `None` if it was held at the gateway first.
    pod: Option<PodId>,
    /// Attempts made before this one; the deadline of an attempt that failed is stale.
    attempt: u32,
}

impl ClientSide {
    pub(super) fn new(clients: &Clients, source_waits: bool) -> Self {
        Self {
            clients: clients.clone(),
            watching: source_waits || clients.retries > 0,
            deadlines: VecDeque::new(),
            attempts: BTreeMap::new(),
            under_way: BTreeSet::new(),
            held: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    /// Whether a completion must be noticed when it happens.
    pub(super) fn watching(&self) -> bool {
        self.watching
    }

    /// A request is on its way to `pod`. Returns a time at which somebody must look for clients that give
    /// up, if none was pending. One that was [held](Self::held) is under way since then.
    pub(super) fn sent(&mut self, now: SimTime, id: RequestId, pod: PodId) -> Option<SimTime> {
        if let Some((_, of)) = self.held.get_mut(&id) {
            *of = Some(pod);
            return None;
        }
        self.begin(now, id, Some(pod))
    }

    /// The gateway holds a request that first came at `arrival`. Returns as [`Self::sent`] does.
    pub(super) fn held(
        &mut self,
        now: SimTime,
        id: RequestId,
        arrival: SimTime,
    ) -> Option<SimTime> {
        self.held.insert(id, (arrival, None));
        self.begin(now, id, None)
    }

    fn begin(&mut self, now: SimTime, id: RequestId, pod: Option<PodId>) -> Option<SimTime> {
        if self.watching {
            self.under_way.insert(id);
        }
        let deadline = now + self.clients.client_timeout?;
        let attempt = self.attempts_made(id);
        self.deadlines.push_back(Deadline { at: deadline, id, pod, attempt });
        (self.deadlines.len() == 1).then_some(deadline)
    }

    /// The next client whose patience ends at or before `now`, and the pod that has its request; `None`: the gateway
    /// has it, or nobody any more.
    pub(super) fn give_up(&mut self, now: SimTime) -> Option<(RequestId, Option<PodId>)> {
        loop {
            let Deadline { at, id, pod, attempt } = *self.deadlines.front()?;
            if at > now {
                return None;
            }
            self.deadlines.pop_front();
            if attempt == self.attempts_made(id) {
                self.end(now, id, false);
                let pod = pod.or_else(|| self.held.get(&id)?.1);
                if pod.is_none() {
                    self.held.remove(&id);
                }
                return Some((id, pod));
            }
        }
    }

    fn attempts_made(&self, id: RequestId) -> u32 {
        self.attempts.get(&id).map_or(0, |(_, made)| *made)
    }

    /// When the next client gives up.
    pub(super) fn next_deadline(&self) -> Option<SimTime> {
        self.deadlines.front().map(|deadline| deadline.at)
    }

    /// A request has ended at a server. The source is told once, also if the client had given up before.
    pub(super) fn ended(&mut self, record: &RequestRecord) {
        self.held.remove(&record.id);
        self.end(record.end, record.id, record.reason == FinishReason::Length);
    }

    /// No server took a request, and it is not tried again.
    pub(super) fn refused(&mut self, at: SimTime, id: RequestId) {
        self.held.remove(&id);
        if self.watching {
            self.under_way.remove(&id);
            self.attempts.remove(&id);
            self.done.push((at, id, false));
        }
    }

    fn end(&mut self, at: SimTime, id: RequestId, answered: bool) {
        if self.watching && self.under_way.remove(&id) {
            self.attempts.remove(&id);
            self.done.push((at, id, answered));
        }
    }

    /// Whether a request that was refused or cut off is tried again, and when. `request` is the attempt
    /// that failed, if it was refused at the door.
    pub(super) fn retry_at(
        &mut self,
        now: SimTime,
        id: RequestId,
        request: Option<Request>,
    ) -> Option<SimTime> {
        if self.clients.retries == 0 {
            return None;
        }
        if let Some(request) = request {
            self.attempts.entry(id).or_insert((request, 0));
        }
        let (_, made) = self.attempts.get_mut(&id)?;
        if *made >= self.clients.retries {
            self.attempts.remove(&id);
            return None;
        }
        let pause = (BACKOFF_FIRST * (1 << (*made).min(5))).min(BACKOFF_MAX);
        *made += 1;
        Some(now + pause)
    }

    /// Remembers what to send again should this attempt fail.
    pub(super) fn remember(&mut self, id: RequestId, request: Request) {
        if self.clients.retries > 0 {
            self.attempts.entry(id).or_insert((request, 0));
        }
    }

    /// When the request of this attempt first arrived: its latencies count from there.
    pub(super) fn first_arrival(&self, record: &RequestRecord) -> SimTime {
        let held = || self.held.get(&record.id).map_or(record.arrival, |(arrival, _)| *arrival);
        self.attempts.get(&record.id).map_or_else(held, |(request, _)| request.arrival)
    }

    /// The request behind a new attempt; its arrival is the first one's.
    pub(super) fn again(&self, id: RequestId) -> Request {
        self.attempts.get(&id).expect("a retry was announced for this request").0
    }
}

/// Whether a client that tries again would do so after this end.
pub(super) fn is_retriable(reason: FinishReason) -> bool {
    match reason {
        FinishReason::Killed => true,
        FinishReason::Length
        | FinishReason::Aborted
        | FinishReason::Rejected
        | FinishReason::Unfinished => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request { prompt_tokens: 1, output_tokens: 1, ..Request::default() }
    }

    #[test]
    fn retries_back_off_and_end() {
        let clients = Clients { retries: 2, ..Clients::default() };
        let mut side = ClientSide::new(&clients, false);
        let id = RequestId(7);
        let at = SimTime::from_secs(10);
        assert_eq!(side.retry_at(at, id, Some(request())), Some(SimTime::from_secs(11)));
        assert_eq!(side.retry_at(at, id, None), Some(SimTime::from_secs(12)));
        assert_eq!(side.retry_at(at, id, None), None);
    }

    #[test]
    fn the_deadline_of_a_failed_attempt_is_stale() {
        let clients = Clients {
            client_timeout: Some(SimDuration::from_secs(5)),
            retries: 1,
            ..Clients::default()
        };
        let mut side = ClientSide::new(&clients, false);
        let at = SimTime::from_secs;
        side.remember(RequestId(0), request());
        side.sent(at(0), RequestId(0), PodId(0));
        assert_eq!(side.retry_at(at(4), RequestId(0), None), Some(at(5)));
        assert_eq!(side.give_up(at(5)), None);
        assert_eq!(side.again(RequestId(0)), request());
    }

    #[test]
    fn patience_ends_in_order_of_sending() {
        let clients =
            Clients { client_timeout: Some(SimDuration::from_secs(5)), ..Clients::default() };
        let mut side = ClientSide::new(&clients, false);
        let at = SimTime::from_secs;
        assert_eq!(side.sent(at(1), RequestId(0), PodId(0)), Some(at(6)));
        assert_eq!(side.sent(at(2), RequestId(1), PodId(0)), None);
        assert_eq!(side.give_up(at(5)), None);
        assert_eq!(side.give_up(at(6)), Some((RequestId(0), Some(PodId(0)))));
        assert_eq!(side.next_deadline(), Some(at(7)));
    }
}
