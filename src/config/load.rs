//! Loads an experiment: read, override, lower, expand.

use std::fmt::Write as _;

use super::diagnostic::{Code, Diagnostic, Diagnostics, Severity, SourceId, Span};
use super::experiment::{Experiment, Loader, Options};
use super::lower::sweep::{Change, OUTER_KEYS, Sweep};
use super::lower::{self, CURRENT_FLAG, HPA_FLAG, Header, Inputs, Lowered};
use super::profile::Constants;
use super::reader::{Context, Fields};
use super::registry::{Kind, Registry};
use super::tree::{self, Entry, Node, Step, Table, Value};
use crate::manifest::HpaManifest;
use crate::rng::Seed;
use crate::sim::Autoscaler;
use crate::sweep::{Case, Objective, Plan};

/// Most findings that the cases of a sweep add to those of the file itself.
const MAX_CASE_FINDINGS: usize = 20;

/// A loaded experiment and the warnings about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The experiment.
    pub experiment: Experiment,
    /// Warnings; no errors.
    pub warnings: Diagnostics,
}

/// Reads the experiment at `path` with `options`. Paths in the file are relative to it.
///
/// # Errors
/// All findings of all inputs, at least one of them an error.
pub fn load(loader: &dyn Loader, path: &str, options: &Options) -> Result<Loaded, Diagnostics> {
    let constants = Constants::builtin()?;
    let registry = registry();
    let inputs = Inputs::new(loader, path, &constants);
    let mut found = Vec::new();
    let experiment = load_with(&inputs, &registry, path, options, &mut found);
    let (sources, files) = inputs.into_parts();
    let findings = Diagnostics { sources, items: found };
    match experiment {
        Some(mut experiment) if !findings.has_errors() => {
            experiment.inputs = files;
            Ok(Loaded { experiment, warnings: findings })
        }
        _ => Err(findings),
    }
}

/// All keys of an experiment file, with types, defaults and explanations.
pub fn registry() -> Registry {
    struct Nothing;
    impl Loader for Nothing {
        fn read(&self, _: &str) -> Result<Vec<u8>, String> {
            Err("no file".into())
        }
    }
    let constants = Constants {
        gpus: Vec::new(),
        models: Vec::new(),
        machines: Vec::new(),
        price_basis: String::new(),
    };
    let inputs = Inputs::new(&Nothing, "", &constants);
    let source = inputs.sources().add("", "");
    let context = Context::describing();
    {
        let root = Fields::root(&context, None, Span { source, range: 0..0 });
        let _ = lower::header(&root, "experiment");
        let _ = lower::scenario(&root, &inputs, "experiment");
        let _ = lower::sweep::sweep(&root);
    }
    context.into_parts().1
}

fn load_with(
    inputs: &Inputs<'_>,
    registry: &Registry,
    path: &str,
    options: &Options,
    found: &mut Vec<Diagnostic>,
) -> Option<Experiment> {
    let (table, span) = table_of(inputs, path, options, found)?;
    let (header, sweep) = outer(&table, &span, registry, &stem(path), found);
    let reader = CaseReader { inputs, registry, span: &span, name: &header.name };
    let first = sweep.as_ref().map_or(Vec::new(), |sweep| changes_of_base(&table, sweep));
    let base_tree = match changed(&table, &first) {
        Ok(tree) => tree,
        Err(error) => {
            found.push(*error);
            return None;
        }
    };
    let mut of_base = Vec::new();
    let base = reader.lower(&base_tree, &mut of_base);
    if sweep.is_none() {
        // Its metrics may come from the sweep: what a base without one does is nobody's question.
        of_base.retain(|d| d.severity == Severity::Error);
    }
    found.extend(of_base);
    let (base, sweep) = (base?, sweep?);
    if found.iter().any(|d| d.severity == Severity::Error) {
        return None;
    }
    let mut cases = reader.expand(&table, &sweep, found)?;
    let present = match &options.current {
        None => None,
        Some(manifest) => {
            let tree = with_manifest(&base_tree, manifest, inputs, CURRENT_FLAG);
            let mut present = reader.read(&tree, Vec::new(), found)?;
            present.knobs = current_knobs(&sweep, &present.lowered);
            if hpa_has_neither(&table, ["manifest", "name"]) {
                for case in &mut cases {
                    replace(&mut case.lowered, &present.lowered);
                }
            }
            Some(present)
        }
    };
    let objective = Objective { attainment: base.scenario.slo.attainment };
    let (plan, manifests) = plan_of(cases, present, &sweep, Seed(header.seed), objective);
    Some(Experiment {
        name: header.name,
        base: base.scenario,
        base_is_first_case: !first.is_empty(),
        base_manifest: base.manifest,
        plan,
        manifests,
        profile: base.profile,
        price_note: base.price_note,
        queries: base.queries,
        inputs: Vec::new(),
    })
}

