//! Conversations and shared prefixes, from the workload to the blocks that the engine finds again.

use crate::cli_support::Scratch;
use crate::engines::assert_engines_agree;
use crate::support;
use hpasim::engine::{
    Chain, Effect, EngineMode, EngineRequest, Prompt, Replica, RequestRecord, Segment, TokenSpan,
};
use hpasim::gateway::{Picker, Policy};
use hpasim::rng::Seed;
use hpasim::sim::{Autoscaler, RecordLevel, RunRecord, Scenario, run_workload};
use hpasim::units::{RequestId, SimDuration, SimTime};
use hpasim::workload::import::{ReadOptions, read, read_trace, write_csv};
use hpasim::workload::request::{Side, SideTable};
use hpasim::workload::{
    Arrivals, Clients, Generated, Growth, LengthDist, LengthKind, LengthModel, RateModel, Recorded,
    Renewal, Request, Sessions, Sharing, StreamSpec, Think, Transform, VllmBench, WorkloadSpec,
};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

fn turn(id: u64, at_s: u64, system: u32, said: u32, output_tokens: u32) -> EngineRequest {
    let span = |n, len| TokenSpan { segment: Segment::Text(n), start: 0, len };
    EngineRequest {
        id: RequestId(id),
        arrival: SimTime::from_secs(at_s),
        prompt_tokens: system + said,
        output_tokens,
        priority: 0,
        prompt: Prompt::Chain(Chain::new(&[span(1, system), span(2, said)])),
    }
}

fn serve(requests: Vec<EngineRequest>, mode: EngineMode, asynchronous: bool) -> Vec<RequestRecord> {
    let mut config = support::engine(8, 200);
    config.scheduler.enable_prefix_caching = true;
    config.scheduler.async_scheduling = asynchronous;
    config.mode = mode;
    let mut replica = Replica::new(Arc::new(config), SimTime::ZERO);
    let mut effects = Vec::new();
    for request in requests {
        replica.advance_to(request.arrival, &mut effects);
        replica.enqueue(request);
    }
    replica.advance_to(SimTime::from_secs(10_000), &mut effects);
    replica.check_laws();
    let records = effects.into_iter().filter_map(|effect| match effect {
        Effect::Finished(record) => Some(record),
        Effect::Gaps(_) => None,
    });
    let mut records: Vec<RequestRecord> = records.collect();
    records.sort_unstable_by_key(|record| record.id);
    records
}

/// Blocks of 16. Turn 1: 40 + 10 tokens, answer 30: 80 tokens, the newest of which is never computed, so 79 are: 4
/// full blocks. Turn 2: 40 + 60 tokens: 6 blocks may be looked up, 4 are there: 64. Its answer of 20 ends at 120
/// tokens, 119 computed: 7 blocks. Turn 3 re-sends 40 + 80 = 120 tokens: at most (120 - 1) / 16 = 7 blocks: 112.
/// A stranger with the same system prompt finds 40 / 16 = 2 blocks: 32.
#[test]
fn the_next_turn_finds_prompt_and_answer_of_the_one_before() {
    let stranger = |id, at_s| {
        let span = |n, len| TokenSpan { segment: Segment::Text(n), start: 0, len };
        let chain = Chain::new(&[span(1, 40), span(3, 50)]);
        EngineRequest { prompt: Prompt::Chain(chain), ..turn(id, at_s, 40, 50, 5) }
    };
    for mode in [EngineMode::Fast, EngineMode::Stepwise] {
        for asynchronous in [false, true] {
            let records = serve(
                vec![
                    turn(0, 1, 40, 10, 30),
                    turn(1, 50, 40, 60, 20),
                    turn(2, 100, 40, 80, 5),
                    stranger(3, 150),
                ],
                mode,
                asynchronous,
            );
            let cached: Vec<u32> = records.iter().map(|record| record.cached_tokens).collect();
            assert_eq!(cached, [0, 64, 112, 32], "{mode:?}, asynchronous: {asynchronous}");
        }
    }
}

