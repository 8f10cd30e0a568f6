//! Which pod a request goes to.

use super::Run;
use crate::engine::{Chain, Prompt, Segment, TokenSpan};
use crate::gateway::{Asked, EndpointView, TextPiece};
use crate::units::{PodId, RequestId, SimTime};
use crate::workload::{Request, TextId};

impl Run<'_> {
    /// The pod of one attempt; `None` if there is no endpoint.
    pub(super) fn choose(&mut self, id: RequestId, request: &Request) -> Option<PodId> {
        if let Some(as_of) = self.gateway.looks(self.now) {
            self.refresh_views(as_of);
        }
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
