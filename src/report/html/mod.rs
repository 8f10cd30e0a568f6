//! `report.html`: one page about a sweep that opens from disk, with its charts as SVG files beside it.
//!
//! The page needs no network and no script: style sheet and charts are part of it. Everything in it follows from
//! the results and from one more look at a few cases, so the bytes do not depend on how the sweep was run.

mod charts;
mod estimates;
mod page;
mod svg;
mod timeline;

pub use estimates::{Estimate, estimates};
pub use timeline::{Role, Timeline};

use super::Heading;
use crate::export::{File, Provenance};
use crate::sweep::{Plan, SweepResult, Warning};

/// Where the charts lie below the output directory.
pub const CHARTS: &str = "charts";

/// One thing that was taken for granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// What it is about, as in "node provisioning".
    pub what: String,
    /// Its value in words.
    pub value: String,
    /// How it was obtained or what decides it; may be empty.
    pub basis: String,
}

/// What the page says besides the results.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Background {
    /// Profile, prices, presets: what was in force in the shown case.
    pub facts: Vec<Fact>,
    /// Guesses of the model that the sweep may rest on.
    pub estimates: Vec<Estimate>,
}

/// Which cases a report shows over time: the recommended one (or the one nearest to the objective), the present
/// one, and the one with the least attainment. Cases with failed replications are left out.
pub fn shown_cases<S>(plan: &Plan<S>, result: &SweepResult) -> Vec<(Role, usize)> {
    let met = |index: usize| result.cases[index].measure("slo_attainment");
    let complete: Vec<usize> = (0..plan.cases.len())
        .filter(|&i| result.cases[i].is_complete() && !met(i).mean.is_nan())
        .collect();
    let nearest = || super::sweep::nearest(result).map(|index| (Role::Nearest, index));
    let first = result.recommended.map(|index| (Role::Recommended, index)).or_else(nearest);
    let present = plan.current.filter(|i| complete.contains(i)).map(|index| (Role::Present, index));
    let worst =
        complete.iter().copied().reduce(|a, b| if met(b).mean < met(a).mean { b } else { a });
    let worst = worst.map(|index| (Role::Worst, index));
    let mut shown: Vec<(Role, usize)> = Vec::new();
    for (role, index) in [first, present, worst].into_iter().flatten() {
        if shown.iter().all(|(_, other)| *other != index) {
            shown.push((role, index));
        }
    }
    shown
}

/// The page and its charts. `timelines` are those of [`shown_cases`], in that order.
pub fn sweep_page<S>(
    plan: &Plan<S>,
    result: &SweepResult,
    heading: &Heading,
    provenance: &Provenance,
    warnings: &[Warning],
    background: &Background,
    timelines: &[Timeline],
) -> Vec<File> {
    let peaks = timeline::Peaks::of(timelines);
    let page = page::Page {
        plan,
        result,
        heading,
        provenance,
        warnings,
        background,
        pareto: charts::pareto(plan, result),
        surfaces: charts::surfaces(plan, result),
        timelines: timelines.iter().map(|t| t.figure(&plan.cases[t.case].id, peaks)).collect(),
        column: timelines.first().map(Timeline::column),
        shown: shown_cases(plan, result),
    };
    let mut files = vec![File::new("report.html", page.render())];
    let surfaces = page.surfaces.iter().map(|(figure, _)| figure);
    for figure in page.pareto.iter().chain(surfaces).chain(&page.timelines) {
        files.push(File::new(format!("{CHARTS}/{}.svg", figure.name), figure.file()));
    }
    files
}

#[cfg(test)]
mod tests;
