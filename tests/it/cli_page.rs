//! `report.html` of a sweep and its charts, from outside.

use crate::cli_support::{Scratch, TINY};

const PRESENT: &str = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: now\nspec:\n  \
     minReplicas: 3\n  maxReplicas: 4\n  scaleTargetRef:\n    apiVersion: apps/v1\n    kind: Deployment\n    \
     name: vllm\n  metrics:\n  - type: Pods\n    pods:\n      metric:\n        \
     name: prometheus.googleapis.com|vllm:num_requests_running|gauge\n      target:\n        type: AverageValue\n        \
     averageValue: 10\n";

fn swept() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    scratch.write("now.yaml", PRESENT);
    scratch.hpasim(&["sweep", "tiny.toml", "--current", "now.yaml", "-q"]).expect(0);
    scratch
}

fn charts(scratch: &Scratch) -> Vec<(String, String)> {
    let files = scratch.files("out/tiny/charts").into_iter();
    files.map(|(name, bytes)| (name, String::from_utf8(bytes).expect("UTF-8"))).collect()
}

/// Every chart is XML of its own and a part of the page; the page is well-formed as well, tags in pairs.
#[test]
fn charts_are_files_and_parts_of_the_page() {
    let scratch = swept();
    let page = scratch.read("out/tiny/report.html");
    let charts = charts(&scratch);
    let names: Vec<&str> = charts.iter().map(|(name, _)| name.as_str()).collect();
    for name in
        ["pareto.svg", "timeline-recommended.svg", "timeline-present.svg", "timeline-worst.svg"]
    {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for (name, text) in &charts {
        let document = roxmltree::Document::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "svg");
        assert_eq!(root.tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
        assert!(
            root.descendants()
                .any(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "path")))
        );
        assert!(
            !text.contains("NaN") && !text.contains("inf"),
            "{name} has no numbers that are none"
        );
        // Without name space and style, the drawing is the page's own.
        let drawing = text.split_once("</style>").expect("a style").1.trim();
        assert!(page.contains(drawing), "{name} is in the page");
    }
    let elements = page.split_once("<html").expect("a page").1;
    let body = format!("<html{elements}").replace("<meta charset=\"utf-8\">", "");
    let start = body.find("<meta name").expect("viewport");
    let end = start + body[start..].find('>').expect("closed");
    let body =
        format!("{}{}", &body[..start], &body[end + 1..]).replace("<details open>", "<details>");
    roxmltree::Document::parse(&body).expect("tags in pairs, text escaped");
}

/// A run of half an hour has fewer minutes than a chart has columns: load and TTFT are lines all the same.
#[test]
fn series_by_minute_are_lines_without_gaps() {
    let scratch = swept();
    for (name, text) in charts(&scratch).iter().filter(|(name, _)| name.starts_with("timeline-")) {
        for style in ["s2", "s4"] {
            let path = text.split_once(&format!("class=\"l {style} p\" d=\"")).expect("a line").1;
            let path = path.split_once('"').expect("its end").0;
            assert_eq!(path.matches('M').count(), 1, "{name}: {path}");
            assert!(path.matches('L').count() > 20, "{name}: {path}");
        }
    }
}

/// A reader of screens hears what a chart shows.
#[test]
fn charts_have_names_and_descriptions() {
    let scratch = swept();
    let page = scratch.read("out/tiny/report.html");
    let count = page.matches("<svg class=\"chart\"").count();
    assert!(count > 4 && page.matches("role=\"img\" aria-label=").count() == count);
    assert_eq!(page.matches("<desc>").count(), count);
    let front = "<desc>SLO met: a case, Pareto front, 95 % confidence, recommended, present. \
                 From left to right: cost [USD].</desc>";
    assert!(page.contains(front), "{page}");
    let over_time = "<desc>requests/s; replicas: wanted, ready; requests waiting; TTFT, mean of a \
                     minute [s]. From left to right: time [min].</desc>";
    assert!(page.contains(over_time), "{page}");
}

