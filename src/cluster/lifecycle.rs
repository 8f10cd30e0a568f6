//! The path of one pod: creation, placement, start, readiness, deletion.

use super::Cluster;
use super::config::{ModelLoad, Packing, ShutdownMode, StorageLoad};
use super::effect::{ClusterEvent, Effect, NodeStage, PodStage};
use super::fault_event::FaultEvent;
use super::node::{ImageState, Node};
use super::pod::{LoadState, Pod, Shutdown};
use super::rate;
use crate::units::{NodeId, PodId, SimDuration, SimTime};

/// A SIGTERM is never followed by SIGKILL sooner than this.
// Source: kubernetes pkg/kubelet/kuberuntime, killContainer: minimumGracePeriodInSeconds = 2.
const MIN_GRACE: SimDuration = SimDuration::from_secs(2);

impl Cluster {
    /// Moves a pod along an arrow (law L8) and tells so.
    pub(super) fn enter(&mut self, i: usize, stage: PodStage, out: &mut Vec<Effect>) {
        let pod = &mut self.pods[i];
        assert!(
            pod.stage.may_become(stage),
            "law L8: {:?} from {:?} to {stage:?}",
            pod.id,
            pod.stage
        );
        pod.stage = stage;
        pod.generation += 1;
        out.push(Effect::Pod { pod: pod.id, stage, node: pod.node });
    }

    /// Asks to be called at the end of the pod's present stage.
    pub(super) fn pod_timer(&mut self, i: usize, at: SimTime, out: &mut Vec<Effect>) {
        let pod = &mut self.pods[i];
        pod.generation += 1;
        out.push(Effect::At(at, ClusterEvent::Pod { pod: pod.id, generation: pod.generation }));
    }

    /// Asks to be called when the gateway's view of the pod changes.
    pub(super) fn endpoint_timer(&mut self, i: usize, at: SimTime, out: &mut Vec<Effect>) {
        let pod = &mut self.pods[i];
        pod.endpoint_generation += 1;
        let event = ClusterEvent::Endpoint { pod: pod.id, generation: pod.endpoint_generation };
        out.push(Effect::At(at, event));
    }

    /// Adds a Pending pod; returns its index.
    pub(super) fn create_pod(&mut self, now: SimTime, out: &mut Vec<Effect>) -> usize {
        let id = PodId(self.next_pod);
        self.next_pod += 1;
        self.pods.push(Pod::new(&self.config, self.seed, id, now));
        out.push(Effect::Pod { pod: id, stage: PodStage::Pending, node: None });
        self.pods.len() - 1
    }

    /// Binds Pending pods, oldest first, to nodes with room.
    // Source: kube-scheduler's LeastAllocated default spreads, GKE's optimize-utilization packs. The second or
    // less that scheduling takes is left out.
    pub(super) fn place_pending(&mut self, now: SimTime, out: &mut Vec<Effect>) {
        for i in 0..self.pods.len() {
            if self.pods[i].stage != PodStage::Pending {
                continue;
            }
            let Some(n) = self.node_with_room().or_else(|| self.displace_placeholder(now)) else {
                break;
            };
            self.hold_gpus(now, i, n);
            self.enter(i, PodStage::Attaching, out);
            if self.nodes[n].lost {
                // No kubelet takes it.
                self.pods[i].lost = true;
                continue;
            }
            self.attach(now, i, out);
        }
        self.place_placeholders();
    }

    /// The node the scheduler prefers among those with room; ties go to the oldest.
    pub(super) fn node_with_room(&self) -> Option<usize> {
        let has_room = |n: &usize| {
            let node = &self.nodes[*n];
            node.is_schedulable()
                && node.occupied() < self.config.pools[node.pool].replicas_per_node
        };
        let nodes = (0..self.nodes.len()).filter(has_room);
        match self.config.packing {
            Packing::Spread => nodes.min_by_key(|n| (self.nodes[*n].occupied(), *n)),
            Packing::Pack => nodes.min_by_key(|n| (u32::MAX - self.nodes[*n].occupied(), *n)),
        }
    }

    /// Gives node `n`'s GPUs to pod `i`.
    pub(super) fn hold_gpus(&mut self, now: SimTime, i: usize, n: usize) {
        let (node, pod) = (&mut self.nodes[n], &mut self.pods[i]);
        let pool = &self.config.pools[node.pool];
        assert!(node.stage == NodeStage::Ready, "law L8: {:?} is not ready", node.id);
        node.pods += 1;
        let occupied = node.occupied();
        assert!(occupied <= pool.replicas_per_node, "law L8: {occupied} pods on {:?}", node.id);
        pod.node = Some(node.id);
        pod.bound = Some(now);
        // The kubelet's first status has Ready = False.
        pod.ready_transition = Some(now);
        let gpus = self.config.gpus_per_replica.cast_signed();
        self.pools[node.pool].meter.change(now, pool.gpus_per_node, 0, gpus);
    }

