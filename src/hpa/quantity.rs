//! `resource.Quantity`: parsing, milli value and canonical output.

use std::fmt;

/// A parsed Kubernetes quantity.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Quantity {
    text: String,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Does not look like a number with a suffix.
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// Looks like one, but the suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Parses a quantity such as `10`, `500m` or `1.5Gi`.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        Ok(Self { text: text.to_owned() })
    }
    /// The quantity of `milli` thousandths.
    pub fn from_milli(milli: i64) -> Self {
        Self { text: format!("{milli}m") }
    }
    /// Value in thousandths, rounded away from zero; wraps as upstream's does.
    pub fn milli_value(&self) -> i64 {
        0
    }
    /// The canonical text.
    pub fn canonical(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.canonical())
    }
}
