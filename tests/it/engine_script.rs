//! Random scripts for one replica, and what can be observed while one is played.

use std::collections::BTreeMap;
use std::sync::Arc;

use hpasim::engine::metrics::Metrics;
use hpasim::engine::{
    Chain, Effect, EngineConfig, EngineMode, EngineRequest, FinishReason, Gauges, Prompt, Replica,
    RequestRecord, SchedulerConfig, SchedulerRules, SchedulingPolicy, Segment, StepCoefficients,
    StepModel, TokenSpan,
};
use hpasim::units::{RequestId, SimDuration, SimTime};
use proptest::prelude::*;

/// What happens to a replica at one instant.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Enqueue(EngineRequest),
    Abort(RequestId),
    /// Advance and look.
    Observe,
}

/// A configuration and what is done to it, in time order.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) config: EngineConfig,
    pub(crate) ops: Vec<(SimTime, Op)>,
    pub(crate) end: SimTime,
    /// Whether counters and histograms are kept.
    pub(crate) metrics: bool,
}

/// Everything a caller can see.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) finished: Vec<RequestRecord>,
    /// Tokens by their gap [ps].
    pub(crate) gaps: BTreeMap<u64, u64>,
    pub(crate) observed: Vec<(SimTime, Gauges, usize, SimDuration)>,
    /// Counters and histograms at each look, if they are kept.
    pub(crate) metrics: Vec<Metrics>,
}

impl Seen {
    fn take(&mut self, out: &mut Vec<Effect>) {
        for effect in out.drain(..) {
            match effect {
                Effect::Finished(record) => self.finished.push(record),
                Effect::Gaps(run) => {
                    for i in 0..run.steps {
                        let gap = run.first + run.increment * i;
                        *self.gaps.entry(gap.as_ps()).or_default() += run.tokens_per_step;
                    }
                }
            }
        }
    }
}

/// Plays a script. `observe` false leaves all observations out, which must change nothing else.
pub(crate) fn play(script: &Script, mode: EngineMode, observe: bool) -> Seen {
    let config = Arc::new(EngineConfig { mode, ..script.config.clone() });
    let mut replica = Replica::new(config, SimTime::ZERO);
    if script.metrics {
        replica.record_metrics();
    }
    let mut seen = Seen::default();
    let mut out = Vec::new();
    for (at, op) in &script.ops {
        match op {
            Op::Enqueue(request) => replica.enqueue(request.clone()),
            Op::Abort(id) => replica.abort(*at, *id),
            Op::Observe if observe => {
                let promised = replica.next_change();
                replica.advance_to(*at, &mut out);
                replica.check_laws();
                let before = seen.finished.len();
                seen.take(&mut out);
                if let Some(first) = seen.finished.get(before)
                    && first.reason == FinishReason::Length
                {
                    let promised = promised.expect("something finishes, so something is to come");
                    assert!(promised <= first.end, "{promised:?} is later than {first:?}");
                }
                let (gauges, left) = (replica.gauges(), replica.unfinished());
                seen.metrics.extend(replica.metrics().cloned());
                seen.observed.push((*at, gauges, left, replica.busy_time()));
            }
            Op::Observe => {}
        }
    }
    replica.advance_to(script.end, &mut out);
    replica.drain_unfinished(script.end, FinishReason::Unfinished, &mut out);
    seen.take(&mut out);
    seen
}

/// Round costs, so that arrivals and step ends often fall on one instant.
fn coefficients(kv: bool) -> StepCoefficients {
    StepCoefficients {
        t0_ms: 1.0,
        m_ms: 9.0,
        c_ms_per_token: 0.05,
        p: f64::INFINITY,
        c_seq_ms: 0.0,
        c_kv_us: if kv { 2.0 } else { 0.0 },
        c_att_1e6_ms: 3.0,
        cpu_step_ms: 0.0,
        cpu_seq_ms: 0.0,
        cpu_launch_ms: 0.0,
        graph_tokens: u32::MAX,
        g_table: None,
    }
}

prop_compose! {
    /// Any legal scheduler, with pools from roomy to hopelessly small.
    pub(crate) fn scheduler_config()(
        max_num_seqs in prop_oneof![Just(1u32), 2u32..6, Just(64)],
        budget in prop_oneof![1u32..20, 20u32..200, Just(512)],
        block_size in prop_oneof![Just(1u32), Just(4), Just(5), Just(16)],
        spare_blocks in prop_oneof![Just(0u32), 0u32..8, Just(200)],
        max_model_len in prop_oneof![30u32..120, Just(400)],
        caching in any::<bool>(),
        chunked in prop_oneof![4 => Just(true), 1 => Just(false)],
        priority in prop_oneof![2 => Just(false), 1 => Just(true)],
        async_scheduling in any::<bool>(),
        threshold in prop_oneof![3 => Just(0u32), 1 => 1u32..40],
        adaptive in any::<bool>(),
        reserve in prop_oneof![2 => Just(true), 1 => Just(false)],
        watermark in prop_oneof![3 => Just(0.0), 1 => Just(0.05)],
        interval in prop_oneof![4 => Just(1u32), 1 => 2u32..6],
        active in prop_oneof![4 => Just(None), 1 => (1u32..4).prop_map(Some)],
        old in prop_oneof![3 => Just(false), 1 => Just(true)],
    ) -> SchedulerConfig {
        SchedulerConfig {
            rules: if old { SchedulerRules::V0_11 } else { SchedulerRules::V0_33 },
            max_num_seqs,
            max_num_batched_tokens: if chunked { budget } else { budget.max(max_model_len) },
            num_gpu_blocks: max_model_len.div_ceil(block_size) + spare_blocks + 1,
            block_size,
            max_model_len,
            enable_prefix_caching: caching,
            enable_chunked_prefill: chunked,
            policy: if priority { SchedulingPolicy::Priority } else { SchedulingPolicy::Fcfs },
            async_scheduling,
            long_prefill_token_threshold: threshold,
            long_prefill_token_threshold_adaptive: adaptive,
            scheduler_reserve_full_isl: reserve,
            watermark,
            prefill_schedule_interval: interval,
            max_num_active_seqs: active,
        }
    }
}