/// The experiment file with its overrides.
fn table_of(
    inputs: &Inputs<'_>,
    path: &str,
    options: &Options,
    found: &mut Vec<Diagnostic>,
) -> Option<(Table, Span)> {
    let text = match inputs.read_text(path) {
        Ok(text) => text,
        Err(reason) => {
            let source = inputs.sources().add(path, "");
            found.push(Diagnostic::unreadable(path, &reason, &Span { source, range: 0..0 }));
            return None;
        }
    };
    let source = inputs.sources().add(path, text);
    let parsed = tree::parse(&inputs.sources(), source);
    let mut table = match parsed {
        Ok(table) => table,
        Err(errors) => {
            found.extend(syntax_errors(errors, path, &inputs.sources().get(source).text));
            return None;
        }
    };
    found.extend(apply(&mut table, inputs, options));
    found.is_empty().then_some((table, Span { source, range: 0..0 }))
}

/// What is wrong with the syntax; of a file of another kind, which has an error in each line, the first error.
fn syntax_errors(mut errors: Vec<Diagnostic>, path: &str, text: &str) -> Vec<Diagnostic> {
    let ends = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
    let hint = if ends(&[".yaml", ".yml"]) || text.contains("apiVersion") {
        "a manifest goes with `--hpa FILE`, or into it as `hpa.manifest`"
    } else if ends(&[".csv", ".jsonl", ".gz"]) {
        "a trace goes into it as `path` of `[workload.trace]`"
    } else {
        return errors;
    };
    errors.truncate(1);
    let hint = format!("an experiment is a TOML file, as in docs/config.md; {hint}");
    errors.into_iter().map(|error| error.help(hint.clone())).collect()
}

/// The keys that are not part of a case.
fn outer(
    table: &Table,
    span: &Span,
    registry: &Registry,
    stem: &str,
    found: &mut Vec<Diagnostic>,
) -> (Header, Option<Sweep>) {
    let context = Context::reading(registry);
    let read = {
        // Reading in two passes: the first must not report the keys of the second as unknown.
        let outer = outer_keys(table);
        let root = Fields::root(&context, Some(&outer), span.clone());
        (lower::header(&root, stem), lower::sweep::sweep(&root))
    };
    found.extend(context.into_parts().0);
    read
}

/// The plan of the `cases` and of the `present` manifest behind them, with the HPA object of each.
fn plan_of(
    mut cases: Vec<CaseRead>,
    present: Option<CaseRead>,
    sweep: &Sweep,
    seed: Seed,
    objective: Objective,
) -> (Plan, Vec<Option<HpaManifest>>) {
    let current = present.is_some().then_some(cases.len());
    cases.extend(present);
    let width = cases.len().saturating_sub(1).to_string().len().max(3);
    let named = cases.into_iter().enumerate().map(|(index, case)| {
        let id =
            if current == Some(index) { "current".to_owned() } else { format!("c{index:0width$}") };
        let CaseRead { knobs, lowered, digest } = case;
        (Case { id, knobs, scenario: lowered.scenario, digest }, lowered.manifest)
    });
    let (cases, manifests) = named.unzip();
    let (replications, confidence) = (sweep.replications, sweep.confidence);
    (Plan { cases, replications, confidence, seed, objective, current }, manifests)
}

/// Whether the file has an `[hpa]` with neither of the `keys`.
fn hpa_has_neither(table: &Table, keys: [&str; 2]) -> bool {
    let hpa = table.get("hpa").map(|entry| &entry.node.value);
    matches!(hpa, Some(Value::Table(t)) if keys.iter().all(|key| t.get(key).is_none()))
}

/// Gives the HPA of a case the metadata and the scale target of the `present` one, which it would replace: applied
/// beside it, both would scale.
fn replace(case: &mut Lowered, present: &Lowered) {
    let (Autoscaler::Hpa(setup), Some(object)) = (&mut case.scenario.autoscaler, &present.manifest)
    else {
        return;
    };
    setup.spec.scale_target_ref = object.spec.scale_target_ref.clone();
    let mut object = object.clone();
    object.set_spec(setup.spec.clone());
    case.manifest = Some(object);
}

