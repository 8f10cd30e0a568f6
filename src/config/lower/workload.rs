//! `[workload]`: one source of requests, or several overlapping `[[workload.stream]]` tables.

use super::Inputs;
use super::arrivals::{FACTOR, Found, one_of, open_processes};
use super::lengths::lengths;
use super::refused::report_param;
use super::spans::{any_span, positive_span};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::Fields;
use crate::units::SimDuration;
use crate::workload::{
    Arrivals, Clients, ClosedLoop, OverLength, Overlay, StreamSpec, Transform, VllmBench, Wait,
    WorkloadSpec,
};

/// Reads `[workload]`; `max_model_len` bounds replayed requests.
pub(super) fn workload(
    root: &Fields<'_>,
    inputs: &Inputs<'_>,
    max_model_len: u32,
) -> Option<WorkloadSpec> {
    let table = root.key("workload", "Where requests come from").required().table_or_empty();
    let clients = Clients {
        client_timeout: table
            .key("client_timeout", "A client gives up this long after it sent its request")
            .duration(positive_span()),
        max_connections: table
            .key(
                "max_connections",
                "At most this many requests in flight; others wait at the client",
            )
            .u32(1..=1 << 24),
        retries: table.key("retries", "Attempts after the first one").u32_or(0..=100, 0),
    };
    let mut streams = Vec::new();
    let mut complete = true;
    let own = sources(&table, inputs, max_model_len);
    let tables = table.key("stream", "Overlapping streams, each with one source").tables();
    let has_streams = table.has("stream");
    for t in &tables {
        let arrivals = sources(t, inputs, max_model_len);
        let class = t.key("class", "Name of the traffic class").string_or("");
        let priority = t
            .key(
                "priority",
                "Of its InferenceObjective: below 0 an epp may shed it (`cluster.routing.shed`)",
            )
            .shown("0; if no stream has one, all may be shed")
            .integer(i64::from(i32::MIN)..=i64::from(i32::MAX))
            .map(|n| n as i32);
        let start =
            t.key("start", "When the stream starts").duration_or(any_span(), SimDuration::ZERO);
        let duration =
            t.key("duration", "When it ends, counted from its start").duration(positive_span());
        let requests = t
            .key("requests", "It ends after this many requests")
            .integer(1..=1 << 40)
            .map(|n| n as u64);
        let max_connections = t
            .key("max_connections", "At most this many of its requests in flight")
            .u32(1..=1 << 24);
        let request_seed = t
            .key(
                "request_seed",
                "Streams with the same value send the same requests in the same order, as load generators started with one --seed",
            )
            .integer(0..=i64::MAX)
            .map(|n| n as u64);
        match one_of(t, arrivals) {
            Some(arrivals) => streams.push(StreamSpec {
                class,
                priority,
                arrivals,
                start,
                duration,
                requests,
                max_connections,
                request_seed,
            }),
            None => complete = false,
        }
    }
    if !own.is_empty() || !has_streams {
        // A missing `[workload]` was reported on its own.
        match if root.has("workload") { one_of(&table, own) } else { None } {
            Some(arrivals) => streams.insert(0, StreamSpec::new(arrivals)),
            None => complete = false,
        }
    }
    if !complete || root.context().is_describing() {
        return None;
    }
    WorkloadSpec::new(streams, clients).map_err(|e| report_param(&table, &e)).ok()
}

/// All sources of a table, in the order in which the schema shows them.
fn sources(table: &Fields<'_>, inputs: &Inputs<'_>, max_model_len: u32) -> Found {
    let mut found = Found::new();
    if let Some(t) = table.key("trace", "Replays a recorded trace").table() {
        found.push(("trace", replay(&t, inputs, max_model_len)));
    }
    found.extend(open_processes(table, inputs, None));
    if let Some(t) =
        table.key("vllm_bench", "The load of `vllm bench serve`, instant by instant").table()
    {
        found.push(("vllm_bench", vllm_bench(&t, inputs)));
    }
    if let Some(t) = table.key("closed_loop", "Users who wait for their answer").table() {
        found.push(("closed_loop", closed_loop(&t, inputs)));
    }
    if let Some(t) =
        table.key("sessions", "Conversations: a turn follows the answer before").table()
    {
        found.push(("sessions", super::sessions::sessions(&t, inputs, max_model_len)));
    }
    if table.context().is_describing() { Found::new() } else { found }
}

fn replay(t: &Fields<'_>, inputs: &Inputs<'_>, max_model_len: u32) -> Option<Arrivals> {
    let before = t.context().errors();
    let path =
        t.key("path", "Trace file: arrival_s,prompt_tokens,output_tokens").required().string();
    let recorded = path.and_then(|path| inputs.trace(path, &t.span_of("path"), t));
    let from = t.key("from", "Keep arrivals from here on; becomes time zero").duration(any_span());
    let to = t.key("to", "Keep arrivals before").duration(positive_span());
    if let (Some(a), Some(b)) = (from.or(Some(SimDuration::ZERO)), to)
        && a >= b
    {
        t.report(
            Diagnostic::error(Code::Conflict, "`from` is not before `to`")
                .at(&t.span_of("to"), "")
                .and_at(&t.span_of("from"), ""),
        );
    }
    let over = t
        .key("over_length", "What becomes of requests longer than `engine.max_model_len`")
        .choice_or(
            &[
                ("drop", OverLength::Drop),
                ("clip_input", OverLength::ClipInput),
                ("clip_output", OverLength::ClipOutput),
            ],
            OverLength::Drop,
        );
    let jitter = t
        .key("jitter", "Copies of `rate_scale` above 1 move by up to this instead of being rotated")
        .duration(any_span());
    let window = match (from, to) {
        (None, None) => None,
        (from, to) => Some((from.unwrap_or_default(), to.unwrap_or(SimDuration::MAX))),
    };
    let transform = Transform {
        window,
        max_model_len: Some((max_model_len, over)),
        dequantize: t
            .key("dequantize", "Spread the rows of one time stamp up to the next")
            .boolean_or(false),
        time_stretch: t
            .key("time_stretch", "Multiplies all times: 2 = half the rate, bursts twice as long")
            .number_or(FACTOR, 1.0),
        rate_scale: t
            .key("rate_scale", "Multiplies the load: below 1 drops rows, above 1 overlays copies")
            .number_or(FACTOR, 1.0),
        overlay: jitter.map_or(Overlay::Rotate, Overlay::Jitter),
        repeat: t.key("repeat", "Plays the trace this many times").u32_or(1..=10_000, 1),
        truncate: None,
    };
    let recorded = recorded?;
    (t.context().errors() == before).then_some(Arrivals::Replay(recorded, transform))
}

