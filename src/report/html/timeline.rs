//! What one case looked like over time, thinned to what a chart can show.

use super::svg::{Axis, Draw, Figure, Panel, Point, Series as Drawn};
use crate::sim::{RunRecord, Scenario, Series};

/// Columns of a chart; more would be finer than its pixels.
const COLUMNS: usize = 320;

/// Load and TTFT have one row per minute: narrower columns would be empty in between.
const MINUTE_S: f64 = 60.0;

/// Why a case has a timeline in the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The recommended case.
    Recommended,
    /// Where nothing holds: the case that comes nearest to the objective.
    Nearest,
    /// The HPA in use today.
    Present,
    /// The case with the least SLO attainment.
    Worst,
}

impl Role {
    /// As a heading.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recommended => "recommended",
            Self::Nearest => "nearest to the SLO",
            Self::Present => "present",
            Self::Worst => "worst",
        }
    }
}

/// One case over time: the first replication, in columns of equal width.
#[derive(Clone, PartialEq, Debug)]
pub struct Timeline {
    /// Why it is shown.
    pub role: Role,
    /// Index of the case in the plan.
    pub case: usize,
    length_s: f64,
    /// Columns of the series that are sampled.
    sampled: Columns,
    /// Columns of the series with a row per minute.
    by_minute: Columns,
    /// Objective of the TTFT \[s\].
    ttft_s: f64,
    /// Mean of each column; NaN where there is no row.
    load: Vec<f64>,
    wanted: Vec<f64>,
    ready: Vec<f64>,
    /// Largest value of each column.
    waiting: Vec<f64>,
    ttft: Vec<f64>,
}

/// Largest values over some timelines, for scales that can be compared.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Peaks {
    load: f64,
    replicas: f64,
}

impl Peaks {
    pub(super) fn of(timelines: &[Timeline]) -> Self {
        let peak = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        Self {
            load: peak(&mut timelines.iter().flat_map(|t| t.load.iter().copied())),
            replicas: peak(
                &mut timelines.iter().flat_map(|t| t.wanted.iter().chain(&t.ready).copied()),
            ),
        }
    }
}

impl Timeline {
    /// Thins the rows of `record`, a run of `scenario` with its timeline.
    pub fn of(role: Role, case: usize, scenario: &Scenario, record: &RunRecord) -> Self {
        let length_s = scenario.duration.as_secs_f64();
        let interval_s = scenario.timeline_interval.as_secs_f64();
        let per_column = (length_s / interval_s / COLUMNS as f64).ceil().max(1.0);
        let sampled = Columns { width_s: per_column * interval_s, length_s };
        let by_minute = Columns { width_s: sampled.width_s.max(MINUTE_S), length_s };
        // Pods change within a column: its last value keeps the two series in step with each other.
        let wanted = once_decided(sampled.last(record, Series::ReplicasDesired));
        let ready = sampled.last(record, Series::ReplicasReady);
        let waiting = sampled.largest(record, Series::NumRequestsWaiting);
        let load = by_minute.mean(record, Series::RequestRate);
        let ttft = by_minute.largest(record, Series::TtftMean);
        let ttft_s = scenario.slo.ttft.as_secs_f64();
        Self {
            role,
            case,
            length_s,
            sampled,
            by_minute,
            ttft_s,
            load,
            wanted,
            ready,
            waiting,
            ttft,
        }
    }

    /// What one column of the charts covers: `45 s (60 s of load and TTFT)`.
    pub(super) fn column(&self) -> String {
        let (sampled, by_minute) = (self.sampled.width_s, self.by_minute.width_s);
        if sampled == by_minute {
            format!("{sampled} s")
        } else {
            format!("{sampled} s ({by_minute} s of load and TTFT)")
        }
    }

    /// Load, replicas, queue and TTFT one below the other.
    pub(super) fn figure(&self, case_id: &str, peaks: Peaks) -> Figure {
        let largest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let panel = |y: Axis, series: Vec<Drawn>, levels| Panel {
            height: 96.0,
            x: Axis { label: String::new(), ..Axis::time(self.length_s) },
            y,
            series,
            levels,
        };
        let alone = |columns: &Columns, values: &[f64], style| {
            vec![columns.drawn("", style, Draw::Line, values)]
        };
        let replicas = vec![
            self.sampled.drawn("wanted", 1, Draw::Steps, &self.wanted),
            self.sampled.drawn("ready", 0, Draw::Steps, &self.ready),
        ];
        let slo = vec![(self.ttft_s, "SLO".to_owned())];
        // Minutes behind a queue, tenths of a second without one: only a logarithm shows both.
        let answered = self.ttft.iter().copied().filter(|ttft| *ttft > 0.0);
        let (low, high) =
            answered.fold((self.ttft_s, self.ttft_s), |(low, high), s| (low.min(s), high.max(s)));
        let (load, replica_count) =
            (Axis::linear("requests/s", 0.0, peaks.load), Axis::count("replicas", peaks.replicas));
        let waiting = Axis::count("requests waiting", largest(&self.waiting));
        let ttft = Axis::decades("TTFT, mean of a minute [s]", low, high);
        let mut panels = vec![
            panel(load, alone(&self.by_minute, &self.load, 2), Vec::new()),
            panel(replica_count, replicas, Vec::new()),
            panel(waiting, alone(&self.sampled, &self.waiting, 3), Vec::new()),
            panel(ttft, alone(&self.by_minute, &self.ttft, 4), slo),
        ];
        if let Some(last) = panels.last_mut() {
            last.x = Axis::time(self.length_s);
        }
        let name = match self.role {
            Role::Recommended => "timeline-recommended",
            Role::Nearest => "timeline-nearest",
            Role::Present => "timeline-present",
            Role::Worst => "timeline-worst",
        };
        let title = format!("{case_id} ({}) over time, replication 0", self.role.name());
        Figure { name: name.to_owned(), title, panels }
    }
}