/// The sweep's columns for the present manifest: its metric and target; other columns stay empty.
fn current_knobs(sweep: &Sweep, lowered: &Lowered) -> Vec<(String, String)> {
    let metric = lowered.scenario.autoscaler.hpa().and_then(|setup| setup.spec.metrics.first());
    let target = metric.and_then(|m| m.target()).map(|t| {
        let quantity = t.average_value.as_ref().or(t.value.as_ref());
        quantity.map(|q| q.canonical().to_string()).or(t.average_utilization.map(|u| u.to_string()))
    });
    let first = sweep.points_of(0);
    first
        .iter()
        .flat_map(|point| point.knobs.iter())
        .filter_map(|(key, _)| match key.as_str() {
            "metric" => Some((key.clone(), metric?.metric_name().to_owned())),
            "target" => Some((key.clone(), target.clone()??)),
            _ => None,
        })
        .collect()
}

/// `experiments/l4.toml` -> `l4`.
fn stem(path: &str) -> String {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let stem = file.strip_suffix(".toml").unwrap_or(file);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let stem: String = stem.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    let stem = stem.trim_start_matches(['.', '-']);
    if stem.is_empty() { "experiment".to_owned() } else { stem.to_owned() }
}

/// Puts the overrides into the tree.
fn apply(table: &mut Table, inputs: &Inputs<'_>, options: &Options) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    if let Some(manifest) = &options.hpa {
        *table = with_manifest(table, manifest, inputs, HPA_FLAG);
    }
    for text in &options.overrides {
        let source = inputs.sources().add("--set", text.as_str());
        match parse_override(text, source) {
            Ok((path, key_span, node)) => {
                errors.extend(tree::set(table, &path, &key_span, node).err().map(|error| *error));
            }
            Err(found) => errors.extend(found),
        }
    }
    errors
}

fn parse_override(
    text: &str,
    source: SourceId,
) -> Result<(Vec<Step>, Span, Node), Vec<Diagnostic>> {
    let whole = Span { source, range: 0..text.len() };
    let Some((key, value)) = text.split_once('=') else {
        return Err(vec![
            Diagnostic::error(Code::Override, "`--set` needs KEY=VALUE")
                .at(&whole, "there is no `=`")
                .help("as in `--set hpa.max_replicas=8`"),
        ]);
    };
    let shift = key.len() - key.trim_start().len();
    let trimmed = key.trim();
    let path = tree::parse_path(trimmed).map_err(|(at, remark)| {
        let at = (shift + at).min(text.len());
        vec![
            Diagnostic::error(Code::Override, format!("`{trimmed}` is not a key"))
                .at(&Span { source, range: at..(at + 1).min(text.len()) }, remark),
        ]
    })?;
    let node = tree::parse_value(value, source, key.len() + 1)?;
    Ok((path, Span { source, range: shift..shift + trimmed.len() }, node))
}

/// The tree with `[hpa]` replaced by a manifest; a scripted number of replicas goes.
fn with_manifest(table: &Table, manifest: &str, inputs: &Inputs<'_>, flag: &str) -> Table {
    let text = format!("{flag} {manifest}");
    let source = inputs.sources().add(flag, text.as_str());
    let span = Span { source, range: flag.len() + 1..text.len() };
    // The manifest's path is relative to the working directory, not to the experiment.
    let path = inputs.relative_to_folder(manifest);
    let entry = |key: &str, value| Entry {
        key: key.into(),
        key_span: span.clone(),
        node: Node { value, span: span.clone() },
    };
    let hpa = Table { entries: vec![entry("manifest", Value::String(path))] };
    let mut table = table.clone();
    table.entries.retain(|e| e.key != "hpa" && e.key != "replicas");
    table.entries.push(entry("hpa", Value::Table(hpa)));
    table
}

/// The entries that are not part of a case.
fn outer_keys(table: &Table) -> Table {
    let outer = |entry: &&Entry| OUTER_KEYS.contains(&entry.key.as_str());
    Table { entries: table.entries.iter().filter(outer).cloned().collect() }
}

/// What makes the base of the file: nothing, or the first case's changes if `[hpa]` leaves its metrics to the sweep.
fn changes_of_base(table: &Table, sweep: &Sweep) -> Vec<Change> {
    if !hpa_has_neither(table, ["metrics", "manifest"]) {
        return Vec::new();
    }
    sweep.points_of(0).iter().flat_map(|point| point.changes.iter().cloned()).collect()
}

fn changed(table: &Table, changes: &[Change]) -> Result<Table, Box<Diagnostic>> {
    let mut table = table.clone();
    for change in changes {
        tree::set(&mut table, &change.path, &change.key_span, change.node.clone())?;
    }
    Ok(table)
}

