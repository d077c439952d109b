//! Names for people: what a number of a column stands for.

use jiff::Timestamp;
use sockeye_wire::tcp_state;

use crate::column::Meaning;

/// The name of `value` in a column of this meaning, or `None` where it has none.
#[inline]
pub(crate) fn name(meaning: Meaning, value: u64) -> Option<&'static str> {
    let list: &[&str] = match meaning {
        Meaning::Plain | Meaning::Address | Meaning::TimestampNs => return None,
        Meaning::State => return tcp_state::name(u8::try_from(value).ok()?),
        Meaning::Family => {
            return match value {
                2 => Some("inet"),
                10 => Some("inet6"),
                _ => None,
            };
        }
        Meaning::Timer => &["off", "on", "keepalive", "timewait", "persist"],
        Meaning::CaState => &["open", "disorder", "cwr", "recovery", "loss"],
        Meaning::RecordKind => &["", "poll", "closed"],
    };
    list.get(usize::try_from(value).ok()?).copied().filter(|name| !name.is_empty())
}

/// RFC 3339 in UTC with the nanoseconds that it has; `None` outside the years that the format can say.
pub(crate) fn rfc3339(timestamp_ns: i64) -> Option<String> {
    Timestamp::from_nanosecond(i128::from(timestamp_ns)).ok().map(|time| format!("{time:.9}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_the_names_that_ss_uses() {
        assert_eq!(name(Meaning::State, 10), Some("LISTEN"));
        assert_eq!(name(Meaning::Timer, 4), Some("persist"));
        assert_eq!(
            (name(Meaning::CaState, 3), name(Meaning::CaState, 9)),
            (Some("recovery"), None)
        );
        assert_eq!((name(Meaning::Family, 10), name(Meaning::Plain, 1)), (Some("inet6"), None));
    }

    #[test]
    fn every_number_of_an_enumeration_has_its_name_and_the_next_one_none() {
        let names =
            |meaning| (0..).map_while(|value| name(meaning, value)).collect::<Vec<_>>().join(" ");
        assert_eq!(names(Meaning::Timer), "off on keepalive timewait persist");
        assert_eq!(names(Meaning::CaState), "open disorder cwr recovery loss");
        let kinds = [0, 1, 2, 3, u64::MAX].map(|value| name(Meaning::RecordKind, value));
        assert_eq!(kinds, [None, Some("poll"), Some("closed"), None, None]);
        assert_eq!(
            [2, 10, 1].map(|value| name(Meaning::Family, value)),
            [Some("inet"), Some("inet6"), None]
        );
    }

    #[test]
    fn a_timestamp_is_rfc_3339_in_utc() {
        assert_eq!(rfc3339(1_700_000_000_123_456_789).unwrap(), "2023-11-14T22:13:20.123456789Z");
    }
}
