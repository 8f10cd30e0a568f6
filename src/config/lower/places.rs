//! Where the fields of an HPA's spec were written, so that what is wrong with one is shown there.

use crate::config::diagnostic::Span;
use crate::config::reader::Fields;

/// Where each field of the spec was written: (path in the object, place), in the order of reading.
pub(super) type Places = Vec<(String, Span)>;

/// The place of a field that was written nowhere: the manifest, or the table.
pub(super) fn fallback(t: &Fields<'_>) -> Span {
    if t.has("manifest") { t.span_of("manifest") } else { t.span().clone() }
}

/// Whether `path` is `parent` or something below it.
pub(super) fn below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
