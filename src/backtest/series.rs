//! Recorded series: Prometheus `query_range` JSON, wide CSV, long CSV.

use super::{BacktestError, fault};
use serde_json::Value;
use std::collections::BTreeMap;

/// A sample older than this counts as missing \[s\], as in Prometheus' look-back.
const LOOK_BACK_S: f64 = 300.0;

/// Numbers above this in a `time` column are milliseconds, as some exports write them.
const MILLISECONDS_FROM: f64 = 1e11;

/// One series as recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name, as in the file.
    pub name: String,
    /// The `pod` label, where there is one.
    pub pod: Option<String>,
    /// Time \[s on the file's own clock\] and value, in time order; `None` where there was no sample.
    pub samples: Vec<(f64, Option<f64>)>,
    /// Distance of the evaluations \[s\] where the file has a fixed one: `query_range` has looked back already,
    /// so that an evaluation without a sample is a gap. `None`: a sample counts for five minutes.
    pub step_s: Option<f64>,
}

impl Series {
    /// The newest value at `t` \[s\] with its own time; `None` in a gap.
    pub fn newest(&self, t: f64) -> Option<(f64, f64)> {
        let end = self.samples.partition_point(|s| s.0 <= t);
        let (time, value) = *self.samples.get(end.checked_sub(1)?)?;
        // Time stamps have milliseconds.
        let fresh = self.step_s.map_or(t - time <= LOOK_BACK_S, |step| t - time < step - 5e-4);
        value.filter(|_| fresh).map(|value| (time, value))
    }

    /// The last value up to `t` \[s\], however old: for counts that are recorded when they change.
    pub fn held(&self, t: f64) -> Option<f64> {
        let end = self.samples.partition_point(|s| s.0 <= t);
        self.samples[..end].iter().rev().find_map(|s| s.1)
    }
}

/// Reads the series of a text, in any of the accepted forms.
///
/// # Errors
/// With the line, for a text that is none of them or has a fault.
pub fn parse(text: &str) -> Result<Vec<Series>, BacktestError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut found = match text.trim_start().chars().next() {
        None => return fault("line 1: the file is empty"),
        Some('{' | '[') => json(text)?,
        Some(_) => csv(text)?,
    };
    for series in &mut found {
        series.samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    if found.iter().all(|s| s.samples.is_empty()) {
        return fault("the file holds no sample");
    }
    Ok(found)
}

/// A value; NaN, infinities and nothing are no sample.
fn value(text: &str) -> Result<Option<f64>, std::num::ParseFloatError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse::<f64>().map(|v| Some(v).filter(|v| v.is_finite()))
}

/// Seconds, milliseconds since 1970, an RFC 3339 time stamp, or one without a zone (taken as UTC).
fn time(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        let seconds = if number > MILLISECONDS_FROM { number / 1000.0 } else { number };
        return Some(seconds).filter(|t| t.is_finite());
    }
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let stamp = zoned.or_else(|| format!("{text}Z").parse::<jiff::Timestamp>().ok());
    stamp.map(|t| t.as_duration().as_secs_f64())
}

fn json(text: &str) -> Result<Vec<Series>, BacktestError> {
    let root: Value =
        serde_json::from_str(text).map_err(|e| BacktestError(format!("line {}: {e}", e.line())))?;
    if root.get("status").and_then(Value::as_str) == Some("error") {
        let why = root.get("error").and_then(Value::as_str).unwrap_or("no reason given");
        return fault(format!("Prometheus answered with an error: {why}"));
    }
    let list = root.pointer("/data/result").or_else(|| root.get("result")).unwrap_or(&root);
    let Some(list) = list.as_array() else {
        return fault(
            "line 1: neither a query_range answer (`data.result`) nor an array of series",
        );
    };
    let mut found = list
        .iter()
        .enumerate()
        .map(|(i, item)| json_series(i, item))
        .collect::<Result<Vec<_>, _>>()?;
    let spans = found.iter().flat_map(|s: &Series| s.samples.windows(2)).map(|p| p[1].0 - p[0].0);
    let step = spans.filter(|s| *s > 0.0).reduce(f64::min);
    for series in &mut found {
        series.step_s = step;
    }
    Ok(found)
}

fn json_series(i: usize, item: &Value) -> Result<Series, BacktestError> {
    let label = |key| item.get("metric").and_then(|m| m.get(key)).and_then(Value::as_str);
    let Some(values) = item.get("values").and_then(Value::as_array) else {
        return fault(format!("result[{i}]: there is no `values` array of [time, value] pairs"));
    };
    let mut samples = Vec::with_capacity(values.len());
    for (k, pair) in values.iter().enumerate() {
        let t = pair.get(0).and_then(Value::as_f64);
        let v = pair.get(1).and_then(|v| match v {
            Value::String(s) => value(s).ok(),
            Value::Null => Some(None),
            v => v.as_f64().map(Some),
        });
        let (Some(t), Some(v)) = (t, v) else {
            return fault(format!("result[{i}].values[{k}]: not a pair of time and value: {pair}"));
        };
        samples.push((t, v));
    }
    let name = label("__name__").unwrap_or_default().to_owned();
    Ok(Series { name, pod: label("pod").map(str::to_owned), samples, step_s: None })
}

