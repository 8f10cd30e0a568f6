//! Model volumes: bandwidth shared by the readers of the moment.
//!
//! Processor sharing in integer arithmetic: what is left of a read is counted in bytes x picoseconds
//! per second, so that advancing by any sequence of steps gives the same remainder as one step.
//!
//! Load-time model: `rate_i = min(own cap, volume_rate / k)`, k = present readers,
//! re-divided whenever a read starts or ends.

use crate::units::{NodeId, PS_PER_S, SimTime};

/// Number of a read within one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId(u64);

/// One reader of the volume.
#[derive(Clone, Debug)]
struct Stream {
    id: StreamId,
    /// Node whose page cache the read fills.
    node: NodeId,
    /// Bytes left x [`PS_PER_S`].
    left: u128,
    /// Rate if alone \[bytes/s\], not 0.
    cap: u64,
}

/// The volume that all pods of the deployment read.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    /// Rate of the whole volume \[bytes/s\]; `None` = every reader has its own.
    shared: Option<u64>,
    streams: Vec<Stream>,
    updated: SimTime,
    next_id: u64,
    generation: u64,
}

impl Volume {
    pub(super) fn new(shared: Option<u64>) -> Self {
        Self { shared, streams: Vec::new(), updated: SimTime::ZERO, next_id: 0, generation: 0 }
    }

    /// The generation of the present division; reads end as told only while it lasts.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The present rate of a reader \[bytes/s\], at least 1.
    fn rate(&self, stream: &Stream) -> u64 {
        let share = self.shared.map_or(u64::MAX, |rate| rate / self.streams.len() as u64);
        stream.cap.min(share).max(1)
    }

    /// Brings all reads up to `now`.
    fn advance(&mut self, now: SimTime) {
        let elapsed = u128::from((now - self.updated).as_ps());
        for i in 0..self.streams.len() {
            let done = u128::from(self.rate(&self.streams[i])) * elapsed;
            self.streams[i].left = self.streams[i].left.saturating_sub(done);
        }
        self.updated = now;
    }

    /// Starts a read of `bytes` at no more than `cap` bytes/s.
    pub(super) fn start(&mut self, now: SimTime, node: NodeId, bytes: u64, cap: u64) -> StreamId {
        assert!(cap > 0, "a read needs a rate");
        self.advance(now);
        let id = StreamId(self.next_id);
        self.next_id += 1;
        let left = u128::from(bytes) * u128::from(PS_PER_S);
        self.streams.push(Stream { id, node, left, cap });
        self.generation += 1;
        id
    }

    /// Gives a read up.
    pub(super) fn cancel(&mut self, now: SimTime, id: StreamId) {
        self.advance(now);
        self.streams.retain(|stream| stream.id != id);
        self.generation += 1;
    }

    /// The read under way on `node`, if any.
    pub(super) fn stream_on(&self, node: NodeId) -> Option<StreamId> {
        self.streams.iter().find(|stream| stream.node == node).map(|stream| stream.id)
    }

    /// When the first of the present reads ends if nothing else happens.
    pub(super) fn next_end(&self) -> Option<SimTime> {
        let ends = self.streams.iter().map(|stream| {
            let ps = stream.left.div_ceil(u128::from(self.rate(stream)));
            SimTime::from_ps(self.updated.as_ps().saturating_add(clamp(ps)))
        });
        ends.min()
    }

    /// Takes one read that has ended by `now` out of the volume; call until `None`.
    pub(super) fn take_ended(&mut self, now: SimTime) -> Option<(StreamId, NodeId)> {
        self.advance(now);
        let i = self.streams.iter().position(|stream| stream.left == 0)?;
        let stream = self.streams.remove(i);
        self.generation += 1;
        Some((stream.id, stream.node))
    }
}

