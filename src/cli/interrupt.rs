//! Ctrl-C and SIGTERM: the first asks to stop, the second stops at once.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on the first signal makes [`asked`] true and the second one ends the process with code 130.
pub(crate) fn watch() {
    let handler = || {
        if ASKED.swap(true, Ordering::SeqCst) {
            #[expect(clippy::exit, reason = "the user insists")]
            std::process::exit(130);
        }
    };
    // Without a handler the signal ends the process, and the log of finished units is still whole.
    let _ = ctrlc::set_handler(handler);
}

/// Whether somebody asked to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