    /// The end of a pod's timed stage.
    pub(super) fn pod_due(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        match self.pods[i].stage {
            PodStage::Attaching => self.attached(now, i, out),
            PodStage::Creating => self.container_starts(now, i, out),
            PodStage::Restarting => {
                self.pods[i].restarts += 1;
                self.container_starts(now, i, out);
            }
            PodStage::Loading => self.loaded(now, i, out),
            PodStage::Initializing => {
                self.enter(i, PodStage::NotReady, out);
                out.push(Effect::ServerUp(self.pods[i].id));
                let ready = self.pods[i].ready_at(&self.config, now);
                self.pod_timer(i, ready, out);
                self.arm_faults(now, i, out);
            }
            PodStage::NotReady => {
                self.enter(i, PodStage::Ready, out);
                self.pods[i].ready = true;
                self.pods[i].ready_transition = Some(now);
                if self.pods[i].routed {
                    // It was unready for so short that the gateway has not heard of it.
                    self.pods[i].endpoint_generation += 1;
                    self.enter(i, PodStage::InService, out);
                    return;
                }
                let known = now + self.pods[i].delays.endpoint;
                self.endpoint_timer(i, known, out);
            }
            PodStage::Terminating => match self.pods[i].shutdown {
                Shutdown::PreStop { serves: true } => self.sigterm(now, i, out),
                Shutdown::PreStop { serves: false } => self.remove_pod(now, i, out),
                Shutdown::Draining => self.end_process(now, i, out),
                Shutdown::None => unreachable!("law L8: a pod without a process has no timer"),
            },
            PodStage::Pending
            | PodStage::Pulling
            | PodStage::Ready
            | PodStage::InService
            | PodStage::Unreachable
            | PodStage::Failed
            | PodStage::Gone => unreachable!("law L8: stage has no timer: {:?}", self.pods[i]),
        }
    }

    /// The volume is mounted: the image is next.
    fn attached(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        let node = self.node_of(i);
        match self.nodes[node].image {
            ImageState::Present => self.create_container(now, i, out),
            ImageState::Pulling => self.enter(i, PodStage::Pulling, out),
            ImageState::Absent => {
                self.enter(i, PodStage::Pulling, out);
                self.nodes[node].image = ImageState::Pulling;
                let done = now + self.nodes[node].delays.pull;
                out.push(Effect::At(done, ClusterEvent::Image { node: self.nodes[node].id }));
            }
        }
    }

    /// The image is on a node: every pod that waited there goes on.
    pub(super) fn image_present(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let Some(n) = self.node_index(node) else { return };
        if self.nodes[n].lost {
            return;
        }
        self.nodes[n].image = ImageState::Present;
        for i in 0..self.pods.len() {
            if self.pods[i].stage == PodStage::Pulling && self.pods[i].node == Some(node) {
                self.create_container(now, i, out);
            }
        }
    }

    fn create_container(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        self.enter(i, PodStage::Creating, out);
        let done = now + self.pods[i].delays.create;
        self.pod_timer(i, done, out);
    }

    /// A container starts.
    fn container_starts(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        self.enter(i, PodStage::Loading, out);
        self.pods[i].container_start = Some(now);
        if let Some(deadline) = self.pods[i].startup_deadline(&self.config) {
            let pod = &self.pods[i];
            // A server that comes up at the very tick passes it.
            let deadline = deadline + SimDuration::from_ps(1);
            let event = ClusterEvent::StartupDeadline { pod: pod.id, life: pod.life };
            out.push(Effect::At(deadline, event));
        }
        self.begin_load(now, i, out);
    }

    /// The container runs and starts to read weights.
    fn begin_load(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        let delays = self.pods[i].delays;
        let ModelLoad::Storage(load) = &self.config.startup.load else {
            return self.pod_timer(i, now + delays.load_time, out);
        };
        let node = &self.nodes[self.node_of(i)];
        let page_cache = load.page_cache_bytes_per_s.filter(|_| self.weights_fit(node, load));
        // Where there is a page cache, it is what a restarted container reads from, too.
        let keeps = page_cache.is_some() || load.page_cache_bytes_per_s.is_none();
        if let Some(rate) = load.restart_bytes_per_s.filter(|_| self.pods[i].has_read && keeps) {
            return self.pod_timer(i, now + rate::time_for(load.bytes, rate), out);
        }
        if let Some(cache_rate) = page_cache {
            if node.weights_cached {
                let done = now + rate::time_for(load.bytes, cache_rate);
                return self.pod_timer(i, done, out);
            }
            if let Some(stream) = self.volume.stream_on(node.id) {
                self.pods[i].load = LoadState::Follows { stream, since: now };
                return;
            }
        }
        let rate = load.node_bytes_per_s.map_or(delays.load_rate, |cap| cap.min(delays.load_rate));
        let stream = self.volume.start(now, node.id, load.bytes, rate);
        self.pods[i].load = LoadState::Reads(stream);
        self.arm_volume(out);
    }

