//! Random expressions and sockets: the program that the kernel would run, the test of a row, and what the expression
//! means, each written down on its own, agree.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what is not there is to fail the test"
)]

mod expression;
mod kernel;
mod parts;
mod socket;

use expression::{Expression, expressions};
use proptest::prelude::*;
use socket::{Socket, sockets};
use sockeye_filter::{Filter, InNetns, Resolved, Support, bytecode};

/// A namespace with `eth0` at 2 and `eth1` at 3, and nothing else.
struct Netns;

impl InNetns for Netns {
    fn index_of(&mut self, device: &str) -> Option<u32> {
        match device {
            "eth0" => Some(2),
            "eth1" => Some(3),
            _ => None,
        }
    }

    fn local_ports(&mut self) -> (u16, u16) {
        socket::LOCAL_PORTS
    }
}

fn resolved(expression: &Expression, text: &str) -> Resolved {
    let filter: Filter = text.parse().unwrap_or_else(|error| panic!("{expression:?}\n{error}"));
    filter.resolve(Netns)
}

fn accepts(program: Option<&[u8]>, socket: &Socket) -> bool {
    program.is_none_or(|program| kernel::run(program, socket))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn kernel_rows_and_meaning_agree_when_everything_is_supported(
        (expression, text) in expressions(), sockets in some_sockets(),
    ) {
        let filter = resolved(&expression, &text);
        let program = bytecode(Some(&filter), &[], Support::ALL);
        if let Some(program) = &program {
            prop_assert_eq!(kernel::audit(program, true), Ok(()), "{}", text);
        }
        for socket in &sockets {
            let means = expression.holds(socket);
            let sent = accepts(program.as_deref(), socket);
            prop_assert_eq!(sent, means, "{} of {:?}", text, socket);
            let kept = socket.matches(&filter);
            if expression.has_autobound() {
                // That cannot be seen in a row; the kernel has seen it.
                prop_assert!(kept || !means, "{} of {:?}", text, socket);
            } else {
                prop_assert_eq!(kept, means, "{} of {:?}", text, socket);
            }
        }
    }

    #[test]
    fn what_is_not_supported_is_sent_and_left_to_the_rows(
        (expression, text) in expressions(),
        sockets in some_sockets(),
        device: bool, mark: bool, cgroup: bool,
    ) {
        let filter = resolved(&expression, &text);
        let program = bytecode(Some(&filter), &[], Support { device, mark, cgroup });
        if let Some(program) = &program {
            prop_assert_eq!(kernel::audit(program, mark), Ok(()), "{}", text);
            prop_assert!(device || !kernel::has(program, kernel::DEV_COND));
            prop_assert!(cgroup || !kernel::has(program, kernel::CGROUP_COND));
        }
        for socket in &sockets {
            let means = expression.holds(socket);
            let sent = accepts(program.as_deref(), socket);
            prop_assert!(sent || !means, "{} of {:?}", text, socket);
            if !expression.has_autobound() {
                prop_assert_eq!(sent && socket.matches(&filter), means, "{} of {:?}", text, socket);
            }
        }
    }

    #[test]
    fn any_text_is_an_expression_or_an_error_that_points_into_it(text in ".{0,60}") {
        if let Err(error) = text.parse::<Filter>() {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.column()));
            prop_assert!(error.to_string().lines().count() == 3, "{}", error);
        }
    }

    #[test]
    fn any_words_of_the_language_are_an_expression_or_an_error(
        words in prop::collection::vec(prop::sample::select(expression::WORDS), 0..12),
    ) {
        let text = words.join(" ");
        if let Err(error) = text.parse::<Filter>() {
            prop_assert!(error.column() <= text.len() + 1);
        }
    }
}

fn some_sockets() -> impl Strategy<Value = Vec<Socket>> {
    prop::collection::vec(sockets(), 1..24)
}
