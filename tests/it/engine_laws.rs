//! Laws of one replica over random configurations and loads.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use hpasim::engine::scheduler::{Admission, Batch, OutputSink, Scheduler};
use hpasim::engine::{
    Effect, EngineConfig, EngineMode, EngineRequest, FinishReason, Prompt, Replica, RequestRecord,
    SchedulerConfig, SchedulerRules, Segment, StepCoefficients, StepModel, TokenSpan,
};
use hpasim::rng::{Seed, Stream};
use hpasim::units::{RequestId, SimDuration, SimTime};
use proptest::prelude::*;
use rand_distr::{Distribution, Exp};

use crate::engine_script::{Op, Script, Seen, play, script};

/// Random cases per law; more with `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

fn check_record(r: &RequestRecord) {
    let times = [Some(r.arrival), Some(r.queued), r.first_scheduled, r.first_token, r.last_token];
    let mut times: Vec<SimTime> = times.into_iter().flatten().collect();
    times.push(r.end);
    // A refusal or an abort may come before the engine could see the request.
    if r.first_scheduled.is_some() || r.reason == FinishReason::Length {
        assert!(times.is_sorted(), "law L4: {r:?}");
    }
    assert_eq!(r.first_token.is_some(), r.output_tokens > 0, "{r:?}");
    assert_eq!(r.last_token.is_some(), r.output_tokens > 0, "{r:?}");
    assert!(r.cached_tokens < r.prompt_tokens, "one token is always computed: {r:?}");
}

/// Law L1: every request leaves exactly once. Gaps: one per token after a request's first.
fn check_conservation(script: &Script, seen: &Seen) {
    let sent: BTreeSet<RequestId> = script
        .ops
        .iter()
        .filter_map(|(_, op)| match op {
            Op::Enqueue(request) => Some(request.id),
            Op::Abort(_) | Op::Observe => None,
        })
        .collect();
    let left: BTreeSet<RequestId> = seen.finished.iter().map(|r| r.id).collect();
    assert_eq!(sent, left, "law L1");
    assert_eq!(left.len(), seen.finished.len(), "law L1: nobody leaves twice");
    let gaps: u64 = seen.gaps.values().sum();
    let later: u64 = seen.finished.iter().map(|r| u64::from(r.output_tokens.max(1) - 1)).sum();
    assert_eq!(gaps, later, "one gap per token after the first");
    assert!(seen.finished.windows(2).all(|w| w[0].end <= w[1].end), "law L3");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn requests_are_conserved_and_times_ordered(script in script(true)) {
        let seen = play(&script, EngineMode::Stepwise, true);
        check_conservation(&script, &seen);
        seen.finished.iter().for_each(check_record);
        for (at, gauges, _, busy) in &seen.observed {
            prop_assert!(gauges.used_blocks <= gauges.usable_blocks);
            prop_assert!(gauges.num_requests_running <= script.config.scheduler.max_num_seqs);
            prop_assert!(*busy <= *at - SimTime::ZERO);
        }
    }

    #[test]
    fn looking_changes_nothing(script in script(true)) {
        for mode in [EngineMode::Stepwise, EngineMode::Fast] {
            let seen = play(&script, mode, true);
            let unseen = play(&script, mode, false);
            prop_assert_eq!(&seen.finished, &unseen.finished);
            prop_assert_eq!(&seen.gaps, &unseen.gaps);
        }
    }

    /// The promise of the closed form: whatever is done to a replica, and whenever it is looked at.
    #[test]
    fn fast_equals_stepwise(script in script(true)) {
        let stepwise = play(&script, EngineMode::Stepwise, true);
        let fast = play(&script, EngineMode::Fast, true);
        prop_assert_eq!(&stepwise.finished, &fast.finished);
        prop_assert_eq!(&stepwise.gaps, &fast.gaps);
        prop_assert_eq!(&stepwise.observed, &fast.observed);
        prop_assert_eq!(&stepwise.metrics, &fast.metrics);
    }

    /// Everything served: the pool is empty again and the gauges say so.
    #[test]
    fn an_idle_replica_holds_nothing(script in script(true)) {
        let mut script = script;
        script.end += SimDuration::from_secs(3600);
        script.metrics = true;
        script.ops.push((script.end, Op::Observe));
        let seen = play(&script, EngineMode::Stepwise, true);
        let (_, gauges, left, _) = seen.observed.last().unwrap();
        prop_assert_eq!((gauges.used_blocks, gauges.num_requests_running), (0, 0));
        prop_assert_eq!(*left, 0);
        let metrics = seen.metrics.last().unwrap();
        let finished = |r: &&RequestRecord| r.reason == FinishReason::Length;
        let count = seen.finished.iter().filter(finished).count() as u64;
        prop_assert_eq!(metrics.e2e_request_latency.count(), count);
        let tokens: u64 = seen.finished.iter().map(|r| u64::from(r.output_tokens)).sum();
        prop_assert_eq!(metrics.generation_tokens, tokens);
        prop_assert_eq!(metrics.inter_token_latency.count(), seen.gaps.values().sum::<u64>());
        let iterations = metrics.iteration_tokens.sum();
        // Prompt tokens that the cache gave are no work of an iteration, except to 0.11.
        let begun = seen.finished.iter().filter(|r| r.first_token.is_some());
        let cached: u64 = match script.config.scheduler.rules {
            SchedulerRules::V0_11 => 0,
            SchedulerRules::V0_33 => begun.map(|r| u64::from(r.cached_tokens)).sum(),
        };
        prop_assert_eq!(iterations, u128::from(metrics.prompt_tokens + tokens - cached));
        for r in &seen.finished {
            if r.reason == FinishReason::Length {
                let c = &script.config.scheduler;
                let Some((_, Op::Enqueue(sent))) = script.ops.iter().find(
                    |(_, op)| matches!(op, Op::Enqueue(q) if q.id == r.id)
                ) else { panic!("unknown request") };
                let room = c.max_model_len - r.prompt_tokens;
                prop_assert_eq!(r.output_tokens, sent.output_tokens.min(room));
            }
        }
    }
}

