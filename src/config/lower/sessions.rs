//! `[workload.sessions]`: conversations.

use super::Inputs;
use super::arrivals::{constant_rate, one_of, open_processes};
use super::lengths::length;
use super::refused::report_param;
use super::spans::within_a_day;
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::Fields;
use crate::units::SimDuration;
use crate::workload::{
    Arrivals, Generated, Growth, LengthDist, LengthModel, Renewal, Sessions, Think, presets,
};

/// Reads `[workload.sessions]`; contexts end at `max_model_len` unless the table says otherwise.
pub(super) fn sessions(
    t: &Fields<'_>,
    inputs: &Inputs<'_>,
    max_model_len: u32,
) -> Option<Arrivals> {
    let before = t.context().errors();
    let preset = t
        .key("preset", "Turns, lengths, pauses and system prompt of a named workload")
        .choice(&presets::SESSIONS.map(|name| (name, name)));
    let base = preset.and_then(|name| presets::sessions(name).ok());
    let arrivals = arrivals(t, inputs);
    let turns = length(t, "turns", "Turns of a session: a number or a distribution", inputs);
    let first = length(
        t,
        "first_prompt_tokens",
        "What the user says first, own documents included; default: as later",
        inputs,
    );
    let prompt = length(t, "prompt_tokens", "What the user adds in a turn", inputs);
    let output = length(t, "output_tokens", "The answers", inputs);
    let think = think(t, base.as_ref().map(|b| b.think));
    let system_prompt_tokens = t
        .key("system_prompt_tokens", "Length of the system prompt that sessions share; 0 = none")
        .shown("0; by preset")
        .u32_or(0..=1 << 30, base.as_ref().map_or(0, |b| b.system_prompt_tokens));
    let system_prompts = t
        .key("system_prompts", "Different system prompts, each session has one at random")
        .u32_or(1..=1 << 20, 1);
    let max_context = t
        .key("max_context", "Longest prompt and answer together [tokens]")
        .shown("engine.max_model_len")
        .u32_or(2..=1 << 30, max_model_len);
    let growth = t
        .key("growth", "Beyond it: the session ends, or the oldest tokens are left out")
        .choice_or(
            &[("accumulate", Growth::Accumulate), ("window", Growth::Window)],
            Growth::Accumulate,
        );
    let open = t
        .key("open", "Turns do not wait for the answers: a pause counts from the turn before")
        .boolean_or(false);
    let or_preset = |own: Option<LengthDist>, name: &str, of: fn(&Sessions) -> &LengthDist| {
        let found = own.or_else(|| base.as_ref().map(|b| of(b).clone()));
        if found.is_none() && !t.has(name) {
            let title = format!("`{}` is missing", t.path_of(name));
            t.report(
                Diagnostic::error(Code::MissingKey, title)
                    .at(t.span(), "")
                    .help("give `preset`, or `turns`, `prompt_tokens` and `output_tokens`"),
            );
        }
        found
    };
    if t.context().is_describing() {
        return None;
    }
    let own_prompt = prompt.clone();
    let turns = or_preset(turns, "turns", |s| &s.turns);
    let prompt = or_preset(prompt, "prompt_tokens", |s| &s.prompt_tokens);
    let output = or_preset(output, "output_tokens", |s| &s.output_tokens);
    let first = first
        .or(own_prompt)
        .or_else(|| base.as_ref().map(|b| b.first_prompt_tokens.clone()))
        .or_else(|| prompt.clone());
    if t.context().errors() > before {
        return None;
    }
    let sessions = Sessions {
        arrivals: arrivals?,
        turns: turns?,
        first_prompt_tokens: first?,
        prompt_tokens: prompt?,
        output_tokens: output?,
        think: think?,
        system_prompt_tokens,
        system_prompts,
        max_context,
        growth,
        open,
    };
    match sessions.check() {
        Ok(()) => Some(Arrivals::Sessions(Box::new(sessions))),
        Err(error) => {
            report_param(t, &error);
            None
        }
    }
}

/// When sessions begin: `rate_rps`, or any open process.
fn arrivals(t: &Fields<'_>, inputs: &Inputs<'_>) -> Option<Generated> {
    if t.has("rate_rps") || t.context().is_describing() {
        let rate = constant_rate(t);
        if !t.context().is_describing() {
            return rate.map(|rate| Generated::new(rate, Renewal::Exponential));
        }
    }
    let nothing = LengthModel::constant(1, 1).ok();
    let table = t.key("arrivals", "When sessions begin, if not at random at `rate_rps`").table();
    let Some(table) = table else {
        t.report(
            Diagnostic::error(Code::MissingKey, format!("`{}` is missing", t.path_of("rate_rps")))
                .at(t.span(), "")
                .help("give `rate_rps`, new sessions per second, or a process as `arrivals`"),
        );
        return None;
    };
    match one_of(&table, open_processes(&table, inputs, nothing.as_ref()))? {
        Arrivals::Generated(generated, _) => Some(generated),
        Arrivals::Replay(..)
        | Arrivals::VllmBench(..)
        | Arrivals::ClosedLoop(_)
        | Arrivals::Sessions(_) => None,
    }
}

/// `think_time`, or the moments and bounds of a lognormal pause.
fn think(t: &Fields<'_>, preset: Option<Think>) -> Option<Think> {
    let seconds =
        |name, doc| t.key(name, doc).duration(within_a_day()).map(SimDuration::as_secs_f64);
    let constant =
        seconds("think_time", "Pause between an answer and the next turn, always the same");
    let mean = seconds("think_time_mean", "Mean of a lognormal pause");
    let sd = seconds("think_time_sd", "Its standard deviation");
    let min = seconds("think_time_min", "Shorter pauses become this");
    let max = seconds("think_time_max", "Longer pauses become this");
    match (constant, mean, sd) {
        (None, None, None) => preset.or_else(|| {
            if !t.context().is_describing() {
                t.report(
                    Diagnostic::error(
                        Code::MissingKey,
                        format!("`{}` is missing", t.path_of("think_time")),
                    )
                    .at(t.span(), "")
                    .help("give `think_time`, or `think_time_mean` and `think_time_sd`"),
                );
            }
            None
        }),
        (Some(seconds), None, None) if min.is_none() && max.is_none() => {
            Some(Think::Constant(seconds))
        }
        (None, Some(mean), Some(sd)) => Some(Think::Lognormal {
            mean,
            sd,
            min: min.unwrap_or(0.0),
            max: max.unwrap_or(86_400.0),
        }),
        _ => {
            t.report(
                Diagnostic::error(Code::Conflict, "the pause between turns is given in two ways")
                    .at(t.span(), "")
                    .help("give `think_time`, or `think_time_mean` and `think_time_sd`"),
            );
            None
        }
    }
}
