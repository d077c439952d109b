//! Wrong options, variables and files: one line that names what is wrong and what is allowed, exit code 2, nothing done.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{output, sockeye, text};

/// An empty directory to run in, so that whatever is created shows.
struct Nothing(tempfile::TempDir);

impl Nothing {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = sockeye();
        command.current_dir(self.0.path()).args(arguments);
        command
    }
}

/// Runs it to its end, which is near: what is taken for right would run for ever.
fn ended(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{command:?} is not refused: it runs");
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// The one line that it says, without `sockeye: `.
fn refusal(command: &mut Command) -> String {
    let output = ended(command);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
    assert_eq!(text(&output.stdout), "", "{command:?}");
    assert_eq!(said.matches('\n').count(), 1, "{command:?}: {said}");
    let line = said.strip_prefix("sockeye: ").and_then(|line| line.strip_suffix('\n'));
    line.unwrap_or_else(|| panic!("{command:?}: {said}")).to_owned()
}

/// The refusal of these arguments, and nothing has been created.
fn refused(arguments: &[&str]) -> String {
    let nothing = Nothing::new();
    let line = refusal(&mut nothing.command(arguments));
    let left: Vec<PathBuf> =
        fs::read_dir(nothing.0.path()).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(left, [] as [PathBuf; 0], "{arguments:?}");
    line
}

const DURATION: &str = "allowed: a number and a unit, such as 10s, 1m30s, 250ms";
const ABOVE_ZERO: &str = "allowed: more than 0s, at most 365d";
const BYTES: &str = "allowed: a number of bytes above 0, such as 786432, 768KiB, 64MiB";
const BYTES_OR_NONE: &str = "allowed: a number of bytes, such as 0, 768KiB, 64MiB";
const PACKET: &str = "allowed: 8192 to 1048576 bytes, such as 32768, 64KiB";
const FORMATS: &str =
    "allowed: protobufList, protoJson, protoText, msgpack, jsonl, csv, tsv, table";
const DESTINATIONS: &str =
    "allowed: stdout, stderr, null, file:PATH, kafka:HOST:PORT[,HOST:PORT...]";
const TOPIC: &str = "allowed: 1 to 249 of letters, digits, '.', '_', '-'";
const MESSAGE: &str = "allowed: 1000 to 1000000000 bytes, such as 1000000, 8MiB";
const REGISTRY: &str = "allowed: http://HOST[:PORT][/PATH], without a user";
const BOOL: &str = "allowed: true, false";

/// Command, option, a wrong value of it, and the end of what is said of it.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("run", "frequency", "10", DURATION),
    ("run", "frequency", "0s", ABOVE_ZERO),
    ("run", "frequency", "-1s", DURATION),
    ("run", "frequency", "366d", ABOVE_ZERO),
    ("run", "timeout", "5", DURATION),
    ("snapshot", "timeout", "0ms", ABOVE_ZERO),
    ("run", "jitter", "101", "allowed: a whole number from 0 to 100"),
    ("run", "jitter", "-1", "allowed: a whole number from 0 to 100"),
    ("run", "jitter", "20%", "allowed: a whole number from 0 to 100"),
    ("run", "max-loops", "-1", "allowed: a whole number from 0 up"),
    ("run", "max-loops", "many", "allowed: a whole number from 0 up"),
    ("run", "dest", "kafka", DESTINATIONS),
    ("run", "dest", "file:", "allowed: file:PATH"),
    ("run", "dest", "file:rows-%Q", "and %% for a percent sign"),
    ("run", "dest", "file:rows-100%", "and %% for a percent sign"),
    (
        "run",
        "dest",
        "file:nowhere/rows",
        "no directory nowhere; allowed: a file in a directory that exists",
    ),
    ("run", "dest", "kafka:one", "is no broker; allowed: kafka:HOST:PORT[,HOST:PORT...]"),
    ("run", "dest", "kafka:one:1,:2", "is no broker; allowed: kafka:HOST:PORT[,HOST:PORT...]"),
    ("run", "topic", "a/b", TOPIC),
    ("run", "kafka-key", "x", "allowed: none, hostname, netns"),
    ("run", "kafka-compression", "7", "allowed: auto, none, gzip, snappy, lz4, zstd"),
    ("run", "kafka-linger", "16m", "allowed: 0s to 15m, such as 5ms, 1s"),
    ("run", "kafka-message-max-bytes", "999", MESSAGE),
    ("run", "produce-timeout", "0s", ABOVE_ZERO),
    ("run", "kafka-tls", "yes", BOOL),
    ("run", "kafka-sasl-mechanism", "gssapi", "allowed: plain, scram-sha-256, scram-sha-512"),
    ("run", "kafka-set", "linger.ms", "allowed: KEY=VALUE"),
    ("run", "kafka-set", "linger.ms=1", "allowed: --kafka-linger"),
    ("run", "kafka-set", "acks=0", "allowed: acks=all, acks=1"),
    ("run", "schema-registry", "registry:8081", REGISTRY),
    ("run", "schema-registry", "https://registry", REGISTRY),
    ("run", "spool-bytes", "0", BYTES),
    ("run", "shutdown-timeout", "0s", ABOVE_ZERO),
    ("run", "marshal", "json", FORMATS),
    ("snapshot", "marshal", "xml", FORMATS),
    ("decode", "to", "json", FORMATS),
    ("run", "file-rotate-bytes", "0", BYTES),
    ("run", "file-rotate-age", "1", DURATION),
    ("run", "file-zstd", "yes", BOOL),
    ("run", "queue-bytes", "x", BYTES),
    ("run", "listen", "unix:", "no path behind unix:; allowed: HOST:PORT, unix:PATH, off"),
    ("run", "metrics-top-netns", "101", "allowed: a whole number from 0 to 100"),
    ("run", "tcp-metrics", "yes", BOOL),
    ("run", "log-format", "xml", "allowed: text, json"),
    ("run", "log-to", "syslog", "allowed: auto, stderr, journald"),
    ("run", "require", "some", "allowed: available, full"),
    ("run", "drop-capabilities", "yes", BOOL),
    ("run", "landlock", "yes", BOOL),
    ("run", "seccomp", "yes", BOOL),
    (
        "run",
        "memory-limit",
        "0",
        "allowed: a number of bytes above 0, such as 786432, 768KiB, 64MiB",
    ),
    ("run", "log-level", "loud", "allowed: error, warn, info, debug, trace, off"),
    (
        "run",
        "states",
        "established,foo",
        "bound-inactive, all, connected, synchronized, bucket, big",
    ),
    ("run", "deserializers", "info,foo", "shut, classid, cgroup, sockopt, mark, ulp"),
    ("run", "modulus", "0", "allowed: a whole number from 1 to 4294967295"),
    ("run", "columns", "rtt_var", "near: tcp_info_rtt_var, or a prefix with *"),
    ("snapshot", "columns", "qqq", "mptcp_id_loc, or a prefix with *"),
    ("decode", "columns", "netns,", ""),
    ("run", "closed", "true", "allowed: auto, on, off"),
    ("run", "closed-buffer", "0", BYTES),
    ("closed", "closed-buffer", "much", BYTES),
    ("run", "track-bytes", "-1", BYTES_OR_NONE),
    ("closed", "track-bytes", "all", BYTES_OR_NONE),
    ("run", "deltas", "maybe", BOOL),
    ("closed", "count", "0", "allowed: a whole number from 1 up"),
    ("closed", "duration", "5", DURATION),
    ("closed", "marshal", "lines", FORMATS),
    ("run", "humanize", "maybe", BOOL),
    ("run", "avx512", "maybe", BOOL),
    ("snapshot", "avx512", "on", BOOL),
    ("decode", "humanize", "maybe", BOOL),
    ("run", "envelope-flush-rows", "0", "allowed: a whole number from 1 up"),
    ("run", "envelope-flush-bytes", "0", BYTES),
    ("run", "plan", "none", "allowed: auto, full"),
    ("run", "netlinkers", "0", "allowed: auto, or a whole number from 1 to 64"),
    ("snapshot", "netlinkers", "65", "allowed: auto, or a whole number from 1 to 64"),
    ("run", "cpus", "x", "allowed: numbers and ranges such as 0,1,4-7"),
    ("run", "nice", "20", "allowed: a whole number from -20 to 19"),
    ("run", "max-threads", "0", "allowed: a whole number from 1 to 4096"),
    ("run", "io-uring", "maybe", BOOL),
    ("run", "io-uring-recv-batch", "0", "allowed: a whole number from 1 to 4096"),
    ("run", "io-uring-cqe-batch", "4097", "allowed: a whole number from 1 to 4096"),
    ("run", "packet-size", "100", PACKET),
    ("run", "packet-size", "2MiB", PACKET),
    ("run", "own-netns-only", "2", BOOL),
    (
        "netns",
        "netns-dir",
        "nowhere",
        "not a directory; allowed: a directory of bind-mounted namespaces",
    ),
    (
        "doctor",
        "netns-dir",
        "/etc/passwd",
        "not a directory; allowed: a directory of bind-mounted namespaces",
    ),
];