fn csv(text: &str) -> Result<Vec<Series>, BacktestError> {
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).comment(Some(b'#')).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| BacktestError(format!("line 1: {e}")))?.clone();
    let names: Vec<&str> = header.iter().map(str::trim).collect();
    let clock = ["t_s", "t", "time", "timestamp", "Time", "ts"];
    if names.len() < 2 || !clock.contains(&names[0]) {
        return fault(format!(
            "line 1: the first column must be `t_s` or `time`, and a series must follow; the header is `{}`",
            names.join(",")
        ));
    }
    if let Some(twice) = (1..names.len()).find(|i| names[1..*i].contains(&names[*i])) {
        return fault(format!("line 1: two columns are called `{}`", names[twice]));
    }
    let long = names.len() == 3 && names[1] == "series" && names[2] == "value";
    let mut index: BTreeMap<String, usize> = BTreeMap::new();
    let mut found: Vec<Series> = Vec::new();
    let mut place = |name: &str, found: &mut Vec<Series>| {
        *index.entry(name.to_owned()).or_insert_with(|| {
            let (name, samples) = (name.to_owned(), Vec::new());
            found.push(Series { name, pod: None, samples, step_s: None });
            found.len() - 1
        })
    };
    for record in reader.records() {
        let record = record.map_err(|e| {
            let line = e.position().map_or(0, csv::Position::line);
            BacktestError(format!("line {line}: {e}"))
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != names.len() {
            let (n, m) = (record.len(), names.len());
            return fault(format!("line {line}: {n} cells, the header has {m}"));
        }
        let Some(t) = time(&record[0]) else {
            return fault(format!("line {line}: `{}` is not a time", &record[0]));
        };
        let cells: Vec<(&str, &str)> = if long {
            vec![(record[1].trim(), &record[2])]
        } else {
            names.iter().copied().zip(record.iter()).skip(1).collect()
        };
        for (name, cell) in cells {
            let Ok(v) = value(cell) else {
                return fault(format!("line {line}: `{cell}` is not a number (series `{name}`)"));
            };
            let at = place(name, &mut found);
            found[at].samples.push((t, v));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn prometheus_json_in_both_forms() {
        let array = r#"[{"metric":{"__name__":"q","pod":"a"},"values":[[10,"1.5"],[25,"NaN"],[40,"+Inf"],[55,2]]}]"#;
        let bare = parse(array).unwrap();
        assert_eq!(bare[0].pod.as_deref(), Some("a"));
        assert_eq!(
            bare[0].samples,
            [(10.0, Some(1.5)), (25.0, None), (40.0, None), (55.0, Some(2.0))]
        );
        let envelope =
            format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{array}}}}}"#);
        assert_eq!(parse(&envelope).unwrap(), bare);
        assert!(fails("{\"status\":\n oops}").starts_with("line 2:"));
        assert!(fails(r#"{"status":"error","error":"timeout"}"#).contains("timeout"));
        assert!(fails(r#"[{"metric":{},"values":[[1,"x"]]}]"#).contains("values[0]"));
        assert!(fails(r#"[{"metric":{},"value":[1,"2"]}]"#).contains("`values`"));
        assert!(fails(r#"{"a":1}"#).contains("query_range"));
        assert!(fails(r#"{"status":"success","data":{"result":[]}}"#).contains("no sample"));
    }

    #[test]
    fn an_evaluation_of_query_range_without_a_sample_is_a_gap() {
        let found =
            parse(r#"[{"metric":{},"values":[[0,"1"],[15,"2"],[60,"3"],[75,"4"]]}]"#).unwrap();
        let read = |t| found[0].newest(t).map(|(_, value)| value);
        assert_eq!(
            [read(15.0), read(29.9), read(30.0), read(59.0)],
            [Some(2.0), Some(2.0), None, None]
        );
        assert_eq!([read(60.0), read(89.0), read(90.0)], [Some(3.0), Some(4.0), None]);
    }

    #[test]
    fn wide_csv() {
        let text = "time,a,b\n2026-01-01T00:00:00Z,1,\n2026-01-01T00:00:15Z,2,NaN\n";
        let found = parse(text).unwrap();
        assert_eq!(found[0].samples[1].0 - found[0].samples[0].0, 15.0);
        assert_eq!(found[1].samples.iter().map(|s| s.1).collect::<Vec<_>>(), [None, None]);
        assert!(fails("t_s,a\n0,1\n15,x\n").starts_with("line 3: `x`"));
        assert!(fails("t_s,a\n0,1,2\n").starts_with("line 2: 3 cells"));
        assert!(fails("t_s,a\nsoon,1\n").starts_with("line 2: `soon`"));
        assert!(fails("a,b\n1,2\n").starts_with("line 1:"));
        assert!(fails("t_s,a,a\n0,1,2\n").starts_with("line 1: two columns"));
        let local = parse("Time,a\n2026-01-01 00:00:00,1\n1767225615000,2\n").unwrap();
        assert_eq!(local[0].samples, [(1_767_225_600.0, Some(1.0)), (1_767_225_615.0, Some(2.0))]);
    }

    #[test]
    fn long_csv_with_negative_times_and_gaps() {
        let found = parse("t_s,series,value\n-60,q,1\n-60,r,5\n0,q,NaN\n15,q,3\n").unwrap();
        let q = &found[0];
        assert_eq!(
            [q.newest(-61.0), q.newest(-1.0), q.newest(0.0), q.newest(16.0)],
            [None, Some((-60.0, 1.0)), None, Some((15.0, 3.0))]
        );
        assert_eq!([q.newest(315.0), q.newest(315.1)], [Some((15.0, 3.0)), None]);
        assert_eq!([q.held(1.0), q.held(9_999.0)], [Some(1.0), Some(3.0)]);
        assert!(fails("t_s,series,value\n0,q,many\n").starts_with("line 2: `many`"));
        assert!(fails("").contains("empty"));
        assert!(fails("t_s,series,value\n").contains("no sample"));
    }
}
