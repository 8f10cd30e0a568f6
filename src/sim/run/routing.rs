//! Which pod a request goes to.

use super::Run;
use crate::gateway::EndpointView;
use crate::units::PodId;

impl Run<'_> {
    /// The pod of one attempt; `None` if there is no endpoint.
    pub(super) fn choose(&mut self) -> Option<PodId> {
        if self.gateway.looks(self.now) {
            self.refresh_views();
        }
        // Drawn also if a connection is reused: what later requests draw does not depend on it.
        let picked = self.gateway.pick(&self.endpoints).map(|i| self.endpoints[i].pod);
        let servers = &self.servers;
        let accepts = |pod: PodId| servers[pod.0 as usize].as_ref().is_some_and(|s| s.accepting);
        self.gateway.reuse(self.now, accepts).or(picked)
    }

    /// Shows the gateway the present load of every endpoint.
    fn refresh_views(&mut self) {
        for i in 0..self.endpoints.len() {
            let pod = self.endpoints[i].pod;
            self.advance(pod);
            let Some(server) = &self.servers[pod.0 as usize] else { continue };
            let gauges = server.replica.gauges();
            self.endpoints[i] = EndpointView {
                pod,
                outstanding: server.replica.unfinished() as u32,
                waiting: gauges.num_requests_waiting,
                running: gauges.num_requests_running,
                kv_usage: gauges.kv_cache_usage_perc(),
            };
        }
    }
}