/// What is accepted although it looks wrong.
fn is_right(option: &str, value: &str) -> bool {
    (option, value) == ("columns", "netns,")
}

/// `invalid value 'VALUE' for '--OPTION`, then what is allowed.
fn assert_names(line: &str, option: &str, value: &str, allowed: &str) {
    assert!(line.contains(&format!("invalid value '{value}' for '--{option}")), "{line}");
    assert!(line.ends_with(allowed), "{line}\ndoes not end with\n{allowed}");
}

#[test]
fn every_wrong_value_of_a_flag_is_named_with_what_is_allowed() {
    for (command, option, value, allowed) in
        WRONG.iter().filter(|(_, option, value, _)| !is_right(option, value))
    {
        let line = refused(&[command, &format!("--{option}={value}")]);
        assert!(line.starts_with("invalid value '"), "{line}");
        assert_names(&line, option, value, allowed);
    }
}

#[test]
fn a_value_that_begins_with_a_dash_is_a_value_of_options_that_measure() {
    for (option, value) in
        [("frequency", "-1s"), ("jitter", "-1"), ("queue-bytes", "-5"), ("modulus", "-2")]
    {
        let line = refused(&["run", &format!("--{option}"), value]);
        assert_names(&line, option, value, "");
    }
}

#[test]
fn every_wrong_value_of_a_variable_is_named_with_the_variable() {
    for (command, option, value, allowed) in
        WRONG.iter().filter(|(_, option, value, _)| !is_right(option, value))
    {
        let variable = format!("SOCKEYE_{}", option.replace('-', "_").to_uppercase());
        let nothing = Nothing::new();
        let line = refusal(nothing.command(&[command]).env(&variable, value));
        assert!(line.starts_with(&format!("{variable}: invalid value '")), "{line}");
        assert_names(&line, option, value, allowed);
    }
}

