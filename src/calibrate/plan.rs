//! What a benchmark's row means: the load to play, or the reason why it cannot be modelled.
//!
//! Every rule looks at columns and at what the remarks say in words, never at the name of a row.

use super::benchmark::{Figure, Row};
use super::lengths::Shape;
use std::fmt;

/// How the requests of a benchmark arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// All at time zero.
    AllAtOnce,
    /// Each user sends its next request when the last one is answered, until all are sent.
    ClosedLoop {
        /// Users.
        users: u32,
    },
    /// At a rate, whatever the server does.
    Open {
        /// Requests per second.
        rate: f64,
        /// How the gaps are distributed.
        gaps: Gaps,
    },
}

/// Gaps between the arrivals of an open loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gaps {
    /// All alike.
    Constant,
    /// Exponential.
    Exponential,
    /// Gamma with this coefficient of variation.
    Gamma {
        /// Standard deviation over mean.
        cv: f64,
    },
}

/// A row's server, in the words of the row.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// GPU, as in `A100-80`.
    pub gpu: String,
    /// Model, as in `llama-3.1-8b-instruct`.
    pub model: String,
    /// GPUs of one replica.
    pub tensor_parallel_size: u32,
    /// Weights in fp8 instead of 16 bit.
    pub fp8: bool,
    /// Minor release of vLLM 0.x.
    pub vllm_minor: u32,
    /// `--max-num-seqs` if stated.
    pub max_num_seqs: Option<u32>,
    /// `--max-num-batched-tokens` if stated.
    pub max_num_batched_tokens: Option<u32>,
    /// Printed KV cache if stated \[tokens\].
    pub kv_tokens: Option<u64>,
    /// Whether full blocks are found again by content; prompts are unique, but a preempted request finds its own.
    pub prefix_caching: bool,
}

/// How a row is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What serves.
    pub server: Server,
    /// What arrives.
    pub load: Load,
    /// Number of requests.
    pub requests: u32,
    /// Prompt lengths: shape and mean \[tokens\].
    pub prompt: (Shape, f64),
    /// Output lengths: shape and mean \[tokens\].
    pub output: (Shape, f64),
    /// Whether latencies to the first token contain a client's own network, so that they cannot be compared.
    pub remote_client: bool,
}

/// Why a row is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Prompts share prefixes, and the share of tokens found in the cache decides the result.
    PrefixHits {
        /// What one would have to assume.
        assumption: String,
    },
    /// Several replicas behind a balancer.
    Replicas,
    /// A rate, a number of users or a length is not stated.
    Missing(&'static str),
    /// An arrival process in words that are not known.
    Arrival(String),
    /// An engine that is not modelled.
    Engine(String),
    /// Images in the prompts or in the model.
    Vision,
    /// Several tokens per step.
    Speculative,
    /// Client or front end, not the engine, limited the run.
    ClientLimited,
    /// No model of that shape is known.
    Model(String),
    /// No such GPU is known.
    Gpu(String),
    /// This number format is not modelled on this GPU.
    NumberFormat(String),
    /// vLLM would not start.
    DoesNotFit(String),
    /// Nothing was measured that can be compared.
    NothingMeasured,
}

impl Reason {
    /// What one would have to assume to simulate the row.
    pub fn assumption(&self) -> Option<&str> {
        match self {
            Self::PrefixHits { assumption } => Some(assumption),
            _ => None,
        }
    }

    /// The same reason without particulars, to count by.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PrefixHits { .. } => "depends on the share of prompt tokens in the prefix cache",
            Self::Replicas => "several replicas",
            Self::Missing(_) => "load not stated",
            Self::Arrival(_) => "unknown arrival process",
            Self::Engine(_) => "engine not modelled",
            Self::Vision => "vision model",
            Self::Speculative => "speculative decoding",
            Self::ClientLimited => "limited by client or front end",
            Self::Model(_) => "model not modelled",
            Self::Gpu(_) => "GPU not known",
            Self::NumberFormat(_) => "number format not modelled",
            Self::DoesNotFit(_) => "does not fit",
            Self::NothingMeasured => "nothing measured that can be compared",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::PrefixHits { assumption: text }
            | Self::Arrival(text)
            | Self::Engine(text)
            | Self::Model(text)
            | Self::Gpu(text)
            | Self::NumberFormat(text)
            | Self::DoesNotFit(text) => write!(f, ": {text}"),
            Self::Missing(what) => write!(f, ": {what}"),
            _ => Ok(()),
        }
    }
}

/// Shares of prefix hits up to this one change a result less than its other errors, so unique prompts stand for them.
// ASSUMPTION(A205): 5 % of the prompt tokens.
const NEGLIGIBLE_HITS: f64 = 5.0;

