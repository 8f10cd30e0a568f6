//! Which pod a request goes to.

use super::super::event::Event;
use super::Run;
use crate::engine::{Chain, Prompt, Segment, TokenSpan};
use crate::gateway::{Asked, EndpointView, TextPiece};
use crate::units::{PodId, RequestId, SimTime};
use crate::workload::{Request, TextId};

impl Run<'_> {
    /// A request joins those at the gateway and goes on at once if there is room.
    pub(super) fn hold(&mut self, id: RequestId, request: Request) {
        if let Some(at) = self.clients.held(self.now, id, request.arrival) {
            self.queue.push(at, Event::ClientTimeout);
        }
        let priority = self.scenario.workload.priority(request.text.stream());
        self.held.push(priority, id, request);
        self.dispatch();
        if !self.held.is_empty() {
            self.collector.held();
        }
    }

    /// Sends on what the gateway holds if the pods have room. It goes by what it last saw of them, so all go at once.
    pub(super) fn dispatch(&mut self) {
        self.look();
        if self.gateway.has_room(self.now, &self.endpoints) {
            while let Some((id, request)) = self.held.pop() {
                self.send(id, request);
            }
        }
        let next = self.gateway.next_look(self.now);
        if !self.held.is_empty() && !self.dispatches && next < self.horizon {
            self.dispatches = true;
            self.queue.push(next, Event::Dispatch);
        }
    }

    /// The pod of one attempt; `None` if there is no endpoint.
    pub(super) fn choose(&mut self, id: RequestId, request: &Request) -> Option<PodId> {
        self.look();
        self.prompt.clear();
        let is_unique = request.text.is_unique();
        if self.scenario.gateway.reads_prompt() && self.shares_texts {
            let mut pieces = std::mem::take(&mut self.pieces);
            self.texts.pieces(request.text, request.prompt_tokens, &mut pieces);
            // A unique prompt is a text that nobody else has: a picker remembers it all the same.
            let text = |text: TextId| if is_unique { 1 << 63 | id.0 } else { text.0 };
            let pieces_of = |&(of, start, len): &_| TextPiece { text: text(of), start, len };
            self.prompt.extend(pieces.iter().map(pieces_of));
            self.pieces = pieces;
        }
        let session = self.texts.session(request.text);
        let sheddable = self.scenario.gateway.sheds()
            && self.scenario.workload.is_sheddable(request.text.stream());
        let asked = Asked { session, prompt: &self.prompt, sheddable };
        // Drawn also if a connection is reused: what later requests draw does not depend on it.
        let picked = self.gateway.pick(self.now, &self.endpoints, asked);
        let picked = picked.map(|i| self.endpoints[i].pod);
        let servers = &self.servers;
        let accepts = |pod: PodId| servers[pod.0 as usize].as_ref().is_some_and(|s| s.accepting);
        self.gateway.reuse(self.now, request.text.stream(), accepts).or(picked)
    }

    /// Lets the gateway look at the replicas, if it is time.
    pub(super) fn look(&mut self) {
        if let Some(as_of) = self.gateway.looks(self.now) {
            self.refresh_views(as_of);
        }
    }

    /// A request's content as the engine sees it.
    pub(super) fn prompt(&mut self, request: &Request) -> Prompt {
        if request.text.is_unique() {
            return Prompt::Unique;
        }
        self.texts.pieces(request.text, request.prompt_tokens, &mut self.pieces);
        self.spans.clear();
        self.spans.extend(self.pieces.iter().map(|&(text, start, len)| TokenSpan {
            segment: Segment::Text(text.0),
            start,
            len,
        }));
        Prompt::Chain(Chain::new(&self.spans))
    }

    /// Shows the gateway the present load of every endpoint, as that of `as_of`. A server that does not answer keeps
    /// its last reading.
    fn refresh_views(&mut self, as_of: SimTime) {
        for i in 0..self.endpoints.len() {
            let pod = self.endpoints[i].pod;
            self.advance(pod);
            let Some(server) = &self.servers[pod.0 as usize] else { continue };
            let gauges = server.replica.gauges();
            self.endpoints[i] = EndpointView {
                pod,
                read_at: Some(as_of),
                outstanding: server.replica.unfinished() as u32,
                waiting: gauges.num_requests_waiting,
                running: gauges.num_requests_running,
                kv_usage: gauges.kv_cache_usage_perc(),
            };
        }
    }
}