/// Keys as the tool's options, with its defaults.
// Source: vllm 0.33.0, benchmarks/serve.py; the test run: 0.10.2 to 0.13.0, the same and lib/ready_checker.py.
fn vllm_bench(t: &Fields<'_>, inputs: &Inputs<'_>) -> Option<Arrivals> {
    let request_rate = t
        .key("request_rate", "--request-rate [requests/s]; gaps are rescaled: the last request is sent at num_prompts / request_rate")
        .required()
        .number(1e-6..=1e6);
    let num_prompts = t.key("num_prompts", "--num-prompts").integer_or(1..=1 << 40, 1000);
    let seed = t
        .key(
            "seed",
            "--seed, of gaps and prompts: streams with the same value send the same requests",
        )
        .integer_or(0..=i64::from(u32::MAX), 0);
    let burstiness = t
        .key("burstiness", "--burstiness: shape of the gamma gaps")
        .number_or(0.0001..=10_000.0, 1.0);
    let test_run = t
        .key("test_run_tokens", "The initial test run: the first prompt is sent alone and asks for this many output tokens, and the load starts when it is answered. The tool does so before vLLM 0.14, and later with --ready-check-timeout-sec")
        .shown("none")
        .u32(1..=1 << 30);
    let lengths = lengths(t, inputs);
    let bench = VllmBench {
        request_rate: request_rate?,
        num_prompts: num_prompts as u64,
        seed: seed as u32,
        burstiness,
        test_run,
    };
    Some(Arrivals::VllmBench(bench, lengths?))
}

fn closed_loop(t: &Fields<'_>, inputs: &Inputs<'_>) -> Option<Arrivals> {
    let before = t.context().errors();
    let users = t.key("users", "Number of users").u32(1..=1 << 20);
    let spawn_rate = t
        .key("spawn_rate", "Users started per second until there are enough")
        .number_or(1e-6..=1e6, 100.0);
    let schedule: Vec<(f64, u32, f64)> = t
        .key("schedule", "Numbers of users over time, instead of `users`")
        .tables()
        .iter()
        .map(|s| {
            (
                s.key("at", "From when")
                    .required()
                    .duration(any_span())
                    .map_or(0.0, SimDuration::as_secs_f64),
                s.key("users", "Number of users").required().u32(0..=1 << 20).unwrap_or(0),
                s.key("spawn_rate", "Users started or stopped per second")
                    .number_or(1e-6..=1e6, 100.0),
            )
        })
        .collect();
    let seconds = |name, doc| t.key(name, doc).duration(any_span()).map(SimDuration::as_secs_f64);
    let wait = seconds("wait", "Pause between an answer and the next request");
    let wait_min = seconds("wait_min", "Shortest pause; with `wait_max`: uniform");
    let wait_max = seconds("wait_max", "Longest pause");
    let wait_mean = seconds("wait_mean", "Mean of an exponential pause");
    let pacing = seconds("pacing", "Next request this long after the last one was sent");
    let wait = match (wait, wait_min, wait_max, wait_mean, pacing) {
        (None, None, None, None, None) => Some(Wait::Constant(0.0)),
        (Some(s), None, None, None, None) => Some(Wait::Constant(s)),
        (None, Some(a), Some(b), None, None) => Some(Wait::Between(a, b)),
        (None, None, None, Some(s), None) => Some(Wait::Exponential(s)),
        (None, None, None, None, Some(s)) => Some(Wait::Pacing(s)),
        _ => {
            t.report(
                Diagnostic::error(Code::Conflict, "the pause of users is given in two ways")
                    .at(t.span(), "")
                    .help("give `wait`, `wait_min` and `wait_max`, `wait_mean`, or `pacing`"),
            );
            None
        }
    };
    let lengths = lengths(t, inputs);
    let users = match (users, t.has("schedule")) {
        (Some(users), false) => vec![(0.0, users, spawn_rate)],
        (None, true) => schedule,
        (None, false) => {
            t.report(
                Diagnostic::error(Code::MissingKey, format!("`{}` is missing", t.path_of("users")))
                    .at(t.span(), "")
                    .help("give `users`, or `schedule` for numbers over time"),
            );
            return None;
        }
        (Some(_), true) => {
            t.report(
                Diagnostic::error(Code::Conflict, "give `users` or `schedule`, not both")
                    .at(&t.key_span("schedule"), "")
                    .and_at(&t.key_span("users"), ""),
            );
            return None;
        }
    };
    let (wait, lengths) = (wait?, lengths?);
    if t.context().errors() > before {
        return None;
    }
    ClosedLoop::new(users, wait, lengths)
        .map_err(|e| report_param(t, &e))
        .map(Arrivals::ClosedLoop)
        .ok()
}
