//! The kinds of findings, each with a code that keeps its meaning for ever.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal;)*) => {
        /// A kind of finding. `Code::ALL` is the table of `docs/diagnostics.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as printed, as in `E0102`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What the code means, in one line.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// A file cannot be read.
    Unreadable = "E0001", "a file cannot be read, or is not UTF-8";
    /// Not TOML, YAML, JSON or CSV.
    Syntax = "E0002", "the file is not well-formed";
    /// A schema this version does not know.
    Schema = "E0003", "the file's `schema` number is missing or not supported";
    /// A key no one reads.
    UnknownKey = "E0101", "a key that does not exist; the nearest valid key is named";
    /// A key that must be there.
    MissingKey = "E0102", "a key without a default is missing";
    /// A value of another type.
    Type = "E0103", "a value has the wrong type";
    /// A number outside its range.
    Range = "E0104", "a value is outside its valid range";
    /// A word outside the list.
    Choice = "E0105", "a word is not one of the valid ones";
    /// A duration without unit, or malformed.
    Duration = "E0106", "a duration is malformed or has no unit";
    /// A malformed Kubernetes quantity.
    Quantity = "E0107", "a value is not a Kubernetes quantity";
    /// Keys that exclude each other.
    Conflict = "E0201", "two values exclude or contradict each other";
    /// What the API server would refuse.
    Manifest = "E0202", "the HPA would be refused by the Kubernetes API server";
    /// A metric that cannot be simulated.
    UnknownMetric = "E0203", "a metric name that cannot be simulated";
    /// A profile that does not exist.
    UnknownProfile = "E0204", "a GPU profile that does not exist";
    /// Does not fit on the hardware.
    DoesNotFit = "E0205", "the model or the pod does not fit on the hardware";
    /// A feature for another version.
    Version = "E0206", "a value that the chosen vLLM or Kubernetes version does not have";
    /// More cases than allowed.
    TooManyCases = "E0207", "the sweep has more cases than `sweep.max_points`";
    /// A row of a trace that cannot be used.
    TraceRow = "E0301", "a row of a trace or a schedule cannot be read";
    /// An override that names no key.
    Override = "E0401", "a `--set` argument or a sweep axis is malformed";
    /// Works, but surprises.
    Suspicious = "W0001", "a value that works but is probably not meant";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