/// What one scheduler decided and what it had left, iteration by iteration.
type Trace = Vec<(Vec<(RequestId, u32)>, Vec<Admission>, Vec<RequestId>, [u32; 3])>;

struct Ignore;
impl OutputSink for Ignore {
    fn token(&mut self, _id: impl FnOnce() -> RequestId) {}
    fn gap(&mut self, _gap: SimDuration, _tokens: u64) {}
    fn finished(&mut self, _record: RequestRecord) {}
}

/// Drives a scheduler alone: one operation of the script before each iteration, then to the end.
fn decisions(script: &Script, track_blocks: bool) -> Trace {
    let mut scheduler = Scheduler::new(script.config.scheduler.clone(), track_blocks);
    let mut trace = Trace::new();
    let mut in_flight = VecDeque::new();
    let depth = if script.config.scheduler.async_scheduling { 2 } else { 1 };
    let mut ops = script.ops.iter();
    for step in 0..200_000 {
        let now = SimTime::from_ps(step);
        match ops.next() {
            Some((_, Op::Enqueue(q))) if scheduler.accepts(q.prompt_tokens, q.output_tokens) => {
                scheduler.add(q.clone(), now);
            }
            Some((_, Op::Abort(id))) => drop(scheduler.abort(*id, now, FinishReason::Aborted)),
            Some(_) => {}
            None if scheduler.has_work() || !in_flight.is_empty() => {}
            None => return trace,
        }
        let mut more = false;
        if scheduler.has_work() {
            let mut batch = Batch::default();
            scheduler.schedule(now, &mut batch);
            trace.push((
                scheduler.scheduled(&batch).collect(),
                batch.admitted().to_vec(),
                batch.preempted().to_vec(),
                [scheduler.num_running(), scheduler.num_waiting(), scheduler.free_blocks()],
            ));
            more = batch.shape().tokens > 0 || scheduler.has_work();
            in_flight.push_back(batch);
        }
        if !(more && in_flight.len() < depth)
            && let Some(batch) = in_flight.pop_front()
        {
            scheduler.update_from_output(&batch, now, &mut Ignore);
        }
        scheduler.check_laws();
    }
    panic!("the scheduler does not come to an end")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Counting blocks, or pieces of the free queue, decides as block by block.
    #[test]
    fn pools_agree(script in prop_oneof![script(false), script(true)]) {
        prop_assert_eq!(decisions(&script, false), decisions(&script, true));
    }
}

