//! benches/instructions.toml: what a row took when the file was written, and what is different now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Instructions of a row by case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The compiler that they were counted with; another one makes other code.
    pub(crate) rustc: String,
    pub(crate) instructions: BTreeMap<String, u64>,
}

/// What is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// A table of all cases.
    pub(crate) text: String,
    /// What is not as it should be, a line each.
    pub(crate) wrong: Vec<String>,
    /// Cases that take less than before.
    pub(crate) fewer: Vec<String>,
}

impl Counts {
    pub(crate) fn read(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    pub(crate) fn text(&self) -> Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(self)?))
    }
}

/// Holds what was counted now against what was counted then.
pub(crate) fn compare(then: &Counts, now: &Counts) -> Comparison {
    let mut comparison = Comparison { text: String::new(), wrong: Vec::new(), fewer: Vec::new() };
    if then.rustc != now.rustc {
        let (then, now) = (&then.rustc, &now.rustc);
        comparison.wrong.push(format!("counted with {then}, and this is {now}"));
    }
    let cases: BTreeSet<&String> =
        then.instructions.keys().chain(now.instructions.keys()).collect();
    for case in cases {
        let counts = (then.instructions.get(case), now.instructions.get(case));
        // A String takes every write.
        let _ = match counts {
            (Some(then), Some(now)) => {
                if now * 100 > then * (100 + MOST_PERCENT) {
                    comparison.wrong.push(format!("{case}: {then} before, {now} now"));
                } else if now * (100 + MOST_PERCENT) < then * 100 {
                    comparison.fewer.push(case.clone());
                }
                writeln!(
                    comparison.text,
                    "{case:24} {then:>7} {now:>7} {:>+7.1} %",
                    percent(*then, *now)
                )
            }
            (then, now) => {
                let word = if now.is_some() { "new" } else { "gone" };
                comparison.wrong.push(format!("{case}: {word}"));
                let count = then.or(now).copied().unwrap_or(0);
                writeln!(comparison.text, "{case:24} {count:>7} {word}")
            }
        };
    }
    comparison
}

fn percent(then: u64, now: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a row are small")]
    let (then, now) = (then.max(1) as f64, now as f64);
    (now / then - 1.0) * 100.0
}

/// Counts of the same code differ by less, even where the compiler lays it out in another way.
const MOST_PERCENT: u64 = 3;
const HEAD: &str = "# Instructions of one row, counted by callgrind over the established sockets of the capture.\n\
    # Written by `cargo xtask instructions --bless`; `cargo xtask ci` fails when one is exceeded by more than 3 %.\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> Counts {
        let instructions = counts.iter().map(|(case, count)| ((*case).to_owned(), *count));
        Counts { rustc: "rustc 1.95.0".to_owned(), instructions: instructions.collect() }
    }

    #[test]
    fn three_percent_more_are_let_pass_and_four_are_not() {
        let then = counts(&[("decode", 1000), ("encode-csv", 1000), ("row", 1000)]);
        let now = counts(&[("decode", 1030), ("encode-csv", 1040), ("row", 900)]);
        let comparison = compare(&then, &now);
        assert_eq!(comparison.wrong, ["encode-csv: 1000 before, 1040 now"]);
        assert_eq!(comparison.fewer, ["row"]);
        assert_eq!(
            comparison.text.lines().next().unwrap(),
            "decode                      1000    1030    +3.0 %"
        );
        assert_eq!(compare(&then, &then).wrong, [""; 0]);
    }

    #[test]
    fn a_case_that_is_new_or_gone_and_another_compiler_are_to_be_blessed() {
        let (then, mut now) = (counts(&[("a", 1), ("b", 1)]), counts(&[("b", 1), ("c", 1)]));
        assert_eq!(compare(&then, &now).wrong, ["a: gone", "c: new"]);
        now = then.clone();
        now.rustc = "rustc 1.96.0".to_owned();
        assert_eq!(
            compare(&then, &now).wrong,
            ["counted with rustc 1.95.0, and this is rustc 1.96.0"]
        );
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let counts = counts(&[("decode", 123), ("encode-jsonl", 4567)]);
        let text = counts.text().unwrap();
        assert_eq!(Counts::read(&text).unwrap(), counts);
        assert!(text.starts_with("# Instructions") && text.contains("encode-jsonl = 4567"));
    }
}