/// The second turn is sent while the first is being answered: it finds the blocks that are full by then.
#[test]
fn an_answer_is_found_while_it_is_being_written() {
    let run = |mode| {
        let mut requests = vec![turn(0, 1, 40, 10, 400)];
        // Small steps in time, so that some look-up falls on each side of a block that becomes full.
        for i in 0..40 {
            let mut next = turn(1 + i, 2, 40, 400, 3);
            next.arrival = SimTime::from_secs(2) + SimDuration::from_millis(i * 37);
            requests.push(next);
        }
        serve(requests, mode, true)
    };
    let (fast, stepwise) = (run(EngineMode::Fast), run(EngineMode::Stepwise));
    assert_eq!(fast, stepwise);
    let cached: Vec<u32> = fast[1..].iter().map(|record| record.cached_tokens).collect();
    assert!(cached[0] > 50 && cached[0] < 400, "{cached:?}");
    assert!(cached.last() > cached.first(), "{cached:?}");
}

/// Sessions of three turns: 160 shared + 32 own, + 20, + 20; answers of 44 tokens.
fn sessions(rate: f64) -> Sessions {
    let tokens = |n| LengthDist::constant(n).expect("valid");
    Sessions {
        arrivals: Generated::new(RateModel::Constant(rate), Renewal::Exponential),
        turns: tokens(3),
        first_prompt_tokens: tokens(32),
        prompt_tokens: tokens(20),
        output_tokens: tokens(44),
        think: Think::Lognormal { mean: 6.0, sd: 4.0, min: 1.0, max: 30.0 },
        system_prompt_tokens: 160,
        system_prompts: 1,
        max_context: 1024,
        growth: Growth::Accumulate,
        open: false,
    }
}

fn scenario(sessions: Sessions, replicas: u32, policy: Policy) -> Scenario {
    let mut engine = support::engine(24, 2_000);
    engine.scheduler.enable_prefix_caching = true;
    engine.scheduler.async_scheduling = true;
    engine.mode = EngineMode::Fast;
    let mut scenario = support::scenario(engine, Autoscaler::Fixed(replicas), Vec::new(), 900);
    scenario.workload =
        WorkloadSpec::single(Arrivals::Sessions(Box::new(sessions))).expect("valid");
    scenario.gateway = policy;
    // Requests before the first pod is there are refused.
    scenario.warmup = support::secs(300);
    scenario
}

fn run(scenario: &Scenario) -> RunRecord {
    run_workload(scenario, Seed(3), RecordLevel::Requests)
}

/// One replica, an endless cache. Turn 1: 192 tokens, the system prompt's 160 are there: 10 blocks of 16.
/// Turn 2: 192 + 44 + 20 = 256 tokens; 235 computed: 14 blocks = 224. Turn 3: 256 + 44 + 20 = 320; 299: 18 blocks
/// = 288. Together (160 + 224 + 288) / (192 + 256 + 320) = 0.875.
#[test]
fn one_replica_finds_what_the_hand_finds() {
    let record = run(&scenario(sessions(0.4), 1, Policy::Random));
    let warm = SimTime::from_secs(300);
    let mut turns = [0; 3];
    for row in record.requests.iter().filter(|row| row.record.arrival >= warm) {
        let Some(_) = row.record.first_scheduled else { continue };
        let (at, expected) = match row.record.prompt_tokens {
            192 => (0, 160),
            256 => (1, 224),
            320 => (2, 288),
            other => panic!("a prompt of {other} tokens"),
        };
        turns[at] += 1;
        assert_eq!(row.record.cached_tokens, expected, "{:?}", row.record);
    }
    assert!(turns.iter().all(|&n| n > 200), "{turns:?}");
    let hit = record.measures.prefix_hit_ratio;
    assert!((hit - 0.875).abs() < 0.002, "{hit}");
}

#[test]
fn routing_by_prefix_and_by_session_keeps_what_random_loses() {
    let hit = |policy| {
        let record = run(&scenario(sessions(1.0), 4, policy));
        assert!(record.measures.requests_completed > 1_000.0);
        record.measures.prefix_hit_ratio
    };
    let random = hit(Policy::Random);
    // Every replica has the system prompt; a turn finds its conversation on one of four, or an older part of it.
    assert!(random > 0.55 && random < 0.80, "{random}");
    let best = 0.875;
    for policy in [Policy::EndpointPicker(Picker::default()), Policy::SessionAffinity] {
        let hit = hit(policy);
        assert!(hit > random + 0.08 && hit < best + 0.002, "{policy:?}: {hit}, random {random}");
    }
    // One system prompt: all go to one replica, which has it all.
    let prefix = hit(Policy::PrefixAffinity);
    assert!(prefix > random + 0.08, "{prefix}");
    // A picker that does not weigh prefixes is no better than random.
    let blind = Picker { prefix_weight: 0.0, ..Picker::default() };
    let blind = hit(Policy::EndpointPicker(blind));
    assert!((blind - random).abs() < 0.05, "{blind} against {random}");
}