/// One server, constant service: a batch of one and requests of one size.
fn single_server(output_tokens: u32) -> (Arc<EngineConfig>, f64) {
    let coefficients = StepCoefficients {
        t0_ms: 2.0,
        m_ms: 8.0,
        c_ms_per_token: 0.0,
        p: 2.0,
        c_seq_ms: 0.0,
        c_kv_us: 0.0,
        c_att_1e6_ms: 0.0,
        cpu_step_ms: 0.0,
        cpu_seq_ms: 0.0,
        cpu_launch_ms: 0.0,
        graph_tokens: u32::MAX,
        g_table: None,
    };
    let scheduler = SchedulerConfig {
        max_num_seqs: 1,
        num_gpu_blocks: 1000,
        enable_prefix_caching: false,
        async_scheduling: false,
        ..SchedulerConfig::default()
    };
    let config = EngineConfig {
        step_model: Arc::new(StepModel::new(&coefficients, 2048).unwrap()),
        scheduler,
        ingest: SimDuration::ZERO,
        mode: EngineMode::Fast,
    };
    (Arc::new(config), 0.010 * f64::from(output_tokens))
}

fn serve(config: &Arc<EngineConfig>, arrivals: &[f64], output_tokens: u32) -> Vec<RequestRecord> {
    let mut replica = Replica::new(config.clone(), SimTime::ZERO);
    let mut out = Vec::new();
    for (id, at) in (0u64..).zip(arrivals) {
        let arrival = SimTime::ZERO + SimDuration::from_secs_f64(*at);
        replica.advance_to(arrival, &mut out);
        replica.enqueue(EngineRequest {
            id: RequestId(id),
            arrival,
            prompt_tokens: 100,
            output_tokens,
            priority: 0,
            prompt: Prompt::Unique,
        });
    }
    replica.advance_to(SimTime::MAX_HORIZON, &mut out);
    let record = |effect| match effect {
        Effect::Finished(record) => Some(record),
        Effect::Gaps(_) => None,
    };
    out.into_iter().filter_map(record).collect()
}

fn poisson(rate: f64, count: usize, seed: u64) -> Vec<f64> {
    let mut rng = Seed(seed).stream(Stream::Arrivals, 0);
    let gap = Exp::new(rate).unwrap();
    let mut at = 0.0;
    (0..count)
        .map(|_| {
            at += gap.sample(&mut rng);
            at
        })
        .collect()
}

/// After warm-up a replica allocates nothing: neither fast nor stepwise, whatever the pool.
#[test]
fn a_warm_replica_allocates_nothing() {
    for mode in [EngineMode::Fast, EngineMode::Stepwise] {
        for (caching, async_scheduling, shared) in
            [(false, false, false), (true, true, false), (true, true, true)]
        {
            let (config, _) = single_server(1);
            let scheduler = SchedulerConfig {
                max_num_seqs: 16,
                num_gpu_blocks: if shared { 100 } else { 160 },
                max_model_len: 1000,
                enable_prefix_caching: caching,
                async_scheduling,
                scheduler_reserve_full_isl: false,
                ..config.scheduler.clone()
            };
            let config = Arc::new(EngineConfig { scheduler, mode, ..(*config).clone() });
            let mut replica = Replica::new(config, SimTime::ZERO);
            let mut out = Vec::with_capacity(1 << 20);
            let mut id = 0;
            // Prompts with a common beginning need block identities.
            let span = |segment| TokenSpan { segment: Segment::Text(segment), start: 0, len: 250 };
            let spans: Vec<Prompt> =
                (0..4_000).map(|n| Prompt::Spans([span(0), span(n)].into())).collect();
            let mut serve = |count: u64, out: &mut Vec<Effect>| {
                for _ in 0..count {
                    let arrival = SimTime::ZERO + SimDuration::from_millis(220) * id;
                    replica.advance_to(arrival, out);
                    replica.enqueue(EngineRequest {
                        id: RequestId(id),
                        arrival,
                        prompt_tokens: if shared { 500 } else { 300 + (id * 37 % 200) as u32 },
                        output_tokens: 20 + (id * 53 % 150) as u32,
                        priority: 0,
                        prompt: if shared { spans[id as usize].clone() } else { Prompt::Unique },
                    });
                    // The queue is cut back now and then, so that it does not grow for ever.
                    if id % 3 == 0 {
                        replica.abort(arrival, RequestId(id));
                    }
                    id += 1;
                }
            };
            serve(2_000, &mut out);
            out.clear();
            let counted = allocation_counter::measure(|| serve(2_000, &mut out));
            let preempted = |e: &Effect| matches!(e, Effect::Finished(r) if r.preemptions > 0);
            assert!(out.iter().any(preempted), "the load reaches every path");
            assert_eq!(counted.count_total, 0, "{mode:?}, caching {caching}: {counted:?}");
        }
    }
}