    /// Whether a node's memory has room for the weights beside its pods.
    fn weights_fit(&self, node: &Node, load: &StorageLoad) -> bool {
        let pods = u64::from(node.pods) * load.pod_memory_bytes;
        let fits = |memory| load.bytes.saturating_add(pods) <= memory;
        self.config.pools[node.pool].memory_bytes.is_none_or(fits)
    }

    /// Asks to be called at the end of the first read under the present division.
    fn arm_volume(&mut self, out: &mut Vec<Effect>) {
        if let Some(at) = self.volume.next_end() {
            let generation = self.volume.generation();
            out.push(Effect::At(at, ClusterEvent::Load { generation }));
        }
    }

    /// Reads that have ended by `now`.
    pub(super) fn load_due(&mut self, now: SimTime, generation: u64, out: &mut Vec<Effect>) {
        if generation != self.volume.generation() {
            return;
        }
        let ModelLoad::Storage(load) = &self.config.startup.load else { return };
        let cached = load.page_cache_bytes_per_s.map(|rate| rate::time_for(load.bytes, rate));
        while let Some((ended, node)) = self.volume.take_ended(now) {
            if let (Some(n), true) = (self.node_index(node), cached.is_some()) {
                self.nodes[n].weights_cached = true;
            }
            for i in 0..self.pods.len() {
                match self.pods[i].load {
                    LoadState::Reads(stream) if stream == ended => self.loaded(now, i, out),
                    LoadState::Follows { stream, since } if stream == ended => {
                        self.pods[i].load = LoadState::Timer;
                        let own = since + cached.expect("law L8: only a page cache is followed");
                        self.pod_timer(i, own.max(now), out);
                    }
                    LoadState::Timer | LoadState::Reads(_) | LoadState::Follows { .. } => {}
                }
            }
        }
        self.arm_volume(out);
    }

    /// The weights are in place.
    fn loaded(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        self.pods[i].load = LoadState::Timer;
        self.pods[i].has_read = true;
        self.enter(i, PodStage::Initializing, out);
        let done = now + self.pods[i].delays.init;
        self.pod_timer(i, done, out);
    }

    /// Gives up the read of a pod that ends; a pod that follows it goes on.
    // ASSUMPTION(A102): what a deleted reader had brought into the page cache is kept only while
    // another pod of its node is waiting for the same read.
    pub(super) fn stop_load(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        let load = std::mem::replace(&mut self.pods[i].load, LoadState::Timer);
        let stream = match load {
            LoadState::Timer => return,
            LoadState::Reads(stream) | LoadState::Follows { stream, .. } => stream,
        };
        let still_read = self.pods.iter().any(|pod| match pod.load {
            LoadState::Reads(s) | LoadState::Follows { stream: s, .. } => s == stream,
            LoadState::Timer => false,
        });
        if !still_read {
            self.volume.cancel(now, stream);
            self.arm_volume(out);
        }
    }

    /// The gateway's view of a pod changes.
    pub(super) fn endpoint_due(&mut self, id: PodId, generation: u32, out: &mut Vec<Effect>) {
        let Some(i) = self.pod_index(id) else {
            // Gone before the gateway noticed.
            if let Some(at) = self.still_routed.iter().position(|pod| *pod == id) {
                self.still_routed.remove(at);
                out.push(Effect::OutOfService(id));
            }
            return;
        };
        if self.pods[i].endpoint_generation != generation {
            return;
        }
        if self.pods[i].routed {
            self.pods[i].routed = false;
            out.push(Effect::OutOfService(id));
        } else {
            self.enter(i, PodStage::InService, out);
            self.pods[i].routed = true;
            out.push(Effect::InService(id));
        }
    }

    /// Deletes a pod.
    // Source: Kubernetes documentation, pod lifecycle, termination: endpoint removal and preStop start
    // together, SIGTERM follows, SIGKILL at the end of the grace period, counted from the deletion.
    pub(super) fn delete_pod(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        self.delete_pod_within(now, i, self.config.termination.grace, out);
    }