/// Law L1, and promise 2, with everything at once: conversations, timeouts, retries, a cap, replicas that come, drain
/// and are killed, caches too small for all.
#[test]
fn sessions_are_conserved_and_the_engines_agree() {
    for (growth, policy) in [
        (Growth::Accumulate, Policy::EndpointPicker(Picker::default())),
        (Growth::Window, Policy::SessionAffinity),
        (Growth::Window, Policy::Random),
    ] {
        let mut spec = sessions(0.8);
        spec.turns = LengthDist::lognormal_mean_sd(5.0, 4.0, 1, 20).expect("valid");
        spec.output_tokens = LengthDist::lognormal_mean_sd(60.0, 60.0, 1, 300).expect("valid");
        spec.max_context = 600;
        spec.growth = growth;
        let mut scenario = scenario(spec.clone(), 1, policy);
        let at = SimTime::from_secs;
        scenario.autoscaler = Autoscaler::Schedule(vec![
            (at(0), 1),
            (at(200), 3),
            (at(400), 1),
            (at(600), 2),
            (at(700), 0),
            (at(800), 1),
        ]);
        let clients = Clients {
            client_timeout: Some(support::secs(3)),
            retries: 1,
            max_connections: Some(60),
        };
        let streams = vec![
            StreamSpec::new(Arrivals::Sessions(Box::new(spec.clone()))),
            StreamSpec {
                start: support::secs(100),
                ..StreamSpec::new(Arrivals::Sessions(Box::new(spec)))
            },
        ];
        scenario.workload = WorkloadSpec::new(streams, clients).expect("valid");
        let engine = Arc::make_mut(&mut scenario.engine);
        engine.scheduler.num_gpu_blocks = 120;
        let fast = run(&scenario);
        Arc::make_mut(&mut scenario.engine).mode = EngineMode::Stepwise;
        let stepwise = run(&scenario);
        assert!(format!("{fast:?}") == format!("{stepwise:?}"), "{growth:?} {policy:?}");
        let a = fast.accounting;
        assert_eq!(a.arrived, a.accounted());
        assert!(a.refused > 0 && a.completed > 500 && a.cancelled > 0, "{a:?}");
        // Sessions of both streams go on after everything was down.
        assert!(fast.requests.iter().any(|row| row.record.arrival > at(850)));
        assert!(fast.measures.preemptions > 0.0, "the cache is meant to be too small");
        assert!(fast.measures.prefix_hit_ratio > 0.2, "{}", fast.measures.prefix_hit_ratio);
    }
}

/// A user whose request nobody takes must not be lost.
#[test]
fn a_refused_turn_does_not_end_a_conversation() {
    let mut scenario = scenario(sessions(0.5), 0, Policy::Random);
    scenario.warmup = SimDuration::ZERO;
    let record = run(&scenario);
    let sessions = record.accounting.arrived as f64 / 3.0;
    assert_eq!(record.accounting.refused, record.accounting.arrived);
    assert!((sessions / (0.5 * 900.0) - 1.0).abs() < 0.15, "{sessions} sessions");
}

/// Ten minutes of one replica that keeps all prompts.
fn one_caching_replica() -> Scenario {
    let mut engine = support::engine(64, 20_000);
    engine.scheduler.enable_prefix_caching = true;
    engine.scheduler.max_model_len = 4096;
    support::scenario(engine, Autoscaler::Fixed(1), Vec::new(), 600)
}

fn poisson_stream(rate_rps: f64, start_s: u64, request_seed: Option<u64>) -> StreamSpec {
    let arrivals = Generated::new(RateModel::Constant(rate_rps), Renewal::Exponential);
    let lengths = LengthModel::pairs((1..=40).map(|i| (40 * i, 100 - i)).collect()).expect("valid");
    StreamSpec {
        start: support::secs(start_s),
        requests: Some(60),
        request_seed,
        ..StreamSpec::new(Arrivals::Generated(arrivals, lengths))
    }
}