#[test]
fn every_wrong_value_of_a_file_is_named_with_the_file() {
    for (command, option, value, allowed) in
        WRONG.iter().filter(|(_, option, value, _)| !is_right(option, value))
    {
        let nothing = Nothing::new();
        fs::write(nothing.0.path().join("sockeye.toml"), format!("{option} = {value:?}\n"))
            .unwrap();
        let line = refusal(&mut nothing.command(&[command, "--config", "sockeye.toml"]));
        assert!(line.starts_with("sockeye.toml: invalid value '"), "{line}");
        assert_names(&line, option, value, allowed);
        // A file is right or wrong, whatever a flag says.
        if *option == "jitter" {
            let line = refusal(&mut nothing.command(&[
                command,
                "--config",
                "sockeye.toml",
                "--jitter",
                "5",
            ]));
            assert_names(&line, option, value, allowed);
        }
    }
}

#[test]
fn what_is_no_option_and_no_command_is_named() {
    for (arguments, line) in [
        (&["run", "--fast"][..], "unexpected argument '--fast' found; see sockeye run --help"),
        (
            &["run", "--frequenzy", "1s"],
            "unexpected argument '--frequenzy' found; tip: a similar argument exists: '--frequency'; see sockeye run --help",
        ),
        (&["run", "-x"], "unexpected argument '-x' found; see sockeye run --help"),
        (&["run", "rows"], "unexpected argument 'rows' found; see sockeye run --help"),
        (
            &["run", "--", "--jitter"],
            "unexpected argument '--jitter' found; see sockeye run --help",
        ),
        (
            &["snapshot", "--dest", "null"],
            "unexpected argument '--dest' found; see sockeye snapshot --help",
        ),
        (&["decode", "a", "b"], "unexpected argument 'b' found; see sockeye decode --help"),
        (
            &["run", "--marshal"],
            "a value is required for '--marshal <FORMAT>' but none was supplied; see sockeye run --help",
        ),
        (
            &["run", "--jitter", "1", "--jitter", "2"],
            "the argument '--jitter <PERCENT>' cannot be used multiple times; see sockeye run --help",
        ),
        (
            &["run", "--print-config=yes"],
            "unexpected value 'yes' for '--print-config' found; no more were expected; see sockeye run --help",
        ),
        (
            &["run", "--own-netns-only", "false"],
            "unexpected argument 'false' found; see sockeye run --help",
        ),
        (
            &["watch"],
            "unrecognized subcommand 'watch'; allowed: run, snapshot, closed, decode, consume, netns, doctor, check-config, completions, man",
        ),
        (
            &["help", "watch"],
            "unrecognized subcommand 'watch'; allowed: run, snapshot, closed, decode, consume, netns, doctor, check-config, completions, man",
        ),
        (
            &["--jitter", "5", "run"],
            "unexpected argument '--jitter' found; tip: 'run --jitter' exists; see sockeye --help",
        ),
    ] {
        assert_eq!(refused(arguments), line, "{arguments:?}");
    }
}