/// Requests of a closed loop whose number is not stated, per user.
// ASSUMPTION(A206): 16 rounds make ramp-up and drain small, as a benchmark that states a steady level has them.
const ROUNDS: u32 = 16;

/// ShareGPT-like prompts: mean 94, median 26, 95th percentile 489 tokens under vLLM's usual filter.
// ASSUMPTION(A207): `heavy_tail` prompts are lognormal as ShareGPT's first turns are; sigma is 1.6 by mean
// and median, 1.8 by median and 95th percentile; at most 1024 tokens as vLLM's benchmark filters them.
const HEAVY_PROMPT: f64 = 1.7;
/// Longest prompt that vLLM's ShareGPT sampler keeps \[tokens\].
const HEAVY_PROMPT_CAP: u32 = 1024;

/// ShareGPT's answers fit a gamma of shape 1.6 (Kolmogorov-Smirnov distance 0.06).
// ASSUMPTION(A208): `heavy_tail` outputs are gamma of shape 1.6. Long answers (mean above 256) stop at the tool's
// `max_tokens`, taken as the next power of two above the mean; short ones are a dataset's own, up to 1024.
const HEAVY_OUTPUT: f64 = 1.6;

/// What `row` means.
///
/// # Errors
/// The first reason why it cannot be modelled.
pub fn plan(row: &Row) -> Result<Plan, Reason> {
    let words = Words::of(row);
    if Figure::ALL.iter().all(|&f| row.measured(f).is_none()) {
        return Err(Reason::NothingMeasured);
    }
    if row.n_replicas > 1 {
        return Err(Reason::Replicas);
    }
    if words.model.contains("vision") || words.model.contains("-vl") {
        return Err(Reason::Vision);
    }
    if words.notes.contains("speculative") || words.workload.contains("speculative") {
        return Err(Reason::Speculative);
    }
    let vllm_minor = engine(&words.engine)?;
    if let Some(assumption) = words.prefix_hits() {
        return Err(Reason::PrefixHits { assumption });
    }
    if words.client_limited() {
        return Err(Reason::ClientLimited);
    }
    let fp8 = number_format(&words.dtype)?;
    let input = row.input_len_mean.ok_or(Reason::Missing("input_len_mean"))?;
    let output = row.output_len_mean.ok_or(Reason::Missing("output_len_mean"))?;
    let load = load(row, &words)?;
    let requests = match (row.num_prompts, load) {
        (Some(n), _) => n,
        (None, Load::ClosedLoop { users }) => users.saturating_mul(ROUNDS).max(64),
        (None, _) => return Err(Reason::Missing("num_prompts")),
    };
    let (prompt, out) = shapes(&words, input, output);
    Ok(Plan {
        server: Server {
            gpu: row.gpu.clone(),
            model: row.model.clone(),
            tensor_parallel_size: row.tp,
            fp8,
            vllm_minor,
            max_num_seqs: row.max_num_seqs,
            max_num_batched_tokens: row.max_num_batched_tokens,
            kv_tokens: row.kv_tokens,
            // Source: vLLM V1: on unless switched off.
            prefix_caching: !words.prefix_cache.starts_with("off"),
        },
        load,
        requests,
        prompt: (prompt, input),
        output: (out, output),
        remote_client: words.notes.contains("remote client")
            || words.notes.contains("network offset"),
    })
}

/// A row's texts in lower case.
struct Words {
    gpu: String,
    model: String,
    dtype: String,
    engine: String,
    prefix_cache: String,
    workload: String,
    len_dist: String,
    arrival: String,
    source: String,
    notes: String,
}

impl Words {
    fn of(row: &Row) -> Self {
        Self {
            gpu: row.gpu.to_lowercase(),
            model: row.model.to_lowercase(),
            dtype: row.dtype.to_lowercase(),
            engine: row.engine_version.to_lowercase(),
            prefix_cache: row.prefix_cache.to_lowercase(),
            workload: row.workload.to_lowercase(),
            len_dist: row.len_dist.to_lowercase(),
            arrival: row.arrival.to_lowercase(),
            source: row.source.to_lowercase(),
            notes: row.notes.to_lowercase(),
        }
    }

    /// Whether prompts share prefixes that the cache may hold, and what one would have to assume then.
    fn prefix_hits(&self) -> Option<String> {
        if self.prefix_cache.starts_with("off") {
            return None;
        }
        let stated = percent(&self.prefix_cache);
        if stated.is_some_and(|share| share <= NEGLIGIBLE_HITS) {
            return None;
        }
        let turns = ["multi-turn", "multi-message", "multi turn", "threads"];
        let grows = turns.iter().any(|word| {
            self.workload.contains(word)
                || self.len_dist.contains(word)
                || self.arrival.contains(word)
        });
        let shares = self.workload.contains("shared") || self.prefix_cache.contains("hit");
        if !(grows || shares || stated.is_some()) {
            return None;
        }
        Some(match (stated, grows) {
            (Some(share), _) => format!("{share} % of the prompt tokens, as the row says"),
            (None, true) => "a share of hits, and how prompts grow from turn to turn".to_owned(),
            (None, false) => "a share of hits, which the row does not state".to_owned(),
        })
    }

