//! How clients behave: open loop or closed loop, timeouts, connection caps, retries.

use super::lengths::LengthModel;
use super::request::Request;
use super::{ParamError, not_negative, positive};
use crate::units::{RequestId, SimDuration, SimTime};

/// A source that may depend on the system it feeds.
///
/// The caller numbers requests in the order in which [`ArrivalSource::next_arrival`] returns them, from 0.
pub trait ArrivalSource {
    /// When the next request comes, if nothing else finishes before; `None` while every client waits for
    /// an answer, and after the end. May become earlier after [`ArrivalSource::on_done`].
    fn peek(&mut self) -> Option<SimTime>;

    /// Takes the next request, in time order.
    fn next_arrival(&mut self) -> Option<Request>;

    /// Request `id` has ended at `now`: `answered`, or it failed or was given up. Called only if the source
    /// [waits](ArrivalSource::waits).
    fn on_done(&mut self, now: SimTime, id: RequestId, answered: bool);

    /// Whether arrivals depend on [`ArrivalSource::on_done`].
    fn waits(&self) -> bool;

    /// After a run until `end`: requests of open streams whose own time has come, for which no connection became
    /// free. Takes them.
    fn unsent(&mut self, end: SimTime) -> u64;
}

/// Any iterator in time order as an [`ArrivalSource`] that ignores completions.
pub struct OpenLoop<I: Iterator<Item = Request>> {
    inner: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = Request>> OpenLoop<I> {
    /// Wraps `inner`, which must be in time order.
    pub fn new(inner: I) -> Self {
        Self { inner: inner.peekable() }
    }
}

impl<I: Iterator<Item = Request>> ArrivalSource for OpenLoop<I> {
    fn peek(&mut self) -> Option<SimTime> {
        self.inner.peek().map(|r| r.arrival)
    }
    fn next_arrival(&mut self) -> Option<Request> {
        self.inner.next()
    }
    fn on_done(&mut self, _now: SimTime, _id: RequestId, _answered: bool) {}
    fn waits(&self) -> bool {
        false
    }

    fn unsent(&mut self, _end: SimTime) -> u64 {
        0
    }
}

/// Limits of the clients of an open loop; the default has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clients {
    /// A client gives up this long after it sent its request.
    pub client_timeout: Option<SimDuration>,
    /// At most this many requests in flight; the rest waits at the client.
    pub max_connections: Option<u32>,
    /// Attempts after the first one.
    pub retries: u32,
}

/// What a closed-loop user does between an answer and its next request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wait {
    /// Always the same pause \[s\].
    Constant(f64),
    /// Uniform between two bounds \[s\].
    Between(f64, f64),
    /// Exponential with this mean \[s\].
    Exponential(f64),
    /// Next request this long \[s\] after the previous one was *sent*, or at once if the answer took longer.
    Pacing(f64),
}

/// Users who send, await the answer, wait, and send again.
// Source: Locust user classes (`wait_time`, spawn rate).
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedLoop {
    users: Vec<(f64, u32, f64)>,
    wait: Wait,
    lengths: LengthModel,
}

impl ClosedLoop {
    /// `users`: (time \[s\], wanted number of users, spawn rate \[users/s\]), in time order, first at any time.
    pub fn new(
        users: Vec<(f64, u32, f64)>,
        wait: Wait,
        lengths: LengthModel,
    ) -> Result<Self, ParamError> {
        if users.is_empty() {
            return Err(ParamError::new("users", "needs at least one (time, users, spawn rate)"));
        }
        for (i, &(t, _, spawn)) in users.iter().enumerate() {
            not_negative(&format!("users[{i}].t_s"), t)?;
            positive(&format!("users[{i}].spawn_rate"), spawn)?;
        }
        if !users.is_sorted_by(|a, b| a.0 <= b.0) {
            return Err(ParamError::new("users", "times must not decrease"));
        }
        match wait {
            Wait::Constant(s) | Wait::Pacing(s) | Wait::Exponential(s) => {
                not_negative("wait", s)?;
            }
            Wait::Between(a, b) => {
                not_negative("wait", a)?;
                not_negative("wait", b)?;
                if a > b {
                    return Err(ParamError::new("wait", format!("{a} s is above {b} s")));
                }
            }
        }
        Ok(Self { users, wait, lengths })
    }

    /// The schedule of users: (time \[s\], users, spawn rate \[users/s\]).
    pub fn users(&self) -> &[(f64, u32, f64)] {
        &self.users
    }
    /// The pause between an answer and the next request.
    pub fn wait(&self) -> Wait {
        self.wait
    }
    /// Prompt and output lengths of every request.
    pub fn lengths(&self) -> &LengthModel {
        &self.lengths
    }
}