#[test]
fn options_that_contradict_one_another_are_named_with_where_they_came_from() {
    let line = refused(&["run", "--frequency", "2s", "--timeout", "2s"]);
    let allowed = "allowed: a dump that ends before the next poll begins, such as --timeout 1s";
    assert_eq!(line, format!("--timeout 2s is not below --frequency 2s; {allowed}"));
    let line = refused(&["run", "--frequency", "2s"]);
    assert_eq!(line, format!("--timeout 5s (default) is not below --frequency 2s; {allowed}"));
    let nothing = Nothing::new();
    fs::write(nothing.0.path().join("s.toml"), "timeout = \"3s\"\n").unwrap();
    let line =
        refusal(nothing.command(&["run", "--config", "s.toml"]).env("SOCKEYE_FREQUENCY", "2s"));
    assert_eq!(
        line,
        format!("--timeout 3s (s.toml) is not below --frequency 2s (SOCKEYE_FREQUENCY); {allowed}")
    );

    assert_eq!(
        refused(&["run", "--deltas", "--track-bytes", "0"]),
        "--deltas true needs memory for sockets and --track-bytes 0 is none; allowed: --track-bytes 64MiB, say"
    );
    assert_eq!(
        refused(&["snapshot", "--netlinkers", "33"]),
        "--netlinkers 33 of a namespace do not fit into --max-threads 32 (default); allowed: at most 32"
    );
    assert_eq!(
        refused(&["run", "--queue-bytes", "1572863"]),
        "--queue-bytes 1572863 of stdout holds less than two envelopes of --envelope-flush-bytes 786432; \
         allowed: 1572864 and more"
    );
    for twice in [["stdout", "-"], ["stderr", "stderr"], ["file:rows", "file:rows"]] {
        let line = refused(&["run", "--dest", twice[0], "--dest", twice[1]]);
        assert_eq!(line, format!("destination {} is named twice; allowed: once", twice[0]));
    }
    // --print-config refuses the same, so that it can check a file.
    assert!(refused(&["run", "--frequency", "2s", "--print-config"]).contains("is not below"));
    assert!(
        refused(&["run", "--dest", "null", "--dest=-", "--dest=-", "--print-config"])
            .contains("named twice")
    );
}

