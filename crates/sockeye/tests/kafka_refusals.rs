//! Brokers that do not take rows: the message says why, the counter says why, and the daemon lives.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;
mod kafka_kit;

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use kafka_kit::{Shipper, distinct, figure, rows};
use sockeye_testkit::kafka::{Broker, Certificates, Mechanism, Security, Settings};

const MINUTE: Duration = Duration::from_mins(1);
const QUICK: [&str; 7] =
    ["--own-netns-only", "--frequency", "500ms", "--timeout", "400ms", "--shutdown-timeout", "2s"];

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn every_refusal_has_a_name_in_the_log_and_in_the_ledger_and_ends_nothing() {
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let certificates = Certificates::make(&dir.path().join("ours")).unwrap();
    let strangers = Certificates::make(&dir.path().join("theirs")).unwrap();
    let user = |name: &str| (name.to_owned(), "s3cret".to_owned());
    let broker = Broker::start(&Settings {
        security: Security::SaslTls(Mechanism::Scram256, certificates.clone()),
        users: vec![user("alice"), user("bob")],
        authorize: true,
        create_topics: false,
        ..Settings::default()
    })
    .unwrap();
    broker.create_topic("xtcp", 1, &[]).unwrap();
    broker.create_topic("narrow", 1, &["max.message.bytes=500"]).unwrap();
    broker.create_topic("closed", 1, &[]).unwrap();
    for topic in ["xtcp", "narrow", "missing"] {
        broker.allow("User:alice", "Write", topic).unwrap();
    }
    fs::write(path("right"), "s3cret\n").unwrap();
    fs::write(path("wrong"), "hunter2\n").unwrap();
    let sink = format!("kafka:{}", broker.bootstrap());
    let (ours, theirs) = (certificates.authority(), strangers.authority());
    let within = |produce_timeout: &str,
                  name: &str,
                  user: &str,
                  password: &str,
                  topic: &str,
                  ca: &std::path::Path| {
        let options = [
            "--dest",
            &sink,
            "--topic",
            topic,
            "--kafka-tls-ca",
            ca.to_str().unwrap(),
            "--kafka-sasl-mechanism",
            "scram-sha-256",
            "--kafka-sasl-username",
            user,
            "--kafka-sasl-password-file",
            &path(password),
            "--produce-timeout",
            produce_timeout,
            "--kafka-compression",
            "none",
            "--kafka-set",
            "topic.metadata.propagation.max.ms=1000",
        ]
        .map(str::to_owned);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Shipper::start(&dir.path().join(name), &[&QUICK[..], &options].concat())
    };
    let start = |name: &str, user: &str, password: &str, topic: &str, ca: &std::path::Path| {
        within("2s", name, user, password, topic, ca)
    };
    // As long as by default: a busy host must not cost it a row.
    let good = within("5m", "good", "alice", "right", "xtcp", &ours);
    let cases = [
        (start("missing", "alice", "right", "missing", &ours), "unknown_topic"),
        (start("narrow", "alice", "right", "narrow", &ours), "message_too_large"),
        (start("closed", "alice", "right", "closed", &ours), "not_authorised"),
        (start("bob", "bob", "right", "xtcp", &ours), "not_authorised"),
        (start("tls", "alice", "right", "xtcp", &theirs), "tls"),
        (start("password", "alice", "wrong", "xtcp", &ours), "authentication"),
    ];
    for (mut shipper, trouble) in cases {
        shipper.says(&format!("trouble=\"{trouble}\""), MINUTE);
        shipper.says(&format!("reason=\"{trouble}\""), MINUTE);
        assert!(shipper.is_alive());
        let said = shipper.stop(MINUTE);
        assert!(figure(&said, &sink, trouble) > 0, "{trouble}: {said}");
        assert_eq!(figure(&said, &sink, "delivered"), 0, "{trouble}: {said}");
        assert!(said.contains(&format!("{trouble} ")) && said.contains(" times"), "{said}");
        assert!(!said.contains("s3cret") && !said.contains("hunter2"), "{said}");
    }
    let said = good.stop(MINUTE);
    let delivered = figure(&said, &sink, "delivered");
    assert!(delivered > 0 && figure(&said, &sink, "dropped") == 0, "{said}");
    assert_eq!(distinct(&rows(&broker.admin_bootstrap(), "xtcp")), delivered);
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_certificate_and_every_mechanism_of_passwords_open_the_door() {
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(dir.path()).unwrap();
    let text = |path: std::path::PathBuf| path.display().to_string();
    let of_clients = Security::Tls { certificates: certificates.clone(), of_clients: true };
    let certificate = [
        "--kafka-tls-ca",
        &text(certificates.authority()),
        "--kafka-tls-cert",
        &text(certificates.client()),
        "--kafka-tls-key",
        &text(certificates.client_key()),
    ];
    let password = |mechanism| {
        ["--kafka-sasl-mechanism", mechanism, "--kafka-sasl-username", "alice"].map(str::to_owned)
    };
    for (name, security, options) in [
        ("certificate", of_clients, certificate.map(str::to_owned).to_vec()),
        ("plain", Security::Sasl(Mechanism::Plain), password("plain").to_vec()),
        ("scram", Security::Sasl(Mechanism::Scram512), password("scram-sha-512").to_vec()),
    ] {
        let users = vec![("alice".to_owned(), "s3cret".to_owned())];
        let broker = Broker::start(&Settings { security, users, ..Settings::default() }).unwrap();
        broker.create_topic("xtcp", 1, &[]).unwrap();
        let sink = format!("kafka:{}", broker.bootstrap());
        let mut command = common::sockeye();
        command.arg("run").args(QUICK).args(["--dest", &sink, "--max-loops", "2"]).args(options);
        command.env("SOCKEYE_KAFKA_SASL_PASSWORD", "s3cret");
        let said = Shipper::spawn(&mut command, &dir.path().join(name)).wait(MINUTE);
        let delivered = figure(&said, &sink, "delivered");
        assert!(delivered > 0 && figure(&said, &sink, "dropped") == 0, "{name}: {said}");
        assert_eq!(distinct(&rows(&broker.admin_bootstrap(), "xtcp")), delivered, "{name}");
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_file_beside_a_dead_broker_gets_every_row() {
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.jsonl");
    let (sink, other) = ("kafka:127.0.0.1:9", format!("file:{}", file.display()));
    let options = [
        "--dest",
        sink,
        "--dest",
        &other,
        "--max-loops",
        "8",
        "--envelope-flush-bytes",
        "65536",
        "--queue-bytes",
        "131072",
        "--log-level",
        "debug",
    ];
    let mut shipper = Shipper::start(&dir.path().join("log"), &[&QUICK[..], &options].concat());
    shipper.says("no broker can be reached; waiting for one", MINUTE);
    shipper.says("polled poll=8", MINUTE);
    let said = shipper.stop(MINUTE);
    let written = common::rows(&fs::read(&file).unwrap()).len() as u64;
    let file = |word| figure(&said, &other, word);
    assert_eq!((file("read"), file("delivered"), file("dropped")), (written, written, 0), "{said}");
    assert!(said.contains("sockeye: 8 polls, ") && said.contains("; unreachable "), "{said}");
    assert_eq!(figure(&said, sink, "delivered"), 0);
    assert_eq!(figure(&said, sink, "dropped"), written, "{said}");
}
