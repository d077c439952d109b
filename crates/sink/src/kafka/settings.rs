//! What a Kafka sink is told, and the same for the client library.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::Key;
use crate::spool::SpoolSettings;

/// Everything about one Kafka sink.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `HOST:PORT[,HOST:PORT…]`.
    pub brokers: String,
    /// Where messages go.
    pub topic: String,
    /// What their keys say.
    pub key: Key,
    /// How they are compressed.
    pub compression: Compression,
    /// How long to wait for more messages to send together.
    pub linger: Duration,
    /// The longest message. The client library refuses longer ones.
    pub message_max_bytes: usize,
    /// How long the acknowledgement of a message is waited for, all attempts together.
    pub produce_timeout: Duration,
    /// Bytes of the queue in front: the client library holds no more.
    pub queue_bytes: usize,
    /// TLS, or plain text.
    pub tls: Option<Tls>,
    /// User and password, or none.
    pub sasl: Option<Sasl>,
    /// Whatever else the client library knows.
    pub set: Vec<(String, String)>,
    /// Where messages wait that can't be delivered.
    pub spool: Option<SpoolSettings>,
    /// How long the end of the daemon waits for a broker when there is a spool.
    pub shutdown_timeout: Duration,
}

/// A codec, or the choice of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// The best one that broker and client share.
    #[default]
    Auto,
    /// This one.
    Codec(&'static str),
}

/// TLS; the files are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Who may have signed the brokers' certificates; those that the system trusts when there is none.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// The key to it.
    pub key: Option<PathBuf>,
}

/// How to speak to brokers, and as whom.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `HOST:PORT[,HOST:PORT…]`.
    pub brokers: String,
    /// TLS, or plain text.
    pub tls: Option<Tls>,
    /// User and password, or none.
    pub sasl: Option<Sasl>,
    /// Whatever else the client library knows.
    pub set: Vec<(String, String)>,
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The codecs that can be chosen, the best first. Protobuf of many alike rows: zstd is both smaller and faster than gzip.
pub(crate) const CODECS: [&str; 5] = ["zstd", "lz4", "snappy", "gzip", "none"];

impl KafkaSettings {
    /// The codecs to try, in this order.
    pub(crate) fn codecs(&self) -> Vec<&'static str> {
        match self.compression {
            Compression::Auto => CODECS.to_vec(),
            Compression::Codec(codec) => vec![codec],
        }
    }

    /// All of it but the codec, as the client library wants it.
    pub(crate) fn client_config(&self, codec: &str) -> ClientConfig {
        let connection = Connection {
            brokers: self.brokers.clone(),
            tls: self.tls.clone(),
            sasl: self.sasl.clone(),
            set: Vec::new(),
        };
        let mut config = connection.client_config();
        config
            .set("compression.type", codec)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", self.linger.as_millis().to_string())
            .set("message.max.bytes", self.message_max_bytes.to_string())
            .set("message.timeout.ms", self.produce_timeout.as_millis().to_string())
            // A topic that nobody has made is a mistake to be told about.
            .set("allow.auto.create.topics", "false")
            // The queue in front has the bound in bytes. Here it is the same, so that the one in front is met first.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", self.buffer_kbytes().to_string())
            // A broker that was away, a topic that was made and a right that was given are noticed soon.
            .set("reconnect.backoff.max.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", "30000");
        if self.compression == Compression::Auto && codec == "zstd" {
            // A few lines for every connection, from which the context learns whether the broker knows the codec.
            config.set("debug", "feature").set_log_level(RDKafkaLogLevel::Debug);
        }
        for (key, value) in &self.set {
            config.set(key, value);
        }
        config
    }

    /// What the queue holds, and the frame of one message.
    fn buffer_kbytes(&self) -> usize {
        (self.queue_bytes.saturating_add(self.message_max_bytes) / 1024 + 1).min(MOST_KBYTES)
    }

    /// Bytes of what is under way at once when there is a spool: what is in memory twice, here and in the client library.
    pub(crate) fn window(&self) -> usize {
        (self.queue_bytes / 4).max(1)
    }
}

impl Connection {
    /// What producers and consumers have in common.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config
            .set_log_level(RDKafkaLogLevel::Notice)
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "sockeye")
            .set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let ca = tls.ca.as_ref().map_or("probe".into(), |path| path.display().to_string());
            config.set("ssl.ca.location", ca);
            for (key, path) in
                [("ssl.certificate.location", &tls.cert), ("ssl.key.location", &tls.key)]
            {
                if let Some(path) = path {
                    config.set(key, path.display().to_string());
                }
            }
        }
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism)
                .set("sasl.username", &sasl.username)
                .set("sasl.password", &sasl.password.0);
        }
        for (key, value) in &self.set {
            config.set(key, value);
        }
        config
    }
}

/// Settings of the client library that have options of their own, or are none of a user's business; with the option.
pub const RESERVED: [(&str, &str); 28] = [
    ("bootstrap.servers", "--dest"),
    ("metadata.broker.list", "--dest"),
    ("security.protocol", "--kafka-tls and --kafka-sasl-mechanism"),
    ("compression.type", "--kafka-compression"),
    ("compression.codec", "--kafka-compression"),
    ("linger.ms", "--kafka-linger"),
    ("queue.buffering.max.ms", "--kafka-linger"),
    ("message.max.bytes", "--kafka-message-max-bytes"),
    ("message.timeout.ms", "--produce-timeout"),
    ("delivery.timeout.ms", "--produce-timeout"),
    ("queue.buffering.max.kbytes", "--queue-bytes"),
    ("queue.buffering.max.messages", "--queue-bytes"),
    ("ssl.ca.location", "--kafka-tls-ca"),
    ("ssl.certificate.location", "--kafka-tls-cert"),
    ("ssl.key.location", "--kafka-tls-key"),
    ("ssl.ca.pem", "--kafka-tls-ca"),
    ("ssl.certificate.pem", "--kafka-tls-cert"),
    ("ssl.key.pem", "--kafka-tls-key"),
    ("ssl.key.password", "a key without a password that only Sockeye can read"),
    ("ssl.keystore.password", "--kafka-tls-key"),
    ("sasl.mechanism", "--kafka-sasl-mechanism"),
    ("sasl.mechanisms", "--kafka-sasl-mechanism"),
    ("sasl.username", "--kafka-sasl-username"),
    ("sasl.password", "--kafka-sasl-password-file"),
    ("sasl.oauthbearer.client.secret", "--kafka-sasl-password-file"),
    ("sasl.oauthbearer.config", "--kafka-sasl-password-file"),
    ("transactional.id", "nothing: Sockeye has no transactions"),
    ("delivery.report.only.error", "nothing: Sockeye counts acknowledgements"),
];

/// What the client library takes.
const MOST_KBYTES: usize = 2_147_483_647;