#[test]
fn names_for_people_are_refused_where_a_format_has_no_place_for_them() {
    for (command, option) in [("run", "--marshal"), ("snapshot", "--marshal"), ("decode", "--to")] {
        for format in ["protobufList", "protoJson", "protoText", "msgpack"] {
            assert_eq!(
                refused(&[command, option, format, "--humanize"]),
                format!(
                    "--humanize has no effect on {format}; allowed: with jsonl, csv, tsv and table"
                )
            );
        }
    }
}

#[test]
fn the_same_file_under_two_names_is_refused() {
    assert_eq!(
        refused(&["run", "--dest", "file:rows", "--dest", "file:.//rows"]),
        "destination file:.//rows is named twice; allowed: once"
    );
    // What only opening it can tell.
    let nothing = Nothing::new();
    std::os::unix::fs::symlink("rows", nothing.0.path().join("link")).unwrap();
    let line =
        refusal(&mut nothing.command(&["run", "--dest", "file:rows", "--dest", "file:link"]));
    assert!(
        line.starts_with("file:link: ")
            && line.contains("is being written by another process or sink"),
        "{line}"
    );
}

#[test]
fn a_destination_that_can_not_be_opened_is_named() {
    let line = refused(&["run", "--dest", "file:."]);
    assert!(line.starts_with("file:.: . is a directory"), "{line}");
    // The other destination's file is not begun either.
    for (directory, wrong) in [
        ("there", "no directory nowhere"),
        ("there/%Y", "\"nowhere/there/%Y/rows\": conversion \"%Y\" in the name of a directory"),
    ] {
        let missing = format!("file:nowhere/{directory}/rows");
        let line = refused(&["run", "--dest", "file:first", "--dest", &missing]);
        let expected = format!("invalid value '{missing}' for '--dest <DEST>': {wrong}");
        assert!(line.starts_with(&expected), "{line}");
    }
}

fn refused_file(content: impl AsRef<[u8]>) -> String {
    let nothing = Nothing::new();
    fs::write(nothing.0.path().join("s.toml"), content).unwrap();
    refusal(&mut nothing.command(&["run", "--config", "s.toml"]))
}

#[test]
fn an_unknown_key_is_named_with_those_that_are_allowed() {
    let line = refused_file("jitter = 5\nfrequenzy = \"1s\"\n");
    assert!(
        line.starts_with(
            "s.toml: unknown key \"frequenzy\"; allowed: avx512, closed, closed-buffer, columns, count, cpus, deltas, "
        ),
        "{line}"
    );
    assert!(line.ends_with(", timeout, to, topic, track-bytes, [[sink]]"), "{line}");
}

