//! A panic in any thread ends the process: a half-dead daemon that still looks alive is worse than one that restarts.

use std::io::Write;

/// After the usual message, exits with [`EXIT_CODE`], whichever thread panicked.
pub(crate) fn end_the_process() {
    let message = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        message(info);
        let _ = writeln!(
            std::io::stderr(),
            "sockeye: a thread panicked; this is a bug. Ending with exit code {EXIT_CODE}."
        );
        std::process::exit(EXIT_CODE);
    }));
}

/// What Rust itself uses for a panic of the main thread.
const EXIT_CODE: i32 = 101;

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;

    /// In a process of its own, since it ends it.
    #[test]
    fn a_panic_in_any_thread_ends_the_process_with_101_and_a_message() {
        if std::env::var_os(CHILD).is_some() {
            end_the_process();
            let _ = thread::Builder::new()
                .name("reader-7".into())
                .spawn(|| panic!("on purpose"))
                .unwrap()
                .join();
            // A half-dead daemon.
            std::process::exit(0);
        }
        let name = "panic::tests::a_panic_in_any_thread_ends_the_process_with_101_and_a_message";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(101), "{said}");
        assert!(said.contains("thread 'reader-7'") && said.contains("on purpose"), "{said}");
        assert!(
            said.ends_with(
                "sockeye: a thread panicked; this is a bug. Ending with exit code 101.\n"
            ),
            "{said}"
        );
    }

    const CHILD: &str = "SOCKEYE_TEST_PANICS";
}
