//! Values of options: parsed once, never checked again.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

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
}

impl FromStr for Dest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stdout" | "-" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            "null" => Ok(Self::Null),
            _ => match text.strip_prefix("file:") {
                Some("") => Err("file: without a path; allowed: file:PATH".into()),
                Some(path) => {
                    wire_up::check_path(path)?;
                    Ok(Self::File(path.into()))
                }
                None => Err(format!(
                    "unknown destination {text:?}; allowed: stdout, stderr, null, file:PATH"
                )),
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

impl fmt::Display for Dest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::Null => f.write_str("null"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
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

/// `786432`, `768KiB`, `64MiB`, `1GB`; at least one.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let size = text.parse::<bytesize::ByteSize>().map_err(|_| ALLOWED_BYTES)?;
    if size.as_u64() == 0 { Err(ALLOWED_BYTES.into()) } else { Ok(size.as_u64()) }
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
            "unknown destination \"nul\"; allowed: stdout, stderr, null, file:PATH"
        );
        assert!("file:".parse::<Dest>().unwrap_err().contains("without a path"));
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