#[test]
fn a_wrong_file_is_named_with_what_is_wrong_in_it() {
    for not_in_files in [
        "config = \"s.toml\"",
        "print-config = true",
        "help = true",
        "version = true",
        "input = \"-\"",
    ] {
        assert!(refused_file(not_in_files).starts_with("s.toml: unknown key "), "{not_in_files}");
    }
    for (content, line) in [
        (
            "label = 1.5",
            "s.toml: label: a float is no value of an option; allowed: text, whole numbers, true, false",
        ),
        (
            "label = {}",
            "s.toml: label: a table is no value of an option; allowed: text, whole numbers, true, false",
        ),
        (
            "dest = [[\"stdout\"]]",
            "s.toml: dest: an array is no value of an option; allowed: text, whole numbers, true, false",
        ),
        (
            "label = 2026-01-02",
            "s.toml: label: a datetime is no value of an option; allowed: text, whole numbers, true, false",
        ),
        ("label = [\"a\", \"b\"]", "s.toml: label: an array; allowed: one value"),
        ("label = []", "s.toml: label: an array; allowed: one value"),
        ("dest = []", "s.toml: dest: an empty array; allowed: at least one destination"),
        (
            "dest = \"null\"\n[[sink]]\ndest = \"stdout\"",
            "s.toml: both dest and [[sink]]; allowed: one of them",
        ),
        ("sink = \"stdout\"", "s.toml: sink: no array of tables; allowed: [[sink]]"),
        ("[sink]\ndest = \"stdout\"", "s.toml: sink: no array of tables; allowed: [[sink]]"),
        ("sink = [\"stdout\"]", "s.toml: [[sink]] 1: no table; allowed: keys and values"),
        (
            "[[sink]]\ndest = \"null\"\n[[sink]]\nmarshal = \"csv\"",
            "s.toml: [[sink]] 2: no dest; allowed: stdout, stderr, null, file:PATH, kafka:HOST:PORT[,HOST:PORT...]",
        ),
        (
            "[[sink]]\ndest = \"null\"\nfrequency = \"1s\"",
            "s.toml: [[sink]] 1: unknown key \"frequency\"; allowed: dest, marshal, columns, humanize, queue-bytes, \
             file-rotate-bytes, file-rotate-age, file-zstd, topic, kafka-key, kafka-compression, kafka-linger, \
             kafka-message-max-bytes, produce-timeout, kafka-tls, kafka-tls-ca, kafka-tls-cert, kafka-tls-key, \
             kafka-sasl-mechanism, kafka-sasl-username, kafka-sasl-password-file, kafka-set, schema-registry, spool-dir, \
             spool-bytes",
        ),
        (
            "[[sink]]\ndest = 1.5",
            "s.toml: [[sink]] 1: dest: a float is no value of an option; allowed: text, whole numbers, true, false",
        ),
        (
            "[[sink]]\ndest = \"null\"\nfile-zstd = \"yes\"",
            "s.toml: [[sink]] 1: file-zstd: invalid value 'yes'; allowed: true, false",
        ),
        (
            "[[sink]]\ndest = \"null\"\nhumanize = 1",
            "s.toml: [[sink]] 1: humanize: invalid value '1'; allowed: true, false",
        ),
        (
            "[[sink]]\ndest = \"null\"\nmarshal = \"json\"",
            "s.toml: [[sink]] 1: marshal: unknown format \"json\"; allowed: protobufList, protoJson, protoText, msgpack, \
             jsonl, csv, tsv, table",
        ),
        (
            "[[sink]]\ndest = \"null\"\ncolumns = [\"netns\", \"rtt_var\"]",
            "s.toml: [[sink]] 1: columns: unknown column \"rtt_var\"; near: tcp_info_rtt_var, or a prefix with *",
        ),
        (
            "[[sink]]\ndest = \"file:nowhere/rows\"",
            "s.toml: [[sink]] 1: dest: no directory nowhere; allowed: a file in a directory that exists",
        ),
        (
            "[[sink]]\ndest = \"null\"\nqueue-bytes = \"1KiB\"",
            "s.toml: [[sink]] 1: --queue-bytes 1024 of null holds less than two envelopes of --envelope-flush-bytes \
             786432; allowed: 1572864 and more",
        ),
        (
            "[[sink]]\ndest = \"stderr\"\n[[sink]]\ndest = \"stderr\"",
            "s.toml: [[sink]] 2: destination stderr is named twice; allowed: once",
        ),
    ] {
        assert_eq!(refused_file(content), line, "{content}");
    }
    for (key, allowed) in
        [("queue-bytes", BYTES), ("file-rotate-bytes", BYTES), ("file-rotate-age", DURATION)]
    {
        let line = refused_file(format!("[[sink]]\ndest = \"null\"\n{key} = \"x\""));
        assert!(
            line.starts_with(&format!("s.toml: [[sink]] 1: {key}: ")) && line.ends_with(allowed),
            "{line}"
        );
    }
}

