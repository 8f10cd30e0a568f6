//! `hpasim explain`: why a finished run scaled, and where the time until its new replicas went.

use super::{Context, Exit, output, terminal_width};
use crate::cluster::{NodeStage, PodStage};
use crate::config::parse_duration;
use crate::export::{DecisionLine, read_explain_jsonl};
use crate::report;
use crate::sim::{Budget, Creation, NodeRow, PodRow, budgets};
use crate::units::{NodeId, PodId, SimDuration, SimTime};
use anyhow::{Context as _, anyhow, bail};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// `explain.jsonl` keeps times in binary seconds, the tables keep them exactly.
const SAME_INSTANT: SimDuration = SimDuration::from_ps(1_000_000);

/// Explain the scale decisions of a finished run
///
/// For each scale decision: the samples with their age, the ratio, tolerance and proposal, what the stabilisation
/// window held, what the policies admitted and which scale events had consumed them, conditions and events in
/// Kubernetes' words; and where the time went until the replicas that it created came into service.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Directory that `hpasim run` wrote; `DIR/replication-1` and so on for further replications
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only the decision at or before this time since the start of the run (`2h15m`, `02:15:00` or seconds), and
    /// the reconcile of that time if it did not scale
    #[arg(long, value_name = "T", value_parser = parse_time)]
    at: Option<SimTime>,
}

/// What a run left behind.
struct Run {
    decisions: Vec<DecisionLine>,
    /// `decisions.csv`: header and rows.
    reconciles: Csv,
    /// What followed the decisions: rows of `events.csv` and holds, in order of time.
    events: Vec<(SimTime, String)>,
    budgets: Vec<Budget>,
    /// By scale write: index into `decisions`.
    writes: Vec<usize>,
    /// Columns of the terminal.
    width: usize,
}

/// A table as text.
struct Csv {
    name: &'static str,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Runs the command.
pub(crate) fn run(args: &Args, _context: &Context) -> anyhow::Result<Exit> {
    let run = Run::read(&args.directory)?;
    let text = match args.at {
        None => run.all(),
        Some(at) => run.at(at)?,
    };
    output::print(&format!("{}\n", text.trim_matches('\n')))?;
    Ok(Exit::Done)
}

impl Run {
    fn read(directory: &Path) -> anyhow::Result<Self> {
        let name = "explain.jsonl";
        check_folder(directory, name)?;
        let decisions = read_explain_jsonl(&text(directory, name)?)
            .map_err(|error| anyhow!("{}: {error}", directory.join(name).display()))?;
        let reconciles = Csv::read(directory, "decisions.csv")?;
        let mut events = events(directory)?;
        let held = decisions.iter().filter(|line| line.scale_to.is_none());
        events.extend(held.map(|line| (time(line.t_s), report::held_text(line))));
        events.sort_by_key(|event| event.0);
        let (pods, nodes) = (pod_rows(directory)?, node_rows(directory)?);
        let written = |(i, line): (usize, &DecisionLine)| line.written_s.map(|at| (i, at));
        let (writes, creations): (Vec<usize>, Vec<Creation>) = decisions
            .iter()
            .enumerate()
            .filter_map(written)
            .map(|(i, at)| (i, creation(&decisions[i], at)))
            .unzip();
        let budgets = budgets(&pods, &nodes, &creations);
        let width = terminal_width();
        Ok(Self { decisions, reconciles, events, budgets, writes, width })
    }

    /// Everything, in order of time.
    fn all(&self) -> String {
        let mut text = report::explained_count(self.writes.len());
        text.push_str(" in this run\n");
        let others: Vec<Budget> =
            self.budgets.iter().filter(|b| b.creation.is_none()).copied().collect();
        if !others.is_empty() {
            let _ = write!(
                text,
                "\nreplicas that no decision of the HPA created\n{}",
                report::budget_table(&others, self.width)
            );
        }
        let first = self.writes.first().map(|i| time(self.decisions[*i].t_s));
        let heading = if first.is_some() { "before the first decision" } else { "what happened" };
        self.events_between(&mut text, heading, SimTime::ZERO, first.unwrap_or(SimTime::NEVER));
        for write in 0..self.writes.len() {
            self.block(&mut text, write, false);
        }
        let _ = write!(text, "\n{}", report::start_up_text(&self.budgets, self.width));
        text
    }

