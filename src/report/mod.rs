//! Results as text for a terminal. Makes strings; printing them is the caller's business.

mod figures;
mod run;
mod sweep;
mod text_table;

pub use run::{run_summary, scale_log};
pub use sweep::{Heading, progress_line, sweep_summary};