#[test]
fn broken_toml_is_named_with_its_line() {
    for (content, line) in [
        ("= 1\n", 1),
        ("jitter = 1\n\n= 2\n", 3),
        ("jitter = 1\nlabel = \"x\n", 2),
        ("a = 1\na = 2", 2),
    ] {
        let said = refused_file(content);
        assert!(said.starts_with(&format!("s.toml: line {line}: ")), "{content:?}: {said}");
        assert!(said.ends_with("; allowed: TOML"), "{said}");
    }
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let nothing = Nothing::new();
    let config = |path: &str| refusal(&mut nothing.command(&["netns", "--config", path]));
    assert_eq!(
        config("missing.toml"),
        "missing.toml: No such file or directory (os error 2); allowed: a TOML file"
    );
    assert_eq!(config("/etc"), "/etc: Is a directory (os error 21); allowed: a TOML file");
    assert_eq!(
        refused_file(b"label = \"\xff\"\n"),
        "s.toml: stream did not contain valid UTF-8; allowed: a TOML file"
    );
    let line = refusal(nothing.command(&["netns"]).env("SOCKEYE_CONFIG", "missing.toml"));
    assert_eq!(line, "missing.toml: No such file or directory (os error 2); allowed: a TOML file");
    assert!(refused(&["run", "--config="]).contains("--config"));
}

#[test]
fn bytes_that_are_no_utf_8_are_shown_as_such() {
    let nothing = Nothing::new();
    let line = refusal(nothing.command(&["run"]).arg(OsStr::from_bytes(b"--label=a\xffb")));
    assert_eq!(line, "invalid UTF-8 in '--label=a\u{fffd}b'; allowed: UTF-8");
    let line = refusal(nothing.command(&[]).arg(OsStr::from_bytes(b"\xfe")));
    assert!(line.contains('\u{fffd}'), "{line}");
    let line =
        refusal(nothing.command(&["run"]).env("SOCKEYE_LABEL", OsStr::from_bytes(b"a\xffb")));
    assert_eq!(line, "SOCKEYE_LABEL: invalid UTF-8 in 'a\u{fffd}b'; allowed: UTF-8");
    let line = refusal(
        nothing.command(&["run"]).env("SOCKEYE_DEST", OsStr::from_bytes(b"null file:\xff")),
    );
    assert_eq!(line, "SOCKEYE_DEST: invalid UTF-8 in 'null file:\u{fffd}'; allowed: UTF-8");
    // A path may be any bytes.
    let path = nothing.0.path().join(OsStr::from_bytes(b"\xff.toml"));
    fs::write(&path, "label = \"from there\"\n").unwrap();
    for command in [
        nothing.command(&["run", "--print-config", "--config"]).arg(&path),
        nothing.command(&["run", "--print-config"]).env("SOCKEYE_CONFIG", &path),
    ] {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("label = \"from there\""));
    }
}

#[test]
fn a_value_of_several_lines_is_refused_in_one() {
    let line = refused(&["run", "--marshal", "csv\nUsage: of everything\n\x1b[31mred"]);
    assert!(line.starts_with("invalid value 'csv; "), "{line}");
    assert!(!line.contains('\x1b'), "{line}");
}

#[test]
fn a_missing_input_of_decode_is_named() {
    assert_eq!(
        refused(&["decode", "missing.pb"]),
        "missing.pb: No such file or directory (os error 2); allowed: a protobufList file, or -"
    );
    assert_eq!(
        refused(&["decode", "."]),
        ".: Is a directory (os error 21); allowed: a protobufList file, or -"
    );
}

