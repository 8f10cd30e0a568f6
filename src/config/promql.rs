//! The part of PromQL that scaling queries are made of.
//!
//! `agg(f(metric[window]))`, with `sum`, `avg` or `max` as aggregation (`by (pod)` keeps the pods apart) and `rate`,
//! `increase`, `avg_over_time` or `max_over_time` as function, both optional;
//! `histogram_quantile(q, sum by (le) (rate(metric_bucket[window])))`, also of `increase`; a comparison `> bool x` on
//! each series; a factor `* x` or `/ x` at the end. Label selectors are read and dropped: there is one deployment.
//! Placeholders of prometheus-adapter's rules (`<<.Series>>`) are not expanded.

use crate::pipeline::{Aggregate, Function};
use crate::units::SimDuration;

/// A query that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query {
    /// The metric's name, without `_bucket` in a quantile.
    pub(super) metric: String,
    /// What is computed per series.
    pub(super) function: Function,
    /// How the series become one; `None` if each pod keeps its own.
    pub(super) aggregate: Option<Aggregate>,
    /// `> bool X` on each series.
    pub(super) above: Option<f64>,
    /// Factor on the result.
    pub(super) factor: f64,
}

/// Why a query was not understood, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    /// Byte offset.
    pub(super) at: usize,
    /// The reason.
    pub(super) message: String,
}

/// Reads a query.
pub(super) fn parse(text: &str) -> Result<Query, Error> {
    let mut parser = Parser { text, at: 0, drops_le: false };
    let mut query = parser.expression()?;
    query.factor = parser.scaled(query.factor)?;
    match parser.peek() {
        None => Ok(query),
        Some(_) => Err(parser.error("not understood from here on")),
    }
}

/// What stands before a parenthesis.
const AGGREGATES: [(&str, Aggregate); 3] =
    [("sum", Aggregate::Sum), ("avg", Aggregate::Avg), ("max", Aggregate::Max)];

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Whether an aggregation was read that leaves no `le`.
    drops_le: bool,
}

