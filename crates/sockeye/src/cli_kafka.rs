//! The options about Kafka, and about the spool of what it can't take.

#![expect(clippy::doc_markdown, reason = "these are the texts of --help, not Markdown")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::config::values::{
    ClientSetting, Registry, Topic, bytes, message_bytes, positive_duration, short_duration,
};

/// Every one of them may stand in a table `[[sink]]`.
#[derive(Debug, Clone, PartialEq, Args)]
pub(crate) struct KafkaArgs {
    /// The topic of kafka destinations.
    #[arg(long, value_name = "TOPIC", default_value = "xtcp", help_heading = "Kafka")]
    pub(crate) topic: Topic,

    /// The key of each message: none, the host's name, or the namespace's name.
    ///
    /// With hostname all rows of a host go to one partition, in order. With netns a message has rows of namespaces of one
    /// name only: an envelope of many namespaces becomes many messages.
    #[arg(long, value_name = "KEY", default_value = "none", help_heading = "Kafka")]
    pub(crate) kafka_key: KafkaKey,

    /// How messages are compressed; auto for the best that broker and client share.
    #[arg(long, value_name = "CODEC", default_value = "auto", help_heading = "Kafka")]
    pub(crate) kafka_compression: KafkaCompression,

    /// How long to wait for more messages to send together; 0s for not at all, at most 15m.
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = short_duration, help_heading = "Kafka")]
    pub(crate) kafka_linger: Duration,

    /// The longest message, as the topic's max.message.bytes: an envelope and 1024 bytes more at least.
    #[arg(long, value_name = "BYTES", default_value = "1000000", value_parser = message_bytes, help_heading = "Kafka")]
    pub(crate) kafka_message_max_bytes: u64,

    /// How long the acknowledgement of a message is waited for, all attempts together.
    ///
    /// After that its rows are dropped and counted or, with a spool, tried again from there.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = positive_duration, help_heading = "Kafka")]
    pub(crate) produce_timeout: Duration,

    #[command(flatten)]
    pub(crate) connection: KafkaConnectionArgs,

    /// Register the schema as TOPIC-value at http://HOST[:PORT][/PATH]; if that fails, it is said and nothing else.
    #[arg(long, value_name = "URL", help_heading = "Kafka")]
    pub(crate) schema_registry: Option<Registry>,

    /// Keep what a kafka destination can't deliver in a folder of this directory, across restarts.
    #[arg(long, value_name = "DIR", help_heading = "Kafka")]
    pub(crate) spool_dir: Option<PathBuf>,

    /// Bytes of a spool at the most, at least 16 envelopes; the oldest rows go when it is full.
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = bytes, help_heading = "Kafka")]
    pub(crate) spool_bytes: u64,
}

/// How to speak to the brokers, and as whom.
#[derive(Debug, Clone, PartialEq, Args)]
#[expect(clippy::struct_field_names, reason = "fields are named as the options")]
pub(crate) struct KafkaConnectionArgs {
    /// Speak TLS with the brokers; any of the files below says so too.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", help_heading = "Kafka")]
    pub(crate) kafka_tls: bool,

    /// PEM file of who may have signed the brokers' certificates; by default those whom the system trusts.
    #[arg(long, value_name = "FILE", help_heading = "Kafka")]
    pub(crate) kafka_tls_ca: Option<PathBuf>,

    /// PEM file of our certificate.
    #[arg(long, value_name = "FILE", help_heading = "Kafka")]
    pub(crate) kafka_tls_cert: Option<PathBuf>,

    /// PEM file of the key to our certificate.
    #[arg(long, value_name = "FILE", help_heading = "Kafka")]
    pub(crate) kafka_tls_key: Option<PathBuf>,

    /// How to say who we are; without it nobody asks.
    #[arg(long, value_name = "MECHANISM", help_heading = "Kafka")]
    pub(crate) kafka_sasl_mechanism: Option<KafkaMechanism>,

    /// Who we are.
    #[arg(long, value_name = "NAME", help_heading = "Kafka")]
    pub(crate) kafka_sasl_username: Option<String>,

    /// File with the password and nothing else; without it the variable SOCKEYE_KAFKA_SASL_PASSWORD has it.
    #[arg(long, value_name = "FILE", help_heading = "Kafka")]
    pub(crate) kafka_sasl_password_file: Option<PathBuf>,

    /// Any other setting of librdkafka, such as socket.keepalive.enable=true; repeatable.
    ///
    /// In the file, several are an array; in the environment and in a table [[sink]], they are separated by blanks.
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Kafka")]
    pub(crate) kafka_set: Vec<ClientSetting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KafkaKey {
    None,
    Hostname,
    Netns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KafkaCompression {
    Auto,
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KafkaMechanism {
    Plain,
    #[value(name = "scram-sha-256")]
    ScramSha256,
    #[value(name = "scram-sha-512")]
    ScramSha512,
}
