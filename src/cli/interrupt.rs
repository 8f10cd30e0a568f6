//! Ctrl-C and SIGTERM: the first asks to stop, the second stops at once.

use super::{Context, complain};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on the first signal makes [`asked`] true and the second one ends the process with code 130.
pub(crate) fn watch(context: &Context) {
    let told = !context.common.quiet;
    let handler = move || {
        if ASKED.swap(true, Ordering::SeqCst) {
            #[expect(clippy::exit, reason = "the user insists")]
            std::process::exit(130);
        }
        if told {
            // Below the bar and the terminal's own `^C`.
            let fresh = if std::io::stderr().is_terminal() { "\n" } else { "" };
            complain(&format!(
                "{fresh}stopping after the units under way; once more stops at once"
            ));
        }
    };
    // Without a handler the signal ends the process, and the log of finished units is still whole.
    let _ = ctrlc::set_handler(handler);
}

/// Whether somebody asked to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