/// `status.desiredReplicas` is 0 before the first decision, when nothing is wanted yet.
fn once_decided(mut wanted: Vec<f64>) -> Vec<f64> {
    let undecided = wanted.iter().take_while(|value| **value == 0.0 || value.is_nan()).count();
    wanted[..undecided].fill(f64::NAN);
    wanted
}

/// Columns of equal width.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Columns {
    width_s: f64,
    length_s: f64,
}

impl Columns {
    /// Folds the rows of each column; NaN without rows.
    fn folded(
        &self,
        record: &RunRecord,
        series: Series,
        fold: impl Fn(f64, f64) -> f64,
    ) -> Vec<f64> {
        let count = (self.length_s / self.width_s).ceil().max(1.0) as usize;
        let mut columns = vec![f64::NAN; count];
        for row in record.series(series).filter(|row| !row.value.is_nan()) {
            let at = row.at.as_secs_f64() / self.width_s;
            let column = &mut columns[(at as usize).min(count - 1)];
            *column = if column.is_nan() { row.value } else { fold(*column, row.value) };
        }
        columns
    }

    fn mean(&self, record: &RunRecord, series: Series) -> Vec<f64> {
        let sums = self.folded(record, series, |sum, value| sum + value);
        let mut counts = vec![0.0; sums.len()];
        for row in record.series(series).filter(|row| !row.value.is_nan()) {
            let at = row.at.as_secs_f64() / self.width_s;
            counts[(at as usize).min(sums.len() - 1)] += 1.0;
        }
        sums.iter().zip(&counts).map(|(sum, count)| sum / count).collect()
    }

    fn drawn(&self, name: &str, style: usize, draw: Draw, values: &[f64]) -> Drawn {
        let points = values
            .iter()
            .enumerate()
            .map(|(column, &y)| Point {
                x: column as f64 * self.width_s,
                y,
                low: f64::NAN,
                high: f64::NAN,
                title: String::new(),
            })
            .collect();
        Drawn { name: name.to_owned(), style, draw, points }
    }

    fn last(&self, record: &RunRecord, series: Series) -> Vec<f64> {
        self.folded(record, series, |_, value| value)
    }

    fn largest(&self, record: &RunRecord, series: Series) -> Vec<f64> {
        self.folded(record, series, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::TimelineRow;
    use crate::units::{SimDuration, SimTime};

    #[test]
    fn nothing_is_wanted_before_the_first_decision() {
        let wanted = once_decided(vec![f64::NAN, 0.0, 2.0, 0.0, 1.0]);
        assert!(wanted[0].is_nan() && wanted[1].is_nan());
        assert_eq!(wanted[2..], [2.0, 0.0, 1.0], "zero later on is a decision");
    }

    #[test]
    fn columns_keep_means_peaks_and_gaps() {
        let row = |at_s, series, value| TimelineRow {
            at: SimTime::ZERO + SimDuration::from_secs(at_s),
            series,
            value,
        };
        let record = RunRecord {
            timeline: vec![
                row(0, Series::RequestRate, 1.0),
                row(15, Series::RequestRate, 3.0),
                row(15, Series::NumRequestsWaiting, 9.0),
                row(20, Series::NumRequestsWaiting, 4.0),
                row(60, Series::RequestRate, 5.0),
                row(100, Series::RequestRate, 8.0),
            ],
            ..RunRecord::default()
        };
        let columns = Columns { width_s: 30.0, length_s: 100.0 };
        let mean = columns.mean(&record, Series::RequestRate);
        assert_eq!(
            (mean[0], mean[2], mean[3]),
            (2.0, 5.0, 8.0),
            "the end belongs to the last column"
        );
        assert!(mean[1].is_nan(), "no row from 30 to 60 s");
        assert_eq!(columns.largest(&record, Series::NumRequestsWaiting)[0], 9.0);
        assert_eq!(columns.last(&record, Series::NumRequestsWaiting)[0], 4.0);
    }
}
