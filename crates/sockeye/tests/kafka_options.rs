//! Options about Kafka: what fits together, what is refused before anything starts, and what is never shown.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::process::Command;

use common::{sockeye, text};

/// Nobody is there.
const DEST: &str = "kafka:127.0.0.1:9";

fn run(arguments: &[&str]) -> Command {
    let mut command = sockeye();
    command.args(["run", "--dest", DEST]).args(arguments);
    command
}

/// The one line that is said, without `sockeye: `.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{said}");
    said.strip_prefix("sockeye: ").unwrap().trim_end().to_owned()
}

fn printed(command: &mut Command) -> String {
    let output = command.arg("--print-config").output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    text(&output.stdout)
}

#[test]
fn options_that_contradict_one_another_are_refused_with_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let nowhere = path("nowhere");
    for (arguments, line) in [
        (
            &["--kafka-message-max-bytes", "786432"][..],
            "--kafka-message-max-bytes 786432 does not hold an envelope of --envelope-flush-bytes 786432 and 1024 bytes \
             around it; allowed: 787456 and more",
        ),
        (&["--marshal", "csv"], "--marshal csv has no effect on Kafka; allowed: protobufList"),
        (
            &["--kafka-key", "netns", "--columns", "tcp_info_rtt"],
            "--kafka-key netns takes the key from a column that --columns leaves out; allowed: with the column netns",
        ),
        (
            &["--spool-dir", &nowhere],
            &format!("--spool-dir {nowhere}: not a directory; allowed: a directory that exists"),
        ),
        (
            &["--spool-dir", "/tmp", "--spool-bytes", "12582911"],
            "--spool-bytes 12582911 holds less than 16 envelopes of --envelope-flush-bytes 786432; allowed: 12582912 and \
             more",
        ),
        (
            &["--kafka-tls-cert", "/dev/null"],
            "one of --kafka-tls-cert and --kafka-tls-key without the other; allowed: both or none",
        ),
        (
            &["--kafka-sasl-username", "me"],
            "one of --kafka-sasl-mechanism and --kafka-sasl-username without the other; allowed: both or none",
        ),
        (
            &["--kafka-sasl-username", "me", "--kafka-sasl-mechanism", "plain"],
            "no password for --kafka-sasl-username; allowed: --kafka-sasl-password-file FILE, or \
             SOCKEYE_KAFKA_SASL_PASSWORD in the environment",
        ),
        (&["--dest", DEST], "destination kafka:127.0.0.1:9/xtcp is named twice; allowed: once"),
    ] {
        assert_eq!(refused(&mut run(arguments)), line, "{arguments:?}");
        let mut checked = run(arguments);
        assert_eq!(refused(checked.arg("--print-config")), line, "as well when it is only checked");
    }
}

#[test]
fn what_only_opening_tells_is_refused_before_anything_starts() {
    let said = refused(&mut run(&["--kafka-tls-ca", "/nowhere/ca"]));
    assert!(said.starts_with("kafka:127.0.0.1:9/xtcp: /nowhere/ca: No such file"), "{said}");
    let said = refused(&mut run(&["--kafka-tls-ca", "/dev/null"]));
    assert!(said.starts_with("kafka:127.0.0.1:9/xtcp: librdkafka "), "{said}");
    let said = refused(&mut run(&["--kafka-set", "no.such=1"]));
    assert!(said.contains("No such configuration property: \"no.such\""), "{said}");
}

#[test]
fn a_password_comes_from_a_file_or_the_environment_and_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "hunter2\n").unwrap();
    let sasl = ["--kafka-sasl-username", "me", "--kafka-sasl-mechanism", "scram-sha-512"];
    let from_file = ["--kafka-sasl-password-file", file.to_str().unwrap()];
    let shown = printed(&mut run(&[&sasl[..], &from_file].concat()));
    assert!(shown.contains("kafka-sasl-username = \"me\"") && !shown.contains("hunter"), "{shown}");
    let shown = printed(run(&sasl).env("SOCKEYE_KAFKA_SASL_PASSWORD", "hunter2"));
    assert!(!shown.contains("hunter"), "{shown}");
    fs::write(&file, "\n").unwrap();
    let said = refused(&mut run(&[&sasl[..], &from_file].concat()));
    assert!(said.ends_with("empty; allowed: a file with the password"), "{said}");
    for secret in [
        "sasl.password=hunter2",
        "ssl.key.password=hunter2",
        "a.secret=hunter2",
        "sasl.oauthbearer.assertion.private.key.passphrase=hunter2",
    ] {
        let said = refused(&mut run(&["--kafka-set", secret]));
        assert!(said.contains("; allowed: "), "{said}");
    }
}

#[test]
fn a_table_has_its_own_options_and_inherits_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("s.toml");
    let check = |text: &str, arguments: &[&str]| {
        fs::write(&config, text).unwrap();
        let mut command = sockeye();
        command.args(["run", "--config", config.to_str().unwrap()]).args(arguments);
        command
    };
    let file = "topic = \"all\"\n[[sink]]\ndest = \"kafka:a:1\"\n[[sink]]\ndest = \"kafka:a:1\"\ntopic = \"own\"\n\
                kafka-set = [\"client.rack=r\", \"socket.nagle.disable=false\"]\nkafka-linger = \"0s\"\n\
                [[sink]]\ndest = \"null\"\n";
    let shown = printed(&mut check(file, &[]));
    assert!(shown.contains("kafka-set = \"client.rack=r socket.nagle.disable=false\""), "{shown}");
    assert!(shown.contains("topic = \"own\""), "{shown}");
    fs::write(&config, &shown).unwrap();
    assert_eq!(printed(&mut check(&shown, &[])).matches("[[sink]]").count(), 6);
    // The same topic for both is one destination twice.
    let said = refused(&mut check(file, &["--topic", "one"]));
    assert!(said.ends_with("destination kafka:a:1/one is named twice; allowed: once"), "{said}");
    for (key, allowed) in [
        ("kafka-key = \"x\"", "allowed: none, hostname, netns"),
        ("kafka-linger = 5", "allowed: 0s to 15m, such as 5ms, 1s"),
        ("kafka-set = \"sasl.password=x\"", "allowed: --kafka-sasl-password-file"),
        ("marshal = \"csv\"", "marshal csv of kafka:a:1; allowed: protobufList"),
        ("spool-dir = \"/nowhere\"", "allowed: a directory that exists"),
    ] {
        let said = refused(&mut check(&format!("[[sink]]\ndest = \"kafka:a:1\"\n{key}\n"), &[]));
        let place = format!("{}: [[sink]] 1: ", config.display());
        assert!(said.starts_with(&place) && said.ends_with(allowed), "{said}");
    }
}

#[test]
fn whatever_others_get_kafka_gets_protobuf_lists() {
    let output =
        run(&["--marshal", "csv", "--dest", "stdout", "--humanize", "--print-config"]).output();
    assert_eq!(output.unwrap().status.code(), Some(0));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "marshal = \"csv\"\n").unwrap();
    printed(&mut run(&["--config", file.path().to_str().unwrap()]));
}
