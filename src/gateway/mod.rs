//! Chooses a ready replica for a request.
//!
//! Every policy draws the same number of random words per request, whatever the fleet looks like.
//! Source: Envoy documentation, load balancers (least request, power of two choices); llm-d inference scheduler
//! and gateway-api-inference-extension (endpoint picker).

mod connections;
mod picker;
mod prefix_index;

pub use connections::KeepAlive;
pub use picker::{Admission, Detector, LOAD_QUEUE, Picker, PrefixMemory, Saturation};

use crate::rng::{Generator, Seed, Stream};
use crate::units::{PodId, RequestId, SimTime};
use connections::Connections;
use prefix_index::{PrefixIndex, mix};
use rand::Rng as _;

/// How a replica is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// Uniformly at random, per request (kube-proxy with clients that connect anew).
    Random,
    /// Uniformly at random when a connection is made; a kept connection stays with its pod (kube-proxy).
    RandomPerConnection(KeepAlive),
    /// In order of pod id, around (IPVS rr, nginx).
    RoundRobin,
    /// The fewest outstanding requests; ties at random.
    LeastRequest,
    /// Two distinct replicas at random, then the one with fewer outstanding requests; a tie goes to
    /// the one drawn first.
    PowerOfTwo,
    /// The best score of queue and KV cache, as of the last look at the pods' metrics, and of the prefix; ties at
    /// random (the endpoint picker of an inference gateway).
    EndpointPicker(Picker),
    /// The pod of the request's conversation; requests without one at random. When pods come and go, only the
    /// conversations move that must, or that the new pod wins (highest random weight).
    SessionAffinity,
    /// The pod of the text that the prompt begins with, otherwise as above. Requests that share a system prompt
    /// all go to one pod.
    PrefixAffinity,
}

/// What the gateway sees of a request; the default is one that has nothing in common with others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Its conversation.
    pub session: Option<u64>,
    /// Its prompt as pieces of texts, in order, for policies that [read it](Policy::reads_prompt).
    pub prompt: &'a [TextPiece],
    /// It may be shed.
    pub sheddable: bool,
}

/// Tokens `start..start + len` of a text. Equal tokens have equal text and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPiece {
    /// Identity of the text.
    pub text: u64,
    /// Position of the first token.
    pub start: u32,
    /// Number of tokens.
    pub len: u32,
}

/// What the gateway knows of one replica. Its load may be 0 unless the policy [reads it](Policy::reads_load).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndpointView {
    /// Which pod.
    pub pod: PodId,
    /// As of when its gauges are known; `None` before they were first read.
    pub read_at: Option<SimTime>,
    /// Requests routed to it and not yet answered.
    pub outstanding: u32,
    /// Its gauge `num_requests_waiting`.
    pub waiting: u32,
    /// Its gauge `num_requests_running`.
    pub running: u32,
    /// Its gauge `kv_cache_usage_perc`, 0..=1.
    pub kv_usage: f64,
}

/// Routes requests by one policy.
#[derive(Clone, Debug)]
pub struct Gateway {
    policy: Policy,
    rng: Generator,
    /// The pod of the last round-robin choice.
    last: Option<PodId>,
    connections: Option<Connections>,
    /// The last look at the load, at the start of a period.
    looked_at: Option<SimTime>,
    index: PrefixIndex,
}

impl EndpointView {
    /// A pod of which nothing is known yet.
    pub const fn unread(pod: PodId) -> Self {
        Self { pod, read_at: None, outstanding: 0, waiting: 0, running: 0, kv_usage: 0.0 }
    }
}

impl Policy {
    /// Whether the policy looks at the replicas' load at all; if not, the views need no refresh.
    pub const fn reads_load(self) -> bool {
        matches!(self, Self::LeastRequest | Self::PowerOfTwo | Self::EndpointPicker(_))
    }

