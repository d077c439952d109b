//! Where values come from: flag over environment over file over default, and `--print-config` says which.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{sockeye, text};
use toml::{Table, Value};

/// A command in a directory of its own, with `s.toml` in it.
fn command(directory: &tempfile::TempDir, file: &str, arguments: &[&str]) -> Command {
    fs::write(directory.path().join("s.toml"), file).unwrap();
    let mut command = sockeye();
    command.current_dir(directory.path()).args(arguments);
    command
}

/// What `--print-config` prints.
fn printed(command: &mut Command) -> String {
    let output = command.arg("--print-config").output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    text(&output.stdout)
}

/// The value of a key and where it came from, as its line says.
fn line(printed: &str, key: &str) -> (String, String) {
    let line = printed.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
    let (value, origin) =
        line.unwrap_or_else(|| panic!("no {key} in {printed}")).rsplit_once(" # ").unwrap();
    (value.trim_end().to_owned(), origin.to_owned())
}

fn assert_line(printed: &str, key: &str, value: &str, origin: &str) {
    assert_eq!(line(printed, key), (value.to_owned(), origin.to_owned()), "{key}");
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| {
        let path = directory.path().join(name);
        fs::create_dir(&path).unwrap();
        path.display().to_string()
    });
    let file = format!(
        "timeout = \"3s\"\nown-netns-only = true\ndest = [\"null\", \"stderr\"]\nnetns-dir = [{a:?}, {b:?}]\n"
    );
    let both = format!("[\"{a}\", \"{b}\"]");

    let defaults = printed(&mut command(&directory, &file, &["run"]));
    assert_line(&defaults, "timeout", "\"5s\"", "default");
    assert_line(&defaults, "own-netns-only", "false", "default");
    assert_line(&defaults, "dest", "[\"stdout\"]", "default");
    assert!(defaults.contains("\n# netns-dir = (not set)\n"), "{defaults}");

    let arguments = ["run", "--config", "s.toml"];
    let from_file = printed(&mut command(&directory, &file, &arguments));
    assert_line(&from_file, "timeout", "\"3s\"", "s.toml");
    assert_line(&from_file, "own-netns-only", "true", "s.toml");
    assert_line(&from_file, "dest", "[\"null\", \"stderr\"]", "s.toml");
    assert_line(&from_file, "netns-dir", &both, "s.toml");
    assert_line(&from_file, "frequency", "\"10s\"", "default");

    let environment = |command: &mut Command| {
        command.env("SOCKEYE_TIMEOUT", "2s").env("SOCKEYE_OWN_NETNS_ONLY", "false");
        command
            .env("SOCKEYE_DEST", " stderr  stdout ")
            .env("SOCKEYE_NETNS_DIR", format!("{b} {a}"));
        printed(command)
    };
    let from_environment = environment(&mut command(&directory, &file, &arguments));
    assert_line(&from_environment, "timeout", "\"2s\"", "SOCKEYE_TIMEOUT");
    assert_line(&from_environment, "own-netns-only", "false", "SOCKEYE_OWN_NETNS_ONLY");
    assert_line(&from_environment, "dest", "[\"stderr\", \"stdout\"]", "SOCKEYE_DEST");
    assert_line(
        &from_environment,
        "netns-dir",
        &format!("[\"{b}\", \"{a}\"]"),
        "SOCKEYE_NETNS_DIR",
    );

    let flags =
        ["--timeout", "1s", "--own-netns-only", "--dest=null", "--dest", "null", "--netns-dir", &a];
    let from_flags =
        environment(&mut command(&directory, &file, &[&arguments[..], &flags].concat()));
    assert_line(&from_flags, "timeout", "\"1s\"", "--timeout");
    assert_line(&from_flags, "own-netns-only", "true", "--own-netns-only");
    assert_line(&from_flags, "dest", "[\"null\", \"null\"]", "--dest");
    assert_line(&from_flags, "netns-dir", &format!("[\"{a}\"]"), "--netns-dir");
}

#[test]
fn a_flag_of_a_wrong_variable_is_what_counts() {
    let mut command = sockeye();
    let printed = printed(command.args(["run", "--timeout", "1s"]).env("SOCKEYE_TIMEOUT", "x"));
    assert_line(&printed, "timeout", "\"1s\"", "--timeout");
}