/// Load generators with one `--seed`: the second one's prompts are in the cache, whatever its rate.
#[test]
fn streams_of_one_request_seed_send_the_same_requests() {
    let mut scenario = one_caching_replica();
    let mut cached = |seeds: [Option<u64>; 3]| {
        let streams = [(2.0, 200), (5.0, 300), (3.0, 400)];
        let streams = streams.iter().zip(seeds).map(|(s, seed)| poisson_stream(s.0, s.1, seed));
        scenario.workload =
            WorkloadSpec::new(streams.collect(), Clients::default()).expect("valid");
        let record = run(&scenario);
        let rows: Vec<_> = record.requests.iter().map(|row| row.record).collect();
        assert_eq!(rows.len(), 180);
        let of = |from: u64| {
            let part = rows.iter().filter(move |r| {
                let s = r.arrival.as_secs_f64();
                (from as f64..from as f64 + 100.0).contains(&s)
            });
            part.map(|r| (r.prompt_tokens, r.output_tokens, r.cached_tokens)).collect::<Vec<_>>()
        };
        [of(200), of(300), of(400)]
    };
    let [first, second, third] = cached([Some(7), Some(7), Some(8)]);
    assert_eq!(first.len(), 60);
    for (a, b) in first.iter().zip(&second) {
        assert_eq!((a.0, a.1), (b.0, b.1));
        // Whole blocks, and the last token is computed again.
        assert_eq!((a.2, b.2), (0, (b.0 - 1) / 16 * 16));
    }
    assert!(third.iter().all(|r| r.2 == 0));
    let prompts = |of: &[(u32, u32, u32)]| of.iter().map(|r| r.0).collect::<Vec<_>>();
    assert_ne!(prompts(&first), prompts(&third));
    let apart = cached([None, None, None]);
    assert!(apart.iter().flatten().all(|r| r.2 == 0));
    assert_ne!(prompts(&apart[0]), prompts(&apart[1]));
}

/// Two runs of the load generator with one `--seed`: the same prompts, each at the instants of its own rate.
#[test]
fn vllm_bench_sends_what_its_seed_gives() {
    let lengths = LengthModel::pairs((1..=40).map(|i| (40 * i, 100 - i)).collect()).expect("valid");
    let stream = |request_rate: f64, seed: u32| {
        let bench =
            VllmBench { request_rate, num_prompts: 60, seed, burstiness: 1.0, test_run: None };
        StreamSpec::new(Arrivals::VllmBench(bench, lengths.clone()))
    };
    let streams = vec![stream(2.0, 5), stream(6.0, 5), stream(6.0, 6)];
    let spec = WorkloadSpec::new(streams, Clients::default()).expect("valid");
    assert_eq!(spec.natural_duration(), Some(support::secs(30)));
    let sent = spec.materialise(Seed(1), SimTime::from_secs(100));
    let of = |i: usize| -> Vec<Request> {
        sent.iter().filter(|r| r.text.stream() == i).copied().collect()
    };
    let [slow, quick, other] = [of(0), of(1), of(2)];
    assert_eq!([slow.len(), quick.len(), other.len()], [60, 60, 60]);
    for (a, b) in slow.iter().zip(&quick) {
        assert_eq!((a.prompt_tokens, a.output_tokens), (b.prompt_tokens, b.output_tokens));
        let ratio = a.arrival.as_secs_f64() / b.arrival.as_secs_f64();
        assert!((ratio - 3.0).abs() < 1e-6, "{ratio}");
    }
    let last = |of: &[Request]| of[59].arrival.as_secs_f64();
    assert!((last(&slow) - 30.0).abs() < 1e-6 && (last(&other) - 10.0).abs() < 1e-6);
    assert_ne!(quick[0].arrival, other[0].arrival);
    // The instants are the tool's; what the replication draws is the lengths.
    let again = spec.materialise(Seed(2), SimTime::from_secs(100));
    assert!(again.iter().map(|r| r.arrival).eq(sent.iter().map(|r| r.arrival)));
    assert!(again.iter().map(|r| r.prompt_tokens).ne(sent.iter().map(|r| r.prompt_tokens)));

    let seeded = StreamSpec { request_seed: Some(5), ..stream(1.0, 5) };
    let error = WorkloadSpec::new(vec![seeded], Clients::default()).expect_err("refused");
    assert!(error.message.contains("`seed` of its own"), "{error}");
}

