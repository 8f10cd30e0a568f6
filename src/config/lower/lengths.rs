//! Prompt and output lengths of a generated workload.

use super::Inputs;
use super::refused::report_param;
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::Fields;
use crate::config::registry::Kind;
use crate::config::tree::Value;
use crate::config::values::preset_of;
use crate::workload::lengths::MAX_TOKENS;
use crate::workload::{LengthDist, LengthKind, LengthModel, LognormalComponent, presets};

/// Reads `lengths` (a preset), or `prompt_tokens` and `output_tokens`, or `mixture`, from a source's table.
pub(super) fn lengths(table: &Fields<'_>, inputs: &Inputs<'_>) -> Option<LengthModel> {
    let preset = table.key("lengths", "Preset of prompt and output lengths, jointly").parse(
        Kind::Choice(presets::LENGTHS.map(str::to_owned).to_vec()),
        None,
        |node| preset_of(node, &presets::LENGTHS, presets::lengths),
    );
    let pairs = table
        .key("lengths_from", "Trace whose (prompt, output) pairs are drawn, each equally likely")
        .string()
        .and_then(|path| {
            let trace = inputs.trace(path, &table.span_of("lengths_from"), table)?;
            let pairs = trace.requests.iter().map(|r| (r.prompt_tokens, r.output_tokens)).collect();
            LengthModel::pairs(pairs).map_err(|e| report_param(table, &e)).ok()
        });
    let mixture = table
        .key("mixture", "Joint lognormal mixture of prompt and output lengths")
        .table()
        .and_then(|t| mixture(&t));
    let prompt =
        length(table, "prompt_tokens", "Prompt length: a number or a distribution", inputs);
    let output =
        length(table, "output_tokens", "Output length: a number or a distribution", inputs);
    let given: Vec<&str> = ["lengths", "lengths_from", "mixture", "prompt_tokens", "output_tokens"]
        .into_iter()
        .filter(|name| table.has(name))
        .collect();
    let how = "give `prompt_tokens` and `output_tokens`, or `lengths` (a preset), `lengths_from` (a \
               trace), or `mixture`";
    match given.as_slice() {
        ["lengths"] => preset,
        ["lengths_from"] => pairs,
        ["mixture"] => mixture,
        ["prompt_tokens", "output_tokens"] => {
            Some(LengthModel::Independent { prompt: prompt?, output: output? })
        }
        [] | ["prompt_tokens" | "output_tokens"] => {
            let missing = match given.as_slice() {
                ["prompt_tokens"] => "output_tokens",
                _ => "prompt_tokens",
            };
            let title = format!("`{}` is missing", table.path_of(missing));
            table.report(
                Diagnostic::error(Code::MissingKey, title).at(table.span(), "no lengths").help(how),
            );
            None
        }
        [first, .., last] | [first @ last] => {
            table.report(
                Diagnostic::error(Code::Conflict, "lengths are given in two ways")
                    .at(&table.key_span(last), "this")
                    .and_at(&table.key_span(first), "and this")
                    .help(how),
            );
            None
        }
    }
}

/// One length: a whole number, or a table with one family; `None` if it is absent or wrong.
pub(super) fn length(
    parent: &Fields<'_>,
    name: &'static str,
    doc: &'static str,
    inputs: &Inputs<'_>,
) -> Option<LengthDist> {
    let _ = parent.key(name, doc).any(Kind::Length);
    match parent.node(name).map(|n| &n.value) {
        None if !parent.context().is_describing() => None,
        Some(Value::Integer(_)) => {
            let tokens = parent.key(name, doc).u32(1..=MAX_TOKENS)?;
            LengthDist::constant(tokens).map_err(|e| report_param(parent, &e)).ok()
        }
        _ => distribution(&parent.key(name, doc).table()?, inputs),
    }
}

