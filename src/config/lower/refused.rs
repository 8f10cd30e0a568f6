//! What a constructor of `workload` refused, shown at the key it names.

use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::Fields;
use crate::workload::ParamError;

/// Reports what a constructor of `workload` refused, at the key it names.
pub(super) fn report_param(table: &Fields<'_>, error: &ParamError) {
    let span = table.span_at(&error.field);
    let title = format!("`{}` {}", table.path_of(&error.field), error.message);
    table.report(Diagnostic::error(Code::Range, title).at(&span, ""));
}
