//! Values of options: parsed once, never checked again.

use std::fmt;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::builder::{PathBufValueParser, TypedValueParser};
use sockeye_source::sockdiag::{Netlinkers, PlanMode};
use sockeye_sys::CpuList;
use sockeye_telemetry::logging::Level;

use crate::wire_up;

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dest {
    Stdout,
    Stderr,
    Null,
    /// A path, perhaps with strftime conversions, that a file sink takes.
    File(String),
    /// Brokers, with commas between them.
    Kafka(String),
}

impl FromStr for Dest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stdout" | "-" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            "null" => Ok(Self::Null),
            _ => match text.split_once(':') {
                Some(("file", "")) => Err("file: without a path; allowed: file:PATH".into()),
                Some(("file", path)) => {
                    wire_up::check_path(path)?;
                    Ok(Self::File(path.into()))
                }
                Some(("kafka", brokers)) => {
                    wire_up::check_kafka()?;
                    match brokers.split(',').find(|broker| !is_broker(broker)) {
                        Some(wrong) => {
                            Err(format!("{wrong:?} is no broker; allowed: {ALLOWED_KAFKA}"))
                        }
                        None => Ok(Self::Kafka(brokers.into())),
                    }
                }
                _ => Err(format!("unknown destination {text:?}; allowed: {ALLOWED_DEST}")),
            },
        }
    }
}

impl Dest {
    /// Whether two sinks would write to one place.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => false,
            (Self::File(one), Self::File(other)) => whole_path(one) == whole_path(other),
            (one, other) => one == other,
        }
    }
}

/// Two spellings of a directory are one.
fn whole_path(path: &str) -> PathBuf {
    let path = Path::new(path);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize();
    match (parent, path.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

impl Dest {
    /// What it is, without saying where.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Null => "null",
            Self::File(_) => "file",
            Self::Kafka(_) => "kafka",
        }
    }
}

impl fmt::Display for Dest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::Null => f.write_str("null"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Kafka(brokers) => write!(f, "kafka:{brokers}"),
        }
    }
}

/// `HOST:PORT`, `[IPv6]:PORT`.
fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = if let Some(address) = inside {
        address.parse::<Ipv6Addr>().is_ok()
    } else {
        let allowed = |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
        !host.is_empty() && host.chars().all(allowed)
    };
    is_port && is_host
}

/// A name that Kafka takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic(String);

impl FromStr for Topic {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |char: char| char.is_ascii_alphanumeric() || "-._".contains(char);
        let right = (1..=249).contains(&text.len()) && text.chars().all(allowed);
        if right && text != "." && text != ".." {
            Ok(Self(text.into()))
        } else {
            Err(ALLOWED_TOPIC)
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A setting of the Kafka client library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientSetting {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for ClientSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err("allowed: KEY=VALUE".into());
        };
        wire_up::check_kafka_setting(key, value)?;
        Ok(Self { key: key.into(), value: value.into() })
    }
}

/// The address of a schema registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registry(pub(crate) String);

impl FromStr for Registry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        wire_up::check_registry(text)?;
        Ok(Self(text.into()))
    }
}

/// Whether something is done that may not be permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Where it is permitted.
    Auto,
    On,
    Off,
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("allowed: auto, on, off".into()),
        }
    }
}

/// `5ms`, `0s`; at most a quarter of an hour.
pub(crate) fn short_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok().filter(|it| *it <= LONGEST_LINGER);
    duration.ok_or_else(|| "allowed: 0s to 15m, such as 5ms, 1s".into())
}

/// Bytes of a message.
pub(crate) fn message_bytes(text: &str) -> Result<u64, String> {
    let size = bytes(text).ok().filter(|size| MESSAGE_BYTES.contains(size));
    size.ok_or_else(|| "allowed: 1000 to 1000000000 bytes, such as 1000000, 8MiB".into())
}

/// `10s`, `1m 30s`, `250ms`; longer than nothing and at most a year.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| {
        format!("{error}; allowed: a number and a unit, such as 10s, 1m30s, 250ms")
    })?;
    if duration.is_zero() || duration > LONGEST {
        return Err("allowed: more than 0s, at most 365d".into());
    }
    Ok(duration)
}

/// Brokers as a destination names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Brokers(pub(crate) String);

impl FromStr for Brokers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.starts_with("kafka:").then(|| text.parse()).transpose()? {
            Some(Dest::Kafka(brokers)) => Ok(Self(brokers)),
            _ => Err(format!("allowed: {ALLOWED_KAFKA}")),
        }
    }
}

/// Where reading a topic begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Beginning,
    End,
    Since(SystemTime),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            time => humantime::parse_rfc3339_weak(time).map(Self::Since).map_err(|error| {
                format!("{error}; allowed: beginning, end, or a time such as 2026-01-31T12:00:00Z")
            }),
        }
    }
}