/// A table with one family of distributions and optional bounds.
fn distribution(table: &Fields<'_>, inputs: &Inputs<'_>) -> Option<LengthDist> {
    const FAMILIES: [&str; 8] =
        ["constant", "uniform", "lognormal", "gamma", "normal", "exponential", "quantiles", "file"];
    let min = table.key("min", "Shorter lengths become this [tokens]").u32_or(1..=MAX_TOKENS, 1);
    let max =
        table.key("max", "Longer lengths become this [tokens]").u32_or(1..=MAX_TOKENS, MAX_TOKENS);
    let number = |t: &Fields<'_>, name, doc| t.key(name, doc).number(0.0..=1e9);
    let mut found: Option<Result<LengthDist, crate::workload::ParamError>> = None;
    let constant = table.key("constant", "Always this many tokens").u32(1..=MAX_TOKENS);
    if let Some(tokens) = constant {
        found = Some(LengthDist::new(LengthKind::Constant(tokens), min, max));
    }
    if let Some(t) = table.key("uniform", "Every length from `min` to `max` alike").table() {
        let low = t.key("min", "Shortest [tokens]").required().u32(1..=MAX_TOKENS);
        let high = t.key("max", "Longest [tokens]").required().u32(1..=MAX_TOKENS);
        if let (Some(a), Some(b)) = (low, high) {
            found = Some(LengthDist::new(LengthKind::Uniform { min: a, max: b }, min, max));
        }
    }
    if let Some(t) = table.key("lognormal", "By `mean` and `p50`, `mean` and `sd`, or logs").table()
    {
        let mean = number(&t, "mean", "Mean [tokens]");
        let p50 = number(&t, "p50", "Median [tokens]");
        let sd = number(&t, "sd", "Standard deviation [tokens]");
        let mu = t.key("mu", "Mean of the logarithm").number(-40.0..=40.0);
        let sigma = number(&t, "sigma", "Standard deviation of the logarithm");
        found = match (mean, p50, sd, mu, sigma) {
            (Some(mean), Some(p50), None, None, None) => {
                Some(LengthDist::lognormal_mean_p50(mean, p50, min, max))
            }
            (Some(mean), None, Some(sd), None, None) => {
                Some(LengthDist::lognormal_mean_sd(mean, sd, min, max))
            }
            (None, None, None, Some(mu), Some(sigma)) => {
                Some(LengthDist::new(LengthKind::Lognormal { mu, sigma }, min, max))
            }
            _ => {
                table.report(
                    Diagnostic::error(Code::MissingKey, "a lognormal needs two parameters")
                        .at(t.span(), "")
                        .help("give `mean` and `p50`, or `mean` and `sd`, or `mu` and `sigma`"),
                );
                None
            }
        };
    }
    if let Some(t) = table.key("gamma", "Gamma; mean = shape * scale").table() {
        let shape = t.key("shape", "Shape").required().number(0.0..=1e9);
        let scale = t.key("scale", "Scale [tokens]").required().number(0.0..=1e9);
        if let (Some(shape), Some(scale)) = (shape, scale) {
            found = Some(LengthDist::new(LengthKind::Gamma { shape, scale }, min, max));
        }
    }
    if let Some(t) = table.key("normal", "Normal, clipped").table() {
        let mean = t.key("mean", "Mean [tokens]").required().number(0.0..=1e9);
        let sd = t.key("sd", "Standard deviation [tokens]").required().number(0.0..=1e9);
        if let (Some(mean), Some(sd)) = (mean, sd) {
            found = Some(LengthDist::new(LengthKind::Normal { mean, sd }, min, max));
        }
    }
    if let Some(t) = table.key("exponential", "Exponential").table()
        && let Some(mean) = t.key("mean", "Mean [tokens]").required().number(0.0..=1e9)
    {
        found = Some(LengthDist::new(LengthKind::Exponential { mean }, min, max));
    }
    if let Some(t) = table.key("quantiles", "Linear through quantiles").table() {
        let p = numbers(&t, "p", "Probabilities from 0 to 1, rising");
        let v = numbers(&t, "v", "Lengths at these probabilities [tokens]");
        if p.is_none() || v.is_none() {
            let title = "`quantiles` needs `p` and `v`";
            t.report(Diagnostic::error(Code::MissingKey, title).at(t.span(), ""));
        }
        if let (Some(p), Some(v)) = (p, v) {
            if p.len() == v.len() {
                let points: Vec<(f64, f64)> = p.into_iter().zip(v).collect();
                found = Some(LengthDist::new(LengthKind::Quantiles(points.into()), min, max));
            } else {
                let title = "`p` and `v` must have the same number of values";
                t.report(Diagnostic::error(Code::Conflict, title).at(&t.span_of("v"), ""));
            }
        }
    }
    let file = table.key("file", "File with one length per line, each equally likely").string();
    if let Some(path) = file
        && let Some(values) = inputs.lengths(path, &table.span_of("file"), table)
    {
        found = Some(LengthDist::new(LengthKind::Empirical(values.into()), min, max));
    }
    let given: Vec<&str> = FAMILIES.into_iter().filter(|name| table.has(name)).collect();
    if given.len() != 1 {
        table.report(
            Diagnostic::error(Code::Conflict, "a length needs exactly one distribution")
                .at(table.span(), format!("this has {}", given.len()))
                .help(format!("one of {}", FAMILIES.join(", "))),
        );
        return None;
    }
    match found? {
        Ok(dist) => Some(dist),
        Err(error) => {
            report_param(table, &error);
            None
        }
    }
}

fn mixture(table: &Fields<'_>) -> Option<LengthModel> {
    let before = table.context().errors();
    let components: Vec<LognormalComponent> = table
        .key("components", "Components, weights need not sum to 1")
        .required()
        .tables()
        .iter()
        .map(|t| {
            let number = |name, doc| t.key(name, doc).required().number(-1e9..=1e9).unwrap_or(0.0);
            LognormalComponent {
                weight: number("weight", "Relative weight"),
                mu_in: number("mu_in", "Mean of ln prompt_tokens"),
                sigma_in: number("sigma_in", "Standard deviation of ln prompt_tokens"),
                mu_out: number("mu_out", "Mean of ln output_tokens"),
                sigma_out: number("sigma_out", "Standard deviation of ln output_tokens"),
                rho: t.key("rho", "Correlation of the logarithms").number_or(-1.0..=1.0, 0.0),
            }
        })
        .collect();
    let range = |min, max| {
        let low = table.key(min, "Shorter lengths become this [tokens]").u32_or(1..=MAX_TOKENS, 1);
        let high = table.key(max, "Longer lengths become this [tokens]");
        (low, high.u32_or(1..=MAX_TOKENS, MAX_TOKENS))
    };
    let prompt = range("prompt_min", "prompt_max");
    let output = range("output_min", "output_max");
    if table.context().errors() > before || table.context().is_describing() {
        return None;
    }
    LengthModel::mixture(components, prompt, output).map_err(|e| report_param(table, &e)).ok()
}

/// A list of numbers.
pub(super) fn numbers(
    table: &Fields<'_>,
    name: &'static str,
    doc: &'static str,
) -> Option<Vec<f64>> {
    let items = table.key(name, doc).list()?;
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        match crate::config::values::number_of(item, &(-1e15..=1e15)) {
            Ok(value) => out.push(value),
            Err(problem) => {
                table.report(problem.into_diagnostic(&table.path_of(name), &item.span));
                return None;
            }
        }
    }
    Some(out)
}
