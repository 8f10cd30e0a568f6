//! What is wrong or odd in a manifest, and where.

use std::fmt;

use super::tree::Position;
pub(super) use crate::hpa::{FieldError, FieldErrorKind};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Field and fault. The path starts with `document N: ` if there are several documents.
    pub error: FieldError,
    /// Where, if the text tells.
    pub position: Option<Position>,
}

impl Finding {
    pub(super) fn at(
        position: Option<Position>,
        path: &str,
        kind: FieldErrorKind,
        message: impl Into<String>,
    ) -> Self {
        let error = FieldError { path: path.to_owned(), message: message.into(), kind };
        Self { error, position }
    }
}

/// `line 12, column 5: spec.maxReplicas: Invalid value: ...`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        if self.error.path.is_empty() {
            f.write_str(&self.error.message)
        } else {
            write!(f, "{}", self.error)
        }
    }
}
