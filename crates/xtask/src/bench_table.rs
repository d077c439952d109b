//! What a bench found, as a table for the terminal and as the page benches/RESULTS.md.

use std::fmt::Write as _;

use crate::bench_machine::Machine;

/// Everything that was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) targets: Vec<Row>,
    pub(crate) further: Vec<Row>,
    pub(crate) growth: Vec<Growth>,
    pub(crate) rows: Vec<RowCost>,
}

/// One thing that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) what: String,
    pub(crate) outcome: Outcome,
    /// Absolute numbers, or why there are none.
    pub(crate) detail: String,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The value, how far single ones lie apart, and the target.
    Value { value: f64, spread: String, unit: &'static str, target: Option<Target> },
    /// This build has no such option.
    NotAvailable,
}

/// What is good enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// One number of sockets.
#[derive(Clone, Debug)]
pub(crate) struct Growth {
    pub(crate) sockets: u64,
    pub(crate) drain_us: f64,
    pub(crate) proto_us: f64,
    pub(crate) jsonl_us: f64,
}

/// What one row costs without a kernel.
#[derive(Clone, Debug)]
pub(crate) struct RowCost {
    pub(crate) case: String,
    pub(crate) median_ns: f64,
    pub(crate) lowest_ns: f64,
    pub(crate) allocations: f64,
}

impl Target {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("<= {most}"),
            Self::AtLeast(least) => format!(">= {least}"),
        }
    }
}

impl Row {
    fn cells(&self) -> [String; 6] {
        let (value, spread, target, verdict) = match &self.outcome {
            Outcome::NotAvailable => {
                ("-".to_owned(), "-".to_owned(), "-".to_owned(), "not available")
            }
            Outcome::Value { value, spread, unit, target } => {
                let verdict = match target {
                    Some(target) if target.is_met(*value) => "pass",
                    Some(_) => "FAIL",
                    None => "measured",
                };
                let target = target.map_or("-".to_owned(), Target::text);
                (format!("{}{unit}", short(*value)), spread.clone(), target, verdict)
            }
        };
        let what = format!("{} | {}", self.case, self.what);
        [what, value, spread, target, verdict.to_owned(), self.detail.clone()]
    }
}

impl Report {
    /// In the order of cases, whatever the order was in which they were measured.
    pub(crate) fn sort(&mut self) {
        self.targets.sort_by_key(|row| row.case.parse::<u32>().unwrap_or(u32::MAX));
    }

    /// For the terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for rows in [&self.targets, &self.further] {
            table(&mut text, &HEADINGS, rows.iter().map(|row| row.cells().to_vec()));
        }
        table(&mut text, &GROWTH, self.growth.iter().map(Growth::cells));
        table(&mut text, &ROWS, self.rows.iter().map(RowCost::cells));
        text
    }

    /// For the repository.
    pub(crate) fn page(&self, machine: &Machine, waited: &str) -> String {
        let Machine { processor, cores, memory_mib, kernel, compiler, version } = machine;
        let mut page = format!(
            "# What Sockeye costs\n\n\
             Written by `cargo xtask bench`; [README.md](README.md) says how each case is measured.\n\n\
             * Version: {version}, {compiler}, release profile\n\
             * Machine: {processor}, {cores} cores, {memory_mib} MiB\n\
             * Kernel: {kernel}\n\
             * {waited}\n\n## Targets\n\n"
        );
        table(&mut page, &HEADINGS, self.targets.iter().map(|row| row.cells().to_vec()));
        page.push_str("\n## Compared\n\n");
        table(&mut page, &HEADINGS, self.further.iter().map(|row| row.cells().to_vec()));
        page.push_str(
            "\n## Growth\n\nEvery socket read by a dump (`--plan full`) by one reader, one namespace.\n\n",
        );
        table(&mut page, &GROWTH, self.growth.iter().map(Growth::cells));
        page.push_str("\n## One row, without a kernel\n\n");
        table(&mut page, &ROWS, self.rows.iter().map(RowCost::cells));
        page
    }
}

impl Growth {
    fn cells(&self) -> Vec<String> {
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 sockets")]
        let sockets = self.sockets as f64;
        let each = |us: f64| format!("{:.0}", us * 1000.0 / sockets);
        vec![
            self.sockets.to_string(),
            format!("{:.2}", self.drain_us / 1000.0),
            format!("{:.2}", self.proto_us / 1000.0),
            format!("{:.2}", self.jsonl_us / 1000.0),
            each(self.drain_us),
            each(self.proto_us),
            each(self.jsonl_us),
            each(self.proto_us - self.drain_us),
            each(self.jsonl_us - self.drain_us),
        ]
    }
}