/// `786432`, `768KiB`, `64MiB`, `1GB`; at least one.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let size = text.parse::<bytesize::ByteSize>().map_err(|_| ALLOWED_BYTES)?;
    if size.as_u64() == 0 { Err(ALLOWED_BYTES.into()) } else { Ok(size.as_u64()) }
}

/// The same, or 0.
pub(crate) fn bytes_or_none(text: &str) -> Result<u64, String> {
    let size = text.parse::<bytesize::ByteSize>().map(|size| size.as_u64());
    size.map_err(|_| "allowed: a number of bytes, such as 0, 768KiB, 64MiB".into())
}

/// Bytes of a receive buffer.
pub(crate) fn packet_bytes(text: &str) -> Result<u64, String> {
    let allowed =
        || format!("allowed: {MIN_PACKET_BYTES} to {MAX_PACKET_BYTES} bytes, such as 32768, 64KiB");
    let size = bytes(text).map_err(|_| allowed())?;
    if (MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&size) { Ok(size) } else { Err(allowed()) }
}

/// A whole number; `allowed` fits the type.
pub(crate) fn number<T: TryFrom<u64>>(
    allowed: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse::<u64>().ok().filter(|number| allowed.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let most = match *allowed.end() {
                u64::MAX => "up".to_owned(),
                most => format!("to {most}"),
            };
            format!("allowed: a whole number from {} {most}", allowed.start())
        })
    }
}

/// `auto` or `full`.
pub(crate) fn plan(text: &str) -> Result<PlanMode, String> {
    text.parse().map_err(str::to_owned)
}

/// `auto`, or how many.
pub(crate) fn netlinkers(text: &str) -> Result<Netlinkers, String> {
    if text == "auto" {
        return Ok(Netlinkers::Auto);
    }
    let fixed = number::<u16>(1..=64)(text).map(Netlinkers::Fixed);
    fixed.map_err(|_| "allowed: auto, or a whole number from 1 to 64".into())
}

/// Processors that this process may run on.
pub(crate) fn cpus(text: &str) -> Result<CpuList, String> {
    let cpus: CpuList = text.parse().map_err(|error| format!("{error}"))?;
    cpus.check_allowed().map_err(|error| error.to_string())?;
    Ok(cpus)
}

/// What `nice` takes.
pub(crate) fn nice(text: &str) -> Result<i8, String> {
    let nice = text.parse::<i8>().ok().filter(|nice| (-20..=19).contains(nice));
    nice.ok_or_else(|| "allowed: a whole number from -20 to 19".into())
}

/// A level of the log.
pub(crate) fn level(text: &str) -> Result<Level, String> {
    text.parse().map_err(|_| "allowed: error, warn, info, debug, trace, off".into())
}

/// A directory that exists.
pub(crate) fn directory() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| {
        if path.is_dir() {
            Ok(path)
        } else {
            Err("not a directory; allowed: a directory of bind-mounted namespaces")
        }
    })
}

pub(crate) const ALLOWED_DEST: &str =
    "stdout, stderr, null, file:PATH, kafka:HOST:PORT[,HOST:PORT...]";
