//! Results as text for a terminal, and a sweep as a page. Makes strings; printing them is the caller's business.

mod budget;
mod explain;
mod figures;
pub mod html;
mod run;
mod sweep;
mod text_table;
mod watch;

pub use budget::{budget_table, start_up_text, waterfall};
pub use explain::{decision_text, events_text, explained_count, held_text, reconcile_text};
pub(crate) use figures::counted;
pub use run::{run_summary, scale_log};
pub use sweep::{Heading, progress_text, sweep_summary};
pub(crate) use text_table::{Align, text_table};
pub use watch::watch;
