//! What a broker of a test is like: its listener, users, rules and properties.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::kafka_tls::Certificates;

/// Settings of a broker. The default is what `kafka up` starts: no encryption, no users, topics made on first use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its data is kept; by default a folder that is gone with the broker.
    pub folder: Option<PathBuf>,
    /// The port of clients on 127.0.0.1; 0 for one that is free. A restarted broker keeps it.
    pub port: u16,
    /// How clients speak to it.
    pub security: Security,
    /// Users with their passwords, for SASL.
    pub users: Vec<(String, String)>,
    /// Clients may do only what [`Broker::allow`](crate::kafka::Broker::allow) said. Makes sense with SASL or client
    /// certificates: who has no name may do everything.
    pub authorize: bool,
    /// Topics are made when somebody first names them.
    pub create_topics: bool,
    /// Properties of Kafka that are to differ, such as `message.max.bytes`.
    pub properties: Vec<(String, String)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            folder: None,
            port: 0,
            security: Security::Plaintext,
            users: Vec::new(),
            authorize: false,
            create_topics: true,
            properties: Vec::new(),
        }
    }
}

/// How clients speak to a broker.
#[derive(Clone, Debug)]
pub enum Security {
    /// TCP, and anybody.
    Plaintext,
    /// TLS; the principal of a client with a certificate is `User:CN=client`.
    Tls {
        /// The broker's certificate and the authority for clients.
        certificates: Certificates,
        /// Clients must show a certificate.
        of_clients: bool,
    },
    /// TCP, and a name with a password.
    Sasl(Mechanism),
    /// TLS, and a name with a password.
    SaslTls(Mechanism, Certificates),
}

/// How a client proves that it knows its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// It says it.
    Plain,
    /// SCRAM-SHA-256.
    Scram256,
    /// SCRAM-SHA-512.
    Scram512,
}

impl Mechanism {
    /// The name that `sasl.mechanism` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram256 => "SCRAM-SHA-256",
            Self::Scram512 => "SCRAM-SHA-512",
        }
    }
}

/// The ports of a running broker: clients, the tests' own administration, the controller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) admin: u16,
    pub(crate) controller: u16,
}