    /// Whether the remarks say that client or front end limited the run, on this GPU if they name one.
    fn client_limited(&self) -> bool {
        let who = ["client", "front-end", "frontend", "front end", "host"];
        self.notes.split([';', '.']).any(|clause| {
            let Some((before, after)) = clause.split_once("limited") else { return false };
            if !who.iter().any(|word| before.contains(word)) {
                return false;
            }
            match after.trim_start().strip_prefix("on ") {
                Some(gpu) => {
                    let gpu = gpu.split([' ', ',']).next().unwrap_or_default();
                    self.gpu.starts_with(gpu)
                }
                None => true,
            }
        })
    }
}

/// The number before the first percent sign.
fn percent(text: &str) -> Option<f64> {
    let (before, _) = text.split_once('%')?;
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    let start = before.trim_end().rfind(|c| !digits(c)).map_or(0, |i| i + 1);
    before.trim_end().get(start..)?.parse().ok()
}

/// The minor release that is meant by a version or by a date.
pub(super) fn engine(text: &str) -> Result<u32, Reason> {
    let unknown = |why: &str| Reason::Engine(format!("`{text}`, {why}"));
    if text.contains("v0)") || text.ends_with("v0") {
        return Err(unknown("the V0 engine"));
    }
    if text.contains("sglang") || text.contains("tgi") || text.contains("trt") {
        return Err(unknown("not vLLM"));
    }
    let version = text.trim_start_matches("vllm").trim().trim_start_matches('v');
    let mut parts = version.split(['.', ' ', '-', '+']);
    if let (Some("0"), Some(minor)) = (parts.next(), parts.next().and_then(|m| m.parse().ok())) {
        return if minor < 8 { Err(unknown("the V0 engine")) } else { Ok(minor) };
    }
    // Source: dates of the releases on PyPI: 0.8.0 2025-03, 0.9.0 2025-05, 0.10.0 2025-07, 0.11.0 2025-10,
    // 0.12.0 2025-12, 0.14.0 2026-01.
    let Some(year) = text
        .split(|c: char| !c.is_ascii_digit())
        .find_map(|w| (w.len() == 4).then(|| w.parse::<u32>().ok()).flatten())
    else {
        return Err(unknown("neither a version nor a date"));
    };
    let month = text.split_once(&format!("{year}-")).and_then(|(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|m| m.parse::<u32>().ok())
    });
    match (year, month) {
        (2025, Some(8 | 9)) => Ok(10),
        (2025, Some(10 | 11)) => Ok(11),
        (2025, Some(12)) => Ok(12),
        (2025, Some(3 | 4)) => Ok(8),
        (2025, Some(5..=7)) => Ok(9),
        (2025, None) if text.contains("v1") => Ok(8),
        (2026.., _) => Ok(14),
        _ => Err(unknown("the V0 engine")),
    }
}

/// Whether weights are in fp8.
pub(super) fn number_format(text: &str) -> Result<bool, Reason> {
    let word = text.split([' ', '(']).next().unwrap_or_default();
    let fp8 = match word {
        // `auto` is the checkpoint's own format, which the model's name tells if it is not 16 bit.
        "bf16" | "fp16" | "bfloat16" | "float16" | "half" | "auto" | "" => false,
        // Both variants have 8 bits: `--quantization fp8` and checkpoints as in `fp8_e4m3`, `fp8-dynamic`.
        _ if word.starts_with("fp8") => true,
        _ => return Err(Reason::NumberFormat(text.to_owned())),
    };
    if text.contains("kv fp8") || text.contains("kv int8") {
        return Err(Reason::NumberFormat(text.to_owned()));
    }
    Ok(fp8)
}

