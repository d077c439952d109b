//! A panic in any thread ends the process: a half-dead daemon that still looks alive is worse than one that restarts.

use std::io::Write;

/// After the usual message, exits with [`EXIT_CODE`], whichever thread panicked.
pub(crate) fn end_the_process() {
    let message = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        message(info);
        let _ = writeln!(std::io::stderr(), "sockeye: a thread panicked; this is a bug. Ending with exit code {EXIT_CODE}.");
        std::process::exit(EXIT_CODE);
    }));
}

/// What Rust itself uses for a panic of the main thread.
const EXIT_CODE: i32 = 101;