    /// Deletes a pod with a grace period of its own.
    pub(super) fn delete_pod_within(
        &mut self,
        now: SimTime,
        i: usize,
        grace: SimDuration,
        out: &mut Vec<Effect>,
    ) {
        assert!(!self.pods[i].is_deleting(), "law L8: {:?} deleted twice", self.pods[i].id);
        self.pods[i].deleted = Some(now);
        if self.pods[i].stage == PodStage::Terminating {
            // Its machine is being taken: its end is under way, but its endpoint goes only now.
            return self.forget_endpoint(now, i, out);
        }
        self.end_pod(now, i, grace, out);
    }

    /// A pod ends: deleted, or with its machine.
    pub(super) fn end_pod(
        &mut self,
        now: SimTime,
        i: usize,
        grace: SimDuration,
        out: &mut Vec<Effect>,
    ) {
        if self.pods[i].is_kube_pending() {
            return self.remove_pod(now, i, out);
        }
        let serves = self.pods[i].stage.listens();
        let starts = matches!(self.pods[i].stage, PodStage::Loading | PodStage::Initializing);
        self.stop_load(now, i, out);
        self.enter(i, PodStage::Terminating, out);
        if self.pods[i].lost {
            // No kubelet confirms its end.
            return self.forget_endpoint(now, i, out);
        }
        self.pods[i].kill_at = now + grace;
        if self.pods[i].is_deleting() || !self.pods[i].routed {
            self.forget_endpoint(now, i, out);
        }
        let hook = self.config.termination.pre_stop.min(grace);
        if hook > SimDuration::ZERO && (serves || starts) {
            // The kubelet runs the hook of every container that runs, ready or not.
            self.pods[i].shutdown = Shutdown::PreStop { serves };
            self.pod_timer(i, now + hook, out);
        } else if serves {
            self.sigterm(now, i, out);
        } else {
            // ASSUMPTION(A103): a server that is still starting ends on SIGTERM at once.
            self.remove_pod(now, i, out);
        }
    }

    /// The gateway will hear that a pod is no endpoint any more.
    pub(super) fn forget_endpoint(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        let pod = &mut self.pods[i];
        // Invalidates an endpoint that was on its way.
        pod.endpoint_generation += 1;
        if pod.routed {
            let known = now + pod.delays.endpoint_removal;
            self.endpoint_timer(i, known, out);
        }
    }

    /// SIGTERM reaches the server.
    fn sigterm(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        let termination = &self.config.termination;
        let timeout = match termination.shutdown {
            ShutdownMode::Abort => SimDuration::ZERO,
            ShutdownMode::Drain { timeout } => timeout,
        };
        let kill = self.pods[i].kill_at.max(now + MIN_GRACE);
        let until = kill.min(now + timeout);
        if until == now {
            return self.end_process(now, i, out);
        }
        self.pods[i].shutdown = Shutdown::Draining;
        out.push(Effect::Drain { pod: self.pods[i].id, until });
        self.pod_timer(i, until, out);
    }

    /// The server ends with whatever it still has.
    pub(super) fn end_process(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        out.push(Effect::Abort(self.pods[i].id));
        self.remove_pod(now, i, out);
    }

    /// The pod's object goes and its GPUs are free.
    pub(super) fn remove_pod(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        if self.pods[i].interrupted {
            if !self.pods[i].is_deleting() {
                self.forget_endpoint(now, i, out);
            }
            self.enter(i, PodStage::Failed, out);
            out.push(Effect::Fault(FaultEvent::PodFailed { pod: self.pods[i].id }));
        }
        self.enter(i, PodStage::Gone, out);
        let pod = self.pods.remove(i);
        if pod.routed {
            self.still_routed.push(pod.id);
        }
        out.push(Effect::Gone(pod.id));
        let Some(n) = pod.node.and_then(|node| self.node_index(node)) else { return };
        let gpus = self.config.gpus_per_replica.cast_signed();
        let node = &mut self.nodes[n];
        let per_node = self.config.pools[node.pool].gpus_per_node;
        self.pools[node.pool].meter.change(now, per_node, 0, -gpus);
        node.pods -= 1;
        if node.pods == 0 {
            // The volume is unmounted with its last user, and its page cache goes with it.
            node.weights_cached = false;
            self.detach(now, n, out);
            if self.nodes[n].stage == NodeStage::Draining {
                self.begin_delete(now, n, out);
            }
        }
    }

    /// Index of the node of a bound pod.
    pub(super) fn node_of(&self, i: usize) -> usize {
        let node = self.pods[i].node.expect("law L8: the pod is bound");
        self.node_index(node).expect("law L8: a node with pods is not removed")
    }
}
