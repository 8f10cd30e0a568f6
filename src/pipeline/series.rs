//! The samples of one scrape target that a query may still see.

use crate::units::{SimDuration, SimTime};
use std::collections::VecDeque;

/// One scrape, or the mark of a failed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scrape {
    pub(super) scraped_at: SimTime,
    /// From here on queries see it.
    pub(super) visible_at: SimTime,
    /// Whether it has values; a failed scrape ends the series where the adapter notices.
    pub(super) has_values: bool,
}

/// Scrapes of one target in order of time, `width` values each. Keeps only what a later query could
/// still return: its memory is bounded by the scrapes that are in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    scrapes: VecDeque<Scrape>,
    values: VecDeque<f64>,
    width: usize,
}

impl Series {
    /// An empty series of `width` values per scrape.
    pub(super) fn new(width: usize) -> Self {
        Self { scrapes: VecDeque::new(), values: VecDeque::new(), width }
    }

    /// Drops everything, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.scrapes.clear();
        self.values.clear();
    }

    /// Number of scrapes kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.scrapes.len()
    }

    /// Adds a scrape, the newest so far; `None` = it failed.
    pub(super) fn push(
        &mut self,
        scraped_at: SimTime,
        visible_at: SimTime,
        values: Option<&[f64]>,
    ) {
        self.scrapes.push_back(Scrape { scraped_at, visible_at, has_values: values.is_some() });
        match values {
            Some(values) => {
                assert_eq!(values.len(), self.width, "a scrape has one value per metric");
                self.values.extend(values);
            }
            None => self.values.extend(std::iter::repeat_n(0.0, self.width)),
        }
    }

    /// Drops scrapes that no query at `now` or later can return: those before `oldest`, and those that are older than
    /// the newest visible one by more than `window`, which is 0 if only the newest is ever asked for.
    pub(super) fn forget(&mut self, now: SimTime, oldest: SimTime, window: SimDuration) {
        let newest = self.scrapes.iter().rposition(|s| s.visible_at <= now).unwrap_or(0);
        let unused = match self.scrapes.get(newest) {
            Some(scrape) if window > SimDuration::ZERO => {
                let from = scrape.scraped_at - window;
                self.scrapes.iter().take(newest).take_while(|s| s.scraped_at < from).count()
            }
            _ => newest,
        };
        let outdated = self.scrapes.iter().take_while(|s| s.scraped_at < oldest).count();
        for _ in 0..unused.max(outdated) {
            self.scrapes.pop_front();
            self.values.drain(..self.width);
        }
    }

    /// Value number `index` of each scrape, as a query at `as_of` sees them.
    pub(super) fn column(&self, index: usize, as_of: SimTime) -> Column<'_> {
        Column { series: self, index, as_of }
    }
}

/// One value of every scrape that a query sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    series: &'a Series,
    index: usize,
    /// When the query is made.
    pub(super) as_of: SimTime,
}

impl<'a> Column<'a> {
    /// (time, value) of the scrapes after `from` that have values, in order of time.
    pub(super) fn after(self, from: SimTime) -> impl Iterator<Item = (SimTime, f64)> + 'a {
        let Self { series, index, as_of } = self;
        series
            .scrapes
            .iter()
            .enumerate()
            .filter(move |(_, s)| s.has_values && s.visible_at <= as_of && s.scraped_at > from)
            .map(move |(i, s)| (s.scraped_at, series.values[i * series.width + index]))
    }

    /// The newest scrape, with its value.
    pub(super) fn newest(self) -> Option<(Scrape, f64)> {
        let Series { scrapes, values, width } = self.series;
        let i = scrapes.iter().rposition(|s| s.visible_at <= self.as_of)?;
        Some((scrapes[i], values[i * width + self.index]))
    }
}