/// The load waits for its first prompt, however long the replica takes for it, and then sends that prompt again.
#[test]
fn a_test_run_delays_the_load_by_its_own_latency() {
    let mut scenario = one_caching_replica();
    let lengths = LengthModel::pairs((5..=40).map(|i| (40 * i, 100 - i)).collect()).expect("valid");
    let spec = |test_run| {
        let (request_rate, num_prompts, seed, burstiness) = (2.0, 60, 5, 1.0);
        let bench = VllmBench { request_rate, num_prompts, seed, burstiness, test_run };
        let start = support::secs(100);
        let stream =
            StreamSpec { start, ..StreamSpec::new(Arrivals::VllmBench(bench, lengths.clone())) };
        WorkloadSpec::new(vec![stream], Clients::default()).expect("valid")
    };
    let mut rows = |test_run| {
        scenario.workload = spec(test_run);
        let record = run(&scenario);
        assert_eq!(record.accounting.arrived, record.accounting.completed);
        let mut rows: Vec<_> = record.requests.iter().map(|row| row.record).collect();
        rows.sort_by_key(|r| r.arrival);
        rows
    };
    let plain = rows(None);
    let tested = rows(Some(700));
    assert_eq!((plain.len(), tested.len()), (60, 61));
    let (test, load) = tested.split_first().expect("61 requests");
    assert_eq!(test.arrival, SimTime::from_secs(100));
    assert_eq!((test.prompt_tokens, test.output_tokens), (plain[0].prompt_tokens, 700));
    let took = test.end - test.arrival;
    assert!(took > support::secs(3), "{took:?}");
    for (with, without) in load.iter().zip(&plain) {
        assert_eq!(with.arrival, without.arrival + took);
        assert_eq!(with.output_tokens, without.output_tokens);
    }
    assert_eq!((plain[0].cached_tokens, load[0].cached_tokens > 0), (0, true));

    // Nobody there: again every 5 s, and no load.
    scenario.autoscaler = Autoscaler::Fixed(0);
    scenario.workload = spec(Some(700));
    let accounting = run(&scenario).accounting;
    assert_eq!((accounting.arrived, accounting.refused), (100, 100));
}

#[test]
fn a_request_seed_needs_drawn_arrivals_and_one_kind_of_lengths() {
    let refused = |second: StreamSpec| {
        let streams = vec![poisson_stream(1.0, 0, Some(7)), second];
        WorkloadSpec::new(streams, Clients::default()).expect_err("refused").field
    };
    let replay = Arrivals::Replay(Recorded::new(Vec::new()), Transform::default());
    let replay = StreamSpec { request_seed: Some(1), ..StreamSpec::new(replay) };
    assert_eq!(refused(replay), "stream[1].request_seed");
    let other = LengthModel::constant(10, 10).expect("valid");
    let arrivals = Generated::new(RateModel::Constant(1.0), Renewal::Exponential);
    let other = StreamSpec {
        request_seed: Some(7),
        ..StreamSpec::new(Arrivals::Generated(arrivals, other))
    };
    assert_eq!(refused(other.clone()), "stream[1].request_seed");
    let alone = StreamSpec { request_seed: Some(8), ..other };
    let streams = vec![poisson_stream(1.0, 0, Some(7)), alone];
    assert!(WorkloadSpec::new(streams, Clients::default()).is_ok());
}

