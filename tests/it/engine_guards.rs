//! Moments at which a jump of the fast engine would be wrong, or looks wrong and is not.

use crate::support;
use hpasim::engine::{Effect, EngineMode, EngineRequest, Prompt, Replica, RequestRecord};
use hpasim::units::{RequestId, SimDuration, SimTime};
use std::sync::Arc;

fn ms(n: u64) -> SimTime {
    SimTime::ZERO + SimDuration::from_millis(n)
}

fn request(id: u64, at_ms: u64, prompt_tokens: u32, output_tokens: u32) -> EngineRequest {
    EngineRequest {
        id: RequestId(id),
        arrival: ms(at_ms),
        prompt_tokens,
        output_tokens,
        priority: 0,
        prompt: Prompt::Unique,
    }
}

/// `prefill_schedule_interval` holds prefill back unless somebody stayed waiting in the last pass. Whoever stayed may
/// leave without a pass (its client goes): then the next call, which finds an empty queue, ends that state. A jump
/// over this call would let the next request in too early.
#[test]
fn a_queue_that_empties_by_an_abort_binds_no_longer() {
    let run = |mode, asynchronous| -> Vec<RequestRecord> {
        let mut config = support::engine(2, 200);
        config.scheduler.prefill_schedule_interval = 60;
        config.scheduler.async_scheduling = asynchronous;
        config.mode = mode;
        let mut replica = Replica::new(Arc::new(config), SimTime::ZERO);
        let mut effects = Vec::new();
        // Two are admitted at once, the third stays waiting and is gone 5 ms later.
        for (id, output) in [(0, 5), (1, 200), (2, 10)] {
            replica.enqueue(request(id, 0, 20, output));
        }
        replica.advance_to(ms(17), &mut effects);
        replica.abort(ms(17), RequestId(2));
        // Request 0 is done by then, so that there is room, but the next prefill is not due.
        replica.advance_to(ms(300), &mut effects);
        replica.enqueue(request(3, 300, 20, 5));
        replica.advance_to(ms(60_000), &mut effects);
        effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Finished(record) => Some(record),
                Effect::Gaps(_) => None,
            })
            .collect()
    };
    for asynchronous in [false, true] {
        let fast = run(EngineMode::Fast, asynchronous);
        assert_eq!(fast, run(EngineMode::Stepwise, asynchronous));
        let of = |id| fast.iter().find(|record| record.id == RequestId(id)).expect("finished");
        assert!(of(0).end < ms(300), "{:?}", of(0));
        assert_eq!(of(2).first_scheduled, None);
        // Sixty calls of at least 10 ms after the first prefill.
        assert!(of(3).first_scheduled.is_some_and(|at| at > ms(500)), "{:?}", of(3));
    }
}