/// One request of a script, times in units of `tick`.
#[derive(Clone, Debug)]
struct Plan {
    wait: u64,
    prompt: u32,
    output: u32,
    priority: i32,
    /// 0: unique; else shares a prefix with its like.
    family: u64,
    abort_after: Option<u64>,
    observe_after: Option<u64>,
}

fn plan(sharing: bool) -> impl Strategy<Value = Plan> {
    (
        prop_oneof![Just(0u64), 0u64..4, 0u64..200],
        prop_oneof![1u32..4, 1u32..60, 15u32..18, 100u32..500],
        prop_oneof![Just(1u32), 1u32..40, 1u32..300],
        -1i32..2,
        0u64..if sharing { 4 } else { 1 },
        prop_oneof![4 => Just(None), 1 => (0u64..300).prop_map(Some)],
        prop_oneof![1 => Just(None), 2 => (0u64..100).prop_map(Some)],
    )
        .prop_map(|(wait, prompt, output, priority, family, abort_after, observe_after)| {
            Plan { wait, prompt, output, priority, family, abort_after, observe_after }
        })
}

/// Prompts that share: family 1 a common beginning, family 2 a session whose turns re-send all before, family 3
/// conversations whose answers carry on their text.
#[derive(Default)]
struct Prompts {
    session: Vec<TokenSpan>,
    /// Text of the present conversation and its length.
    talk: (u64, u32),
}

impl Prompts {
    fn next(&mut self, id: u64, plan: &Plan) -> (u32, Prompt) {
        let span = |segment, len| TokenSpan { segment, start: 0, len };
        let own = Segment::Text(1000 + id);
        let spans = match plan.family {
            0 => return (plan.prompt, Prompt::Unique),
            1 => {
                let shared = plan.prompt.min(20);
                vec![span(Segment::Text(1), shared), span(own, plan.prompt - shared)]
            }
            3 => {
                if self.talk.0 == 0 || self.talk.1 > 150 {
                    self.talk = (2000 + id, 0);
                }
                let text = Segment::Text(self.talk.0);
                // Sometimes the same turn again, which may still be under way.
                let said = self.talk.1 + plan.prompt % 25;
                let spans = [span(Segment::Text(2), 20), span(text, said)];
                self.talk.1 = said + if plan.wait == 0 { 0 } else { plan.output.min(60) };
                return (20 + said, Prompt::Chain(Chain::new(&spans)));
            }
            _ => {
                let mut spans = std::mem::take(&mut self.session);
                if spans.iter().map(|s| s.len).sum::<u32>() > 100 {
                    spans.clear();
                }
                spans.push(span(own, plan.prompt % 20 + 1));
                self.session.clone_from(&spans);
                // The next turn quotes what this one may still be generating.
                self.session.push(span(Segment::Output(RequestId(id)), plan.output.min(40)));
                spans
            }
        };
        (spans.iter().map(|s| s.len).sum(), Prompt::Spans(spans.into()))
    }
}

prop_compose! {
    /// Up to 40 requests with aborts and looks in between; `sharing` allows common prefixes.
    pub(crate) fn script(sharing: bool)(
        scheduler in scheduler_config(),
        kv in any::<bool>(),
        ingest in prop_oneof![Just(0u64), Just(7)],
        plans in prop::collection::vec(plan(sharing), 1..40),
        metrics in any::<bool>(),
        tail in prop_oneof![Just(0u64), 0u64..20_000],
    ) -> Script {
        let tick = SimDuration::from_millis(5);
        let at = |ticks: u64| SimTime::ZERO + tick * ticks;
        let mut ops = Vec::new();
        let mut now = 0;
        let mut prompts = Prompts::default();
        for (id, plan) in (0u64..).zip(&plans) {
            now += plan.wait;
            let (prompt_tokens, prompt) = prompts.next(id, plan);
            ops.push((at(now), Op::Enqueue(EngineRequest {
                id: RequestId(id),
                arrival: at(now),
                prompt_tokens,
                output_tokens: plan.output,
                priority: plan.priority,
                prompt,
            })));
            if let Some(after) = plan.abort_after {
                ops.push((at(now + after), Op::Abort(RequestId(id))));
            }
            if let Some(after) = plan.observe_after {
                // Half a tick aside from everything else, or exactly on it.
                let aside = SimDuration::from_millis(if after % 2 == 0 { 0 } else { 2 });
                ops.push((at(now + after) + aside, Op::Observe));
            }
        }
        ops.sort_by_key(|(at, _)| *at);
        let last = ops.last().map_or(SimTime::ZERO, |(at, _)| *at);
        let step_model = StepModel::new(&coefficients(kv), scheduler.max_num_batched_tokens);
        Script {
            config: EngineConfig {
                scheduler,
                step_model: Arc::new(step_model.expect("valid coefficients")),
                ingest: SimDuration::from_millis(ingest),
                mode: EngineMode::Stepwise,
            },
            ops,
            end: last + tick * tail,
            metrics,
        }
    }
}
