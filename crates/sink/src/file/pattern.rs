//! The path of a file sink, with conversions of the time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

/// A path whose file name may hold conversions such as `%Y%m%d`; they are expanded in UTC. `%%` is a percent sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Conversion(String),
}

/// Why a text is no path for a file sink.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It would name nothing.
    #[error("the path is empty")]
    Empty,
    /// It names a directory.
    #[error("{path:?} is a directory: name a file in it")]
    Directory {
        /// The path.
        path: String,
    },
    /// A path can't have it.
    #[error("{path:?} holds a NUL byte")]
    Nul {
        /// The path.
        path: String,
    },
    /// Nobody creates the directories that such a path goes through.
    #[error(
        "{path:?}: conversion {conversion:?} in the name of a directory; allowed: conversions in the file name"
    )]
    InDirectory {
        /// The path.
        path: String,
        /// The conversion.
        conversion: String,
    },
    /// A conversion that is unknown, or whose text has no place in the name of a file.
    #[error(
        "{path:?}: invalid conversion {conversion:?}; allowed: {}, and %% for a percent sign",
        allowed()
    )]
    Conversion {
        /// The path.
        path: String,
        /// The conversion.
        conversion: String,
    },
}

impl PathPattern {
    /// Parses a path.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn parse(path: &str) -> Result<Self, PatternError> {
        let text = || path.to_owned();
        if path.is_empty() {
            return Err(PatternError::Empty);
        }
        if path.ends_with('/') {
            return Err(PatternError::Directory { path: text() });
        }
        if path.contains('\0') {
            return Err(PatternError::Nul { path: text() });
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut chars = path.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                plain.push(char);
                continue;
            }
            match chars.next() {
                Some('%') => plain.push('%'),
                Some(letter) if CONVERSIONS.contains(letter) => {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                    parts.push(Part::Conversion(format!("%{letter}")));
                }
                other => {
                    let conversion = std::iter::once('%').chain(other).collect();
                    return Err(PatternError::Conversion { path: text(), conversion });
                }
            }
        }
        parts.push(Part::Text(plain));
        if let Some(conversion) = in_directory(&parts) {
            return Err(PatternError::InDirectory { path: text(), conversion });
        }
        Ok(Self { parts })
    }

    /// Whether it depends on the time.
    pub(crate) fn is_pattern(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Conversion(_)))
    }

    /// Whether a file in its directory gets this name at some time.
    pub(crate) fn may_name(&self, name: &[u8]) -> bool {
        let mut shape = Vec::new();
        for part in &self.parts {
            match part {
                // There is no conversion before the last slash.
                Part::Text(text) => {
                    let name = text.rsplit('/').next().unwrap_or(text);
                    shape.extend(name.bytes().map(Shape::Exactly));
                }
                Part::Conversion(conversion) => shape.extend(shape_of(conversion)),
            }
        }
        fits(&shape, name)
    }

    /// The path at a time.
    pub(crate) fn expand(&self, at: Timestamp) -> String {
        let at = at.to_zoned(TimeZone::UTC);
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Conversion(conversion) => path.push_str(&at.strftime(conversion).to_string()),
            }
        }
        path
    }
}

impl std::str::FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(path: &str) -> Result<Self, PatternError> {
        Self::parse(path)
    }
}

/// What may stand at a place of a name.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Exactly(u8),
    Digit,
    Digits,
    Letters,
}

fn shape_of(conversion: &str) -> Vec<Shape> {
    let digits = match conversion {
        "%F" => "0000-00-00",
        "%T" => "00:00:00",
        "%R" => "00:00",
        "%Y" | "%G" => "0000",
        "%j" => "000",
        "%u" | "%w" => "0",
        "%s" => return vec![Shape::Digits],
        "%a" | "%A" | "%b" | "%B" => return vec![Shape::Letters],
        _ => "00",
    };
    let shape = |byte| if byte == b'0' { Shape::Digit } else { Shape::Exactly(byte) };
    digits.bytes().map(shape).collect()
}

fn fits(shape: &[Shape], name: &[u8]) -> bool {
    let (Some((first, shapes)), Some((byte, rest))) = (shape.split_first(), name.split_first())
    else {
        return shape.is_empty() && name.is_empty();
    };
    match first {
        Shape::Exactly(expected) => byte == expected && fits(shapes, rest),
        Shape::Digit => byte.is_ascii_digit() && fits(shapes, rest),
        Shape::Digits => byte.is_ascii_digit() && (fits(shapes, rest) || fits(shape, rest)),
        Shape::Letters => byte.is_ascii_alphabetic() && (fits(shapes, rest) || fits(shape, rest)),
    }
}