/// What a trace says is shared is what an endless cache finds.
#[test]
fn prefix_blocks_of_a_trace_reach_the_engine() {
    // A made-up trace in Mooncake's form: a system prompt of one block, three conversations, one edited turn.
    let rows = [
        (0, 1200, 10, vec![1, 2, 3]),
        (5_000, 1700, 10, vec![1, 2, 4, 5]),
        (10_000, 900, 10, vec![1, 6]),
        (15_000, 1700, 20, vec![1, 2, 4, 7]),
        (20_000, 600, 20, vec![8, 9]),
        (25_000, 2300, 20, vec![1, 2, 4, 11, 12]),
    ];
    let text: String = rows
        .iter()
        .map(|(at, input, output, ids)| {
            format!(
                "{{\"timestamp\": {at}, \"input_length\": {input}, \"output_length\": {output}, \"hash_ids\": {ids:?}}}\n"
            )
        })
        .collect();
    let options = ReadOptions::default();
    let imported = read(text.as_bytes(), &options).expect("a trace");
    let reuse = imported.report.prefix_reuse.expect("blocks");
    let trace = read_trace(text.as_bytes(), &options).expect("a trace");
    let mut csv = Vec::new();
    write_csv(&trace, &[], &mut csv).expect("written");
    let again = read_trace(csv.as_slice(), &ReadOptions::strict()).expect("our own format");
    assert_eq!(again.texts, trace.texts);
    assert_eq!(again.requests, trace.requests);

    let mut engine = support::engine(8, 2_000);
    engine.scheduler.enable_prefix_caching = true;
    engine.scheduler.max_model_len = 4096;
    let mut scenario = support::scenario(engine, Autoscaler::Fixed(1), Vec::new(), 300);
    // Once the pod is there, and twice in a row: the second time is another set of clients.
    let transform = Transform { repeat: 2, ..Transform::default() };
    let stream = StreamSpec {
        start: support::secs(200),
        ..StreamSpec::new(Arrivals::Replay(again, transform))
    };
    scenario.workload = WorkloadSpec::new(vec![stream], Clients::default()).expect("valid");
    let record = run(&scenario);
    let cached: Vec<u32> = record.requests.iter().map(|row| row.record.cached_tokens).collect();
    // Two shared blocks, one, three, none, three; copies share nothing, since no text is common to all clients.
    let expected = [0, 1024, 512, 1536, 0, 1536];
    assert_eq!(cached, [expected, expected].concat());
    let prompts: u32 = rows.iter().map(|row| row.1).sum();
    let found: u32 = expected.iter().sum();
    assert!((reuse - f64::from(found) / f64::from(prompts)).abs() < 1e-12);
}

/// A changed trace says in its side columns what is still shared.
#[test]
fn a_changed_trace_keeps_what_is_shared() {
    let text: String = (0..6)
        .map(|i| {
            format!("{i},{},20,{},{},sys,100,\n", 150 + 40 * (i / 2), ["a", "b"][i % 2], i / 2)
        })
        .collect();
    let head =
        "arrival_s,prompt_tokens,output_tokens,session_id,turn,prefix_group,prefix_tokens,class\n";
    let trace =
        read_trace((head.to_owned() + &text).as_bytes(), &ReadOptions::strict()).expect("a trace");
    let share = |trace: &Recorded| Sharing::of(trace).expect("something is shared").reuse;
    // Turns of 150, 190 and 230 tokens; found: 100 and, each once for a and b, 170 and 210. Only a is the first.
    let expected = f64::from(100 + 2 * (170 + 210)) / f64::from(2 * (150 + 190 + 230));
    assert!((share(&trace) - expected).abs() < 1e-12);
    let transform = Transform { rate_scale: 2.0, time_stretch: 3.0, ..Transform::default() };
    let changed = transform.apply(&trace, Seed(1), 0);
    let changed = Recorded::realised(changed, &WorkloadSpec::replay(trace).texts(Seed(1)));
    // Two more clients, who have the system prompt in common with the others. The copy is rotated in time: what
    // ends up before its beginning has lost history.
    let sharing = Sharing::of(&changed).expect("something is shared");
    assert_eq!((changed.requests.len(), sharing.requests), (12, 12));
    assert!((4..=6).contains(&sharing.sessions), "{sharing:?}");
    let mut csv = Vec::new();
    write_csv(&changed, &[], &mut csv).expect("written");
    let again = read_trace(csv.as_slice(), &ReadOptions::strict()).expect("our own format");
    assert_eq!((again.requests, again.texts), (changed.requests, changed.texts));
}

/// `session_id` and `prefix_group` of our own format.
#[test]
fn sessions_and_groups_of_a_trace_reach_the_engine() {
    let mut side = SideTable::default();
    let mut requests = Vec::new();
    // (s, session, prompt, output): a system prompt of 100 tokens for all.
    let rows = [(200, "a", 150, 50), (210, "b", 130, 20), (220, "a", 220, 30), (230, "a", 200, 10)];
    for (i, (at, session, prompt_tokens, output_tokens)) in rows.into_iter().enumerate() {
        let row = Side {
            session: side.intern(session),
            turn: i as u32,
            prefix_group: side.intern("assistant"),
            prefix_tokens: 100,
            ..Side::default()
        };
        side.rows.push(row);
        requests.push(Request {
            arrival: SimTime::from_secs(at),
            prompt_tokens,
            output_tokens,
            ..Request::default()
        });
    }
    let mut engine = support::engine(8, 500);
    engine.scheduler.enable_prefix_caching = true;
    let mut scenario = support::scenario(engine, Autoscaler::Fixed(1), Vec::new(), 300);
    scenario.workload = WorkloadSpec::replay(Recorded::with_side(requests, side));
    let record = run(&scenario);
    let cached: Vec<u32> = record.requests.iter().map(|row| row.record.cached_tokens).collect();
    // b finds 96 of the system prompt's 100 tokens; a's second turn 199 computed tokens, 12 blocks; its third turn is
    // shorter than what was said, so that history was cut: the system prompt only.
    assert_eq!(cached, [0, 96, 192, 96]);
}

