//! The README's commands do what the README shows.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// The lines of the first `console` block that has a command beginning so, from the command on.
fn block(readme: &str, command: &str) -> Vec<String> {
    let mut lines = readme.lines().skip_while(|line| !line.starts_with(&format!("$ {command}")));
    let found: Vec<String> =
        lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
    assert!(!found.is_empty(), "no command {command:?} in the README");
    found
}

#[test]
fn the_first_command_shows_what_the_readme_shows() {
    let readme = file("README.md");
    let shown = block(&readme, "cargo run");
    let (_, arguments) = shown[0].split_once(" -- ").expect("arguments of sockeye");
    let printed = common::text(&common::stdout(&arguments.split(' ').collect::<Vec<_>>()));
    let titles = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(titles(printed.lines().next().unwrap()), titles(&shown[1]));
    assert_eq!(shown.len(), 6, "a header and four sockets");
    for line in shown.iter().skip(2) {
        let cells = titles(line);
        match cells[1].as_str() {
            "LISTEN" => assert_eq!(cells.len(), 9, "{line}"),
            "ESTAB" => assert_eq!(cells.len(), 12, "{line}"),
            state => panic!("{state}"),
        }
    }
}

#[test]
fn the_second_command_is_what_ci_runs() {
    let readme = file("README.md");
    assert_eq!(block(&readme, "cargo xtask"), ["$ cargo xtask ci"]);
    assert!(file(".ci/run").contains("cargo xtask ci"));
}

#[test]
fn every_command_of_the_readme_exists_and_none_is_left_out() {
    let help = common::text(&common::stdout(&["--help"]));
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert_eq!(
        commands,
        [
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
        ]
    );
    let readme = file("README.md");
    for command in commands {
        assert!(readme.contains(&format!("| `sockeye {command}")), "{command}");
    }
}

#[test]
fn every_link_of_the_docs_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for page in [
        "README.md",
        "docs/install.md",
        "docs/operations.md",
        "docs/ARCHITECTURE.md",
        "docs/CHANGELOG.md",
        "docs/COLUMNS.md",
    ] {
        let text = file(page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("http") && !link.starts_with('#') {
                let target =
                    root.join(page).parent().unwrap().join(link.split('#').next().unwrap());
                assert!(target.exists(), "{page}: {link}");
            }
        }
    }
}