impl RowCost {
    fn cells(&self) -> Vec<String> {
        vec![
            self.case.clone(),
            format!("{:.1}", self.median_ns),
            format!("{:.1}", self.lowest_ns),
            short(self.allocations),
        ]
    }
}

/// Three figures where there is a point, and no more than needed where there is none.
pub(crate) fn short(value: f64) -> String {
    let digits = match value.abs() {
        1000.0.. => 0,
        100.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Aligned, so that it can be read as it is; nothing without lines.
fn table(out: &mut String, headings: &[&str], lines: impl Iterator<Item = Vec<String>>) {
    let split = |cells: Vec<String>| -> Vec<String> {
        cells.iter().flat_map(|cell| cell.split(" | ").map(str::to_owned)).collect()
    };
    let lines: Vec<Vec<String>> = lines.map(split).collect();
    if lines.is_empty() {
        return;
    }
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column)).map(String::len);
            cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
        })
        .collect();
    let mut line = |cells: &[String]| {
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(out, "| {cell:width$} ");
        }
        out.push_str("|\n");
    };
    line(&headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>());
    line(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    for cells in &lines {
        line(cells);
    }
}

const HEADINGS: [&str; 7] = ["case", "what", "measured", "range", "target", "", "absolute"];
const GROWTH: [&str; 9] = [
    "sockets",
    "drain ms",
    "protobufList ms",
    "jsonl ms",
    "drain ns/socket",
    "protobufList",
    "jsonl",
    "protobufList - drain",
    "jsonl - drain",
];
const ROWS: [&str; 4] = ["work", "median ns", "lowest ns", "allocations"];

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, target: Option<Target>) -> Row {
        let outcome = Outcome::Value { value, spread: "1.0 to 1.2".to_owned(), unit: "", target };
        Row {
            case: "1".to_owned(),
            what: "poll / drain".to_owned(),
            outcome,
            detail: "x".to_owned(),
        }
    }

    #[test]
    fn a_value_passes_at_its_target_and_fails_beyond_it() {
        let verdict = |value, target| row(value, target).cells()[4].clone();
        assert_eq!(verdict(1.12, Some(Target::AtMost(1.12))), "pass");
        assert_eq!(verdict(1.13, Some(Target::AtMost(1.12))), "FAIL");
        assert_eq!(verdict(2.5, Some(Target::AtLeast(2.5))), "pass");
        assert_eq!(verdict(2.4, Some(Target::AtLeast(2.5))), "FAIL");
        assert_eq!(verdict(9.0, None), "measured");
    }

    #[test]
    fn a_table_is_aligned_markdown_and_says_what_is_not_there() {
        let missing = Row {
            case: "10".to_owned(),
            what: "filter".to_owned(),
            outcome: Outcome::NotAvailable,
            detail: "no --filter in this build".to_owned(),
        };
        let report = Report {
            targets: vec![row(1.108, Some(Target::AtMost(1.12))), missing],
            ..Report::default()
        };
        assert_eq!(
            report.text(),
            "| case | what         | measured | range      | target  |               | absolute                  |\n\
             | ---- | ------------ | -------- | ---------- | ------- | ------------- | ------------------------- |\n\
             | 1    | poll / drain | 1.11     | 1.0 to 1.2 | <= 1.12 | pass          | x                         |\n\
             | 10   | filter       | -        | -          | -       | not available | no --filter in this build |\n"
        );
    }

    #[test]
    fn numbers_are_no_longer_than_they_need_to_be() {
        assert_eq!(
            [0.0, 1.1, 31.256, 118.04, 5230.7].map(short),
            ["0", "1.1", "31.26", "118", "5231"]
        );
    }

    #[test]
    fn growth_tells_what_a_socket_costs_beyond_the_drain() {
        let growth = Growth { sockets: 1000, drain_us: 1100.0, proto_us: 1200.0, jsonl_us: 1600.0 };
        assert_eq!(
            growth.cells(),
            ["1000", "1.10", "1.20", "1.60", "1100", "1200", "1600", "100", "500"]
        );
    }
}