#[test]
fn the_file_may_be_named_by_the_environment_and_a_flag_wins() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("other.toml"), "label = \"other\"\n").unwrap();
    let file = "label = \"this\"\n";
    let one = printed(command(&directory, file, &["run"]).env("SOCKEYE_CONFIG", "s.toml"));
    assert_line(&one, "label", "\"this\"", "s.toml");
    let other = printed(
        command(&directory, file, &["run", "--config=other.toml"]).env("SOCKEYE_CONFIG", "s.toml"),
    );
    assert_line(&other, "label", "\"other\"", "other.toml");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let directory = tempfile::tempdir().unwrap();
    let mut command =
        command(&directory, "label = \"of the file\"\n", &["run", "--config", "s.toml"]);
    for variable in
        ["LABEL", "TIMEOUT", "DEST", "NETNS_DIR", "OWN_NETNS_ONLY", "HUMANIZE", "COLUMNS", "JITTER"]
    {
        command.env(format!("SOCKEYE_{variable}"), "");
    }
    command.env("SOCKEYE_CONFIG", "");
    let printed = printed(&mut command);
    assert_line(&printed, "label", "\"of the file\"", "s.toml");
    assert_line(&printed, "timeout", "\"5s\"", "default");
    assert_line(&printed, "dest", "[\"stdout\"]", "default");
    assert_line(&printed, "jitter", "20", "default");
    assert!(
        printed.contains("# columns = (not set)") && printed.contains("# humanize = (not set)"),
        "{printed}"
    );
    let blank =
        sockeye().args(["run", "--print-config"]).env("SOCKEYE_DEST", "  ").output().unwrap();
    assert_line(&text(&blank.stdout), "dest", "[\"stdout\"]", "default");
    // A flag that is empty was meant.
    let flag = sockeye()
        .args(["run", "--print-config", "--label="])
        .env("SOCKEYE_LABEL", "x")
        .output()
        .unwrap();
    assert_line(&text(&flag.stdout), "label", "\"\"", "--label");
}

#[test]
fn lists_of_names_may_be_arrays_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = "columns = [\"netns\", \"tcp_info_*\"]\nstates = [\"established\", \"listening\"]\ndeserializers = \"info,cong\"\n";
    let printed = printed(&mut command(&directory, file, &["snapshot", "--config", "s.toml"]));
    assert_line(&printed, "columns", "\"netns,tcp_info_*\"", "s.toml");
    assert_line(&printed, "states", "\"established,listening\"", "s.toml");
    assert_line(&printed, "deserializers", "\"info,cong\"", "s.toml");
}

/// The values of a printed configuration, as TOML reads them, the host's own name included.
fn values(printed: &str) -> Table {
    printed.parse().unwrap_or_else(|error| panic!("{error}: {printed}"))
}

#[test]
fn what_is_printed_is_toml_that_gives_the_same_values_again() {
    let directory = tempfile::tempdir().unwrap();
    let nasty = "a \"quoted\" # 'text'\nof two lines\t\\ \u{fc}";
    let mut first = command(
        &directory,
        "jitter = 7\nhumanize = true\n",
        &["run", "--config", "s.toml", "--columns", "netns,tag"],
    );
    first.args([
        "--label",
        nasty,
        "--tag",
        "007",
        "--location",
        "true",
        "--hostname=-5",
        "--queue-bytes",
        "32MiB",
    ]);
    first.args([
        "--dest",
        "file:rows #1",
        "--dest",
        "null",
        "--file-rotate-age",
        "1h",
        "--file-zstd",
    ]);
    let first = printed(first.env("SOCKEYE_MAX_LOOPS", "3"));
    let again = printed(&mut command(&directory, &first, &["run", "--config", "s.toml"]));
    assert_eq!(values(&first), values(&again));
    let values = values(&first);
    assert_eq!(values["label"], Value::from(nasty));
    assert_eq!(values["tag"], Value::from("007"));
    assert_eq!(values["jitter"], Value::from(7));
    assert_eq!(values["max-loops"], Value::from(3));
    assert_eq!(values["humanize"], Value::from(true));
    assert_eq!(values["file-zstd"], Value::from(true));
    assert_eq!(values["queue-bytes"], Value::from("32MiB"));
    assert_eq!(values["dest"], Value::from(vec!["file:rows #1", "null"]));
    // Every line that sets something says where it came from.
    for (key, origin) in [("tag", "s.toml"), ("jitter", "s.toml"), ("timeout", "s.toml")] {
        assert_eq!(line(&again, key).1, origin);
    }
}

#[test]
fn every_option_of_every_command_is_printed_and_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    for command_name in ["run", "snapshot", "decode", "netns", "doctor"] {
        let first = printed(&mut command(&directory, "", &[command_name]));
        let again =
            printed(&mut command(&directory, &first, &[command_name, "--config", "s.toml"]));
        assert_eq!(values(&first), values(&again), "{command_name}");
        let help = text(&sockeye().args([command_name, "-h"]).output().unwrap().stdout);
        let options = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
        for option in options.map(|line| line.split([' ', '[']).next().unwrap()) {
            let shown = first
                .lines()
                .any(|line| line.trim_start_matches("# ").starts_with(&format!("{option} = ")));
            assert_eq!(
                shown,
                !["config", "print-config", "print-default-config"].contains(&option),
                "{command_name} --{option}"
            );
        }
    }
}

#[test]
fn the_name_of_the_host_is_shown_and_not_fixed() {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let printed = text(&sockeye().args(["run", "--print-config"]).output().unwrap().stdout);
    assert!(printed.contains(&format!("# hostname = \"{}\"", name.trim())), "{printed}");
    assert!(!values(&printed).contains_key("hostname"));
    let chosen = text(
        &sockeye().args(["run", "--print-config", "--hostname", "web1"]).output().unwrap().stdout,
    );
    assert_line(&chosen, "hostname", "\"web1\"", "--hostname");
}

