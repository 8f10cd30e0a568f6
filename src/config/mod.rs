//! Reads experiment files and GPU profiles and turns them into validated parameters.
//!
//! A file becomes a tree in which every key and value knows its place (`tree`); `--set` arguments and
//! sweep axes are put into the same tree with their own place, so one set of checks and messages serves all
//! three; a typed reader (`reader`) takes the tree apart and collects *all* findings, and lowering turns
//! what it read into the parameter structs of the domain modules. Serde's derive is not used here, because
//! it stops at the
//! first mistake.
//!
//! Nothing here opens a file: the caller hands in a [`Loader`].

mod check;
mod code;
mod diagnostic;
mod duration;
mod experiment;
mod grid;
mod load;
mod lower;
mod manifest_file;
pub mod profile;
mod promql;
mod reader;
pub mod registry;
pub mod schema;
mod trace_file;
mod tree;
mod values;

pub use check::{Checked, check};
pub use diagnostic::{
    Code, Diagnostic, Diagnostics, Label, Severity, Source, SourceId, Sources, Span,
};
pub(crate) use duration::parse as parse_duration;
pub use experiment::{Experiment, Input, Loader, Options};
pub use load::{Loaded, load, registry};
pub use manifest_file::read_manifest;
pub(crate) use values::minor_of;
