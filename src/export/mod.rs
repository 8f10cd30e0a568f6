//! Results as files: CSV, JSON and Kubernetes manifests. Bytes out; writing them is the caller's business.

mod number;

pub use number::{number, seconds};

/// A file to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Path below the output directory, with `/`.
    pub path: String,
    /// The whole content.
    pub bytes: Vec<u8>,
}

impl File {
    /// A file with this path and content.
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: bytes.into() }
    }
}