fn load(row: &Row, words: &Words) -> Result<Load, Reason> {
    let arrival = words.arrival.replace(['-', ' '], "_");
    let arrival = arrival.as_str();
    let rate = || row.request_rate.ok_or(Reason::Missing("request_rate"));
    // `inf` is `vllm bench serve --request-rate inf`: users if it has `--max-concurrency`, else all at once.
    if arrival.starts_with("all_at_once") || (arrival == "inf" && row.concurrency.is_none()) {
        return Ok(Load::AllAtOnce);
    }
    if ["closed_loop", "concurren", "held_queue", "inf"].iter().any(|w| arrival.starts_with(w)) {
        let users = row.concurrency.ok_or(Reason::Missing("concurrency"))?;
        return Ok(Load::ClosedLoop { users });
    }
    let gaps = if arrival.starts_with("poisson") {
        Gaps::Exponential
    } else if arrival.starts_with("constant") {
        // Source: inference-perf, loadgen/load_timer.py: its ConstantLoadTimer has exponential gaps.
        let random = [&words.source, &words.workload].iter().any(|w| w.contains("inference-perf"));
        if random { Gaps::Exponential } else { Gaps::Constant }
    } else if arrival.starts_with("gamma") {
        Gaps::Gamma { cv: gamma_cv(arrival)? }
    } else {
        return Err(Reason::Arrival(format!("`{}`", row.arrival)));
    };
    Ok(Load::Open { rate: rate()?, gaps })
}

/// Coefficient of variation of gamma gaps, as in `gamma (cv=2)` or `gamma burstiness 0.25`.
fn gamma_cv(arrival: &str) -> Result<f64, Reason> {
    let number = arrival.split(['=', '_', '(', ')', ':']).find_map(|w| w.parse::<f64>().ok());
    let number = number.filter(|n| n.is_finite() && *n > 0.0);
    // Source: vllm bench serve, --burstiness: the shape, 1 / cv^2.
    let shape = arrival.contains("shape") || arrival.contains("burstiness");
    let missing = Reason::Missing("the cv of gamma gaps");
    number.map(|n| if shape { 1.0 / n.sqrt() } else { n }).ok_or(missing)
}

/// Shapes of prompts and outputs.
fn shapes(words: &Words, input: f64, output: f64) -> (Shape, Shape) {
    let heavy = ["heavy", "lognormal", "sharegpt", "real"];
    if !heavy.iter().any(|word| words.len_dist.contains(word)) {
        return (Shape::Fixed, Shape::Fixed);
    }
    let above = |mean: f64| (mean.ceil().max(1.0) as u32).next_power_of_two();
    let prompt = Shape::Lognormal {
        sigma: HEAVY_PROMPT,
        cap: HEAVY_PROMPT_CAP.max(above(input).saturating_mul(4)),
    };
    let cap = if output > 256.0 { above(output) } else { 1024 };
    (prompt, Shape::Gamma { shape: HEAVY_OUTPUT, cap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_dates() {
        for (text, want) in [
            ("0.11.0", 11),
            ("v0.8.5", 8),
            ("vllm 0.30.0", 30),
            ("2025-08", 10),
            ("fork, early 2026", 14),
            ("v1 early 2025", 8),
        ] {
            assert_eq!(engine(text), Ok(want), "{text}");
        }
        for text in ["0.6.2", "0.9.0 (v0)", "early 2025", "sglang 0.5", "unknown"] {
            assert!(engine(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_of_hits() {
        assert_eq!(percent("on, ~64% shared prefix"), Some(64.0));
        assert_eq!(percent("on (<=0.9% hits)"), Some(0.9));
        assert_eq!(percent("on"), None);
        assert_eq!(percent("% of"), None);
    }

    #[test]
    fn arrivals_in_other_words() {
        let load_of = |arrival: &str, concurrency| {
            let row = Row {
                arrival: arrival.to_owned(),
                request_rate: Some(2.0),
                concurrency,
                ..Row::default()
            };
            load(&row, &Words::of(&row))
        };
        let users = Ok(Load::ClosedLoop { users: 8 });
        for words in ["closed_loop", "Closed-loop", "closed loop", "concurrency", "inf"] {
            assert_eq!(load_of(words, Some(8)), users, "{words}");
        }
        assert_eq!(load_of("inf", None), Ok(Load::AllAtOnce));
        assert_eq!(load_of("all at once", None), Ok(Load::AllAtOnce));
        for words in ["gamma (cv=2)", "gamma cv 2", "gamma shape=0.25", "gamma burstiness: 0.25"] {
            let gaps = Gaps::Gamma { cv: 2.0 };
            assert_eq!(load_of(words, None), Ok(Load::Open { rate: 2.0, gaps }), "{words}");
        }
        // Exponential gaps would be a guess.
        assert!(matches!(load_of("gamma", None), Err(Reason::Missing(_))));
        assert!(matches!(load_of("as recorded", None), Err(Reason::Arrival(_))));
    }

    #[test]
    fn number_formats() {
        for (text, fp8) in [
            ("bf16", false),
            ("bf16 (assumed)", false),
            ("auto", false),
            ("fp8", true),
            ("fp8_e4m3", true),
        ] {
            assert_eq!(number_format(text), Ok(fp8));
        }
        for text in ["fp8 (kv fp8)", "w4a16", "awq"] {
            assert!(number_format(text).is_err());
        }
    }
}