impl Settings {
    /// The text of `server.properties`.
    pub(crate) fn properties(&self, ports: Ports, data: &Path) -> String {
        let Ports { client, admin, controller } = ports;
        let protocol = match &self.security {
            Security::Plaintext => "PLAINTEXT",
            Security::Tls { .. } => "SSL",
            Security::Sasl(_) => "SASL_PLAINTEXT",
            Security::SaslTls(..) => "SASL_SSL",
        };
        let mut text = format!(
            "{FIXED}\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=ADMIN://127.0.0.1:{admin},CLIENT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=ADMIN://127.0.0.1:{admin},CLIENT://127.0.0.1:{client}\n\
             listener.security.protocol.map=ADMIN:PLAINTEXT,CLIENT:{protocol},CONTROLLER:PLAINTEXT\n\
             log.dirs={}\n\
             auto.create.topics.enable={}\n",
            data.display(),
            self.create_topics
        );
        match &self.security {
            Security::Plaintext => {}
            Security::Tls { certificates, of_clients } => tls(&mut text, certificates, *of_clients),
            Security::Sasl(mechanism) => self.sasl(&mut text, *mechanism),
            Security::SaslTls(mechanism, certificates) => {
                tls(&mut text, certificates, false);
                self.sasl(&mut text, *mechanism);
            }
        }
        if self.authorize {
            text.push_str(AUTHORIZE);
        }
        for (name, value) in &self.properties {
            // A String takes every write, here and below. The last line of a name counts.
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }

    /// Arguments of the storage tool: SCRAM's users are part of what it writes.
    pub(crate) fn format_arguments(&self) -> Vec<String> {
        let (Security::Sasl(mechanism) | Security::SaslTls(mechanism, _)) = &self.security else {
            return Vec::new();
        };
        if *mechanism == Mechanism::Plain {
            return Vec::new();
        }
        let user = |(name, password): &(String, String)| {
            let credential = format!("{}=[name={name},password={password}]", mechanism.name());
            ["--add-scram".to_owned(), credential]
        };
        self.users.iter().flat_map(user).collect()
    }

    fn sasl(&self, text: &mut String, mechanism: Mechanism) {
        let name = mechanism.name();
        let (module, users) = match mechanism {
            Mechanism::Plain => {
                let users = self.users.iter();
                let users = users.map(|(name, password)| format!(" user_{name}=\"{password}\""));
                ("plain.PlainLoginModule", users.collect())
            }
            Mechanism::Scram256 | Mechanism::Scram512 => ("scram.ScramLoginModule", String::new()),
        };
        let _ = write!(
            text,
            "sasl.enabled.mechanisms={name}\n\
             listener.name.client.{}.sasl.jaas.config=org.apache.kafka.common.security.{module} required{users};\n",
            name.to_ascii_lowercase()
        );
    }
}

fn tls(text: &mut String, certificates: &Certificates, of_clients: bool) {
    let _ = write!(
        text,
        "listener.name.client.ssl.keystore.type=PEM\n\
         listener.name.client.ssl.keystore.location={}\n\
         listener.name.client.ssl.truststore.type=PEM\n\
         listener.name.client.ssl.truststore.location={}\n\
         listener.name.client.ssl.client.auth={}\n",
        certificates.broker().display(),
        certificates.authority().display(),
        if of_clients { "required" } else { "none" }
    );
}

const FIXED: &str = "process.roles=broker,controller\n\
    node.id=1\n\
    controller.listener.names=CONTROLLER\n\
    inter.broker.listener.name=ADMIN\n\
    offsets.topic.replication.factor=1\n\
    offsets.topic.num.partitions=1\n\
    transaction.state.log.replication.factor=1\n\
    transaction.state.log.min.isr=1\n\
    share.coordinator.state.topic.replication.factor=1\n\
    share.coordinator.state.topic.min.isr=1\n\
    group.initial.rebalance.delay.ms=0\n";

const AUTHORIZE: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
    super.users=User:ANONYMOUS\n";

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { client: 1, admin: 2, controller: 3 };

    #[test]
    fn every_listener_is_on_loopback() {
        let text = Settings::default().properties(PORTS, Path::new("/data"));
        let listeners = text.lines().find(|line| line.starts_with("listeners=")).unwrap();
        assert_eq!(
            listeners,
            "listeners=ADMIN://127.0.0.1:2,CLIENT://127.0.0.1:1,CONTROLLER://127.0.0.1:3"
        );
        assert!(text.ends_with("log.dirs=/data\nauto.create.topics.enable=true\n"), "{text}");
    }

    #[test]
    fn users_of_plain_are_properties_and_those_of_scram_are_formatted() {
        let users = vec![("alice".to_owned(), "s3cret".to_owned())];
        let with = |mechanism| Settings {
            security: Security::Sasl(mechanism),
            users: users.clone(),
            ..Settings::default()
        };
        let (plain, scram) = (with(Mechanism::Plain), with(Mechanism::Scram512));
        let (plain_text, scram_text) = (
            plain.properties(PORTS, Path::new("/data")),
            scram.properties(PORTS, Path::new("/data")),
        );
        assert!(
            plain_text.contains("PlainLoginModule required user_alice=\"s3cret\";"),
            "{plain_text}"
        );
        assert!(plain.format_arguments().is_empty());
        assert!(scram_text.contains("ScramLoginModule required;"), "{scram_text}");
        assert_eq!(
            scram.format_arguments(),
            ["--add-scram", "SCRAM-SHA-512=[name=alice,password=s3cret]"]
        );
    }

    #[test]
    fn a_property_of_the_test_comes_last() {
        let settings = Settings {
            properties: vec![("message.max.bytes".to_owned(), "1000".to_owned())],
            authorize: true,
            ..Settings::default()
        };
        let text = settings.properties(PORTS, Path::new("/data"));
        assert!(text.ends_with("super.users=User:ANONYMOUS\nmessage.max.bytes=1000\n"), "{text}");
    }
}