fn said_on_stdout(output: &Output) -> String {
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
    text(&output.stdout)
}

#[test]
fn help_and_version_go_to_stdout_with_0_and_no_command_is_help_on_stderr_with_2() {
    assert_eq!(
        said_on_stdout(&output(&["--version"])),
        concat!("sockeye ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert_eq!(
        said_on_stdout(&output(&["run", "-V"])),
        concat!("sockeye-run ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let help = said_on_stdout(&output(&["--help"]));
    for command in ["run", "snapshot", "decode", "netns", "doctor"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        assert_eq!(
            said_on_stdout(&output(&["help", command])),
            said_on_stdout(&output(&[command, "--help"]))
        );
    }
    let none = output(&[]);
    assert_eq!((none.status.code(), text(&none.stdout)), (Some(2), String::new()));
    assert!(text(&none.stderr).contains("Usage: sockeye <COMMAND>"));
    // A broken environment is no reason to keep help back.
    let help = sockeye()
        .args(["run", "--help"])
        .env("SOCKEYE_JITTER", "x")
        .env("SOCKEYE_CONFIG", "/nowhere")
        .output();
    assert!(said_on_stdout(&help.unwrap()).contains("--jitter <PERCENT>"));
}

#[test]
fn a_wrong_filter_is_shown_with_the_place_below_it_wherever_it_came_from() {
    let shown = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
        text(&output.stderr)
    };
    let nothing = Nothing::new();
    fs::write(nothing.0.path().join("s.toml"), "filter = \"dport = :443 nor sport = 1\"\n")
        .unwrap();
    let wrong = "dport = :443 nor sport = 1";
    for (place, mut command) in [
        ("--filter: ", nothing.command(&["run", "--filter", wrong])),
        ("--filter: ", nothing.command(&["run", "--print-config", "--filter", wrong])),
        ("s.toml: ", nothing.command(&["snapshot", "--config", "s.toml"])),
        ("", nothing.command(&["snapshot", wrong])),
        ("", nothing.command(&["snapshot", "dport", "=", ":443", "nor", "sport", "=", "1"])),
    ] {
        let stderr = shown(&mut command);
        let lines: Vec<&str> = stderr.lines().collect();
        assert!(lines[0].starts_with(&format!("sockeye: {place}column 14: ")), "{stderr}");
        assert_eq!(
            lines[1..],
            [format!("  {wrong}"), format!("{}^^^", " ".repeat(15))],
            "{stderr}"
        );
    }
    let line = refused(&["snapshot", "--filter", "sport = 1", "dport = 2"]);
    assert!(line.starts_with("the argument '--filter"), "{line}");
}

#[test]
fn no_option_is_missing_from_the_table_of_wrong_values() {
    let options = |command: &str| -> Vec<String> {
        let help = said_on_stdout(&output(&[command, "-h"]));
        let lines = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
        lines.map(|line| line.split([' ', '[']).next().unwrap().to_owned()).collect()
    };
    // Any text will do for these, or they take none. A filter's errors have a test of their own.
    let free = [
        "filter",
        "hostname",
        "location",
        "label",
        "tag",
        "config",
        "print-config",
        "print-default-config",
        // Looked at when there is a Kafka destination: see kafka_options.rs.
        "kafka-tls-ca",
        "kafka-tls-cert",
        "kafka-tls-key",
        "kafka-sasl-username",
        "kafka-sasl-password-file",
        "spool-dir",
    ];
    for option in
        ["run", "snapshot", "decode", "netns", "doctor"].iter().flat_map(|command| options(command))
    {
        let covered = WRONG.iter().any(|(_, wrong, _, _)| *wrong == option);
        assert!(covered || free.contains(&option.as_str()), "--{option}");
    }
}
