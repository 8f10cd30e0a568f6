//! Gathers rows into a trace: order, zero point, zero lengths, bad rows, the report.

use super::{ROWS_SHOWN, ReadOptions, RowError, TraceError, ZeroOutput};
use crate::units::{PS_PER_S, SimTime};
use crate::workload::lengths::MAX_TOKENS;
use crate::workload::recorded::Recorded;
use crate::workload::request::{NONE, Request, Side, SideTable};
use std::collections::BTreeMap;

/// Rows that were dropped as unreadable, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bad {
    /// How many.
    pub count: u64,
    /// The first five line numbers.
    pub lines: Vec<u64>,
}

/// What happened during an import.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Name of the format that was read.
    pub format: &'static str,
    /// Rows read, the header not counted.
    pub rows: u64,
    /// Requests kept.
    pub kept: u64,
    /// Rows left out on purpose, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Rows left out because they make no sense, by reason.
    pub bad: BTreeMap<String, Bad>,
    /// Rows that came before their predecessor in time.
    pub out_of_order: u64,
    /// Share of prompt tokens that an earlier request of the trace had as a prefix, if the format tells.
    pub prefix_reuse: Option<f64>,
    /// Remarks and warnings.
    pub notes: Vec<String>,
}

/// One row as a format understood it.
#[derive(Default)]
pub(super) struct Row<'a> {
    /// Picoseconds from any zero.
    pub(super) at: i128,
    pub(super) prompt: i64,
    pub(super) output: i64,
    pub(super) session: &'a str,
    pub(super) turn: Option<u32>,
    pub(super) prefix_group: &'a str,
    pub(super) prefix_tokens: u32,
    pub(super) class: &'a str,
}

