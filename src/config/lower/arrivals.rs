//! Sources that draw their arrivals: constant, Poisson, gamma, Weibull, MMPP and rate curves.

use super::Inputs;
use super::lengths::{lengths, numbers};
use super::refused::report_param;
use super::spans::{any_span, positive_span};
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::Fields;
use crate::config::registry::Kind;
use crate::config::tree::{Node, Value};
use crate::config::values::{Problem, duration_of, number_of, preset_of};
use crate::units::SimDuration;
use crate::workload::{
    Arrivals, Diurnal, Generated, Interpolation, LengthModel, LogNoise, Mmpp, MmppState,
    ParamError, RateCurve, RateModel, Renewal, presets,
};

/// Rates [requests/s].
const RATE: std::ops::RangeInclusive<f64> = 0.0..=1e6;
/// Factors of rates and times.
pub(super) const FACTOR: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

/// Every kind of source.
const SOURCES: [&str; 10] = [
    "trace",
    "constant",
    "poisson",
    "gamma",
    "weibull",
    "mmpp",
    "rate_curve",
    "vllm_bench",
    "closed_loop",
    "sessions",
];

/// A source's name and, if it is valid, its arrivals.
pub(super) type Found = Vec<(&'static str, Option<Arrivals>)>;

/// The one source that was found.
pub(super) fn one_of(table: &Fields<'_>, found: Found) -> Option<Arrivals> {
    let help =
        format!("one of {}", SOURCES.map(|s| format!("`[{}]`", table.path_of(s))).join(", "));
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    match names.as_slice() {
        [] => {
            table.report(
                Diagnostic::error(Code::MissingKey, format!("`{}` has no source", table.path()))
                    .at(table.span(), "")
                    .help(help),
            );
            None
        }
        [_] => found.into_iter().next().and_then(|(_, arrivals)| arrivals),
        [first, second, ..] => {
            table.report(
                Diagnostic::error(Code::Conflict, "a workload has one source")
                    .at(&table.key_span(second), "this is a second one")
                    .and_at(&table.key_span(first), "the first")
                    .help("overlap several sources with `[[workload.stream]]` tables"),
            );
            None
        }
    }
}

/// All generated sources of a table, with these `lengths` or, without, with those that each one gives.
pub(super) fn open_processes(
    table: &Fields<'_>,
    inputs: &Inputs<'_>,
    lengths: Option<&LengthModel>,
) -> Found {
    let mut found = Found::new();
    if let Some(t) = table.key("constant", "Equal gaps").table() {
        let rate = constant_rate(&t);
        found
            .push(("constant", generated(&t, inputs, lengths, rate, Some(Renewal::Deterministic))));
    }
    if let Some(t) = table.key("poisson", "Exponential gaps").table() {
        let rate = constant_rate(&t);
        found.push(("poisson", generated(&t, inputs, lengths, rate, Some(Renewal::Exponential))));
    }
    if let Some(t) = table.key("gamma", "Gamma gaps: burstier than Poisson for cv above 1").table()
    {
        let rate = constant_rate(&t);
        let renewal = gamma(&t);
        found.push(("gamma", generated(&t, inputs, lengths, rate, renewal)));
    }
    if let Some(t) = table.key("weibull", "Weibull gaps").table() {
        let rate = constant_rate(&t);
        let shape = t.key("shape", "Shape; 1 is exponential").required().number(0.01..=100.0);
        let renewal = shape.map(|shape| Renewal::Weibull { shape });
        found.push(("weibull", generated(&t, inputs, lengths, rate, renewal)));
    }
    if let Some(t) = table.key("mmpp", "A rate that jumps between states").table() {
        let rate = mmpp(&t);
        found.push(("mmpp", generated(&t, inputs, lengths, rate, Some(Renewal::Exponential))));
    }
    if let Some(t) = table.key("rate_curve", "A rate over time").table() {
        found.push(("rate_curve", rate_curve(&t, inputs, lengths)));
    }
    found
}

/// `rate_rps`, the same all the time.
pub(super) fn constant_rate(t: &Fields<'_>) -> Option<RateModel> {
    let rate = t.key("rate_rps", "Mean rate [requests/s]").required().number(RATE)?;
    if rate <= 0.0 {
        report_param(t, &ParamError::new("rate_rps", "must be above 0"));
        return None;
    }
    Some(RateModel::Constant(rate))
}

fn gamma(t: &Fields<'_>) -> Option<Renewal> {
    let cv = t.key("cv", "Coefficient of variation of the gaps; 1 is Poisson").number(0.01..=100.0);
    let burstiness = t
        .key("burstiness", "vLLM's --burstiness: the shape, 1/cv^2; small is bursty")
        .number(0.0001..=10_000.0);
    match (cv, burstiness) {
        (Some(cv), None) => Renewal::gamma_cv(cv).map_err(|e| report_param(t, &e)).ok(),
        (None, Some(shape)) => Some(Renewal::Gamma { shape }),
        _ => {
            t.report(
                Diagnostic::error(Code::MissingKey, "gamma needs either `cv` or `burstiness`")
                    .at(t.span(), ""),
            );
            None
        }
    }
}

fn mmpp(t: &Fields<'_>) -> Option<RateModel> {
    let states: Vec<MmppState> = t
        .key("states", "States: `{ rate_rps, sojourn }`")
        .required()
        .tables()
        .iter()
        .map(|s| MmppState {
            rate_rps: s
                .key("rate_rps", "Rate while in this state [requests/s]")
                .required()
                .number(RATE)
                .unwrap_or(1.0),
            mean_sojourn_s: s
                .key("sojourn", "Mean stay in this state")
                .required()
                .duration(positive_span())
                .map_or(1.0, SimDuration::as_secs_f64),
        })
        .collect();
    let jumps = t
        .key("jumps", "Row i: where the process goes when state i ends; two states alternate")
        .list()
        .map(|rows| {
            rows.iter()
                .map(|row| match &row.value {
                    Value::Array(items) => items
                        .iter()
                        .map(|n| number_of(n, &(0.0..=1.0)).unwrap_or(f64::NAN))
                        .collect(),
                    _ => vec![f64::NAN],
                })
                .collect::<Vec<Vec<f64>>>()
        });
    if t.context().is_describing() || !t.has("states") {
        return None;
    }
    Mmpp::new(states, jumps).map_err(|e| report_param(t, &e)).map(RateModel::Mmpp).ok()
}

/// Lengths and the keys that every generated source has.
fn generated(
    t: &Fields<'_>,
    inputs: &Inputs<'_>,
    given: Option<&LengthModel>,
    rate: Option<RateModel>,
    renewal: Option<Renewal>,
) -> Option<Arrivals> {
    let lengths = given.cloned().or_else(|| lengths(t, inputs));
    let base = match (rate, renewal) {
        (Some(rate), Some(renewal)) => Some(Generated::new(rate, renewal)),
        _ => None,
    };
    finish(t, base, lengths)
}

/// Applies the keys that every generated source has.
fn finish(
    t: &Fields<'_>,
    base: Option<Generated>,
    lengths: Option<LengthModel>,
) -> Option<Arrivals> {
    let (sd, tau, batch) = base.as_ref().map_or((0.0, 900.0, 1.0), |g| {
        let noise = g.noise.unwrap_or(LogNoise { sd: 0.0, time_constant_s: 900.0 });
        (noise.sd, noise.time_constant_s, g.batch_mean)
    });
    let sd = t
        .key("noise_sd", "Standard deviation of AR(1) noise on the log rate; 0 = none")
        .shown("0; by preset")
        .number_or(0.0..=5.0, sd);
    let tau = t
        .key("noise_time_constant", "Time constant of that noise")
        .duration_or(positive_span(), SimDuration::from_secs_f64(tau));
    let batch_mean = t
        .key("batch_mean", "Mean size of micro-batches, 1 ms apart; 1 = none")
        .shown("1; by preset")
        .number_or(1.0..=10_000.0, batch);
    let rate_scale = t.key("rate_scale", "Multiplies the rate").number_or(FACTOR, 1.0);
    let stretch = t
        .key("modulation_stretch", "Multiplies sojourns, knots and time constants, not the rates")
        .number_or(FACTOR, 1.0);
    let generated = Generated {
        noise: (sd > 0.0).then(|| LogNoise { sd, time_constant_s: tau.as_secs_f64() }),
        batch_mean,
        rate_scale,
        modulation_stretch: stretch,
        ..base?
    };
    if let Err(error) = generated.check() {
        report_param(t, &error);
        return None;
    }
    Some(Arrivals::Generated(generated, lengths?))
}

fn rate_curve(
    t: &Fields<'_>,
    inputs: &Inputs<'_>,
    given: Option<&LengthModel>,
) -> Option<Arrivals> {
    let preset = t.key("preset", "Rate, gaps and noise of a named workload").parse(
        Kind::Choice(presets::ARRIVALS.map(str::to_owned).to_vec()),
        None,
        |node| preset_of(node, &presets::ARRIVALS, presets::arrivals),
    );
    let points = t
        .key("points", "`[[\"0s\", 4.8], [\"7m30s\", 4.7], ..]`: time and rate [requests/s]")
        .parse(Kind::List, None, points);
    let file = t.key("file", "CSV with columns `t_s,rate_rps`").string();
    let weekday =
        numbers(t, "weekday", "24 multipliers of the mean, one per hour, Monday to Friday");
    let weekend = numbers(t, "weekend", "24 multipliers of the mean, one per hour, weekend");
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let days: Vec<(&str, u32)> = days.into_iter().zip(0..).collect();
    let start_weekday = t
        .key("start_weekday", "Day on which a diurnal curve starts")
        .shown("\"monday\"")
        .choice(&days);
    let start_hour = t
        .key("start_hour", "Hour of the day at which a diurnal curve starts")
        .shown("0")
        .number(0.0..=23.999);
    let diurnal = if t.has("weekday") { diurnal(t, weekday, weekend) } else { None };
    let interpolation = t.key("interpolation", "What lies between two points").choice_or(
        &[("linear", Interpolation::Linear), ("step", Interpolation::Step)],
        Interpolation::Linear,
    );
    let period = t.key("period", "The curve repeats after this long").duration(positive_span());
    let mean_rps = t
        .key("mean_rps", "Mean rate over a whole week [requests/s]; diurnal curves")
        .number(1e-9..=1e6);
    let renewal = t.key("renewal", "Gaps in operational time").choice(&[
        ("exponential", Renewal::Exponential),
        ("deterministic", Renewal::Deterministic),
    ]);
    let gamma_shape = t
        .key("gamma_shape", "Gamma gaps of this shape instead; below 1 is burstier than Poisson")
        .number(0.0001..=10_000.0);
    let renewal = gamma_shape.map(|shape| Renewal::Gamma { shape }).or(renewal);
    let lengths = given.cloned().or_else(|| lengths(t, inputs));
    let descriptions: Vec<&str> =
        ["preset", "points", "file", "weekday"].into_iter().filter(|name| t.has(name)).collect();
    let curve = |points| {
        RateCurve::new(points, interpolation, period.map(SimDuration::as_secs_f64))
            .map(RateModel::Curve)
            .map_err(|e| report_param(t, &e))
            .ok()
    };
    let base = match descriptions.as_slice() {
        ["preset"] => preset,
        ["points"] => points.and_then(curve).map(|rate| Generated::new(rate, Renewal::Exponential)),
        ["file"] => file
            .and_then(|path| inputs.rates(path, interpolation, &t.span_of("file"), t))
            .and_then(|rates| curve(rates.points().to_vec()))
            .map(|rate| Generated::new(rate, Renewal::Exponential)),
        ["weekday"] => diurnal.map(|d| Generated::new(RateModel::Diurnal(d), Renewal::Exponential)),
        _ => {
            t.report(
                Diagnostic::error(Code::Conflict, "a rate curve needs exactly one description")
                    .at(t.span(), format!("this has {}", descriptions.len()))
                    .help("give `preset`, `points`, `file`, or `weekday` and `weekend`"),
            );
            None
        }
    };
    let base = base.and_then(|mut base| {
        if let Some(renewal) = renewal {
            base.renewal = renewal;
        }
        let diurnal_keys = ["mean_rps", "start_weekday", "start_hour"];
        base.rate = match base.rate {
            RateModel::Diurnal(mut d) => {
                if let Some(mean) = mean_rps {
                    d = d.with_mean_rps(mean).map_err(|e| report_param(t, &e)).ok()?;
                }
                if start_weekday.is_some() || start_hour.is_some() {
                    let (day, hour) = (start_weekday.unwrap_or(0), start_hour.unwrap_or(0.0));
                    d = d.with_start(day, hour).map_err(|e| report_param(t, &e)).ok()?;
                }
                RateModel::Diurnal(d)
            }
            rate => {
                for key in diurnal_keys.into_iter().filter(|key| t.has(key)) {
                    t.report(
                        Diagnostic::error(Code::Conflict, format!("`{key}` is for diurnal curves"))
                            .at(&t.key_span(key), "this curve has its own times and rates")
                            .help("scale it with `rate_scale`"),
                    );
                }
                rate
            }
        };
        Some(base)
    });
    finish(t, base, lengths)
}

fn points(node: &Node) -> Result<Vec<(f64, f64)>, Problem> {
    let wrong =
        || Problem::new(Code::Type, "must be a list of `[\"time\", rate]`", "not a list of pairs");
    let Value::Array(items) = &node.value else { return Err(wrong()) };
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        let Value::Array(pair) = &item.value else { return Err(wrong()) };
        let [time, rate] = pair.as_slice() else { return Err(wrong()) };
        let time = duration_of(time, &any_span())?.as_secs_f64();
        out.push((time, number_of(rate, &RATE)?));
    }
    Ok(out)
}

/// Twenty-four multipliers for weekdays and for weekend days.
fn diurnal(
    t: &Fields<'_>,
    weekday: Option<Vec<f64>>,
    weekend: Option<Vec<f64>>,
) -> Option<Diurnal> {
    let hours = |name: &str, values: Option<Vec<f64>>| -> Option<[f64; 24]> {
        let values = values?;
        let count = values.len();
        let message = format!("must have 24 values, not {count}");
        values.try_into().map_err(|_| report_param(t, &ParamError::new(name, message))).ok()
    };
    let (weekday, weekend) = (hours("weekday", weekday)?, hours("weekend", weekend)?);
    Diurnal::new(1.0, weekday, weekend, 0, 0.0).map_err(|e| report_param(t, &e)).ok()
}
