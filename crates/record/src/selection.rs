//! Which columns are written, and in which order where order shows.

use std::fmt;

use sockeye_wire::attrs::{AttrSet, nr};

use crate::column::Presence;
use crate::columns::{COLUMNS, COUNT};

/// A set of columns with an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    bits: [u64; COUNT.div_ceil(64)],
    order: Vec<usize>,
}

impl Selection {
    /// Every column that Sockeye fills, in the order of the table.
    pub fn filled() -> Self {
        Self::of(COLUMNS.iter().filter(|column| column.filled).map(|column| column.index))
    }

    /// Every column of the wire format: what other writers may have filled as well.
    pub fn all() -> Self {
        Self::of(0..COUNT)
    }

    fn of(order: impl IntoIterator<Item = usize>) -> Self {
        let mut selection = Self { bits: [0; COUNT.div_ceil(64)], order: Vec::new() };
        for index in order {
            selection.add(index);
        }
        selection
    }

    fn add(&mut self, index: usize) {
        if !self.contains(index)
            && let Some(word) = self.bits.get_mut(index / 64)
        {
            *word |= 1 << (index % 64);
            self.order.push(index);
        }
    }

    /// Whether the column at this place of the table is written.
    #[inline(always)]
    pub fn contains(&self, index: usize) -> bool {
        self.bits.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }

    /// The set without its order.
    pub(crate) fn bits(&self) -> impl Columns + use<> {
        Bits(self.bits)
    }

    /// Places in the table, in the order asked for.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Whether every column that Sockeye fills is written.
    pub fn is_complete(&self) -> bool {
        COLUMNS.iter().all(|column| !column.filled || self.contains(column.index))
    }

    /// The attributes that these columns come from; asking the kernel for more would be waste.
    pub fn attrs(&self) -> AttrSet {
        let mut attrs = AttrSet::NONE;
        for column in self.order.iter().filter_map(|index| COLUMNS.get(*index)) {
            attrs = attrs.union(match column.presence {
                Presence::Attr(number) => AttrSet::of(number),
                Presence::Info(_) | Presence::InfoNonZero(_) | Presence::Deltas => {
                    AttrSet::of(nr::INFO)
                }
                Presence::Always | Presence::NonZero | Presence::Nsid | Presence::Owner(_) => {
                    match column.name {
                        "tcp_info_length" | "delta_flags" => AttrSet::of(nr::INFO),
                        "congestion_algorithm_string" | "congestion_algorithm_enum" => {
                            AttrSet::of(nr::CONG)
                        }
                        "bbr_info_min_rtt" => AttrSet::of(nr::BBRINFO),
                        "vegas_info_rtt" | "vegas_info_min_rtt" => AttrSet::of(nr::VEGASINFO),
                        "attributes" => AttrSet::ALL,
                        name if name.starts_with("ulp_")
                            || name.starts_with("tls_")
                            || name.starts_with("mptcp_") =>
                        {
                            AttrSet::of(nr::ULP_INFO)
                        }
                        _ => AttrSet::NONE,
                    }
                }
            });
        }
        attrs
    }
}

impl std::str::FromStr for Selection {
    type Err = UnknownColumn;

    /// Reads names separated by commas; `tcp_info_*` stands for all that begin so.
    fn from_str(text: &str) -> Result<Self, UnknownColumn> {
        let mut selection = Self::of([]);
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let mut known = false;
            let prefix = word.strip_suffix('*');
            for column in &COLUMNS {
                if prefix.map_or(column.name == word, |prefix| column.name.starts_with(prefix)) {
                    selection.add(column.index);
                    known = true;
                }
            }
            if !known {
                return Err(UnknownColumn(word.into()));
            }
        }
        if selection.order.is_empty() { Err(UnknownColumn(String::new())) } else { Ok(selection) }
    }
}

/// What a walk over the columns asks.
pub(crate) trait Columns {
    /// Whether the column at this place of the table is written.
    fn has(&self, index: usize) -> bool;
}

impl Columns for Selection {
    #[inline(always)]
    fn has(&self, index: usize) -> bool {
        self.contains(index)
    }
}

struct Bits([u64; COUNT.div_ceil(64)]);

impl Columns for Bits {
    #[inline(always)]
    fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }
}

/// All columns: nothing to test.
pub(crate) struct Every;

impl Columns for Every {
    #[inline(always)]
    fn has(&self, _: usize) -> bool {
        true
    }
}

/// A word that names no column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownColumn(String);

impl fmt::Display for UnknownColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near: Vec<&str> = COLUMNS
            .iter()
            .map(|column| column.name)
            .filter(|name| name.contains(&self.0))
            .collect();
        if self.0.is_empty() {
            f.write_str("no column named")?;
        } else {
            write!(f, "unknown column {:?}", self.0)?;
        }
        let (hint, names) = match near.len() {
            1..=12 if !self.0.is_empty() => ("near", near),
            _ => ("allowed", COLUMNS.iter().filter(|c| c.filled).map(|c| c.name).collect()),
        };
        write!(f, "; {hint}: {}, or a prefix with *", names.join(", "))
    }
}

impl std::error::Error for UnknownColumn {}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        text.parse::<Selection>()
            .unwrap()
            .order()
            .iter()
            .map(|index| COLUMNS[*index].name)
            .collect()
    }

    #[test]
    fn columns_keep_the_order_in_which_they_were_named() {
        assert_eq!(names("tcp_info_rtt, hostname,tcp_info_rtt"), ["tcp_info_rtt", "hostname"]);
        assert_eq!(names("bbr_info_*,netns").len(), 6);
        assert_eq!(
            names("tcp_info_rtt_*,tcp_info_rtt_v*,tcp_info_rtt_var,tcp_info_rtt_*"),
            ["tcp_info_rtt_var"]
        );
        assert_eq!(names("*,*").len(), COUNT);
    }

    #[test]
    fn an_unknown_column_is_named_with_those_near_it() {
        let error = "hostname,rtt_var".parse::<Selection>().unwrap_err().to_string();
        assert_eq!(error, "unknown column \"rtt_var\"; near: tcp_info_rtt_var, or a prefix with *");
        let error = "qqq".parse::<Selection>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown column \"qqq\"; allowed: schema_version, daemon_version, "),
            "{error}"
        );
        assert!("zzz*".parse::<Selection>().is_err() && ",".parse::<Selection>().is_err());
    }

    #[test]
    fn attributes_follow_from_the_columns() {
        let attrs = |text: &str| text.parse::<Selection>().unwrap().attrs();
        assert_eq!(attrs("hostname,inet_diag_msg_state"), AttrSet::NONE);
        assert_eq!(attrs("tcp_info_rtt"), "info".parse().unwrap());
        assert_eq!(attrs("delta_flags"), "info".parse().unwrap());
        assert_eq!(attrs("delta_segs_in,inet_diag_msg_uid"), "info".parse().unwrap());
        assert_eq!(attrs("congestion_algorithm_string"), "cong".parse().unwrap());
        assert_eq!(attrs("bbr_info_min_rtt,vegas_info_rtt"), "bbr,vegas".parse().unwrap());
        assert_eq!(
            attrs("congestion_algorithm_enum,sk_mem_info_drops,tls_version"),
            "cong,skmem,ulp".parse().unwrap()
        );
        assert_eq!(Selection::filled().attrs().intersection(AttrSet::ALL), AttrSet::ALL);
    }

    #[test]
    fn only_a_selection_of_everything_is_complete() {
        assert!(Selection::filled().is_complete() && Selection::all().is_complete());
        assert!(!"tcp_info_*".parse::<Selection>().unwrap().is_complete());
    }
}