/// What became of a line.
pub(super) enum Verdict<'a> {
    Keep(Row<'a>),
    /// Left out by a filter; its time, if it has one, counts for the zero point.
    Drop(Option<i128>, &'static str),
    /// Reason (the key of the report), message and hint.
    Bad(&'static str, String),
}

/// Arrivals are stored relative to the first row, moved up by this so that earlier rows fit.
const BIAS: i128 = 1 << 62;

/// `u64` picoseconds reach 213 days, 53 of them before the first row. BurstGPT has 121 days; what lies after the
/// longest run (90 days) can still be cut out by `--from` and `--to`.
const DAYS_BEFORE: i128 = 50;
const DAYS_AFTER: i128 = 150;

pub(super) struct Collector {
    requests: Vec<Request>,
    side: Option<SideTable>,
    first: Option<i128>,
    /// Earliest arrival so far, relative to the first row and biased \[ps\].
    earliest: u64,
    previous: u64,
    errors: Vec<RowError>,
    bad_total: u64,
    zero_output: ZeroOutput,
    bad_rows_max: f64,
    strict_order: bool,
    /// Whether times count from the file's own zero.
    own_zero: bool,
    /// Whether a length of zero is an error instead of a row to drop.
    strict: bool,
    pub(super) report: Report,
}

impl Collector {
    pub(super) fn new(format: &'static str, options: &ReadOptions) -> Self {
        Self {
            requests: Vec::new(),
            side: None,
            first: None,
            earliest: u64::MAX,
            previous: 0,
            errors: Vec::new(),
            bad_total: 0,
            zero_output: options.zero_output,
            bad_rows_max: options.bad_rows_max,
            strict_order: options.strict_order,
            own_zero: false,
            strict: options.bad_rows_max == 0.0,
            report: Report { format, ..Report::default() },
        }
    }

    /// Times count from the file's own zero instead of its first row: hpasim's own format.
    pub(super) fn keep_zero(&mut self) {
        self.own_zero = true;
        self.first = Some(0);
        self.earliest = BIAS as u64;
    }

    pub(super) fn push(&mut self, line: u64, verdict: Verdict) {
        self.report.rows += 1;
        match verdict {
            Verdict::Bad(reason, message) => self.bad(line, reason, message, None),
            Verdict::Drop(at, reason) => {
                if at.is_none_or(|at| self.place(at).is_some()) {
                    self.drop(reason);
                } else {
                    self.too_far(line);
                }
            }
            Verdict::Keep(row) => self.keep(line, &row),
        }
    }

    fn drop(&mut self, reason: &'static str) {
        *self.report.dropped.entry(reason).or_default() += 1;
    }

    fn too_far(&mut self, line: u64) {
        let message = format!(
            "lies more than {DAYS_BEFORE} days before or {DAYS_AFTER} days after {}",
            if self.own_zero { "zero, from which `arrival_s` counts" } else { "the first row" }
        );
        let hint = if self.own_zero {
            "`hpasim trace import --map arrival=arrival_s` counts from the first row instead"
        } else {
            "is the time unit right? see `--time-unit`"
        };
        self.bad(line, "time out of range", message, Some(hint.to_owned()));
    }

    /// Biased picoseconds from the first row; counts for the zero point.
    fn place(&mut self, at: i128) -> Option<u64> {
        let first = *self.first.get_or_insert(at);
        let relative = at - first;
        let day = 86_400 * i128::from(PS_PER_S);
        if !(-DAYS_BEFORE * day..=DAYS_AFTER * day).contains(&relative) {
            return None;
        }
        let relative = (relative + BIAS) as u64;
        self.earliest = self.earliest.min(relative);
        Some(relative)
    }

    fn keep(&mut self, line: u64, row: &Row) {
        for (name, value) in [("prompt", row.prompt), ("output", row.output)] {
            if value < 0 || value > i64::from(MAX_TOKENS) {
                let message = format!("the {name} length {value} lies outside 0..={MAX_TOKENS}");
                return self.bad(line, "length out of range", message, None);
            }
        }
        if self.strict && (row.prompt == 0 || row.output == 0) {
            let name = if row.prompt == 0 { "prompt" } else { "output" };
            let hint = "`hpasim trace import` drops or repairs such rows".to_owned();
            let message = format!("the {name} length must be at least 1 token");
            return self.bad(line, "zero length", message, Some(hint));
        }
        let Some(arrival) = self.place(row.at) else { return self.too_far(line) };
        if row.prompt == 0 {
            return self.drop("zero prompt tokens");
        }
        let output = match (row.output, self.zero_output) {
            (0, ZeroOutput::Drop) => return self.drop("zero output tokens"),
            (0, ZeroOutput::KeepAsOne) => 1,
            (n, _) => n as u32,
        };
        if arrival < self.previous {
            self.report.out_of_order += 1;
            if self.strict_order {
                let message = "is earlier than the row before".to_owned();
                return self.bad(line, "out of order", message, None);
            }
        }
        self.previous = self.previous.max(arrival);
        self.add_side(row);
        self.requests.push(Request {
            arrival: SimTime::from_ps(arrival),
            prompt_tokens: row.prompt as u32,
            output_tokens: output,
            ..Request::default()
        });
    }

    /// Stores the side columns once any row has one.
    fn add_side(&mut self, row: &Row) {
        let names = [row.session, row.prefix_group, row.class];
        let plain = names.iter().all(|name| name.trim().is_empty())
            && row.turn.is_none()
            && row.prefix_tokens == 0;
        if plain && self.side.is_none() {
            return;
        }
        let side = self.side.get_or_insert_default();
        side.rows.resize(self.requests.len(), Side::default());
        let row = Side {
            session: side.intern(row.session),
            turn: row.turn.unwrap_or(NONE),
            prefix_group: side.intern(row.prefix_group),
            prefix_tokens: row.prefix_tokens,
            class: side.intern(row.class),
        };
        side.rows.push(row);
    }

    fn bad(&mut self, line: u64, reason: &'static str, message: String, hint: Option<String>) {
        self.bad_total += 1;
        let bad = self.report.bad.entry(reason.to_owned()).or_default();
        bad.count += 1;
        if bad.lines.len() < 5 {
            bad.lines.push(line);
        }
        if self.errors.len() < ROWS_SHOWN {
            self.errors.push(RowError { line, message, hint });
        }
    }

    /// The trace, unless too many rows are bad or none is left.
    pub(super) fn finish(mut self) -> Result<(Recorded, Report), TraceError> {
        if self.bad_total as f64 > self.bad_rows_max * self.report.rows as f64 {
            let (rows, total, read) = (self.errors, self.bad_total, self.report.rows);
            return Err(TraceError::Rows { rows, total, read });
        }
        if self.requests.is_empty() {
            let dropped: u64 = self.report.dropped.values().sum();
            let hint = (dropped > 0).then(|| format!("all {dropped} rows were filtered out"));
            return Err(TraceError::file(0, "holds no request", hint));
        }
        for r in &mut self.requests {
            r.arrival = SimTime::from_ps(r.arrival.as_ps() - self.earliest);
        }
        if self.report.out_of_order > 0 {
            self.sort();
        }
        self.report.kept = self.requests.len() as u64;
        let Some(mut side) = self.side else {
            return Ok((Recorded::new(self.requests), self.report));
        };
        side.rows.resize(self.requests.len(), Side::default());
        Ok((Recorded::with_side(self.requests, side), self.report))
    }

    fn sort(&mut self) {
        if let Some(side) = &mut self.side {
            side.rows.resize(self.requests.len(), Side::default());
            let mut order: Vec<u32> = (0..self.requests.len() as u32).collect();
            order.sort_by_key(|&i| self.requests[i as usize].arrival);
            side.rows = order.iter().map(|&i| side.rows[i as usize]).collect();
        }
        self.requests.sort_by_key(|r| r.arrival);
    }
}