/// A case as it was read.
struct CaseRead {
    /// As in [`Case::knobs`].
    knobs: Vec<(String, String)>,
    lowered: Lowered,
    /// As in [`Case::digest`].
    digest: String,
}

/// Reads cases, each a tree of its own; what they have in common.
struct CaseReader<'a> {
    inputs: &'a Inputs<'a>,
    registry: &'a Registry,
    /// The whole file.
    span: &'a Span,
    /// The experiment's name.
    name: &'a str,
}

impl CaseReader<'_> {
    /// `None` if an error was found.
    fn lower(&self, table: &Table, found: &mut Vec<Diagnostic>) -> Option<Lowered> {
        let context = Context::reading(self.registry);
        let lowered = {
            let root = Fields::root(&context, Some(table), self.span.clone());
            for key in OUTER_KEYS {
                let _ = root.key(key, "").any(Kind::Table);
            }
            lower::scenario(&root, self.inputs, self.name)
        };
        for finding in context.into_parts().0 {
            add_new(found, finding);
        }
        lowered
    }

    /// `None` if an error was found.
    fn read(
        &self,
        table: &Table,
        knobs: Vec<(String, String)>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<CaseRead> {
        let lowered = self.lower(table, found)?;
        let digest = digest(table, self.inputs, &lowered);
        Some(CaseRead { knobs, lowered, digest })
    }

    /// All cases in grid order; the last axis varies fastest.
    fn expand(
        &self,
        table: &Table,
        sweep: &Sweep,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Vec<CaseRead>> {
        let count: usize = sweep.axes.iter().map(Vec::len).product();
        let limit = found.len() + MAX_CASE_FINDINGS;
        let mut cases = Vec::with_capacity(count);
        let (mut complete, mut silenced) = (true, false);
        for index in 0..count {
            let points = sweep.points_of(index);
            let changes: Vec<Change> =
                points.iter().flat_map(|p| p.changes.iter().cloned()).collect();
            let knobs = points.iter().flat_map(|p| p.knobs.iter().cloned()).collect();
            let tree = match changed(table, &changes) {
                Ok(tree) => tree,
                Err(error) => {
                    add_new(found, *error);
                    complete = false;
                    continue;
                }
            };
            match self.read(&tree, knobs, found) {
                Some(case) => cases.push(case),
                None => complete = false,
            }
            if found.len() > limit {
                if !complete {
                    break;
                }
                // Warnings leave the grid whole; that there are more is said below.
                found.truncate(limit);
                silenced = true;
            }
        }
        if silenced {
            let title =
                format!("more cases have warnings; the first {MAX_CASE_FINDINGS} are shown");
            found.push(Diagnostic::warning(Code::Suspicious, title).at(self.span, ""));
        }
        complete.then_some(cases)
    }
}

/// What one case has found, others find again: it is told once.
fn add_new(found: &mut Vec<Diagnostic>, finding: Diagnostic) {
    if !found.contains(&finding) {
        found.push(finding);
    }
}

/// Digest of what decides a case's results: its keys in canonical form, its profile and the files it names.
fn digest(table: &Table, inputs: &Inputs<'_>, lowered: &Lowered) -> String {
    let mut text = String::new();
    for entry in &table.entries {
        if !OUTER_KEYS.contains(&entry.key.as_str()) {
            text.push_str(&entry.key);
            text.push('=');
            canonical(&entry.node.value, &mut text);
            text.push('\n');
        }
    }
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for line in lines {
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
    }
    hasher.update(format!("{:?}", lowered.profile).as_bytes());
    let mut named = Vec::new();
    file_names(&Value::Table(table.clone()), &mut named);
    for path in named {
        if let Ok(bytes) = inputs.read_known(&inputs.resolve(&path)) {
            hasher.update(blake3::hash(&bytes).as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// A value in a form that does not depend on the order of keys or on layout.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Table(table) => {
            let mut entries: Vec<&Entry> = table.entries.iter().collect();
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            out.push('{');
            for entry in entries {
                let _ = write!(out, "{:?}", entry.key);
                out.push(':');
                canonical(&entry.node.value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(&item.value, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::String(s) => {
            let _ = write!(out, "{s:?}");
        }
        other => out.push_str(&other.text()),
    }
}

/// All strings of a tree: those that name a file that was read count.
fn file_names(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(s) => out.push(s.clone()),
        Value::Array(items) => items.iter().for_each(|n| file_names(&n.value, out)),
        Value::Table(table) => table.entries.iter().for_each(|e| file_names(&e.node.value, out)),
        _ => {}
    }
}
