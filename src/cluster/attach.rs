//! Attachment of the model's volume: a disk can be attached to so many nodes at one time, and no more.
//!
//! A pod on a node that cannot have the volume stays `ContainerCreating` (event `FailedAttachVolume`) until another
//! node gives it up, which a node does with its last pod.
// ASSUMPTION(A332): the pod that waits longest gets a place at once; the attach-detach controller's retries (backoff
// up to about two minutes) and the detach itself are left out.

use super::Cluster;
use super::config::ModelLoad;
use super::effect::Effect;
use super::fault_event::FaultEvent;
use crate::units::SimTime;

impl Cluster {
    /// Whether node `n` has the volume or may still get it.
    pub(super) fn may_attach(&self, n: usize) -> bool {
        let ModelLoad::Storage(load) = &self.config.startup.load else { return true };
        let Some(limit) = load.attach_limit else { return true };
        let attached = || self.nodes.iter().filter(|node| node.attached).count();
        self.nodes[n].attached || attached() < limit as usize
    }

    /// The kubelet of a bound pod's node mounts the volume, or the pod waits for it.
    pub(super) fn attach(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        let n = self.node_of(i);
        self.pods[i].waits_for_volume = !self.may_attach(n);
        if self.pods[i].waits_for_volume {
            out.push(Effect::Fault(FaultEvent::FailedAttachVolume { pod: self.pods[i].id }));
            return;
        }
        self.nodes[n].attached = true;
        let done = now + self.pods[i].delays.attach;
        self.pod_timer(i, done, out);
    }

    /// The last pod of node `n` is gone: its place is free for pods that wait.
    pub(super) fn detach(&mut self, now: SimTime, n: usize, out: &mut Vec<Effect>) {
        self.nodes[n].attached = false;
        for i in 0..self.pods.len() {
            let waits = self.pods[i].waits_for_volume && !self.pods[i].lost;
            if waits && self.may_attach(self.node_of(i)) {
                self.attach(now, i, out);
            }
        }
    }
}
