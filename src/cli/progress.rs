//! The log of finished units and the progress bar of a sweep.

use super::{Context, complain};
use crate::export::{read_units, unit_key, unit_line};
use crate::report::progress_text;
use crate::sim::Measures;
use crate::sweep::{Outcome, Plan, Shard, Unit};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A bar appears only for work that takes longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// `units.jsonl` while a sweep runs.
pub(crate) struct UnitLog {
    path: PathBuf,
    file: File,
    known: BTreeMap<Unit, Measures>,
}

impl UnitLog {
    /// Opens the log, creating its folder. With `resume` the units that it already has are known, otherwise it
    /// starts empty.
    pub(crate) fn open(path: &Path, resume: bool, plan: &Plan) -> anyhow::Result<Self> {
        let name = || format!("cannot open `{}`", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        let mut text = String::new();
        if resume {
            text = match fs::read(path) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
                Err(error) => return Err(error).with_context(name),
            };
        }
        let by_key = read_units(&text);
        let units = plan.units(Shard::WHOLE, |_| 0.0).into_iter();
        let known =
            units.filter_map(|unit| Some((unit, *by_key.get(&unit_key(plan, unit))?))).collect();
        let mut options = OpenOptions::new();
        options.create(true).write(true);
        let options = if resume { options.append(true) } else { options.truncate(true) };
        let mut file = options.open(path).with_context(name)?;
        if !text.is_empty() && !text.ends_with('\n') {
            // The writer was killed within a line: end it, so that the next one stands alone.
            file.write_all(b"\n").with_context(name)?;
        }
        Ok(Self { path: path.to_owned(), file, known })
    }

    /// Number of units that need not be run.
    pub(crate) fn known_units(&self) -> usize {
        self.known.len()
    }

    /// The units that need not be run, with their results.
    pub(crate) fn take_known(&mut self) -> BTreeMap<Unit, Measures> {
        std::mem::take(&mut self.known)
    }

    /// Appends one unit in a single write, so that only the last line can ever be torn.
    fn append(&mut self, line: &str) -> Result<(), String> {
        self.file
            .write_all(line.as_bytes())
            .map_err(|error| format!("cannot write `{}`: {error}", self.path.display()))
    }
}

/// A bar over `units` that draws nothing yet.
fn hidden(units: usize) -> ProgressBar {
    let drawn = ProgressBar::with_draw_target(Some(units as u64), ProgressDrawTarget::hidden());
    let style = "{bar:24} {pos}/{len} units, {eta} left  {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        drawn.set_style(style);
    }
    drawn
}

/// How many of a run's replications are done, on a terminal and if it takes long.
pub(crate) struct Count {
    drawn: ProgressBar,
    wanted: bool,
    started: Instant,
}

impl Count {
    /// None of `units` is done.
    pub(crate) fn new(units: usize, context: &Context) -> Self {
        let wanted = !context.common.quiet && units > 1;
        Self { drawn: hidden(units), wanted, started: Instant::now() }
    }

    /// One more is done.
    pub(crate) fn finished(&mut self) {
        self.drawn.inc(1);
        if self.wanted && self.started.elapsed() > PATIENCE {
            self.drawn.set_draw_target(ProgressDrawTarget::stderr());
            self.wanted = false;
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.drawn.finish_and_clear();
    }
}

/// Logs every unit and shows how far the sweep is.
pub(crate) struct Bar<'a> {
    plan: &'a Plan,
    log: &'a mut UnitLog,
    drawn: ProgressBar,
    shown: bool,
    wanted: bool,
    /// Tell of every unit.
    verbose: bool,
    started: Instant,
    /// By case: replications so far, sums of cost and attainment.
    sums: Vec<(f64, Measures)>,
}

impl<'a> Bar<'a> {
    /// A bar over the units that are not yet known. It shows itself on a terminal only.
    pub(crate) fn new(
        plan: &'a Plan,
        known: usize,
        context: &Context,
        log: &'a mut UnitLog,
    ) -> Self {
        let units = plan.cases.len() * plan.replications as usize - known;
        Self {
            plan,
            log,
            drawn: hidden(units),
            shown: false,
            wanted: !context.common.quiet,
            verbose: context.common.verbose > 0,
            started: Instant::now(),
            sums: vec![(0.0, Measures::default()); plan.cases.len()],
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        self.drawn.finish_and_clear();
    }

    /// The cheapest case so far that meets the objective on average.
    fn best(&self) -> Option<(usize, Measures)> {
        let objective = self.plan.objective.attainment;
        let means = self.sums.iter().enumerate().filter(|(_, (count, _))| *count > 0.0).map(
            |(case, (count, sums))| {
                let cost_usd = sums.cost_usd / count;
                let slo_attainment = sums.slo_attainment / count;
                (case, Measures { slo_attainment, cost_usd, ..Measures::default() })
            },
        );
        means
            .filter(|(_, mean)| mean.slo_attainment >= objective)
            .min_by(|a, b| a.1.cost_usd.total_cmp(&b.1.cost_usd))
    }

    /// Logs a unit and shows that it is done.
    pub(crate) fn finished(&mut self, unit: Unit, outcome: &Outcome) -> Result<(), String> {
        self.log.append(&unit_line(self.plan, unit, outcome))?;
        self.drawn.inc(1);
        if let Outcome::Done(measures) = outcome {
            let (count, sums) = &mut self.sums[unit.case];
            *count += 1.0;
            sums.cost_usd += measures.cost_usd;
            sums.slo_attainment += measures.slo_attainment;
        }
        if self.verbose {
            let told = match outcome {
                Outcome::Done(measures) => progress_text(measures),
                Outcome::Failed(why) => format!("failed: {why}"),
            };
            let id = &self.plan.cases[unit.case].id;
            let line = format!("{id}, replication {}: {told}", unit.replication);
            self.drawn.suspend(|| complain(&line));
        }
        if self.wanted && !self.shown && self.started.elapsed() > PATIENCE {
            // indicatif draws nothing where standard error is no terminal.
            self.drawn.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        if self.shown
            && let Some((case, mean)) = self.best()
        {
            let id = &self.plan.cases[case].id;
            self.drawn.set_message(format!("best {id}: {}", progress_text(&mean)));
        }
        Ok(())
    }
}