    /// Whether the policy looks at what prompts have in common.
    pub fn reads_prompt(self) -> bool {
        match self {
            Self::EndpointPicker(picker) => picker.prefix_weight > 0.0,
            Self::SessionAffinity | Self::PrefixAffinity => true,
            Self::Random
            | Self::RandomPerConnection(_)
            | Self::RoundRobin
            | Self::LeastRequest
            | Self::PowerOfTwo => false,
        }
    }

    /// The policy where a pod's KV cache has `blocks` blocks of `block_tokens` tokens.
    #[must_use]
    pub fn with_kv_cache(mut self, block_tokens: u32, blocks: u32) -> Self {
        if let Self::EndpointPicker(picker) = &mut self {
            picker.prefix.block_tokens.get_or_insert(block_tokens);
            picker.prefix.blocks_per_pod.get_or_insert(blocks);
        }
        self
    }

    /// Whether requests may be shed, so that somebody must say which.
    pub const fn sheds(self) -> bool {
        matches!(self, Self::EndpointPicker(Picker { admission: Admission::Shed(_), .. }))
    }

    /// Whether requests may have to wait at the gateway, so that somebody must ask [`Gateway::has_room`].
    pub const fn holds(self) -> bool {
        matches!(self, Self::EndpointPicker(Picker { admission: Admission::Hold(_), .. }))
    }

    /// Whether the gateway must be told of answers when they happen.
    pub const fn keeps_connections(self) -> bool {
        matches!(self, Self::RandomPerConnection(_))
    }
}

impl Gateway {
    /// A gateway with its own random stream.
    pub fn new(policy: Policy, seed: Seed) -> Self {
        let connections = match policy {
            Policy::RandomPerConnection(keep_alive) => Some(Connections::new(keep_alive, seed)),
            _ => None,
        };
        let rng = seed.stream(Stream::Routing, 0);
        let memory = match policy {
            Policy::EndpointPicker(picker) => picker.prefix,
            _ => PrefixMemory::default(),
        };
        let index = PrefixIndex::new(memory);
        Self { policy, rng, last: None, connections, looked_at: None, index }
    }

    /// As of when the views must be read for a request at `now`; `None` if those at hand will do. A picker reads the
    /// metrics at the start of each period and then lives with what it saw.
    // ASSUMPTION(A261): what it reads is as of its first request of a period; the age counts from the period's start.
    pub fn looks(&mut self, now: SimTime) -> Option<SimTime> {
        let Policy::EndpointPicker(picker) = self.policy else {
            return self.policy.reads_load().then_some(now);
        };
        let start = picker.period_start(now);
        let due = self.looked_at.is_none_or(|at| at < start);
        if due {
            self.looked_at = Some(start);
        }
        due.then_some(start)
    }

    /// Whether a request may go on at `now`, or must wait here for the pods.
    pub fn has_room(&self, now: SimTime, endpoints: &[EndpointView]) -> bool {
        match self.policy {
            Policy::EndpointPicker(picker) => match picker.admission {
                Admission::Hold(limits) => !picker.is_saturated(limits, now, endpoints),
                Admission::All | Admission::Shed(_) => true,
            },
            _ => true,
        }
    }

    /// When the gateway next looks at the pods, after `now`.
    pub fn next_look(&self, now: SimTime) -> SimTime {
        match self.policy {
            Policy::EndpointPicker(picker) => picker.period_start(now) + picker.refresh,
            _ => now,
        }
    }

    /// The pod of a connection that `client` (the ordinal of its stream) keeps from an earlier request, if the policy
    /// keeps them and there is an idle one to a server that `accepts`.
    pub fn reuse(
        &mut self,
        now: SimTime,
        client: usize,
        accepts: impl Fn(PodId) -> bool,
    ) -> Option<PodId> {
        self.connections.as_mut()?.reuse(now, client, accepts)
    }

    /// `client` has sent this request to a pod.
    pub fn sent(&mut self, id: RequestId, client: usize) {
        if let Some(connections) = &mut self.connections {
            connections.sent(id, client);
        }
    }

    /// A request to `pod` has ended, `answered` in full or not.
    pub fn ended(&mut self, now: SimTime, id: RequestId, pod: PodId, answered: bool) {
        if let Some(connections) = &mut self.connections {
            connections.ended(now, id, pod, answered);
        }
    }

