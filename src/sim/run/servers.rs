//! Server processes: what the effects of the cluster do to them.

use super::{Run, Server};
use crate::cluster;
use crate::engine::{FinishReason, Replica};
use crate::gateway::EndpointView;
use crate::pipeline::Origin;
use crate::sim::event::Event;
use crate::sim::explanation::{EventRow, FaultRow};
use crate::sim::phases::{NodeRow, PodRow};
use crate::sim::record::RecordLevel;
use crate::units::{PodId, SimDuration};

impl Run<'_> {
    /// Tells the cluster when a draining replica is empty.
    pub(super) fn watch_drain(&mut self, pod: PodId) {
        let Some(server) = &mut self.servers[pod.0 as usize] else { return };
        if !server.draining {
            return;
        }
        if server.replica.unfinished() == 0 {
            server.draining = false;
            self.cluster.engine_empty(self.now, pod, &mut self.cluster_effects);
            self.apply_cluster_effects();
        } else {
            self.arm(pod);
        }
    }

    /// Carries out what the cluster asked for. Effects may lead to further ones (an abort frees a pod).
    pub(super) fn apply_cluster_effects(&mut self) {
        // An effect may call this again (a drained replica is gone at once): the cursor is shared, so
        // that no effect is carried out twice.
        while self.cluster_effects_done < self.cluster_effects.len() {
            let effect = self.cluster_effects[self.cluster_effects_done];
            self.cluster_effects_done += 1;
            self.apply_cluster_effect(effect);
        }
        self.cluster_effects.clear();
        self.cluster_effects_done = 0;
        self.replicas.set(self.now, u64::from(self.cluster.status_replicas()));
    }

    fn apply_cluster_effect(&mut self, effect: cluster::Effect) {
        match effect {
            cluster::Effect::At(at, event) => self.queue.push(at, Event::Cluster(event)),
            cluster::Effect::Pod { pod, stage, node } => {
                match stage {
                    cluster::PodStage::Loading => self.container_up(pod),
                    cluster::PodStage::Restarting => self.container_down(pod),
                    _ => {}
                }
                if self.level > RecordLevel::Measures {
                    self.record.pods.push(PodRow { at: self.now, pod, stage, node });
                }
            }
            cluster::Effect::Node { node, stage, pool } => {
                if self.level > RecordLevel::Measures {
                    self.record.nodes.push(NodeRow { at: self.now, node, stage, pool });
                }
            }
            cluster::Effect::ServerUp(pod) => self.server_up(pod),
            cluster::Effect::InService(pod) => {
                let view = EndpointView::unread(pod);
                let at = self.endpoints.partition_point(|e| e.pod < pod);
                self.endpoints.insert(at, view);
            }
            cluster::Effect::OutOfService(pod) => self.endpoints.retain(|e| e.pod != pod),
            cluster::Effect::Drain { pod, .. } => {
                self.advance(pod);
                if let Some(server) = &mut self.servers[pod.0 as usize] {
                    server.accepting = false;
                    server.draining = true;
                }
                self.watch_drain(pod);
            }
            cluster::Effect::Abort(pod) | cluster::Effect::ServerDown(pod) => self.kill(pod),
            cluster::Effect::Lost(pod) => {
                self.kill(pod);
                self.machine_lost(pod);
            }
            cluster::Effect::Gone(pod) => {
                self.kill(pod);
                self.metrics_gone(pod);
            }
            cluster::Effect::Fault(event) => {
                if self.level > RecordLevel::Measures {
                    self.record.faults.push(FaultRow { at: self.now, event });
                }
            }
            cluster::Effect::Autoscaler(event) => {
                if self.level > RecordLevel::Measures {
                    self.record.events.push(EventRow::new(self.now, event, &self.cluster));
                }
            }
        }
    }

    fn server_up(&mut self, pod: PodId) {
        let index = pod.0 as usize;
        if self.servers.len() <= index {
            self.servers.resize_with(index + 1, || None);
        }
        let mut replica = Replica::new(self.scenario.engine.clone(), self.now);
        if !self.scenario.expose_at.is_empty() || self.reads_counters() {
            replica.record_metrics();
        }
        self.servers[index] = Some(Server {
            replica,
            accepting: true,
            draining: false,
            armed: None,
            busy_at_restart: SimDuration::ZERO,
        });
        self.container_up(pod);
        if let Some(first) = self.pipeline.target_up(self.now, Origin::Server, pod) {
            self.queue.push(first, Event::Scrape(Origin::Server, pod));
        }
    }

    /// The server process ends; whatever it had is lost.
    fn kill(&mut self, pod: PodId) {
        self.end_server(pod, FinishReason::Killed);
    }

    pub(super) fn end_server(&mut self, pod: PodId, reason: FinishReason) {
        let Some(slot) = self.servers.get_mut(pod.0 as usize) else { return };
        let Some(mut server) = slot.take() else { return };
        server.replica.drain_unfinished(self.now, reason, &mut self.effects);
        self.busy_gone += server.replica.busy_time() - server.busy_at_restart;
        self.collect(pod);
    }
}