fn any_scenario() -> impl Strategy<Value = Scenario> {
    let sizes = (1_u32..12, 1_u32..300, 1_u32..80, 1_u32..150, 0_u32..200, 1_u32..4);
    let context = (300_u32..1000, any::<bool>(), 0.0_f64..8.0, 0.05_f64..2.0);
    let engine = (1_u32..30, 65_u32..300, any::<bool>(), any::<bool>(), any::<bool>());
    let policy = prop::sample::select(vec![
        Policy::Random,
        Policy::EndpointPicker(Picker::default()),
        Policy::SessionAffinity,
        Policy::PrefixAffinity,
    ]);
    let clients = (prop::option::of(1_u64..60), 0_u32..2, prop::option::of(3_u32..40));
    (sizes, context, engine, policy, clients).prop_map(
        |(sizes, (max_context, window, think, rate), engine, policy, clients)| {
            let (turns, first, later, output, system, prompts) = sizes;
            let up_to =
                |n| LengthDist::new(LengthKind::Uniform { min: 1, max: n }, 1, n).expect("valid");
            let spec = Sessions {
                turns: up_to(turns),
                first_prompt_tokens: up_to(first),
                prompt_tokens: up_to(later),
                output_tokens: up_to(output),
                think: Think::Constant(think),
                system_prompt_tokens: system,
                system_prompts: prompts,
                max_context,
                growth: if window { Growth::Window } else { Growth::Accumulate },
                ..sessions(rate)
            };
            let (seqs, blocks, asynchronous, gated, caching) = engine;
            let mut scenario = scenario(spec.clone(), 1, policy);
            let engine = Arc::make_mut(&mut scenario.engine);
            engine.scheduler.max_num_seqs = seqs;
            engine.scheduler.num_gpu_blocks = blocks;
            engine.scheduler.async_scheduling = asynchronous;
            engine.scheduler.scheduler_reserve_full_isl = gated;
            engine.scheduler.enable_prefix_caching = caching;
            let at = SimTime::from_secs;
            let script = vec![(at(0), 1), (at(150), 3), (at(301), 1), (at(420), 2), (at(500), 1)];
            scenario.autoscaler = Autoscaler::Schedule(script);
            scenario.duration = support::secs(600);
            scenario.warmup = SimDuration::ZERO;
            scenario.expose_at = vec![at(177), at(303), at(599)];
            let (patience, retries, max_connections) = clients;
            let client_timeout = patience.map(SimDuration::from_secs);
            let clients = Clients { client_timeout, retries, max_connections };
            let stream = StreamSpec::new(Arrivals::Sessions(Box::new(spec)));
            scenario.workload = WorkloadSpec::new(vec![stream], clients).expect("valid");
            scenario
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Promise 2 where the arrivals themselves depend on the answers.
    #[test]
    fn random_conversations_do_not_tell_the_engines_apart(
        mut scenario in any_scenario(),
        seed: u64,
    ) {
        assert_engines_agree(&mut scenario, seed);
    }
}

/// Law L5 for workloads that cannot be realised in advance.
#[test]
fn a_sweep_of_conversations_is_the_same_for_any_number_of_jobs() {
    let experiment = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/chat-sessions.toml");
    let experiment = experiment.to_str().expect("utf-8");
    let scratch = Scratch::new();
    for jobs in ["1", "2"] {
        let cut = ["--set", "duration=\"16m\"", "--set", "sweep.replications=2"];
        let args = [&["sweep", experiment, "-j", jobs, "-o", jobs][..], &cut[..]].concat();
        scratch.hpasim(&args);
    }
    for name in ["runs.csv", "cases.csv"] {
        let read = |jobs: &str| std::fs::read(scratch.path().join(jobs).join(name)).expect(name);
        assert!(!read("1").is_empty() && read("1") == read("2"), "{name}");
    }
}