/// `ps` as a time offset; what does not fit is later than every run.
fn clamp(ps: u128) -> u64 {
    u64::try_from(ps).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MB: u64 = 1_000_000;

    fn node(n: u32) -> NodeId {
        NodeId(n)
    }

    /// Reads all streams to their end; (end, id) in order.
    fn run_out(volume: &mut Volume) -> Vec<(SimTime, StreamId)> {
        let mut ends = Vec::new();
        while let Some(at) = volume.next_end() {
            while let Some((id, _)) = volume.take_ended(at) {
                ends.push((at, id));
            }
        }
        ends
    }

    /// Gemma-2 9B, 18.5 GB at 450 MB/s alone is 41 s; four at once on a 515 MB/s disk
    /// get 128.75 MB/s each and take 144 s.
    #[test]
    fn four_readers_share_the_disk() {
        let mut alone = Volume::new(Some(515 * MB));
        alone.start(SimTime::ZERO, node(0), 18_500 * MB, 450 * MB);
        assert_eq!(run_out(&mut alone)[0].0.as_secs_f64().round(), 41.0);

        let mut four = Volume::new(Some(515 * MB));
        for n in 0..4 {
            four.start(SimTime::ZERO, node(n), 18_500 * MB, 450 * MB);
        }
        let ends = run_out(&mut four);
        assert!(ends.iter().all(|(at, _)| at.as_secs_f64().round() == 144.0), "{ends:?}");
    }

    /// A second reader after 10 s halves the rate from then on, and the first to end gives it back.
    #[test]
    fn shares_are_redivided() {
        let mut volume = Volume::new(Some(100 * MB));
        volume.start(SimTime::ZERO, node(0), 2_000 * MB, 100 * MB);
        volume.start(SimTime::from_secs(10), node(1), 1_000 * MB, 100 * MB);
        // First: 1000 MB in 10 s, then 1000 MB at 50 MB/s = 30 s. Second: 1000 MB at 50 MB/s = 30 s.
        let ends: Vec<_> = run_out(&mut volume).iter().map(|(at, _)| *at).collect();
        assert_eq!(ends, [SimTime::from_secs(30), SimTime::from_secs(30)]);

        let mut volume = Volume::new(Some(100 * MB));
        volume.start(SimTime::ZERO, node(0), 2_000 * MB, 100 * MB);
        let second = volume.start(SimTime::from_secs(10), node(1), 1_000 * MB, 100 * MB);
        volume.cancel(SimTime::from_secs(20), second);
        // 1000 + 500 MB done at 20 s, 500 MB alone = 5 s.
        assert_eq!(run_out(&mut volume)[0].0, SimTime::from_secs(25));
    }

    proptest! {
        /// Looking at the volume at any further instants changes no end.
        #[test]
        fn advance_is_additive(
            reads in prop::collection::vec((0_u64..60, 1_u64..5_000, 1_u64..900), 1..6),
            looks in prop::collection::vec(0_u64..60_000_000, 0..20),
        ) {
            let mut starts = reads.clone();
            starts.sort_unstable();
            let run = |extra: &[u64]| {
                let mut volume = Volume::new(Some(515 * MB));
                let mut seen = Vec::new();
                let mut steps: Vec<(SimTime, Option<(u64, u64)>)> = starts
                    .iter()
                    .map(|(s, mb, cap)| (SimTime::from_secs(*s), Some((*mb, *cap))))
                    .chain(extra.iter().map(|us| (SimTime::from_ps(us * 1_000_003), None)))
                    .collect();
                steps.sort_by_key(|(at, read)| (*at, read.is_none()));
                for (n, (at, read)) in steps.into_iter().enumerate() {
                    while let Some(end) = volume.next_end().filter(|end| *end <= at) {
                        while volume.take_ended(end).is_some() { seen.push(end); }
                    }
                    match read {
                        Some((mb, cap)) => {
                            volume.start(at, node(n as u32), mb * MB, cap * MB);
                        }
                        None => volume.advance(at),
                    }
                }
                seen.extend(run_out(&mut volume).iter().map(|(at, _)| *at));
                seen
            };
            prop_assert_eq!(run(&[]), run(&looks));
        }

        /// The volume never gives more than its rate, and a saturated one gives all of it but what
        /// integer division drops (under one byte/s per reader).
        #[test]
        fn total_rate_is_bounded(mb in prop::collection::vec(1_u64..4_000, 1..12)) {
            let shared = 515 * MB;
            let mut volume = Volume::new(Some(shared));
            for (n, mb) in mb.iter().enumerate() {
                volume.start(SimTime::ZERO, node(n as u32), mb * MB, 1_000 * MB);
            }
            let total: u64 = mb.iter().map(|mb| mb * MB).sum();
            let last = run_out(&mut volume).last().unwrap().0;
            let ideal = total as f64 / shared as f64;
            prop_assert!(last.as_secs_f64() >= ideal - 1e-9);
            prop_assert!(last.as_secs_f64() <= ideal * (1.0 + 12.0 / 40e6) + 1e-9);
        }
    }
}
