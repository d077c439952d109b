//! What is made for shells and for `man`: completions that know every command and option, and a page for each command.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{output, sockeye, stdout, text};

/// The commands in `--help`.
fn commands() -> Vec<String> {
    let help = text(&stdout(&["--help"]));
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let list = list.lines().take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    names.filter(|name| name != "help").collect()
}

/// The options in `-h`, with their dashes.
fn options(command: &str) -> Vec<String> {
    let help = text(&stdout(&[command, "-h"]));
    let words = help.lines().filter_map(|line| {
        let line = line.trim_start();
        line.starts_with("--").then(|| line.split([' ', '[', '=']).next().unwrap().to_owned())
    });
    words.collect()
}

#[test]
fn the_completions_of_every_shell_know_every_command_and_option() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = text(&stdout(&["completions", shell]));
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
            for option in options(&command) {
                // fish says `-l jitter`.
                let name = option.trim_start_matches('-');
                assert!(script.contains(name), "{shell}: {command} {option}");
            }
        }
    }
}

#[test]
fn bash_completes_an_option_and_a_value_from_the_script() {
    let script = text(&stdout(&["completions", "bash"]));
    let complete = |words: &[&str]| {
        let typed = words.join(" ");
        let last = words.len() - 1;
        let ask = format!(
            "{script}\nCOMP_WORDS=({typed}); COMP_CWORD={last}\n\
             _sockeye sockeye '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            words[last],
            words[last - 1]
        );
        let mut bash = Command::new("bash")
            .args(["--norc", "-s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        bash.stdin.take().unwrap().write_all(ask.as_bytes()).unwrap();
        text(&bash.wait_with_output().unwrap().stdout)
    };
    assert_eq!(complete(&["sockeye", "sna"]), "snapshot\n");
    assert_eq!(complete(&["sockeye", "run", "--jit"]), "--jitter\n");
    assert_eq!(complete(&["sockeye", "run", "--kafka-key", "h"]), "hostname\n");
}

#[test]
fn there_is_a_page_for_every_command_with_every_option() {
    let overview = text(&stdout(&["man"]));
    assert!(overview.contains(".TH sockeye 1"), "{overview}");
    for command in commands() {
        let named = format!("sockeye\\-{}(1)", command.replace('-', "\\-"));
        assert!(overview.contains(&named), "{command}");
        let page = text(&stdout(&["man", &command]));
        assert!(page.contains(&format!(".TH sockeye-{command} 1")), "{page}");
        let called = format!("\\fBsockeye {}\\fR", command.replace('-', "\\-"));
        assert!(page.contains(&called), "{page}");
        for option in options(&command) {
            let roff = option.replace('-', "\\-");
            assert!(page.contains(&format!("\\fB{roff}\\fR")), "{command} {option}");
        }
    }
}

#[test]
fn pages_and_completions_say_nothing_of_the_host_that_made_them() {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for arguments in [&["man", "run"][..], &["completions", "bash"], &["completions", "zsh"]] {
        assert!(!text(&stdout(arguments)).contains(name.trim()), "{arguments:?}");
    }
}

#[test]
fn neither_reads_a_configuration_file_or_the_environment() {
    for arguments in [&["man"][..], &["completions", "fish"]] {
        let mut command = sockeye();
        command.args(arguments).env("SOCKEYE_CONFIG", "/nowhere").env("SOCKEYE_JITTER", "x");
        assert!(command.output().unwrap().status.success(), "{arguments:?}");
    }
}

#[test]
fn a_shell_and_a_page_that_do_not_exist_are_named_with_those_that_do() {
    let refusal = |arguments: &[&str]| {
        let output = output(arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
        text(&output.stderr)
    };
    assert_eq!(
        refusal(&["completions", "4dos"]),
        "sockeye: invalid value '4dos' for '<SHELL>'; allowed: bash, elvish, fish, powershell, zsh\n"
    );
    assert_eq!(
        refusal(&["man", "watch"]),
        format!("sockeye: no command 'watch' to have a page; allowed: {}\n", commands().join(", "))
    );
    let none = refusal(&["completions"]);
    assert!(
        none.starts_with("sockeye: the following required arguments were not provided"),
        "{none}"
    );
}