    /// The index of the chosen endpoint for a request at `now`; `None` if there is none, or if the policy sheds load,
    /// the request may be shed and all are saturated. The order of `endpoints` matters only in that equal slices get
    /// equal answers.
    pub fn pick(
        &mut self,
        now: SimTime,
        endpoints: &[EndpointView],
        asked: Asked<'_>,
    ) -> Option<usize> {
        let (first, second) = (self.rng.next_u64(), self.rng.next_u64());
        let n = endpoints.len();
        if n == 0 {
            return None;
        }
        let chosen = match self.policy {
            Policy::Random | Policy::RandomPerConnection(_) => below(first, n),
            Policy::RoundRobin => next_in_order(endpoints, self.last),
            Policy::LeastRequest => least_outstanding(endpoints, first),
            Policy::PowerOfTwo => {
                let a = below(first, n);
                // Among the others, counted from the one after `a`.
                let b = if n == 1 { a } else { (a + 1 + below(second, n - 1)) % n };
                if endpoints[b].outstanding < endpoints[a].outstanding { b } else { a }
            }
            Policy::EndpointPicker(picker) => {
                if let Admission::Shed(limits) = picker.admission
                    && asked.sheddable
                    && picker.is_saturated(limits, now, endpoints)
                {
                    return None;
                }
                self.index.look_up(now, asked.prompt, endpoints);
                let chosen = picker::best_score(endpoints, &picker, &self.index, first)?;
                self.index.sent_to(endpoints[chosen].pod);
                chosen
            }
            Policy::SessionAffinity => affine(endpoints, asked.session, first),
            Policy::PrefixAffinity => {
                affine(endpoints, asked.prompt.first().map(|piece| piece.text), first)
            }
        };
        self.last = Some(endpoints[chosen].pod);
        Some(chosen)
    }
}

/// `random` scaled to `0..n` (n > 0): the high half of the product (Lemire 2019), with a bias under
/// n / 2^64.
fn below(random: u64, n: usize) -> usize {
    ((u128::from(random) * n as u128) >> 64) as usize
}

/// The endpoint with the next higher pod id after `last`, or the lowest.
fn next_in_order(endpoints: &[EndpointView], last: Option<PodId>) -> usize {
    let key = |i: &usize| {
        let pod = endpoints[*i].pod;
        (last.is_some_and(|last| pod <= last), pod)
    };
    (0..endpoints.len()).min_by_key(key).expect("not empty")
}

/// An endpoint with the fewest outstanding requests.
fn least_outstanding(endpoints: &[EndpointView], random: u64) -> usize {
    let least = endpoints.iter().map(|e| e.outstanding).min().expect("not empty");
    let ties = endpoints.iter().filter(|e| e.outstanding == least).count();
    let mut tied = (0..endpoints.len()).filter(|i| endpoints[*i].outstanding == least);
    tied.nth(below(random, ties)).expect("below(ties)")
}

