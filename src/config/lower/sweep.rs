//! `[sweep]`: the grid of cases.

use crate::config::diagnostic::{Code, Diagnostic, Span};
use crate::config::grid;
use crate::config::reader::Fields;
use crate::config::tree::{self, Entry, Node, Step, Table, Value};

/// Keys that are not part of a case.
pub(crate) const OUTER_KEYS: [&str; 4] = ["schema", "name", "seed", "sweep"];

/// One change to the tree.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Where to.
    pub(crate) path: Vec<Step>,
    /// Where it is written.
    pub(crate) key_span: Span,
    /// What.
    pub(crate) node: Node,
}

/// One value of an axis: how it is called in tables, and what it changes.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Columns and their values.
    pub(crate) knobs: Vec<(String, String)>,
    /// What changes in the tree.
    pub(crate) changes: Vec<Change>,
}

/// What `[sweep]` says.
#[derive(Clone, Debug)]
pub(crate) struct Sweep {
    /// Replications of each case.
    pub(crate) replications: u32,
    /// Confidence level.
    pub(crate) confidence: f64,
    /// Axes from slow to fast; each has at least one point.
    pub(crate) axes: Vec<Vec<Point>>,
}

impl Sweep {
    /// The points of one case, an axis each, with cases counted in grid order: the last axis varies fastest.
    pub(crate) fn points_of(&self, case: usize) -> Vec<&Point> {
        let mut rest = case;
        let mut points: Vec<&Point> = Vec::with_capacity(self.axes.len());
        for axis in self.axes.iter().rev() {
            points.push(&axis[rest % axis.len()]);
            rest /= axis.len();
        }
        points.reverse();
        points
    }
}

/// Reads `[sweep]`. `None` if its grid cannot be made; an absent table gives no axes and one replication.
pub(crate) fn sweep(root: &Fields<'_>) -> Option<Sweep> {
    let before = root.context().errors();
    let t = root.key("sweep", "The grid of cases; a file without it has one case").table_or_empty();
    let replications = t
        .key("replications", "Realisations of load and delays per case, common to all cases")
        .u32_or(1..=10_000, 1);
    let confidence =
        t.key("confidence", "Level of all confidence intervals").number_or(0.5..=0.9999, 0.95);
    let max_points = t
        .key("max_points", "A larger grid is an error, so that no typing mistake runs for a week")
        .integer_or(1..=1_000_000, 2_000);
    let mut axes = Vec::new();
    let metrics = metrics(&t);
    if !metrics.is_empty() {
        axes.push(metrics);
    }
    axes.extend(
        t.key("axes", "Any other key and its values; the last axis varies fastest")
            .tables()
            .iter()
            .filter_map(axis),
    );
    let cases = axes.iter().map(Vec::len).fold(1_usize, usize::saturating_mul);
    if cases as u64 > max_points as u64 {
        let shape: Vec<String> = axes.iter().map(|a| a.len().to_string()).collect();
        t.report(
            Diagnostic::error(Code::TooManyCases, format!("the sweep has {cases} cases"))
                .at(t.span(), shape.join(" x "))
                .help(format!("`sweep.max_points` allows {max_points}; raise it if this is meant")),
        );
    }
    let keys: Vec<&String> = axes
        .iter()
        .filter_map(|a| a.first())
        .flat_map(|p| p.knobs.iter().map(|(k, _)| k))
        .collect();
    for (index, key) in keys.iter().enumerate() {
        if keys[..index].contains(key) {
            t.report(
                Diagnostic::error(Code::Conflict, format!("`{key}` is varied twice"))
                    .at(&t.span_of("axes"), ""),
            );
        }
    }
    (root.context().errors() == before).then_some(Sweep { replications, confidence, axes })
}

/// Metrics with their targets: one slow axis over (metric, target).
fn metrics(t: &Fields<'_>) -> Vec<Point> {
    let mut points = Vec::new();
    let doc =
        "Candidate signals: each replaces the HPA's metrics by itself, with each of its targets";
    for m in t.key("metrics", doc).tables() {
        let name = m.key("name", "Metric name").required().string();
        let kind = m
            .key("type", "Kind of metric: Pods, External, Object, Resource, ContainerResource")
            .string_or("Pods");
        let goal = m.key("target_kind", "Which goal the targets are").choice_or(
            &[
                ("average_value", "target_average_value"),
                ("value", "target_value"),
                ("average_utilization", "target_average_utilization"),
            ],
            "target_average_value",
        );
        let values = m.key("targets", "Kubernetes quantities: a list or a range").required().parse(
            grid::kind(),
            None,
            grid::values,
        );
        let (Some(name), Some(values)) = (name, values) else { continue };
        for target in values {
            let text = target.value.text();
            let string = |text: &str, span: Span| Node { value: Value::String(text.into()), span };
            let entry = |key: &str, node: Node| Entry {
                key: key.into(),
                key_span: node.span.clone(),
                node,
            };
            let table = Table {
                entries: vec![
                    entry("type", string(&kind, m.span_of("type"))),
                    entry("name", string(name, m.span_of("name"))),
                    entry(goal, target.clone()),
                ],
            };
            let metric = Node { value: Value::Table(table), span: m.span().clone() };
            let list = Node { value: Value::Array(vec![metric]), span: m.span().clone() };
            points.push(Point {
                knobs: vec![("metric".into(), name.into()), ("target".into(), text)],
                changes: vec![Change {
                    path: vec![Step::Key("hpa".into()), Step::Key("metrics".into())],
                    key_span: m.span().clone(),
                    node: list,
                }],
            });
        }
    }
    points
}

fn axis(a: &Fields<'_>) -> Option<Vec<Point>> {
    let key = a
        .key("key", "Any key of the file, as `hpa.min_replicas` or `hpa.metrics[0].name`")
        .required()
        .string();
    let values =
        a.key("values", "A list or a range").required().parse(grid::kind(), None, grid::values);
    let key = key?;
    let span = a.span_of("key");
    let path = match tree::parse_path(key) {
        Ok(path) => path,
        Err((_, remark)) => {
            let title = format!("`{key}` is not a key");
            a.report(Diagnostic::error(Code::Override, title).at(&span, remark));
            return None;
        }
    };
    if matches!(&path[0], Step::Key(k) if OUTER_KEYS.contains(&k.as_str())) {
        a.report(
            Diagnostic::error(Code::Override, format!("`{key}` cannot be an axis"))
                .at(&span, "it is not part of a case"),
        );
        return None;
    }
    Some(
        values?
            .into_iter()
            .map(|node| Point {
                knobs: vec![(key.to_owned(), node.value.text())],
                changes: vec![Change { path: path.clone(), key_span: span.clone(), node }],
            })
            .collect(),
    )
}