/// A look between arrival and abort once made the replica wait for the front end with the abort.
#[test]
fn an_abort_does_not_wait_for_the_front_end() {
    let (config, _) = single_server(1);
    let config = EngineConfig { ingest: SimDuration::from_millis(7), ..(*config).clone() };
    let at = |ms| SimTime::ZERO + SimDuration::from_millis(ms);
    for looks in [vec![], vec![1], vec![1, 5, 6]] {
        let mut replica = Replica::new(Arc::new(config.clone()), SimTime::ZERO);
        let mut out = Vec::new();
        replica.enqueue(EngineRequest {
            id: RequestId(0),
            arrival: at(0),
            prompt_tokens: 10,
            output_tokens: 10,
            priority: 0,
            prompt: Prompt::Unique,
        });
        looks.iter().filter(|&&ms| ms < 5).for_each(|&ms| replica.advance_to(at(ms), &mut out));
        replica.abort(at(5), RequestId(0));
        looks.iter().filter(|&&ms| ms >= 5).for_each(|&ms| replica.advance_to(at(ms), &mut out));
        replica.advance_to(at(100), &mut out);
        let [Effect::Finished(record)] = out[..] else { panic!("{out:?}") };
        assert_eq!((record.end, record.reason), (at(5), FinishReason::Aborted), "{looks:?}");
    }
}

/// M/D/1: the mean wait is rho * service / (2 * (1 - rho)) (Pollaczek-Khinchine).
#[test]
fn a_single_server_waits_as_queueing_theory_says() {
    let (config, service) = single_server(5);
    let rho = 0.7;
    let expected = rho * service / (2.0 * (1.0 - rho));
    let means: Vec<f64> = (0..20)
        .map(|seed| {
            let served = serve(&config, &poisson(rho / service, 20_000, seed), 5);
            let wait = |r: &RequestRecord| (r.first_scheduled.unwrap() - r.arrival).as_secs_f64();
            served.iter().map(wait).sum::<f64>() / served.len() as f64
        })
        .collect();
    let mean = means.iter().sum::<f64>() / 20.0;
    let spread = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 19.0;
    let standard_error = (spread / 20.0).sqrt();
    // 3.5 standard errors: a false alarm in some thousand seeds, and these are fixed.
    assert!((mean - expected).abs() < 3.5 * standard_error, "{mean} against {expected}");
    assert!(standard_error < 0.03 * expected, "the bound is sharp: {standard_error}");
}

/// Little: requests in the system, seen at Poisson times, are rate times mean stay.
#[test]
fn requests_in_the_system_are_rate_times_stay() {
    let (config, service) = single_server(5);
    let rate = 0.6 / service;
    let arrivals = poisson(rate, 40_000, 99);
    let served = serve(&config, &arrivals, 5);
    let stay: f64 = served.iter().map(|r| (r.end - r.arrival).as_secs_f64()).sum::<f64>();
    let span = served.last().unwrap().end.as_secs_f64();
    // Exact bookkeeping: the integral of the number in the system over the whole run is the sum of stays.
    let mut events: Vec<(f64, f64)> = served
        .iter()
        .flat_map(|r| [(r.arrival.as_secs_f64(), 1.0), (r.end.as_secs_f64(), -1.0)])
        .collect();
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut inside, mut area, mut last) = (0.0, 0.0, 0.0);
    for (at, change) in events {
        area += inside * (at - last);
        last = at;
        inside += change;
    }
    assert!((area - stay).abs() < 1e-6 * stay, "{area} against {stay}");
    // And as the law states it, with the nominal rate.
    let mean_stay = stay / served.len() as f64;
    assert!((area / span - rate * mean_stay).abs() < 0.03 * area / span);
}