    /// The reconcile at or before `at`, and the scale decision at or before it.
    fn at(&self, at: SimTime) -> anyhow::Result<String> {
        let mut last = None;
        for row in 0..self.reconciles.rows.len() {
            let read_at = self.reconciles.time(row)?;
            if read_at > at {
                break;
            }
            last = Some((row, read_at));
        }
        let Some((row, read_at)) = last else {
            bail!("--at: no reconcile of an HPA at or before {} s", at.as_secs_f64());
        };
        let near = |line: &DecisionLine| {
            let line = time(line.t_s);
            line.max(read_at) - line.min(read_at) <= SAME_INSTANT
        };
        let mut text = String::new();
        let found = self.decisions.iter().find(|line| near(line));
        if found.is_none_or(|line| line.scale_to.is_none()) {
            text.push_str(&match found {
                Some(line) => report::decision_text(line, self.width),
                None => report::reconcile_text(&self.reconciles.cells(row), self.width),
            });
        }
        let read = |write: &usize| time(self.decisions[*write].t_s);
        let writes = self.writes.iter().take_while(|w| read(w) <= read_at + SAME_INSTANT);
        match writes.count().checked_sub(1) {
            Some(write) => {
                if !text.is_empty() {
                    text.push_str("\nthe last scale decision before it:\n");
                }
                self.block(&mut text, write, true);
            }
            None => text.push_str("\nno scale decision before it\n"),
        }
        Ok(text)
    }

    /// One scale decision, its replicas, and the events up to the next one.
    fn block(&self, text: &mut String, write: usize, every_waterfall: bool) {
        let line = &self.decisions[self.writes[write]];
        let _ = write!(text, "\n{}", report::decision_text(line, self.width));
        let created: Vec<Budget> =
            self.budgets.iter().filter(|b| b.creation == Some(write)).copied().collect();
        if !created.is_empty() {
            let _ = write!(text, "\n{}", report::budget_table(&created, self.width));
            let slowest = created.iter().max_by_key(|b| b.total());
            for budget in &created {
                if every_waterfall || slowest == Some(budget) {
                    let _ = write!(text, "\n{}", report::waterfall(budget, self.width));
                }
            }
        }
        let next = self.writes.get(write + 1).map(|i| time(self.decisions[*i].t_s));
        self.events_between(text, "afterwards", time(line.t_s), next.unwrap_or(SimTime::NEVER));
    }

    fn events_between(&self, text: &mut String, heading: &str, from: SimTime, to: SimTime) {
        let inside: Vec<_> =
            self.events.iter().filter(|(at, _)| *at >= from && *at < to).cloned().collect();
        if !inside.is_empty() {
            let _ = write!(text, "\n{}", report::events_text(heading, &inside, self.width));
        }
    }
}

/// What else a reader may have named in place of the folder of a run, which holds a file `name`.
fn check_folder(directory: &Path, name: &str) -> anyhow::Result<()> {
    let shown = directory.display();
    if directory.join(name).is_file() {
        return Ok(());
    }
    if directory.is_file() {
        bail!("`{shown}` is a file\nhint: name the folder that `hpasim run EXP.toml -o DIR` wrote");
    }
    // An error says that there is no such folder, or why it cannot be looked into.
    std::fs::read_dir(directory).with_context(|| format!("cannot read `{shown}`"))?;
    if directory.join(super::sweep::LOG).is_file() {
        bail!(
            "`{shown}` is the folder of a sweep, which keeps no decisions\n\
             hint: `hpasim run EXP.toml --case ID -o DIR` runs one of its cases again and keeps them"
        );
    }
    bail!(
        "`{shown}` is not the folder of a finished run: it has no `{name}`, which `hpasim run` writes"
    )
}

impl Csv {
    fn read(directory: &Path, name: &'static str) -> anyhow::Result<Self> {
        let bytes = text(directory, name)?;
        let mut reader = csv::Reader::from_reader(bytes.as_bytes());
        let strings = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
        let header = strings(reader.headers().with_context(|| name)?);
        let rows = reader.records().map(|record| record.map(|record| strings(&record)));
        let rows: Result<Vec<Vec<String>>, _> = rows.collect();
        Ok(Self { name, header, rows: rows.with_context(|| name)? })
    }

    fn cells(&self, row: usize) -> Vec<(&str, &str)> {
        let header = self.header.iter().map(String::as_str);
        header.zip(self.rows[row].iter().map(String::as_str)).collect()
    }

    /// The cell of a column; empty if there is no such column.
    fn cell(&self, row: usize, column: &str) -> &str {
        let index = self.header.iter().position(|name| name == column);
        index.and_then(|i| self.rows[row].get(i)).map_or("", String::as_str)
    }

    fn time(&self, row: usize) -> anyhow::Result<SimTime> {
        let cell = self.cell(row, "t_s");
        let parsed = parse_duration(&format!("{cell}s"));
        parsed.map(|span| SimTime::ZERO + span).map_err(|_| self.wrong(row, "t_s"))
    }

