//! HPA manifests with their faults at the lines they are about.

use super::diagnostic::{Code, Diagnostic, Diagnostics, Sources, Span};
use crate::manifest::{self, Finding, HpaManifest, Position};

/// What to say about a text that is not an object of Kubernetes.
const KIND: &str = "a manifest is YAML or JSON with `apiVersion: autoscaling/v2` and `kind: HorizontalPodAutoscaler`";

fn is_object(text: &str) -> bool {
    text.contains("apiVersion")
}

/// Reads the HPA objects of `text`. All errors are returned at once; warnings come with the objects.
pub(crate) fn read(
    sources: &mut Sources,
    path: &str,
    text: &str,
) -> Result<(Vec<HpaManifest>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let source = sources.add(path, text);
    let at = |finding: &Finding| {
        let range = match finding.position {
            Some(position) => rest_of_line(text, position),
            None => locate(text, &finding.error.path),
        };
        Span { source, range }
    };
    match manifest::read(text) {
        Ok(file) => {
            let warnings = file
                .warnings
                .iter()
                .map(|w| Diagnostic::warning(Code::Suspicious, w.error.to_string()).at(&at(w), ""));
            let warnings = warnings.collect();
            Ok((file.hpas, warnings))
        }
        Err(errors) => Err(errors
            .iter()
            .map(|e| Diagnostic::error(Code::Manifest, e.error.to_string()).at(&at(e), ""))
            .map(|e| if is_object(text) { e } else { e.help(KIND) })
            .collect()),
    }
}

/// Reads the HPA objects of `text`, the manifest at `path`, with warnings about them.
///
/// # Errors
/// All findings, each at its line.
pub fn read_manifest(
    path: &str,
    text: &str,
) -> Result<(Vec<HpaManifest>, Diagnostics), Diagnostics> {
    let mut sources = Sources::default();
    match read(&mut sources, path, text) {
        Ok((hpas, items)) => Ok((hpas, Diagnostics { sources, items })),
        Err(items) => Err(Diagnostics { sources, items }),
    }
}

/// The bytes from a position to the end of its line.
fn rest_of_line(text: &str, position: Position) -> std::ops::Range<usize> {
    let before = usize::try_from(position.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let line = text[start..].lines().next().unwrap_or("");
    let column = usize::try_from(position.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let skipped: usize = line.chars().take(column).map(char::len_utf8).sum();
    start + skipped..start + line.trim_end().len().max(skipped)
}

/// The bytes of the line that `field` (as `spec.metrics[0].pods`) is on, as far as the path can be followed in
/// block-style YAML; the first line if it cannot.
pub(crate) fn locate(text: &str, field: &str) -> std::ops::Range<usize> {
    let lines: Vec<(usize, &str)> = {
        let mut start = 0;
        text.split_inclusive('\n')
            .map(|line| {
                let at = start;
                start += line.len();
                (at, line.trim_end_matches(['\n', '\r']))
            })
            .collect()
    };
    let mut found: Option<usize> = None;
    let mut next = 0;
    let mut indent: Option<usize> = None;
    for segment in field.split('.') {
        let (key, index) = match segment.split_once('[') {
            Some((key, rest)) => (key, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (segment, None),
        };
        let Some(at) = find_key(&lines, next, indent, key) else { break };
        found = Some(at);
        let key_indent = indent_of(lines[at].1);
        indent = Some(key_indent);
        next = at + 1;
        if let Some(index) = index {
            // Items may be indented as deep as their key.
            let items = lines.iter().enumerate().skip(next).take_while(|(_, (_, line))| {
                line.trim().is_empty()
                    || indent_of(line) > key_indent
                    || (indent_of(line) == key_indent && line.trim_start().starts_with('-'))
            });
            let items: Vec<usize> = items
                .filter(|(_, (_, l))| l.trim_start().starts_with("- "))
                .map(|(i, _)| i)
                .collect();
            let Some(depth) = items.first().map(|&i| indent_of(lines[i].1)) else { break };
            let mut own = items.into_iter().filter(|&i| indent_of(lines[i].1) == depth);
            let Some(item) = own.nth(index) else { break };
            found = Some(item);
            indent = Some(depth);
            next = item;
        }
    }
    let Some(line) = found else {
        let first = text.lines().next().unwrap_or("");
        return 0..first.len();
    };
    let (start, content) = lines[line];
    let lead = content.len() - content.trim_start().len();
    start + lead..start + content.trim_end().len()
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// The line of `key:` below an indentation of `indent`, from line `from` on.
fn find_key(
    lines: &[(usize, &str)],
    from: usize,
    indent: Option<usize>,
    key: &str,
) -> Option<usize> {
    for (number, (_, line)) in lines.iter().enumerate().skip(from) {
        let trimmed = line.trim_start();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let bare = trimmed.strip_prefix("- ").map_or(trimmed, str::trim_start);
        if number > from
            && indent.is_some_and(|i| indent_of(line) <= i)
            && !trimmed.starts_with("- ")
        {
            return None;
        }
        let name = bare.split(':').next().unwrap_or("").trim_matches(['"', '\'']);
        if name == key && bare.contains(':') {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: autoscaling/v2\nspec:\n  maxReplicas: 5\n  metrics:\n  - pods:\n      \
        metric:\n        name: a\n    type: Pods\n  - type: Pods\n    pods:\n      metric:\n        \
        name: b\n  minReplicas: 1\n";

    #[test]
    fn paths_are_found_in_block_yaml() {
        let line = |field| &TEXT[locate(TEXT, field)];
        assert_eq!(line("spec.maxReplicas"), "maxReplicas: 5");
        assert_eq!(line("spec.metrics[0].pods.metric.name"), "name: a");
        assert_eq!(line("spec.metrics[1].pods.metric.name"), "name: b");
        assert_eq!(line("spec.minReplicas"), "minReplicas: 1");
        assert_eq!(line("spec.metrics[1].type"), "- type: Pods");
        assert_eq!(line("nowhere"), "apiVersion: autoscaling/v2");
        assert_eq!(line("spec.metrics[7]"), "metrics:");
        assert_eq!(locate("", "spec"), 0..0);
    }
}
