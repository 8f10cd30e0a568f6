//! Every key that the reader asks for, with its type, default and one line of explanation: the source
//! of `hpasim schema` and of `docs/config.md`, and of the hints for unknown keys.

use std::collections::BTreeMap;

/// What a key may hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A whole number in a range.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number in a range.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// A string with units, in a range given as text.
    Duration {
        /// Smallest.
        min: String,
        /// Largest.
        max: String,
    },
    /// A delay: a duration, or a table of `median` and `p95`, or a list of `values`.
    Delay,
    /// A Kubernetes quantity: a string or a number.
    Quantity,
    /// A number of pods, or a string with a percentage.
    IntOrPercent,
    /// `true` or `false`.
    Boolean,
    /// A string.
    Text,
    /// One of these words.
    Choice(Vec<String>),
    /// A list of values of any type.
    List,
    /// The values of a sweep: a list, or a range `{ from, to, steps, scale }` or `{ from, to, step }`.
    Grid,
    /// A number of tokens, or a table with a distribution of them.
    Length,
    /// A table, whose keys are registered on their own.
    Table,
    /// An array of tables.
    Tables,
}

/// One key of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyInfo {
    /// Dotted path; `[]` stands for any element of an array of tables.
    pub path: String,
    /// What it may hold.
    pub kind: Kind,
    /// The default as text; `None` if the key may be absent and then means nothing.
    pub default: Option<String>,
    /// Whether the file is wrong without it.
    pub required: bool,
    /// What it is, with the source of the default.
    pub doc: String,
}

/// The keys in the order in which they are asked for.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    keys: Vec<KeyInfo>,
    index: BTreeMap<String, usize>,
}

impl Registry {
    /// Adds a key unless it is there.
    pub(crate) fn add(&mut self, key: KeyInfo) {
        if !self.index.contains_key(&key.path) {
            self.index.insert(key.path.clone(), self.keys.len());
            self.keys.push(key);
        }
    }

    /// The keys in order.
    pub fn keys(&self) -> &[KeyInfo] {
        &self.keys
    }

    /// The paths whose last part is `name`.
    pub(crate) fn elsewhere<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.keys
            .iter()
            .map(|k| k.path.as_str())
            .filter(move |path| path.rsplit('.').next().is_some_and(|last| last == name))
    }
}
