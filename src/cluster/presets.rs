//! Sourced defaults per accelerator and storage.

/// GPU family of the guide's node pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accelerator {
    /// NVIDIA L4 on g2.
    L4,
    /// NVIDIA A100 40 GB on a2.
    A100,
    /// NVIDIA H100 80 GB on a3.
    H100,
}

/// Where the weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Storage {
    /// Cloud Storage through GCSFuse with a file cache per pod.
    Gcs,
    /// Hyperdisk ML, read-only-many.
    Hdml,
    /// Persistent disk, read-only-many.
    Pd,
    /// Cloud Storage through the Run:ai model streamer.
    Streamer,
}