impl Parser<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error { at: self.at, message: message.into() }
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), Error> {
        if self.take(wanted) {
            Ok(())
        } else {
            Err(self.error(format!("`{wanted}` is missing here")))
        }
    }

    /// A name of letters, digits, `_` and `:`; empty if there is none.
    fn name(&mut self) -> &str {
        self.skip_space();
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let start = self.at;
        self.at += length;
        &self.text[start..self.at]
    }

    fn number(&mut self) -> Result<f64, Error> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+');
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let number = rest[..length].parse::<f64>().ok().filter(|n| n.is_finite());
        let Some(number) = number else { return Err(self.error("a number is missing here")) };
        self.at += length;
        Ok(number)
    }

    /// `value` with every `* x` and `/ x` that follows.
    fn scaled(&mut self, mut value: f64) -> Result<f64, Error> {
        loop {
            if self.take('*') {
                value *= self.number()?;
            } else if self.take('/') {
                let divisor = self.number()?;
                if divisor == 0.0 {
                    return Err(self.error("divides by zero"));
                }
                value /= divisor;
            } else {
                return Ok(value);
            }
        }
    }

    fn expression(&mut self) -> Result<Query, Error> {
        let start = self.at;
        let name = self.name().to_owned();
        if name == "histogram_quantile" {
            return self.quantile();
        }
        if let Some((_, aggregate)) = AGGREGATES.iter().find(|(word, _)| *word == name) {
            return self.aggregation(*aggregate);
        }
        if ["min", "count", "topk", "stddev"].contains(&name.as_str()) {
            self.at = start;
            return Err(
                self.error(format!("`{name}` is not simulated; `sum`, `avg` and `max` are"))
            );
        }
        self.at = start;
        self.series()
    }

    /// After `sum`: `by (...)` before or after the operand.
    fn aggregation(&mut self, aggregate: Aggregate) -> Result<Query, Error> {
        let before = self.grouping()?;
        self.expect('(')?;
        let mut query = self.series()?;
        self.expect(')')?;
        let labels = match before {
            Some(labels) => Some(labels),
            None => self.grouping()?,
        };
        let keeps = |label: &str| labels.iter().flatten().any(|l| l == label);
        self.drops_le = !keeps("le");
        let keeps_pods = keeps("pod") || keeps("exported_pod");
        query.aggregate = (!keeps_pods).then_some(aggregate);
        Ok(query)
    }

    /// `by (a, b)`, if it is there.
    fn grouping(&mut self) -> Result<Option<Vec<String>>, Error> {
        self.skip_space();
        let start = self.at;
        match self.name() {
            "by" => {}
            "" => return Ok(None),
            word => {
                let message = format!("`{word}` is not understood here; `by (...)` would be");
                self.at = start;
                return Err(self.error(message));
            }
        }
        self.expect('(')?;
        let mut labels = Vec::new();
        while !self.take(')') {
            let start = self.at;
            let label = self.name().to_owned();
            if label.is_empty() {
                return Err(self.error("a label's name is missing here"));
            }
            if label == "instance" {
                self.at = start;
                return Err(self.error("`instance` keeps the pods apart: write `pod`"));
            }
            labels.push(label);
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(Some(labels))
    }

    fn quantile(&mut self) -> Result<Query, Error> {
        self.expect('(')?;
        let at = self.at;
        let quantile = self.number()?;
        if !(0.0..=1.0).contains(&quantile) {
            self.at = at;
            return Err(self.error("a quantile is between 0 and 1"));
        }
        self.expect(',')?;
        let at = self.at;
        let mut query = self.expression()?;
        self.expect(')')?;
        let metric = query.metric.strip_suffix("_bucket").map(str::to_owned);
        // Growth and growth per second have the same quantiles.
        let window = match query.function {
            Function::Rate(window) | Function::Increase(window) => Some(window),
            _ => None,
        };
        let (Some(metric), Some(window), None) = (metric, window, query.above) else {
            self.at = at;
            return Err(self.error("a quantile needs `rate(metric_bucket[window])`"));
        };
        if matches!(query.aggregate, Some(Aggregate::Avg | Aggregate::Max)) {
            self.at = at;
            return Err(self.error("buckets can only be summed: `sum by (le) (...)`"));
        }
        // Source: prometheus promql/functions.go, funcHistogramQuantile: a series without `le` is no bucket.
        if self.drops_le {
            self.at = at;
            return Err(self.error("has no result without `le`: write `sum by (le) (...)`"));
        }
        query.metric = metric;
        query.function = Function::Quantile { quantile, window };
        Ok(query)
    }

    /// A selector, or a function over a range of it; perhaps compared.
    fn series(&mut self) -> Result<Query, Error> {
        let start = self.at;
        let name = self.name().to_owned();
        if name.is_empty() {
            return Err(self.error("a metric's name is missing here"));
        }
        let (metric, function) = if self.take('(') {
            let metric = self.name().to_owned();
            self.selector()?;
            let window = self.range()?;
            self.expect(')')?;
            let function = match name.as_str() {
                "rate" => Function::Rate(window),
                "increase" => Function::Increase(window),
                "avg_over_time" => Function::AvgOverTime(window),
                "max_over_time" => Function::MaxOverTime(window),
                _ => {
                    self.at = start;
                    let known = "`rate`, `increase`, `avg_over_time` and `max_over_time` are";
                    return Err(self.error(format!("`{name}` is not simulated; {known}")));
                }
            };
            (metric, function)
        } else {
            self.selector()?;
            (name, Function::Instant)
        };
        let above = if self.take('>') {
            self.skip_space();
            let start = self.at;
            if self.name() != "bool" {
                self.at = start;
                return Err(self.error("only `> bool` is simulated"));
            }
            // A comparison binds less than a product: `x > bool 2 * 3` compares with 6.
            let limit = self.number()?;
            Some(self.scaled(limit)?)
        } else {
            None
        };
        Ok(Query { metric, function, aggregate: None, above, factor: 1.0 })
    }

    /// `{...}`, if it is there: dropped.
    fn selector(&mut self) -> Result<(), Error> {
        if !self.take('{') {
            return Ok(());
        }
        let mut quote = None;
        let mut chars = self.text[self.at..].char_indices();
        while let Some((offset, c)) = chars.next() {
            match (quote, c) {
                (None, '"' | '\'' | '`') => quote = Some(c),
                (None, '}') => {
                    self.at += offset + 1;
                    return Ok(());
                }
                // Between backticks a backslash is one.
                (Some('"' | '\''), '\\') => _ = chars.next(),
                (Some(open), c) if c == open => quote = None,
                _ => {}
            }
        }
        Err(self.error("`}` is missing"))
    }

    /// `[1m]`.
    fn range(&mut self) -> Result<SimDuration, Error> {
        self.expect('[')?;
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest.find(']').unwrap_or(rest.len());
        let text = rest[..length].trim();
        if text.contains('.') {
            return Err(self.error("Prometheus takes whole numbers only, as in `[1m30s]`"));
        }
        let window = crate::config::duration::parse(text);
        let day = SimDuration::from_secs(86_400);
        let window = window.ok().filter(|w| *w > SimDuration::ZERO && *w <= day);
        let Some(window) = window else {
            return Err(self.error("a range is a duration as in `[1m]`, at most a day"));
        };
        self.at += length;
        self.expect(']')?;
        Ok(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: SimDuration = SimDuration::from_secs(60);

    fn query(metric: &str, function: Function, aggregate: Option<Aggregate>) -> Query {
        Query { metric: metric.into(), function, aggregate, above: None, factor: 1.0 }
    }

    #[test]
    fn queries_as_guides_write_them() {
        let waiting = "vllm:num_requests_waiting";
        let sum = Some(Aggregate::Sum);
        for (text, expected) in [
            (waiting.to_owned(), query(waiting, Function::Instant, None)),
            (
                format!("sum({waiting}{{model_name=\"a}}b\"}})"),
                query(waiting, Function::Instant, sum),
            ),
            (format!("sum by (namespace, pod) ({waiting})"), query(waiting, Function::Instant, None)),
            (
                "avg(DCGM_FI_DEV_GPU_UTIL) by (model_name)".into(),
                query("DCGM_FI_DEV_GPU_UTIL", Function::Instant, Some(Aggregate::Avg)),
            ),
            (
                "sum(rate(vllm:generation_tokens_total[1m]))".into(),
                query("vllm:generation_tokens_total", Function::Rate(MINUTE), sum),
            ),
            (
                "max(max_over_time(vllm:kv_cache_usage_perc[60s])) * 100".into(),
                Query {
                    factor: 100.0,
                    ..query(
                        "vllm:kv_cache_usage_perc",
                        Function::MaxOverTime(MINUTE),
                        Some(Aggregate::Max),
                    )
                },
            ),
            (
                "histogram_quantile(0.95, sum(rate(vllm:time_to_first_token_seconds_bucket[1m])) by (le))"
                    .into(),
                query(
                    "vllm:time_to_first_token_seconds",
                    Function::Quantile { quantile: 0.95, window: MINUTE },
                    sum,
                ),
            ),
            (
                "histogram_quantile(0.5, sum by (le, pod) (rate(x_bucket{a=\"b\"}[1m])))".into(),
                query("x", Function::Quantile { quantile: 0.5, window: MINUTE }, None),
            ),
            (
                "sum(rate(vllm:num_incoming_requests_total[1m]) > bool 0)".into(),
                Query {
                    above: Some(0.0),
                    ..query("vllm:num_incoming_requests_total", Function::Rate(MINUTE), sum)
                },
            ),
            (
                "sum(increase(x_total[1m])) / 2".into(),
                Query { factor: 0.5, ..query("x_total", Function::Increase(MINUTE), sum) },
            ),
            (
                "histogram_quantile(0.5, sum by (le) (increase(x_bucket[1m])))".into(),
                query("x", Function::Quantile { quantile: 0.5, window: MINUTE }, sum),
            ),
            (
                "sum by (pod) (x > bool 2 * 6 / 4) * 5".into(),
                Query { above: Some(3.0), factor: 5.0, ..query("x", Function::Instant, None) },
            ),
            ("x > bool 2 * 3".into(), Query { above: Some(6.0), ..query("x", Function::Instant, None) }),
            (
                "sum(x{a='}',b=\"\\\"}\",c=`\\`})".into(),
                query("x", Function::Instant, sum),
            ),
        ] {
            assert_eq!(parse(&text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_place() {
        for (text, at, message) in [
            ("", 0, "a metric's name is missing here"),
            ("sum(x", 5, "`)` is missing here"),
            ("topk(1, x)", 0, "`topk` is not simulated"),
            ("sum(irate(x[1m]))", 4, "`irate` is not simulated"),
            ("sum(rate(x))", 10, "`[` is missing here"),
            ("rate(x[1q])", 7, "a range is a duration"),
            ("sum(a) + sum(b)", 7, "not understood from here on"),
            ("sum(a) / 0", 10, "divides by zero"),
            ("histogram_quantile(95, x)", 19, "a quantile is between 0 and 1"),
            ("histogram_quantile(0.9, x_bucket)", 23, "a quantile needs `rate"),
            ("histogram_quantile(0.9, avg(rate(x_bucket[1m])))", 23, "buckets can only be summed"),
            ("sum without (pod) (x)", 4, "`without` is not understood"),
            ("histogram_quantile(0.9, sum(rate(x_bucket[1m])))", 23, "has no result without `le`"),
            ("histogram_quantile(0.9, x_bucket > bool 2)", 23, "a quantile needs `rate"),
            ("histogram_quantile(0.9, rate(x_bucket[1m]) > bool 2)", 23, "a quantile needs `rate"),
            ("avg by (instance) (x)", 8, "`instance` keeps the pods apart"),
            ("sum by (a b) (x)", 10, "`)` is missing here"),
            ("rate(x[1.5m])", 7, "Prometheus takes whole numbers only"),
            ("x > 3", 4, "only `> bool` is simulated"),
            ("x{a=\"b", 2, "`}` is missing"),
            ("rate(\u{e9}[1m])", 5, "`[` is missing here"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.starts_with(message), "{text}: {error:?}");
            assert_eq!(error.at, at, "{text}: {error:?}");
        }
    }
}
