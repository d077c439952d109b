//! What a Kafka destination needs, with every contradiction refused.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Command as ClapCommand, FromArgMatches};
use sockeye_record::{COLUMNS, Encoding};

use super::{Invocation, Origin, SinkTable, environment, is_repeatable, key_of, one_line};
use crate::cli::RunArgs;
use crate::cli_kafka::{KafkaArgs, KafkaConnectionArgs, KafkaKey, KafkaMechanism};
use crate::exit::Failure;

/// One Kafka destination.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KafkaSpec {
    pub(crate) options: KafkaArgs,
    pub(crate) sasl: Option<Credentials>,
    pub(crate) hostname: String,
    /// The spool's own folder.
    pub(crate) spool: Option<PathBuf>,
    pub(crate) shutdown_timeout: Duration,
}

/// Mechanism, user and password.
pub(crate) type Credentials = (KafkaMechanism, String, Password);

/// Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(pub(crate) String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// The names of the options, which are keys of `[[sink]]` as well.
pub(crate) fn keys() -> Vec<String> {
    definition().get_arguments().filter(|option| option.get_long().is_some()).map(key_of).collect()
}

/// Options that fit together, for a destination with this encoding.
pub(crate) fn spec(
    options: KafkaArgs,
    encoding: &Encoding,
    run: &RunArgs,
) -> Result<KafkaSpec, Failure> {
    let (envelope, message) = (run.collect.envelope_flush_bytes, options.kafka_message_max_bytes);
    if envelope.saturating_add(AROUND) > message {
        return Err(Failure::usage(format!(
            "--kafka-message-max-bytes {message} does not hold an envelope of --envelope-flush-bytes {envelope} and \
             {AROUND} bytes around it; allowed: {} and more",
            envelope.saturating_add(AROUND)
        )));
    }
    check_key(&options, encoding)?;
    let spool = spool(&options, envelope)?;
    let sasl = credentials(&options.connection)?;
    let hostname = run.collect.hostname.clone().unwrap_or_default();
    Ok(KafkaSpec { options, sasl, hostname, spool, shutdown_timeout: run.shutdown_timeout })
}

/// Refuses a key that no column has.
pub(crate) fn check_key(options: &KafkaArgs, encoding: &Encoding) -> Result<(), Failure> {
    let shows_netns = || {
        let netns = COLUMNS.iter().find(|column| column.name == "netns");
        netns.is_some_and(|netns| {
            encoding.columns.as_ref().is_none_or(|columns| columns.contains(netns.index))
        })
    };
    if options.kafka_key == KafkaKey::Netns && !shows_netns() {
        return Err(Failure::usage(
            "--kafka-key netns takes the key from a column that --columns leaves out; allowed: with the column netns",
        ));
    }
    Ok(())
}

/// The folder of the topic's spool. Brokers may change their names; what waits there is for the topic.
fn spool(options: &KafkaArgs, envelope: u64) -> Result<Option<PathBuf>, Failure> {
    let Some(dir) = &options.spool_dir else { return Ok(None) };
    if !dir.is_dir() {
        return Err(Failure::usage(format!(
            "--spool-dir {}: not a directory; allowed: a directory that exists",
            dir.display()
        )));
    }
    let least = envelope.saturating_mul(LEAST_SPOOLED);
    if options.spool_bytes < least {
        return Err(Failure::usage(format!(
            "--spool-bytes {} holds less than {LEAST_SPOOLED} envelopes of --envelope-flush-bytes {envelope}; \
             allowed: {least} and more",
            options.spool_bytes
        )));
    }
    Ok(Some(dir.join(format!("kafka-{}", options.topic))))
}

/// Who we are, of options that fit together.
pub(crate) fn credentials(options: &KafkaConnectionArgs) -> Result<Option<Credentials>, Failure> {
    check_tls(options)?;
    sasl(options)
}

fn check_tls(options: &KafkaConnectionArgs) -> Result<(), Failure> {
    if options.kafka_tls_cert.is_some() != options.kafka_tls_key.is_some() {
        return Err(Failure::usage(
            "one of --kafka-tls-cert and --kafka-tls-key without the other; allowed: both or none",
        ));
    }
    Ok(())
}

fn sasl(options: &KafkaConnectionArgs) -> Result<Option<Credentials>, Failure> {
    let (mechanism, username) = match (options.kafka_sasl_mechanism, &options.kafka_sasl_username) {
        (None, None) => return Ok(None),
        (Some(mechanism), Some(username)) => (mechanism, username.clone()),
        _ => {
            return Err(Failure::usage(
                "one of --kafka-sasl-mechanism and --kafka-sasl-username without the other; allowed: both or none",
            ));
        }
    };
    let password = match &options.kafka_sasl_password_file {
        Some(path) => read_password(path)?,
        None => environment::value(PASSWORD).and_then(|text| text.into_string().ok()).ok_or_else(|| {
            Failure::usage(format!(
                "no password for --kafka-sasl-username; allowed: --kafka-sasl-password-file FILE, or {} in the \
                 environment",
                environment::variable_of(PASSWORD)
            ))
        })?,
    };
    Ok(Some((mechanism, username, Password(password))))
}

fn read_password(path: &Path) -> Result<String, Failure> {
    let at = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("--kafka-sasl-password-file {at}: {error}")))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::usage(format!(
            "--kafka-sasl-password-file {at}: empty; allowed: a file with the password"
        )));
    }
    Ok(password.into())
}

impl Invocation {
    /// The options of a table: what it says itself, unless a flag or the environment said it; and what is said for all.
    pub(crate) fn kafka_options(&self, table: &SinkTable) -> Result<KafkaArgs, Failure> {
        let definition = definition();
        let parse = |flags: &[OsString]| {
            definition
                .clone()
                .try_get_matches_from(flags)
                .and_then(|matches| KafkaArgs::from_arg_matches(&matches))
                .map_err(|error| Failure::usage(one_line(&error.to_string())).at(&table.place))
        };
        let own: BTreeMap<&str, &str> = table.entries().collect();
        let mut flags = Vec::new();
        for option in definition.get_arguments().filter(|option| option.get_long().is_some()) {
            let key = key_of(option);
            let flag = |value: &str| OsString::from(format!("--{key}={value}"));
            if let Some(text) = own.get(key.as_str()) {
                let said: Vec<OsString> = if is_repeatable(option) {
                    text.split_whitespace().map(flag).collect()
                } else {
                    vec![flag(text)]
                };
                // Right or wrong whether it is used or not.
                parse(&said)?;
                if !matches!(self.origin(&key), Origin::Flag | Origin::Environment) {
                    flags.extend(said);
                    continue;
                }
            }
            let inherited = self.matches.get_raw(option.get_id().as_str()).into_iter().flatten();
            flags.extend(inherited.map(|value| {
                let mut flag = OsString::from(format!("--{key}="));
                flag.push(value);
                flag
            }));
        }
        parse(&flags)
    }
}

/// The options alone.
fn definition() -> ClapCommand {
    KafkaArgs::augment_args(ClapCommand::new("sink").no_binary_name(true).disable_help_flag(true))
}

/// What a message has beside the envelope: a key, and the frames of a batch with one record.
const AROUND: u64 = 1024;
const LEAST_SPOOLED: u64 = 16;
const PASSWORD: &str = "kafka-sasl-password";