/// It opens from disk: nothing is fetched and nothing is run.
#[test]
fn the_page_needs_no_network_and_no_script() {
    let scratch = swept();
    let page = scratch.read("out/tiny/report.html");
    for forbidden in ["://", "<script", "<link", "<img", "<iframe", "@import", "url(", " src="] {
        assert!(!page.contains(forbidden), "`{forbidden}` in the page");
    }
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("@media print"));
    for (name, text) in charts(&scratch) {
        let own = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!own.contains("://"), "{name}");
    }
}

/// What the page says is what the summary says.
#[test]
fn the_page_holds_the_figures_of_the_summary() {
    let scratch = swept();
    let page = scratch.read("out/tiny/report.html");
    let summary: serde_json::Value =
        serde_json::from_str(&scratch.read("out/tiny/summary.json")).unwrap();
    for role in ["recommended", "current"] {
        let case = &summary[role];
        let id = case["case_id"].as_str().unwrap();
        assert!(page.contains(&format!("<span class=\"id\">{id}</span>")), "{id}");
        let value = |name: &str| case["measures"][name]["mean"].as_f64().unwrap();
        let met = format!("{:.2} %", (value("slo_attainment") * 1e4 + 1e-6).floor() / 100.0);
        let cost = format!("{:.2}", value("cost_usd"));
        assert!(page.contains(&met), "{role}: {met}");
        assert!(page.contains(&format!(">{cost}")), "{role}: {cost}");
    }
    let digest = summary["provenance"]["digest"].as_str().unwrap();
    let target = summary["recommended"]["knobs"]["target"].as_str().unwrap();
    let basis = ["digest", "known error", "USD/h per", "derived: ", "A106"];
    for text in [digest, "hpasim sweep tiny.toml --current now.yaml"].iter().chain(&basis) {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.contains(&format!("<th>target</th><td class=\"id\">{target}</td>")), "{target}");
    for warning in summary["warnings"].as_array().unwrap() {
        let text = warning["text"].as_str().unwrap();
        let start: String = text.chars().take_while(|c| !"<>&\"".contains(*c)).collect();
        assert!(page.contains(&start), "{text}");
    }
    let saved = summary["savings"]["cost_usd"]["mean"].as_f64().unwrap();
    assert!(page.contains(&format!("That is {:.2} USD", saved.abs())), "{saved}");
}

/// Guesses about features that the experiment does not use are left out.
#[test]
fn estimates_are_those_in_force() {
    let scratch = swept();
    let page = scratch.read("out/tiny/report.html");
    let listed = |tag: &str| page.contains(&format!("<td class=\"id\">{tag}</td>"));
    assert!(listed("A106"), "node provisioning");
    for other in ["A280", "A281", "A311", "A261", "A220", "A62", "A320", "A323", "A341", "A350"] {
        assert!(!listed(other), "{other} is about something else");
    }
}

/// Charts of a sweep with other metrics do not stay; files of others do.
#[test]
fn old_charts_go() {
    let scratch = swept();
    scratch.write("out/tiny/charts/mine.svg", "<svg/>");
    scratch.write("out/tiny/charts/surface-gone-cost_usd.svg", "<svg/>");
    scratch.hpasim(&["sweep", "tiny.toml", "-q"]).expect(0);
    assert!(!scratch.exists("out/tiny/charts/surface-gone-cost_usd.svg"));
    assert!(!scratch.exists("out/tiny/charts/timeline-present.svg"), "no present case any more");
    assert!(scratch.exists("out/tiny/charts/mine.svg"));
    assert!(scratch.exists("out/tiny/charts/pareto.svg"));
}

/// Without a recommendation the page says so and shows what comes nearest.
#[test]
fn a_page_without_a_recommendation() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let strict =
        ["sweep", "tiny.toml", "--set", "slo.ttft=\"1ms\"", "--set", "slo.attainment=1.0", "-q"];
    scratch.hpasim(&strict).expect(1);
    let page = scratch.read("out/tiny/report.html");
    assert!(page.contains("No recommendation: no case meets the SLO"), "{page}");
    assert!(scratch.exists("out/tiny/charts/timeline-nearest.svg"));
}