/// The first conversion with a slash somewhere behind it.
fn in_directory(parts: &[Part]) -> Option<String> {
    let mut first = None;
    for part in parts {
        match part {
            Part::Conversion(conversion) => first = first.or(Some(conversion)),
            Part::Text(text) if text.contains('/') && first.is_some() => return first.cloned(),
            Part::Text(_) => {}
        }
    }
    None
}

fn allowed() -> String {
    CONVERSIONS.chars().map(|letter| format!("%{letter}")).collect::<Vec<_>>().join(" ")
}

/// Those of strftime that give neither a slash nor a blank, and do not need a locale.
const CONVERSIONS: &str = "YyCmdjFHMSTRsGVuwaAbB";

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2024-02-03T04:05:06Z".parse().unwrap()
    }

    #[test]
    fn conversions_are_expanded_in_utc() {
        let pattern = PathPattern::parse("/data/100%%/%Y-sockets-%F-%H%M%S.100%%.jsonl").unwrap();
        assert!(pattern.is_pattern());
        assert_eq!(pattern.expand(at()), "/data/100%/2024-sockets-2024-02-03-040506.100%.jsonl");
    }

    #[test]
    fn a_percent_sign_alone_makes_no_pattern() {
        let pattern = PathPattern::parse("/data/100%%").unwrap();
        assert!(!pattern.is_pattern());
        assert_eq!(pattern.expand(at()), "/data/100%");
    }

    #[test]
    fn every_allowed_conversion_names_a_file() {
        for letter in CONVERSIONS.chars() {
            let name = PathPattern::parse(&format!("x%{letter}")).unwrap().expand(at());
            assert!(name.len() > 1 && !name.contains(['/', ' ', '%']), "{letter}: {name}");
        }
    }

    #[test]
    fn a_pattern_knows_its_names_at_every_time() {
        for letter in CONVERSIONS.chars() {
            let pattern = PathPattern::parse(&format!("/data/x-%{letter}.100%%")).unwrap();
            for at in ["2024-02-03T04:05:06Z", "1999-12-31T23:59:59Z", "2030-05-29T00:00:00Z"] {
                let path = pattern.expand(at.parse().unwrap());
                let name = path.strip_prefix("/data/").unwrap();
                assert!(pattern.may_name(name.as_bytes()), "{letter}: {name}");
                for other in [format!("{name}x"), format!("y{name}"), name.replace("x-", "x-_")] {
                    assert!(!pattern.may_name(other.as_bytes()), "{letter}: {other}");
                }
            }
        }
    }

    #[test]
    fn an_invalid_conversion_is_named_with_what_is_allowed() {
        for (path, conversion) in
            [("x-%Q.csv", "%Q"), ("x-%D", "%D"), ("x-%", "%"), ("x-%-d", "%-")]
        {
            let error = PathPattern::parse(path).unwrap_err();
            assert_eq!(
                error,
                PatternError::Conversion { path: path.into(), conversion: conversion.into() }
            );
        }
        assert_eq!(
            PathPattern::parse("x-%Q").unwrap_err().to_string(),
            "\"x-%Q\": invalid conversion \"%Q\"; allowed: \
             %Y %y %C %m %d %j %F %H %M %S %T %R %s %G %V %u %w %a %A %b %B, and %% for a percent sign"
        );
    }

    #[test]
    fn a_conversion_in_a_directory_is_refused_and_named() {
        for path in ["/log/%Y%m%d/x.jsonl", "%Y/x", "a%Y-%%/b/%H.jsonl"] {
            assert_eq!(
                PathPattern::parse(path),
                Err(PatternError::InDirectory { path: path.into(), conversion: "%Y".into() })
            );
        }
        assert_eq!(
            PathPattern::parse("/log/%H/x").unwrap_err().to_string(),
            "\"/log/%H/x\": conversion \"%H\" in the name of a directory; allowed: conversions in the file name"
        );
    }

    #[test]
    fn what_names_no_file_is_refused() {
        assert_eq!(PathPattern::parse(""), Err(PatternError::Empty));
        assert_eq!(
            PathPattern::parse("/tmp/"),
            Err(PatternError::Directory { path: "/tmp/".into() })
        );
        assert_eq!(PathPattern::parse("a\0b"), Err(PatternError::Nul { path: "a\0b".into() }));
    }
}