#[test]
fn a_file_with_keys_of_other_commands_works_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let file = "frequency = \"7s\"\nto = \"csv\"\nmarshal = \"csv\"\nown-netns-only = true\n[[sink]]\ndest = \"null\"\n";
    for (name, key, value) in [
        ("run", "frequency", "\"7s\""),
        ("snapshot", "marshal", "\"csv\""),
        ("decode", "to", "\"csv\""),
        ("netns", "own-netns-only", "true"),
        ("doctor", "own-netns-only", "true"),
    ] {
        let printed = printed(&mut command(&directory, file, &[name, "--config", "s.toml"]));
        assert_line(&printed, key, value, "s.toml");
        assert_eq!(printed.contains("[[sink]]"), name == "run", "{printed}");
        let empty = Path::new("/dev/null").display().to_string();
        let mut real = command(&directory, file, &[name, "--config", "s.toml"]);
        match name {
            "run" => real.args(["--max-loops", "1"]),
            "decode" => real.arg(empty),
            _ => &mut real,
        };
        assert_eq!(real.output().unwrap().status.code(), Some(0), "{name}");
    }
}

#[test]
fn tables_of_sinks_say_what_is_different_and_inherit_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let file = "\
marshal = \"csv\"
columns = [\"netns\", \"record_kind\"]
own-netns-only = true
max-loops = 1

[[sink]]
dest = \"file:inherits\"

[[sink]]
dest = \"file:differs\"
marshal = \"jsonl\"
columns = [\"record_kind\"]
humanize = false
file-zstd = true
queue-bytes = \"2MiB\"
";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let arguments = ["run", "--config", "s.toml"];
    let output = command(&directory, file, &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    drop(listener);
    let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
    let csv = text(&read("inherits"));
    assert!(
        csv.starts_with("netns,record_kind\r\n") || csv.starts_with("netns,record_kind\n"),
        "{csv}"
    );
    assert!(csv.lines().count() > 1, "{csv}");
    let jsonl = text(&zstd::decode_all(read("differs.zst").as_slice()).unwrap());
    assert_eq!(jsonl.lines().next(), Some("{\"record_kind\":1}"));
    assert_eq!(jsonl.lines().count(), csv.lines().count() - 1);

    // Printed with what they say, and nothing they do not.
    let first = printed(&mut command(&directory, file, &arguments));
    assert!(!values(&first).contains_key("dest"));
    let sinks = values(&first)["sink"].as_array().unwrap().clone();
    assert_eq!(
        sinks[0],
        Value::from(Table::from_iter([("dest".to_owned(), Value::from("file:inherits"))]))
    );
    assert_eq!(sinks[1]["columns"], Value::from("record_kind"));
    assert_eq!(sinks[1]["humanize"], Value::from(false));
    let again = printed(&mut command(&directory, &first, &arguments));
    assert_eq!(values(&first), values(&again));

    // Destinations that are named otherwise take the tables' place.
    for command in [
        command(&directory, file, &arguments).args(["--dest", "null"]),
        command(&directory, file, &arguments).env("SOCKEYE_DEST", "null"),
    ] {
        let printed = printed(command);
        assert_eq!(line(&printed, "dest").0, "[\"null\"]");
        assert!(!printed.contains("[[sink]]"), "{printed}");
    }
}

#[test]
fn options_reach_their_place_whatever_else_looks_like_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let file = "tag = \"of the file\"\n";
    for arguments in [
        &["run", "--config", "s.toml", "--label", "run", "--print-config"][..],
        &["run", "--label=run", "--config=s.toml", "--print-config"],
        &["run", "--print-config", "--label", "run", "--config", "s.toml"],
        &["run", "--print-config", "--label", "run", "--config", "s.toml", "--"],
    ] {
        let output = command(&directory, file, arguments).output().unwrap();
        assert_eq!(text(&output.stderr), "");
        assert_line(&text(&output.stdout), "label", "\"run\"", "--label");
        assert_line(&text(&output.stdout), "tag", "\"of the file\"", "s.toml");
    }
    // Through a link that is called as the command is.
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sockeye"), directory.path().join("run"))
        .unwrap();
    let mut linked = Command::new(directory.path().join("run"));
    let output = linked
        .current_dir(directory.path())
        .args(["run", "--config", "s.toml", "--print-config"])
        .output();
    assert_line(&text(&output.unwrap().stdout), "tag", "\"of the file\"", "s.toml");
    // A file to decode that is called like that.
    fs::write(directory.path().join("decode"), "").unwrap();
    let output = command(
        &directory,
        "to = \"csv\"\ncolumns = \"netns\"",
        &["decode", "--config", "s.toml", "--", "decode"],
    );
    let output = { output }.output().unwrap();
    assert_eq!(text(&output.stdout).trim_end(), "netns");
}
