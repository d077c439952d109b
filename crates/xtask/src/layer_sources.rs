//! What the layers mean for sources: where `unsafe` may stand, and who may name concrete sources and sinks.

use crate::layer_table::{Layer, Row};
use crate::rust_code::{code_of, lines_with};

/// A source file of a crate.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    /// The folder of its crate below `crates/`.
    pub(crate) member: String,
    /// Its path below the folder of its crate.
    pub(crate) path: String,
    /// Whether a library or a program begins with it.
    pub(crate) is_root: bool,
    /// What is in it.
    pub(crate) text: String,
}

/// Everything in the sources that the layers do not allow, a line each.
pub(crate) fn violations(rows: &[Row], files: &[SourceFile]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let code = code_of(&file.text);
        let mut complain = |line: usize, text: String| {
            wrong.push(format!("crates/{}/{}:{line}: {text}", file.member, file.path));
        };
        if file.member != UNSAFE_CRATE {
            for line in lines_with(&code, "unsafe") {
                complain(line, format!("`unsafe` outside of crates/{UNSAFE_CRATE}"));
            }
            if file.is_root && is_product(rows, &file.member) && !forbids_unsafe(&code) {
                complain(1, "a product crate begins with #![forbid(unsafe_code)]".to_owned());
            }
        }
        if file.member == BINARY && file.path.starts_with("src/") && file.path != WIRING {
            for word in CONCRETE {
                for line in lines_with(&code, word) {
                    complain(line, format!("`{word}` may be named in {WIRING} alone"));
                }
            }
        }
    }
    wrong
}

fn is_product(rows: &[Row], member: &str) -> bool {
    rows.iter().any(|row| row.name == member && row.layer != Layer::Dev)
}

fn forbids_unsafe(code: &str) -> bool {
    let mut attributes = code.lines().filter_map(|line| line.trim().strip_prefix("#![forbid("));
    attributes.any(|lints| !lines_with(lints, "unsafe_code").is_empty())
}

/// The one crate with `unsafe` in it.
const UNSAFE_CRATE: &str = "sys";

/// The crate that wires, and the file of it that does.
const BINARY: &str = "sockeye";
const WIRING: &str = "src/wire_up.rs";

/// The crate of the sinks, all of which are concrete, and the sources that there are.
const CONCRETE: [&str; 2] = ["sockeye_sink", "SockDiag"];

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |layer, name: &str| Row { layer, name: name.to_owned(), may_use: Vec::new() };
        vec![
            row(Layer::Product(0), "sys"),
            row(Layer::Product(0), "wire"),
            row(Layer::Product(4), "sockeye"),
            row(Layer::Dev, "testkit"),
        ]
    }

    fn wrong(member: &str, path: &str, text: &str) -> Vec<String> {
        let is_root = path.ends_with("lib.rs") || path.ends_with("main.rs");
        let file = SourceFile {
            member: member.to_owned(),
            path: path.to_owned(),
            is_root,
            text: text.to_owned(),
        };
        violations(&rows(), &[file])
    }

    #[test]
    fn unsafe_is_for_sys_alone_in_tests_too() {
        let text = "//! unsafe\nfn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(wrong("sys", "src/a.rs", text), [""; 0]);
        assert_eq!(
            wrong("wire", "src/a.rs", text),
            ["crates/wire/src/a.rs:3: `unsafe` outside of crates/sys"]
        );
        assert_eq!(
            wrong("testkit", "tests/a.rs", text),
            ["crates/testkit/tests/a.rs:3: `unsafe` outside of crates/sys"]
        );
        assert_eq!(wrong("wire", "src/a.rs", "let text = \"unsafe\"; // unsafe"), [""; 0]);
    }

    #[test]
    fn a_product_crate_begins_with_the_ban() {
        let without =
            "//! #![forbid(unsafe_code)]\n#![deny(unsafe_code)]\n#![forbid(missing_docs)]\n";
        assert_eq!(
            wrong("wire", "src/lib.rs", without),
            ["crates/wire/src/lib.rs:1: a product crate begins with #![forbid(unsafe_code)]"]
        );
        assert_eq!(wrong("wire", "src/lib.rs", "#![forbid(missing_docs, unsafe_code)]\n"), [""; 0]);
        assert_eq!(wrong("wire", "src/other.rs", ""), [""; 0]);
        assert_eq!(wrong("sys", "src/lib.rs", ""), [""; 0]);
        assert_eq!(wrong("testkit", "src/lib.rs", ""), [""; 0]);
    }

    #[test]
    fn only_the_wiring_names_concrete_sources_and_sinks() {
        let text =
            "use sockeye_sink::FileSink;\nuse sockeye_source::sockdiag::{Settings, SockDiag};\n";
        assert_eq!(wrong("sockeye", "src/wire_up.rs", text), [""; 0]);
        assert_eq!(
            wrong("sockeye", "src/commands/run.rs", text),
            [
                "crates/sockeye/src/commands/run.rs:1: `sockeye_sink` may be named in src/wire_up.rs alone",
                "crates/sockeye/src/commands/run.rs:2: `SockDiag` may be named in src/wire_up.rs alone",
            ]
        );
        assert_eq!(
            wrong(
                "sockeye",
                "src/run.rs",
                "// sockeye_sink\nuse sockeye_source::sockdiag::Settings;\n"
            ),
            [""; 0]
        );
        assert_eq!(wrong("wire", "src/a.rs", text), [""; 0]);
    }
}