const ALLOWED_KAFKA: &str = "kafka:HOST:PORT[,HOST:PORT...]";
const ALLOWED_TOPIC: &str = "allowed: 1 to 249 of letters, digits, '.', '_', '-'";
const LONGEST_LINGER: Duration = Duration::from_mins(15);
/// What the client library takes.
const MESSAGE_BYTES: RangeInclusive<u64> = 1000..=1_000_000_000;
const ALLOWED_BYTES: &str = "allowed: a number of bytes above 0, such as 786432, 768KiB, 64MiB";
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// The kernel's first message is not cut to the buffer: it takes up to a page and a half.
const MIN_PACKET_BYTES: u64 = 8192;
const MAX_PACKET_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_words_or_files() {
        assert_eq!("file:/a b-%Y".parse(), Ok(Dest::File("/a b-%Y".into())));
        assert_eq!("null".parse(), Ok(Dest::Null));
        assert_eq!(
            "nul".parse::<Dest>().unwrap_err(),
            "unknown destination \"nul\"; allowed: stdout, stderr, null, file:PATH, kafka:HOST:PORT[,HOST:PORT...]"
        );
        assert!("file:".parse::<Dest>().unwrap_err().contains("without a path"));
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn brokers_have_a_host_and_a_port_each() {
        let brokers = "kafka:one:9092,192.0.2.1:9093,[2001:db8::1]:1";
        assert_eq!(brokers.parse::<Dest>().unwrap().to_string(), brokers);
        for wrong in
            ["kafka:", "kafka:one", "kafka:one:0", "kafka:one:9092,", "kafka:a b:1", "kafka:[x]:1"]
        {
            let said = wrong.parse::<Dest>().unwrap_err();
            assert!(
                said.ends_with("is no broker; allowed: kafka:HOST:PORT[,HOST:PORT...]"),
                "{said}"
            );
        }
    }

    #[test]
    fn topics_are_what_kafka_takes() {
        assert_eq!("a.b_c-1".parse::<Topic>().unwrap().to_string(), "a.b_c-1");
        for wrong in ["", ".", "..", "a b", "a/b", &"x".repeat(250)] {
            assert_eq!(wrong.parse::<Topic>(), Err(ALLOWED_TOPIC), "{wrong}");
        }
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn a_setting_of_the_client_is_a_key_without_an_option_and_without_a_secret() {
        let setting = |text: &str| text.parse::<ClientSetting>();
        let parsed = setting("socket.keepalive.enable=true").unwrap();
        assert_eq!(
            (parsed.key.as_str(), parsed.value.as_str()),
            ("socket.keepalive.enable", "true")
        );
        for (wrong, allowed) in [
            ("linger.ms=1", "--kafka-linger"),
            ("sasl.password=x", "--kafka-sasl-password-file"),
            ("message.max.bytes=1", "--kafka-message-max-bytes"),
            ("acks=0", "acks=all, acks=1"),
            ("some.new.secret=x", "a file"),
            ("no", "KEY=VALUE"),
        ] {
            let said = setting(wrong).unwrap_err();
            assert!(said.contains(&format!("allowed: {allowed}")), "{said}");
            assert!(!said.contains("=x"), "{said}");
        }
    }

    #[test]
    fn two_spellings_of_a_path_are_one_destination_and_null_is_always_another() {
        let dest = |text: &str| text.parse::<Dest>().unwrap();
        assert!(dest("file:/etc/../tmp//rows").is_same(&dest("file:/tmp/rows")));
        assert!(!dest("file:/tmp/rows").is_same(&dest("file:/tmp/rows2")));
        assert!(!dest("file:/tmp/stdout").is_same(&dest("stdout")));
        assert!(dest("-").is_same(&dest("stdout")) && !dest("null").is_same(&dest("null")));
    }

    #[test]
    fn a_duration_needs_a_unit_and_a_length() {
        assert_eq!(positive_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(positive_duration("10").unwrap_err().contains("allowed: a number and a unit"));
        assert!(positive_duration("0s").unwrap_err().contains("more than 0s"));
        assert!(positive_duration("-1s").is_err() && positive_duration("1000d").is_err());
    }

    #[test]
    fn bytes_have_binary_and_decimal_units() {
        let all = (bytes("786432"), bytes("64MiB"), bytes("1 GB"));
        assert_eq!(all, (Ok(786_432), Ok(64 << 20), Ok(1_000_000_000)));
        assert!(bytes("0").is_err() && bytes("x").is_err() && bytes("-1").is_err());
        assert_eq!((packet_bytes("8KiB"), packet_bytes("1MiB")), (Ok(8192), Ok(1 << 20)));
        assert!(packet_bytes("8191").is_err() && packet_bytes("1048577").is_err());
    }

    #[test]
    fn memory_may_be_none_and_a_duty_has_three_words() {
        assert_eq!((bytes_or_none("0"), bytes_or_none("64MiB")), (Ok(0), Ok(64 << 20)));
        assert!(bytes_or_none("-1").is_err() && bytes_or_none("none").is_err());
        let words = ["auto", "on", "off"].map(str::parse::<When>);
        assert_eq!(words, [When::Auto, When::On, When::Off].map(Ok));
        assert_eq!("true".parse::<When>(), Err("allowed: auto, on, off".to_owned()));
    }

    #[test]
    fn readers_are_a_number_or_left_to_the_daemon() {
        assert_eq!(netlinkers("auto"), Ok(Netlinkers::Auto));
        assert_eq!(netlinkers("64"), Ok(Netlinkers::Fixed(64)));
        for wrong in ["0", "65", "Auto", ""] {
            let allowed = "allowed: auto, or a whole number from 1 to 64";
            assert_eq!(netlinkers(wrong).unwrap_err(), allowed, "{wrong}");
        }
        assert_eq!((plan("auto"), plan("full")), (Ok(PlanMode::Auto), Ok(PlanMode::Full)));
        assert_eq!(plan("none").unwrap_err(), "allowed: auto, full");
    }

    #[test]
    fn niceness_has_its_bounds() {
        assert_eq!((nice("-20"), nice("19")), (Ok(-20), Ok(19)));
        for wrong in ["-21", "20", "x", ""] {
            assert_eq!(nice(wrong), Err("allowed: a whole number from -20 to 19".into()));
        }
    }

    #[test]
    fn a_number_is_whole_and_within_its_bounds() {
        let percent = number::<u8>(0..=100);
        assert_eq!((percent("0"), percent("100")), (Ok(0), Ok(100)));
        for wrong in ["101", "-1", "1.5", "x", "", "99999999999999999999"] {
            assert_eq!(percent(wrong), Err("allowed: a whole number from 0 to 100".into()));
        }
        let rows = number::<u64>(1..=u64::MAX);
        assert_eq!(rows("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(rows("0"), Err("allowed: a whole number from 1 up".into()));
    }
}
