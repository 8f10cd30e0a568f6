//! Time budgets of new replicas: a table with a column per link, a waterfall, and the means of a run.

use super::explain::{Page, clock};
use super::figures::{counted, short};
use super::text_table::{Align, narrowest, text_table, transposed};
use crate::sim::{Budget, Link, Outcome, mean_links};
use crate::units::SimDuration;
use std::fmt::Write as _;

/// Columns of a waterfall's bar, and of what stands beside it.
const BAR: usize = 68;
const BESIDE_BAR: usize = 28;

/// A row per pod, a column per link \[s\]; a column per pod where that is too wide for `width` columns.
pub fn budget_table(budgets: &[Budget], width: usize) -> String {
    let mut columns = vec![("pod".to_owned(), Align::Left)];
    // Two words where a heading would be wider than its figures: they wrap.
    let heading = |link: Link| match link {
        Link::MetricAge => "metric age",
        Link::Autoscaler => "auto- scaler",
        Link::Container => "con- tainer",
        Link::Endpoint => "end- point",
        _ => link.name(),
    };
    columns.extend(Link::ALL.map(|link| (heading(link).to_owned(), Align::Right)));
    columns.push(("total".to_owned(), Align::Right));
    columns.push((String::new(), Align::Left));
    let row = |budget: &Budget| {
        let mut cells = vec![format!("{}", budget.pod.0)];
        let last = Link::ALL.iter().position(|link| *link == budget.last);
        let ended = budget.outcome == Outcome::Starting;
        cells.extend(budget.links.iter().enumerate().map(|(i, link)| {
            let reached = last.is_none_or(|last| i < last || (i == last && !ended));
            if reached { seconds(*link) } else { "-".to_owned() }
        }));
        cells.push(seconds(budget.total()));
        cells.push(
            match budget.outcome {
                Outcome::InService => "",
                Outcome::Deleted => "deleted",
                Outcome::Starting => "starting",
            }
            .to_owned(),
        );
        cells
    };
    let rows: Vec<Vec<String>> = budgets.iter().map(row).collect();
    if rows.iter().all(|row| row.last().is_some_and(String::is_empty)) {
        columns.pop();
    }
    if narrowest(&columns, &rows) > width {
        let (columns, rows) = transposed(&columns, &rows);
        return text_table(&columns, &rows, width);
    }
    // As narrow as the figures allow, so that all headings wrap alike.
    text_table(&columns, &rows, narrowest(&columns, &rows))
}

/// One line per link of a pod, its bar where its time was; at most `width` columns wide (or 100).
pub fn waterfall(budget: &Budget, width: usize) -> String {
    let bar_columns = width.saturating_sub(BESIDE_BAR).clamp(10, BAR);
    let total = budget.total().as_ps();
    let end = match budget.outcome {
        Outcome::InService => "in service",
        Outcome::Deleted => "deleted",
        Outcome::Starting => "still starting at the end of the run, so far",
    };
    let from = if budget.links[0] > SimDuration::ZERO { "oldest sample" } else { "decision" };
    let mut text = format!(
        "pod-{} from its {from} at {}: {end} after {} s\n",
        budget.pod.0,
        clock(budget.start),
        seconds(budget.total())
    );
    let column = |ps: u64| {
        let scaled = u128::from(ps) * bar_columns as u128 / u128::from(total.max(1));
        usize::try_from(scaled).unwrap_or(bar_columns).min(bar_columns)
    };
    let mut before = 0_u64;
    for (link, span) in Link::ALL.iter().zip(budget.links) {
        let after = before + span.as_ps();
        let (from, to) = (column(before).min(bar_columns - 1), column(after));
        let bar = if span == SimDuration::ZERO {
            String::new()
        } else if to <= from {
            // Too short for a column, but it was there.
            format!("{}.", " ".repeat(from))
        } else {
            format!("{}{}", " ".repeat(from), "#".repeat(to - from))
        };
        let _ =
            writeln!(text, "  {:<11} {:>8} s  |{bar:<bar_columns$}|", link.name(), seconds(span));
        before = after;
        if *link == budget.last {
            break;
        }
    }
    text
}

/// `start-up:` and the mean of each link over the pods that came into service, in lines of at most
/// `width` columns (or 100); empty if none did.
pub fn start_up_text(budgets: &[Budget], width: usize) -> String {
    let mut page = Page::new(width);
    let words = mean_budget(budgets);
    if !words.is_empty() {
        page.labelled_in("start-up:", 11, &words);
    }
    page.text
}

fn mean_budget(budgets: &[Budget]) -> String {
    let Some((means, count)) = mean_links(budgets) else { return String::new() };
    let total: f64 = means.iter().sum();
    let mut text = format!(
        "{} s from sample to service, mean of {}:",
        short(total, 1),
        counted(count, "new replica")
    );
    for (i, (link, mean)) in Link::ALL.iter().zip(means).enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(text, "{comma} {} {}", link.name().replace('_', " "), short(mean, 1));
    }
    text
}

/// Seconds with one decimal; below 50 ms with three, from 1000 s on with none.
fn seconds(span: SimDuration) -> String {
    let value = span.as_secs_f64();
    let decimals = match value {
        value if value > 0.0 && value < 0.05 => 3,
        value if value >= 1000.0 => 0,
        _ => 1,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::super::explain::WIDTH;
    use super::*;
    use crate::units::{PodId, SimTime};

    fn budget(links: [u64; 11]) -> Budget {
        Budget {
            pod: PodId(3),
            creation: Some(0),
            start: SimTime::from_secs(75),
            created: SimTime::from_secs(90),
            links: links.map(SimDuration::from_secs),
            last: Link::Endpoint,
            outcome: Outcome::InService,
        }
    }

    #[test]
    fn a_waterfall_falls_and_fits() {
        let fallen = |width| waterfall(&budget([10, 1, 10, 300, 10, 0, 1, 200, 150, 8, 1]), width);
        let text = fallen(60);
        assert!(text.lines().skip(1).all(|line| line.chars().count() == 60), "{text}");
        let text = fallen(200);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(
            text.starts_with(
                "pod-3 from its oldest sample at 00:01:15: in service after 691.0 s\n"
            )
        );
        let bars: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(bars.len(), 11);
        let hashes = |line: &str| line.matches('#').count();
        assert_eq!((hashes(bars[3]), hashes(bars[5])), (29, 0));
        assert!(bars[7].find('#') > bars[3].find('#'), "{text}");
        let all: usize = bars.iter().map(|line| hashes(line)).sum();
        assert!((66..=68).contains(&all), "{text}");
    }

    #[test]
    fn the_table_fits_and_tells_what_was_not_reached() {
        let mut cut = budget([10, 1, 10, 1300, 10, 90, 1, 0, 0, 0, 0]);
        (cut.last, cut.outcome) = (Link::Load, Outcome::Deleted);
        let both = [budget([10, 1, 10, 300, 10, 0, 1, 200, 150, 8, 1]), cut];
        let narrow = budget_table(&both, 60);
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
        assert!(narrow.starts_with("pod ") && narrow.contains("\nautoscaler "), "{narrow}");
        let text = budget_table(&both, WIDTH);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.contains('-') && last.ends_with("1422  deleted"), "{text}");
    }

    #[test]
    fn means_are_of_pods_in_service() {
        let mut cut = budget([99; 11]);
        cut.outcome = Outcome::Deleted;
        let text = mean_budget(&[budget([10; 11]), cut]);
        assert!(
            text.starts_with("110 s from sample to service, mean of 1 new replica: "),
            "{text}"
        );
        assert_eq!(mean_budget(&[cut]), "");
    }
}
