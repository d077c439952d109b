//! `sockeye consume` against a real broker: the rows that were sent, where reading begins and ends, what is no envelope.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;
mod kafka_kit;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{output, sockeye, stdout, text};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sockeye_testkit::kafka::{Broker, Certificates, Mechanism, Security, Settings};
use sockeye_testkit::python;

#[test]
#[ignore = "needs Java and Kafka; `cargo xtask ci` runs it"]
fn the_rows_of_a_topic_are_those_that_were_sent_and_reading_ends_where_the_topic_did() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(&Settings::default()).unwrap();
    broker.create_topic("xtcp", 3, &[]).unwrap();
    let kafka = format!("kafka:{}", broker.bootstrap());
    assert_eq!(stdout(&["consume", &kafka]), b"", "nothing yet");

    let file = folder.path().join("rows.pb");
    run(&kafka, &[], file.to_str().unwrap());
    let sent = stdout(&["decode", file.to_str().unwrap()]);
    assert!(sent.len() > 1000);
    assert_eq!(lines(&stdout(&["consume", &kafka, "--topic", "xtcp"])), lines(&sent));
    let some = ["--columns", "hostname,record_counter", "--to", "csv"];
    let csv = stdout(&[&["consume", &kafka][..], &some].concat());
    let other = stdout(&[&["decode", file.to_str().unwrap()][..], &some].concat());
    assert_eq!(lines(&csv), lines(&other));
    let filtered = |filter| lines(&stdout(&["consume", &kafka, "--filter", filter]));
    let (listeners, others) = (filtered("dport = :0"), filtered("not dport = :0"));
    // Those that listen, and those that are bound and do nothing.
    let states = ["\"inet_diag_msg_state\":10,", "\"inet_diag_msg_state\":7,"];
    assert!(listeners.iter().all(|row| states.iter().any(|state| row.contains(state))));
    assert!(!listeners.is_empty() && listeners.is_disjoint(&others));
    assert_eq!(&listeners | &others, lines(&sent));
    let device = output(&["consume", &kafka, "--filter", "dev = eth0"]);
    assert_eq!(device.status.code(), Some(2));
    python_agrees(&broker, folder.path(), &sent);
    // Twice the same: nobody's offsets have moved.
    assert_eq!(lines(&stdout(&["consume", &kafka])), lines(&sent));

    assert_eq!(stdout(&["consume", &kafka, "--from", "end"]), b"");
    assert_eq!(stdout(&["consume", &kafka, "--from", "2100-01-01T00:00:00Z"]), b"");
    assert_eq!(
        lines(&stdout(&["consume", &kafka, "--from", "2020-01-01T00:00:00Z"])),
        lines(&sent)
    );

    let missing = output(&["consume", &kafka, "--topic", "nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(text(&missing.stderr), "sockeye: topic nowhere: there is no topic nowhere\n");
    let wrong = output(&["consume", "localhost:1"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
#[ignore = "needs Java and Kafka; `cargo xtask ci` runs it"]
fn messages_that_are_no_envelopes_are_counted_and_the_others_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(&Settings::default()).unwrap();
    broker.create_topic("xtcp", 1, &[]).unwrap();
    let kafka = format!("kafka:{}", broker.bootstrap());
    let (file, again) = (folder.path().join("rows.pb"), folder.path().join("again.pb"));
    run(&kafka, &[], file.to_str().unwrap());
    let before = stdout(&["consume", &kafka, "--to", "protobufList"]);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    for payload in [&b"\x05hello"[..], b""] {
        let record: BaseRecord<'_, (), [u8]> = BaseRecord::to("xtcp").payload(payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    run(&kafka, &[], again.to_str().unwrap());

    let mixed = output(&["consume", &kafka]);
    assert_eq!(mixed.status.code(), Some(1));
    let said = text(&mixed.stderr);
    assert!(said.contains("partition 0: message "), "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("sockeye: topic xtcp: 2 of ") && last.ends_with("could not be decoded"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 3, "{said}");
    let mut all = lines(&stdout(&["decode", file.to_str().unwrap()]));
    all.extend(lines(&stdout(&["decode", again.to_str().unwrap()])));
    assert_eq!(lines(&mixed.stdout), all);
    assert!(before.len() > 100);
}

#[test]
#[ignore = "needs Java and Kafka; `cargo xtask ci` runs it"]
fn following_shows_what_comes_and_ends_well_at_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(&Settings::default()).unwrap();
    broker.create_topic("xtcp", 1, &[]).unwrap();
    let kafka = format!("kafka:{}", broker.bootstrap());
    let file = folder.path().join("rows.pb");
    run(&kafka, &[], file.to_str().unwrap());
    let sent = lines(&stdout(&["decode", file.to_str().unwrap()]));

    let mut follower =
        sockeye().args(["consume", &kafka, "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let reader = BufReader::new(follower.stdout.take().unwrap());
    let shown: BTreeSet<String> = reader.lines().take(sent.len()).map(Result::unwrap).collect();
    assert_eq!(shown, sent);
    assert!(follower.try_wait().unwrap().is_none(), "it goes on");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(follower.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs Java and Kafka; `cargo xtask ci` runs it"]
fn a_topic_behind_tls_and_a_password_is_read_with_the_options_of_the_sink() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(&folder.path().join("tls")).unwrap();
    let broker = Broker::start(&Settings {
        security: Security::SaslTls(Mechanism::Scram512, certificates.clone()),
        users: vec![("alice".into(), "s3cret".into())],
        authorize: true,
        ..Settings::default()
    })
    .unwrap();
    broker.create_topic("xtcp", 1, &[]).unwrap();
    for operation in ["Write", "Read", "Describe"] {
        broker.allow("User:alice", operation, "xtcp").unwrap();
    }
    let (password, wrong) = (folder.path().join("password"), folder.path().join("wrong"));
    std::fs::write(&password, "s3cret\n").unwrap();
    std::fs::write(&wrong, "guess").unwrap();
    let (kafka, ca) = (format!("kafka:{}", broker.bootstrap()), certificates.authority());
    let who = ["--kafka-sasl-mechanism", "scram-sha-512", "--kafka-sasl-username", "alice"];
    let with = |password: &std::path::Path| {
        let files = ["--kafka-tls-ca", ca.to_str().unwrap(), "--kafka-sasl-password-file"];
        [&who[..], &files, &[password.to_str().unwrap()]]
            .concat()
            .iter()
            .map(|it| (*it).to_owned())
            .collect::<Vec<_>>()
    };
    let right = with(&password);
    let right: Vec<&str> = right.iter().map(String::as_str).collect();
    let file = folder.path().join("rows.pb");
    run(&kafka, &right, file.to_str().unwrap());
    // No group is asked for: alice may not read as one.
    let read = stdout(&[&["consume", &kafka][..], &right].concat());
    assert_eq!(lines(&read), lines(&stdout(&["decode", file.to_str().unwrap()])));

    let guess = with(&wrong);
    let guess: Vec<&str> = guess.iter().map(String::as_str).collect();
    let refused = output(&[&["consume", &kafka][..], &guess].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).starts_with("sockeye: topic xtcp: the brokers can't be asked"));
}

/// Google's protobuf for Python reads the messages as they are in the topic.
fn python_agrees(broker: &Broker, folder: &Path, sent: &[u8]) {
    let (taken, decoded) = (folder.join("taken.pb"), folder.join("taken.jsonl"));
    let payloads = kafka_kit::payloads(&broker.bootstrap(), "xtcp");
    fs::write(&taken, payloads.concat()).unwrap();
    let rows = stdout(&["decode", taken.to_str().unwrap()]);
    assert_eq!(lines(&rows), lines(sent));
    fs::write(&decoded, &rows).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(python::interpreter().unwrap())
        .arg("-B")
        .arg(root.join("crates/sockeye/tests/protobuf_python.py"))
        .args([root.join("proto"), folder.join("generated"), taken, decoded])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (messages, count) = (payloads.len(), lines(sent).len());
    let expected = format!("{messages} envelopes, {count} rows are the same");
    assert_eq!(text(&output.stdout).trim(), expected);
}

/// Two polls, to the topic and to a file.
fn run(kafka: &str, options: &[&str], file: &str) {
    let file = format!("file:{file}");
    let polls = ["--max-loops", "2", "--frequency", "300ms", "--timeout", "250ms", "--jitter", "0"];
    let to = ["--dest", kafka, "--dest", &file, "--marshal", "protobufList", "--own-netns-only"];
    stdout(&[&["run", "--envelope-flush-rows", "20"][..], &polls, &to, options].concat());
}

/// Partitions have no order among them.
fn lines(text: &[u8]) -> BTreeSet<String> {
    let lines = String::from_utf8(text.to_vec()).unwrap();
    lines.lines().map(str::to_owned).collect()
}
