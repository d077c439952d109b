//! Values of options: parsed once, never checked again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dest {
    Stdout,
    Stderr,
    Null,
    /// A path, perhaps with strftime conversions.
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
                Some(path) => Ok(Self::File(path.into())),
                None => Err(format!("unknown destination {text:?}; allowed: stdout, stderr, null, file:PATH")),
            },
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
        }
    }
}

/// `10s`, `1m 30s`, `250ms`; longer than nothing and at most a year.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; allowed: a number and a unit, such as 10s, 1m30s, 250ms"))?;
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

const ALLOWED_BYTES: &str = "allowed: a number of bytes above 0, such as 786432, 768KiB, 64MiB";
const LONGEST: Duration = Duration::from_hours(365 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_words_or_files() {
        assert_eq!("file:/a b/%Y".parse(), Ok(Dest::File("/a b/%Y".into())));
        assert_eq!("null".parse(), Ok(Dest::Null));
        assert_eq!(
            "nul".parse::<Dest>().unwrap_err(),
            "unknown destination \"nul\"; allowed: stdout, stderr, null, file:PATH"
        );
        assert!("file:".parse::<Dest>().unwrap_err().contains("without a path"));
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
        assert_eq!((bytes("786432"), bytes("64MiB"), bytes("1 GB")), (Ok(786_432), Ok(64 << 20), Ok(1_000_000_000)));
        assert!(bytes("0").is_err() && bytes("x").is_err() && bytes("-1").is_err());
    }
}
