//! docs/REFERENCE.md is what the commands' `--help` says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use common::{sockeye, text};

const INTRODUCTION: &str = "\
# Reference

What `--help` of every command prints; `crates/sockeye/tests/reference.rs` makes this page and sees that it is fresh. What the
columns mean is in [COLUMNS.md](COLUMNS.md); exit codes, signals and drop reasons are in [operations.md](operations.md).

A file for `--config` has the options' names as keys. Destinations that differ in more than their place are `[[sink]]` tables;
what a table does not say is as for the others. A flag or a variable goes before the tables, for all of them:

```toml
frequency = \"30s\"
timeout = \"5s\"
label = \"edge\"
columns = [\"netns\", \"inet_diag_msg_*\", \"tcp_info_rtt\"]

[[sink]]
dest = \"file:/var/log/sockeye/%Y%m%dT%H.pb\"
marshal = \"protobufList\"
file-zstd = true

[[sink]]
dest = \"stdout\"
marshal = \"jsonl\"
```

`sockeye run --config FILE --print-config` checks a file and shows what comes of it.
";

/// The page as it should be.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for command in [
        "",
        "run",
        "snapshot",
        "closed",
        "decode",
        "consume",
        "netns",
        "doctor",
        "check-config",
        "completions",
        "man",
    ] {
        let name = format!("sockeye {command}").trim_end().to_owned();
        let mut help = sockeye();
        help.args(name.split(' ').skip(1)).arg("--help").env("COLUMNS", "100");
        let output = help.output().unwrap();
        assert!(output.status.success());
        let lines: Vec<String> =
            text(&output.stdout).lines().map(|line| line.trim_end().to_owned()).collect();
        writeln!(page, "\n## {name}\n\n```text\n{}\n```", lines.join("\n").trim_end()).unwrap();
    }
    page
}

#[test]
fn the_reference_is_what_help_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/REFERENCE.md");
    let page = page();
    if std::env::var_os("SOCKEYE_BLESS").is_some_and(|bless| bless == "1") {
        fs::write(&path, page).unwrap();
        return;
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let differs = page
        .lines()
        .zip(stored.lines().chain(std::iter::repeat("")))
        .find(|(fresh, stored)| fresh != stored);
    assert!(
        page == stored,
        "docs/REFERENCE.md is stale; make it again with: SOCKEYE_BLESS=1 cargo test -p sockeye --test reference\n\
         the first line that differs: {differs:?}"
    );
}

#[test]
fn the_file_of_the_reference_is_a_right_one() {
    let (_, rest) = INTRODUCTION.split_once("```toml\n").unwrap();
    let (file, _) = rest.split_once("```").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().display().to_string();
    let path = directory.path().join("sockeye.toml");
    fs::write(&path, file.replace("/var/log/sockeye", &place)).unwrap();
    let output = sockeye().args(["run", "--print-config", "--config"]).arg(&path).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert_eq!(
        text(&output.stdout).matches("[[sink]]").count(),
        4,
        "two, and where each came from"
    );
}

#[test]
fn help_names_every_value_that_is_a_word() {
    let help = |command: &str| {
        text(&sockeye().args([command, "--help"]).env("COLUMNS", "100").output().unwrap().stdout)
    };
    let refusal = |command: &str, option: &str| {
        let output = sockeye().args([command, &format!("--{option}=?")]).output().unwrap();
        let said = text(&output.stderr);
        said.split_once("allowed: ").unwrap().1.trim_end().to_owned()
    };
    for (command, option) in [
        ("run", "marshal"),
        ("snapshot", "marshal"),
        ("closed", "marshal"),
        ("run", "closed"),
        ("decode", "to"),
        ("run", "states"),
        ("run", "deserializers"),
        ("run", "log-level"),
    ] {
        let help = help(command);
        let described = help
            .split_once(&format!("--{option} <"))
            .unwrap()
            .1
            .split("\n      --")
            .next()
            .unwrap();
        let words: Vec<&str> =
            described.split(|char: char| !(char.is_alphanumeric() || char == '-')).collect();
        for word in refusal(command, option).split(", ") {
            assert!(
                words.contains(&word),
                "{command} --{option}: {word} is allowed and not in its help"
            );
        }
    }
}

#[test]
fn no_line_of_help_is_longer_than_a_hundred_characters() {
    for line in page().lines().skip(INTRODUCTION.lines().count()) {
        assert!(line.chars().count() <= 100, "{line}");
    }
}