/// The endpoint with the highest random weight for `key`, so that an endpoint that leaves moves only its own keys
/// (Thaler, Ravishankar 1998); without a key at random.
fn affine(endpoints: &[EndpointView], key: Option<u64>, random: u64) -> usize {
    let Some(key) = key else { return below(random, endpoints.len()) };
    let weight = |i: &usize| mix(mix(key) ^ u64::from(endpoints[*i].pod.0));
    (0..endpoints.len()).max_by_key(weight).expect("not empty")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SimDuration;

    const NOW: SimTime = SimTime::from_secs(7);

    fn fleet(outstanding: &[u32]) -> Vec<EndpointView> {
        let view = |(i, n): (usize, &u32)| EndpointView {
            outstanding: *n,
            read_at: Some(NOW),
            ..EndpointView::unread(PodId(10 + i as u32))
        };
        outstanding.iter().enumerate().map(view).collect()
    }

    fn counts(policy: Policy, fleet: &[EndpointView], picks: usize) -> Vec<usize> {
        let mut gateway = Gateway::new(policy, Seed(5));
        let mut counts = vec![0; fleet.len()];
        for _ in 0..picks {
            counts[gateway.pick(NOW, fleet, Asked::default()).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn nobody_to_pick() {
        let picker = Policy::EndpointPicker(Picker::default());
        let others = [Policy::Random, Policy::RoundRobin, Policy::LeastRequest, Policy::PowerOfTwo];
        for policy in others.into_iter().chain([picker]) {
            assert_eq!(Gateway::new(policy, Seed(1)).pick(NOW, &[], Asked::default()), None);
            assert_eq!(
                Gateway::new(policy, Seed(1)).pick(NOW, &fleet(&[3]), Asked::default()),
                Some(0)
            );
        }
    }

    #[test]
    fn random_is_uniform() {
        // 4 x 10 000 expected 10 000 each, sigma 87: five sigma.
        for n in counts(Policy::Random, &fleet(&[9, 0, 5, 1]), 40_000) {
            assert!(n.abs_diff(10_000) < 435, "{n}");
        }
    }

    #[test]
    fn round_robin_goes_around_and_survives_a_lost_pod() {
        let mut gateway = Gateway::new(Policy::RoundRobin, Seed(1));
        let mut pods = fleet(&[0, 0, 0]);
        let mut pick =
            |pods: &[EndpointView]| pods[gateway.pick(NOW, pods, Asked::default()).unwrap()].pod.0;
        assert_eq!([pick(&pods), pick(&pods)], [10, 11]);
        pods.remove(1);
        assert_eq!([pick(&pods), pick(&pods), pick(&pods)], [12, 10, 12]);
    }

    #[test]
    fn least_request_breaks_ties_evenly() {
        let picked = counts(Policy::LeastRequest, &fleet(&[2, 1, 5, 1]), 10_000);
        assert_eq!((picked[0], picked[2]), (0, 0));
        assert!(picked[1].abs_diff(5_000) < 250, "{picked:?}");
    }

    /// With distinct loads the k-th best of n wins against n - k others: 2(n-k)/(n(n-1)) of the picks.
    #[test]
    fn power_of_two_prefers_the_better_of_two() {
        let picked = counts(Policy::PowerOfTwo, &fleet(&[3, 0, 2, 1]), 60_000);
        for (got, expected) in picked.iter().zip([0, 30_000, 10_000, 20_000]) {
            assert!(got.abs_diff(expected) < 700, "{picked:?}");
        }
    }

    /// Queues of 0, 10 and 10 score 2, 0 and 0; a KV usage of 0.9 takes only 1.8 of the 2 points.
    #[test]
    fn the_picker_weighs_queue_and_kv_cache() {
        let mut pods = fleet(&[0, 0, 0]);
        for (pod, (waiting, kv_usage)) in pods.iter_mut().zip([(0, 0.9), (10, 0.0), (10, 0.5)]) {
            (pod.waiting, pod.kv_usage) = (waiting, kv_usage);
        }
        // 2.2 against 2.0 and 1.0.
        assert_eq!(counts(Policy::EndpointPicker(Picker::default()), &pods, 20), [20, 0, 0]);
        // Equal queues: the emptiest cache.
        pods[0].waiting = 10;
        assert_eq!(counts(Policy::EndpointPicker(Picker::default()), &pods, 20), [0, 20, 0]);
        let even = counts(Policy::EndpointPicker(Picker::default()), &fleet(&[5, 0]), 10_000);
        assert!(even[0].abs_diff(5_000) < 250, "{even:?}");
    }

    /// Three points for the whole prefix against two for the shorter queue.
    #[test]
    fn the_picker_follows_the_prefix_unless_too_much_waits_there() {
        let mut gateway = Gateway::new(Policy::EndpointPicker(Picker::default()), Seed(1));
        let text = |text| [TextPiece { text, start: 0, len: 64 }];
        let mut pods = fleet(&[0, 0, 0, 0]);
        let prompt = text(9);
        let asked = Asked { prompt: &prompt, ..Asked::default() };
        let home = gateway.pick(NOW, &pods, asked).unwrap();
        for _ in 0..20 {
            assert_eq!(gateway.pick(NOW, &pods, asked), Some(home));
        }
        // All the queue points and one and a half KV points lost: 3.5 against 4.
        pods[home].waiting = 10;
        assert_eq!(gateway.pick(NOW, &pods, asked), Some(home));
        pods[home].kv_usage = 0.75;
        assert_ne!(gateway.pick(NOW, &pods, asked), Some(home));
    }

    /// Blocks of the index are those of the pods' caches unless somebody says otherwise.
    #[test]
    fn the_index_follows_the_kv_cache() {
        let memory = |picker: Picker| {
            let Policy::EndpointPicker(tuned) =
                Policy::EndpointPicker(picker).with_kv_cache(32, 900)
            else {
                panic!("a picker stays one")
            };
            (tuned.prefix.block_tokens, tuned.prefix.blocks_per_pod)
        };
        assert_eq!(memory(Picker::default()), (Some(32), Some(900)));
        let prefix = PrefixMemory {
            block_tokens: Some(64),
            blocks_per_pod: Some(10),
            ..PrefixMemory::default()
        };
        let own = Picker { prefix, ..Picker::default() };
        assert_eq!(memory(own), (Some(64), Some(10)));
    }

    #[test]
    fn a_picker_sheds_only_what_may_be_shed_and_only_if_all_are_saturated() {
        let admission = Admission::Shed(Saturation::default());
        let mut pods = fleet(&[0, 0]);
        (pods[0].waiting, pods[1].kv_usage) = (6, 0.81);
        let pick = |picker, sheddable, pods: &[EndpointView]| {
            let asked = Asked { sheddable, ..Asked::default() };
            Gateway::new(Policy::EndpointPicker(picker), Seed(1)).pick(NOW, pods, asked)
        };
        let shedding = Picker { admission, ..Picker::default() };
        assert_eq!(pick(shedding, true, &pods), None);
        assert!(pick(shedding, false, &pods).is_some());
        assert!(pick(Picker::default(), true, &pods).is_some());
        pods[0].waiting = 5;
        assert!(pick(shedding, true, &pods).is_some());
    }

    /// At the threshold a reading is fresh; older ones, and none at all, show no room. The scores use them all.
    #[test]
    fn stale_metrics_show_no_room_but_keep_their_score() {
        let picker = Picker {
            admission: Admission::Shed(Saturation::default()),
            metrics_staleness: SimDuration::from_millis(200),
            ..Picker::default()
        };
        let pick = |ms, sheddable, pods: &[EndpointView]| {
            let asked = Asked { sheddable, ..Asked::default() };
            let now = NOW + SimDuration::from_millis(ms);
            Gateway::new(Policy::EndpointPicker(picker), Seed(1)).pick(now, pods, asked)
        };
        let mut pods = fleet(&[0, 0]);
        pods[0].waiting = 3;
        assert_eq!(pick(200, true, &pods), Some(1));
        assert_eq!(pick(201, true, &pods), None);
        assert_eq!(pick(201, false, &pods), Some(1));
        // A pod that answers has room for both; one that was never read has the best score, but no room.
        pods[1] = EndpointView::unread(pods[1].pod);
        assert_eq!(pick(200, true, &pods), Some(1));
        assert_eq!(pick(0, true, &pods[1..]), None);
        assert_eq!(pick(0, false, &pods[1..]), Some(0));
    }

    /// A queue of 10 is twice the limit: with an empty pod beside it the mean is 1.
    #[test]
    fn a_utilization_detector_takes_the_mean() {
        let detector = Detector::Utilization;
        let admission = Admission::Hold(Saturation { detector, ..Saturation::default() });
        let picker = Policy::EndpointPicker(Picker { admission, ..Picker::default() });
        let gateway = Gateway::new(picker, Seed(1));
        let saturated = |pods: &[EndpointView]| !gateway.has_room(NOW, pods);
        assert!(saturated(&[]));
        let mut pods = fleet(&[0, 0]);
        pods[0].waiting = 9;
        assert!(!saturated(&pods));
        pods[0].waiting = 10;
        assert!(saturated(&pods));
        (pods[0].waiting, pods[0].kv_usage) = (0, 0.9);
        assert!(!saturated(&pods));
        // A stale pod counts 1, whatever it showed.
        pods[1].read_at = None;
        assert!(saturated(&pods));
        pods[0].kv_usage = 0.7;
        assert!(!saturated(&pods));
    }

    #[test]
    fn the_load_aware_score_falls_with_the_queue() {
        let only =
            Picker { queue_weight: 0.0, kv_weight: 0.0, load_weight: 1.0, ..Picker::default() };
        let mut pods = fleet(&[0, 0, 0]);
        for (pod, waiting) in pods.iter_mut().zip([3, 2, 128]) {
            pod.waiting = waiting;
        }
        assert_eq!(counts(Policy::EndpointPicker(only), &pods, 20), [0, 20, 0]);
    }

    #[test]
    fn affinity_moves_only_what_must_move() {
        let all = fleet(&[0; 5]);
        let homes = |pods: &[EndpointView]| -> Vec<PodId> {
            let mut gateway = Gateway::new(Policy::SessionAffinity, Seed(1));
            let home = |s| {
                let asked = Asked { session: Some(s), ..Asked::default() };
                pods[gateway.pick(NOW, pods, asked).unwrap()].pod
            };
            (0..5_000).map(home).collect()
        };
        let before = homes(&all);
        for pod in &all {
            // 1 000 expected, sigma 28.
            let n = before.iter().filter(|home| **home == pod.pod).count();
            assert!(n.abs_diff(1_000) < 140, "{n}");
        }
        let gone = all[2].pod;
        let rest: Vec<EndpointView> = all.iter().filter(|e| e.pod != gone).copied().collect();
        for (old, new) in before.iter().zip(homes(&rest)) {
            assert!(*old == gone || *old == new);
            assert_ne!(new, gone);
        }
        // Without a conversation: at random, as many draws as ever.
        let even = counts(Policy::SessionAffinity, &fleet(&[0, 0]), 10_000);
        assert!(even[0].abs_diff(5_000) < 250, "{even:?}");
        // By prefix: all that begin alike go to one pod.
        let mut gateway = Gateway::new(Policy::PrefixAffinity, Seed(1));
        let prompt = |own| {
            [(3, 0, 100), (own, 100, 20)].map(|(text, start, len)| TextPiece { text, start, len })
        };
        let mut pick = |own| {
            gateway.pick(
                NOW,
                &all,
                Asked { session: Some(own), prompt: &prompt(own), sheddable: false },
            )
        };
        let home = pick(10);
        assert!((11..40).all(|own| pick(own) == home));
    }

    #[test]
    fn the_picker_looks_once_a_period() {
        let mut gateway = Gateway::new(Policy::EndpointPicker(Picker::default()), Seed(1));
        let at = |ms| SimTime::ZERO + SimDuration::from_millis(ms);
        let looks = [0, 10, 49, 57, 99, 240].map(|ms| gateway.looks(at(ms)));
        assert_eq!(looks, [Some(at(0)), None, None, Some(at(50)), None, Some(at(200))]);
    }

    /// What one policy draws does not depend on the fleet, so a paired case stays paired.
    #[test]
    fn draws_per_pick_are_constant() {
        let mut small = Gateway::new(Policy::Random, Seed(9));
        let mut large = Gateway::new(Policy::Random, Seed(9));
        small.pick(NOW, &fleet(&[0]), Asked::default());
        large.pick(NOW, &fleet(&[0, 0, 0, 0, 0]), Asked::default());
        let pods = fleet(&[0; 97]);
        let asked = Asked::default();
        assert_eq!(small.pick(NOW, &pods, asked), large.pick(NOW, &pods, asked));
    }
}