    /// The number behind a prefix, as in `pod-12`.
    fn ordinal(&self, row: usize, column: &str, prefix: &str) -> anyhow::Result<u32> {
        let number = self.cell(row, column).strip_prefix(prefix).and_then(|n| n.parse().ok());
        number.ok_or_else(|| self.wrong(row, column))
    }

    fn wrong(&self, row: usize, column: &str) -> anyhow::Error {
        let cell = self.cell(row, column);
        anyhow!("{}:{}: `{cell}` is not a `{column}` that `hpasim run` writes", self.name, row + 2)
    }
}

/// `events.csv` in words. The rescales are left out: their decisions have a text of their own.
fn events(directory: &Path) -> anyhow::Result<Vec<(SimTime, String)>> {
    let table = Csv::read(directory, "events.csv")?;
    let others = (0..table.rows.len()).filter(|i| table.cell(*i, "object") != "hpa");
    let event = |i| {
        let cell = |column| table.cell(i, column);
        let (kind, reason, object) = (cell("type"), cell("reason"), cell("object"));
        Ok((table.time(i)?, format!("{kind} {reason} {object}: {}", cell("message"))))
    };
    others.map(event).collect()
}

fn pod_rows(directory: &Path) -> anyhow::Result<Vec<PodRow>> {
    let table = Csv::read(directory, "pods.csv")?;
    let row = |i| {
        let stage = PodStage::ALL.into_iter().find(|s| s.as_str() == table.cell(i, "stage"));
        let node = match table.cell(i, "node") {
            "" => None,
            _ => Some(NodeId(table.ordinal(i, "node", "node-")?)),
        };
        Ok(PodRow {
            at: table.time(i)?,
            pod: PodId(table.ordinal(i, "pod", "pod-")?),
            stage: stage.ok_or_else(|| table.wrong(i, "stage"))?,
            node,
        })
    };
    (0..table.rows.len()).map(row).collect()
}

fn node_rows(directory: &Path) -> anyhow::Result<Vec<NodeRow>> {
    let table = Csv::read(directory, "nodes.csv")?;
    let row = |i| {
        let stage = NodeStage::ALL.into_iter().find(|s| s.as_str() == table.cell(i, "stage"));
        Ok(NodeRow {
            at: table.time(i)?,
            node: NodeId(table.ordinal(i, "node", "node-")?),
            stage: stage.ok_or_else(|| table.wrong(i, "stage"))?,
            // Where a start's time went does not depend on it.
            pool: 0,
        })
    };
    (0..table.rows.len()).map(row).collect()
}

/// The times of a scale write, with the oldest sample that counted for the chosen metric.
fn creation(line: &DecisionLine, written_s: f64) -> Creation {
    let metric = line.chosen_metric.and_then(|i| line.metrics.get(i));
    let ages = metric.into_iter().flat_map(|metric| &metric.samples);
    let ages = ages.filter(|s| matches!(s.counted.as_str(), "ready" | "sum"));
    let oldest = ages.filter_map(|s| s.age_s).reduce(f64::max);
    let read_at = time(line.t_s);
    Creation {
        read_at,
        written_at: time(written_s),
        oldest_sample: oldest.map(|age| read_at - SimDuration::from_secs_f64(age)),
    }
}

fn time(seconds: f64) -> SimTime {
    SimTime::ZERO + SimDuration::from_secs_f64(seconds)
}

fn text(directory: &Path, name: &str) -> anyhow::Result<String> {
    output::read_text(&directory.join(name))
}

/// `2h15m`, `02:15:00`, `8100` or `8100.5`.
fn parse_time(text: &str) -> Result<SimTime, String> {
    let clock = |text: &str| {
        let parts: Vec<u64> = text.split(':').map(|p| p.parse().ok()).collect::<Option<_>>()?;
        let [h, m, s] = parts.as_slice() else { return None };
        let within = *h < 24 * 100 && *m < 60 && *s < 60;
        within.then(|| SimTime::from_secs(h * 3600 + m * 60 + s))
    };
    if text.contains(':') {
        return clock(text).ok_or_else(|| "a time of day is written as in 02:15:00".to_owned());
    }
    let plain = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let with_unit = if plain && !text.is_empty() { format!("{text}s") } else { text.to_owned() };
    let parsed = parse_duration(&with_unit).map(|span| SimTime::ZERO + span);
    parsed.map_err(|why| format!("{why}; a time is 2h15m, 02:15:00 or a number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_durations_clocks_or_seconds() {
        for text in ["2h15m", "02:15:00", "8100", "8100.0"] {
            assert_eq!(parse_time(text), Ok(SimTime::from_secs(8100)), "{text}");
        }
        for text in ["", "soon", "-5", "2:15", "00:61:00", "1e3", "."] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
