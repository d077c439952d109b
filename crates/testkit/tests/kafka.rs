//! The broker of the tests is a real one: it keeps what it has, and refuses who may not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use sockeye_testkit::kafka::{Broker, Certificates, Mechanism, Security, Settings};
use sockeye_testkit::kafka_process::tool;

#[test]
#[ignore = "needs Java and Kafka; `cargo xtask ci` runs it"]
fn a_broker_that_was_killed_has_its_port_and_its_topics_again() {
    let mut broker = Broker::start(&Settings::default()).unwrap();
    let (bootstrap, pid) = (broker.bootstrap(), broker.pid().unwrap());
    broker.create_topic("kept", 2, &["retention.ms=60000"]).unwrap();
    broker.kill().unwrap();
    assert!(!is_alive(pid));
    broker.start_again().unwrap();
    assert_eq!(broker.bootstrap(), bootstrap);
    let list = broker.tool(TOPICS, &["--describe", "--topic", "kept"]).unwrap();
    assert!(list.contains("PartitionCount: 2"), "{list}");
    broker.stop().unwrap();
    assert!(broker.stop().is_err());
}

#[test]
#[ignore = "needs Java and Kafka; `cargo xtask ci` runs it"]
fn a_broker_is_gone_with_its_owner_and_so_is_its_data() {
    let broker = Broker::start(&Settings::default()).unwrap();
    let pid = broker.pid().unwrap();
    let folder = fs::read_dir("../../target/kafka/brokers")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            fs::read_to_string(path.join("server.properties"))
                .is_ok_and(|text| text.contains(&broker.bootstrap()))
        })
        .unwrap();
    drop(broker);
    assert!(!is_alive(pid));
    assert!(!folder.exists());
}

#[test]
#[ignore = "needs Java and Kafka; `cargo xtask ci` runs it"]
fn clients_need_the_authority_the_password_and_the_permission() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(&folder.path().join("ours")).unwrap();
    let strangers = Certificates::make(&folder.path().join("theirs")).unwrap();
    let broker = Broker::start(&Settings {
        security: Security::SaslTls(Mechanism::Scram256, certificates.clone()),
        users: vec![("alice".to_owned(), "s3cret".to_owned())],
        authorize: true,
        create_topics: false,
        ..Settings::default()
    })
    .unwrap();
    broker.create_topic("xtcp", 1, &[]).unwrap();

    let client = |password: &str, certificates: &Certificates| {
        let config = folder.path().join("client.properties");
        fs::write(&config, client_properties(password, certificates)).unwrap();
        let config = config.display().to_string();
        tool(
            TOPICS,
            &["--bootstrap-server", &broker.bootstrap(), "--command-config", &config, "--list"],
        )
    };
    // A client that may describe nothing is shown no topic.
    assert_eq!(client("s3cret", &certificates).unwrap().trim(), "");
    broker.allow("User:alice", "Describe", "xtcp").unwrap();
    assert_eq!(client("s3cret", &certificates).unwrap().trim(), "xtcp");
    let error = client("wrong", &certificates).unwrap_err().to_string();
    assert!(error.contains("SaslAuthenticationException"), "{error}");
    let error = client("s3cret", &strangers).unwrap_err().to_string();
    assert!(error.contains("SslAuthenticationException"), "{error}");
}

fn client_properties(password: &str, certificates: &Certificates) -> String {
    format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\nssl.truststore.type=PEM\nssl.truststore.location={}\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"alice\" password=\"{password}\";\n\
         default.api.timeout.ms={TIMEOUT}\nrequest.timeout.ms={TIMEOUT}\n",
        certificates.authority().display(),
        TIMEOUT = Duration::from_secs(10).as_millis()
    )
}

fn is_alive(pid: i32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
