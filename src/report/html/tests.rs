//! The page of a made-up sweep.

use super::*;
use crate::rng::Seed;
use crate::sim::Measures;
use crate::sweep::{Case, Objective, Outcome, Unit};

/// Cases of (metric, target, window) with their cost and attainment, two replications each.
fn swept(
    cases: &[(&str, &str, &str, f64, f64)],
    current: Option<usize>,
) -> (Plan<()>, SweepResult) {
    let plan = Plan {
        cases: cases
            .iter()
            .enumerate()
            .map(|(index, (metric, target, window, ..))| Case {
                id: format!("c{index:03}"),
                knobs: vec![
                    ("metric".into(), (*metric).into()),
                    ("target".into(), (*target).into()),
                    ("window".into(), (*window).into()),
                ],
                scenario: (),
                digest: String::new(),
            })
            .collect(),
        replications: 2,
        confidence: 0.95,
        seed: Seed(1),
        objective: Objective { attainment: 0.9 },
        current,
    };
    let outcomes = cases.iter().enumerate().flat_map(|(case, &(.., cost_usd, slo_attainment))| {
        [0.99, 1.01].into_iter().zip(0..).map(move |(factor, replication)| {
            let cost_usd = cost_usd * factor;
            let measures = Measures { slo_attainment, cost_usd, ..Measures::default() };
            (Unit { case, replication }, Some(Outcome::Done(measures)))
        })
    });
    let result = SweepResult::of(&plan, outcomes);
    (plan, result)
}

fn page(plan: &Plan<()>, result: &SweepResult) -> Vec<File> {
    let provenance = Provenance {
        experiment: "a<b".into(),
        command: "hpasim sweep 'a & b.toml'".into(),
        ..Provenance::default()
    };
    let warning =
        Warning { code: "flapping", case: Some(0), text: "`x` flaps <often>, see `y<z`".into() };
    let fact = Fact { what: "prices".into(), value: "1 USD/h".into(), basis: "\"2026\"".into() };
    let background = Background { facts: vec![fact], estimates: estimates() };
    let heading = Heading { workload: "2 requests/s".into(), ..Heading::default() };
    sweep_page(plan, result, &heading, &provenance, &[warning], &background, &[])
}

const GRID: [(&str, &str, &str, f64, f64); 6] = [
    ("vllm:x", "2", "300", 40.0, 0.99),
    ("vllm:x", "4", "300", 30.0, 0.95),
    ("vllm:x", "2500m", "600", 42.0, 0.99),
    ("vllm:x", "4", "600", 33.0, 0.96),
    ("prometheus.googleapis.com|vllm:y|gauge", "10", "300", 20.0, 0.5),
    ("prometheus.googleapis.com|vllm:y|gauge", "20", "600", 15.0, 0.3),
];

#[test]
fn files_are_named_after_what_they_show() {
    let (plan, result) = swept(&GRID, None);
    let names: Vec<String> = page(&plan, &result).into_iter().map(|file| file.path).collect();
    assert_eq!(
        names,
        [
            "report.html",
            "charts/pareto.svg",
            "charts/surface-x-slo_attainment.svg",
            "charts/surface-x-cost_usd.svg",
            "charts/surface-y-slo_attainment.svg",
            "charts/surface-y-cost_usd.svg",
        ]
    );
}

#[test]
fn text_of_others_is_escaped() {
    let (plan, result) = swept(&GRID, None);
    let files = page(&plan, &result);
    let html = String::from_utf8(files[0].bytes.clone()).unwrap();
    for text in [
        "<h1>a&lt;b</h1>",
        "<code>x</code> flaps &lt;often&gt;, see <code>y&lt;z</code>",
        "&quot;2026&quot;",
        "a &amp; b.toml",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert!(html.contains("Recommended: case <b class=\"id\">c001</b>"), "{html}");
}

/// A quantity stands where its value belongs, in the right line.
#[test]
fn lines_follow_the_other_axis() {
    let (plan, result) = swept(&GRID, None);
    let surfaces = charts::surfaces(&plan, &result);
    let series = &surfaces[0].0.panels[0].series;
    let lines: Vec<(&str, Vec<(f64, f64)>)> = series
        .iter()
        .map(|line| (line.name.as_str(), line.points.iter().map(|p| (p.x, p.y)).collect()))
        .collect();
    assert_eq!(
        lines,
        [
            ("window 300", vec![(2.0, 0.99), (4.0, 0.95)]),
            ("window 600", vec![(2.5, 0.99), (4.0, 0.96)]),
        ]
    );
}

/// More lines than can be told apart: those around the best, and the page says so.
#[test]
fn many_lines_are_cut_around_the_best() {
    let windows: Vec<String> = (0..20).map(|window| window.to_string()).collect();
    let cases: Vec<_> = windows
        .iter()
        .enumerate()
        .flat_map(|(i, window)| {
            let cost = if i == 15 { 5.0 } else { 10.0 };
            [("m", "1", window.as_str(), cost, 0.95), ("m", "2", window.as_str(), cost + 1.0, 0.95)]
        })
        .collect();
    let (plan, result) = swept(&cases, None);
    let surfaces = charts::surfaces(&plan, &result);
    let names: Vec<&str> =
        surfaces[0].0.panels[0].series.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names.len(), 6);
    assert!(names.contains(&"window 15"), "{names:?}");
    assert!(surfaces[0].1.contains("6 of 20 lines"), "{}", surfaces[0].1);
}

#[test]
fn shown_cases_are_recommended_present_and_worst() {
    use Role::{Nearest, Present, Recommended, Worst};
    let roles = |current, cases: &[_]| {
        let (plan, result) = swept(cases, current);
        shown_cases(&plan, &result)
    };
    assert_eq!(roles(Some(0), &GRID), [(Recommended, 1), (Present, 0), (Worst, 5)]);
    assert_eq!(roles(Some(1), &GRID), [(Recommended, 1), (Worst, 5)], "present and recommended");
    assert_eq!(roles(None, &GRID[4..]), [(Nearest, 0), (Worst, 1)]);
    assert_eq!(roles(Some(0), &GRID[..1]), [(Recommended, 0)]);
}

/// A sweep of one case, and one in which nothing ran to its end, still have a page.
#[test]
fn pages_without_a_surface_or_a_result() {
    let (plan, result) = swept(&GRID[..1], Some(0));
    let files = page(&plan, &result);
    assert_eq!(files.len(), 2, "the page and the front");
    let failed = (0..2).map(|replication| {
        (Unit { case: 0, replication }, Some(Outcome::Failed("law L1".to_owned())))
    });
    let result = SweepResult::of(&plan, failed);
    let files = page(&plan, &result);
    let html = String::from_utf8(files[0].bytes.clone()).unwrap();
    assert_eq!(files.len(), 1);
    assert!(html.contains("No case has all its replications"), "{html}");
}
