//! The layer table of docs/ARCHITECTURE.md: which crates there are, and which others each may use.

use anyhow::{Context as _, Result, bail, ensure};

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Where it stands.
    pub(crate) layer: Layer,
    /// Its folder below `crates/`.
    pub(crate) name: String,
    /// The folders of the crates that it may depend on.
    pub(crate) may_use: Vec<String>,
}

/// Lower never sees higher; what is for development only is above all that ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// Part of the product.
    Product(u8),
    /// For development only.
    Dev,
}

/// Finds the table by its heading and reads it.
///
/// # Errors
/// There is no such table, or a line that has another form; the message shows the line.
pub(crate) fn parse(page: &str) -> Result<Vec<Row>> {
    let mut lines = page.lines().skip_while(|line| cells(line) != HEADING);
    lines
        .next()
        .with_context(|| format!("no table with the heading | {} |", HEADING.join(" | ")))?;
    let rule = lines.next().unwrap_or_default();
    ensure!(
        rule.starts_with("|-") || rule.starts_with("| -"),
        "no |---| line below the heading of the table"
    );
    let mut rows: Vec<Row> = Vec::new();
    for line in lines.take_while(|line| line.starts_with('|')) {
        let row = row(line).with_context(|| format!("the line {line:?}"))?;
        if rows.iter().any(|other| other.name == row.name) {
            bail!("crates/{} stands in the table twice", row.name);
        }
        rows.push(row);
    }
    ensure!(!rows.is_empty(), "the table is empty");
    Ok(rows)
}

fn row(line: &str) -> Result<Row> {
    let cells = cells(line);
    let [layer, name, _holds, _must_not, may_use] = cells.as_slice() else {
        bail!("{} cells instead of {}", cells.len(), HEADING.len());
    };
    let layer = match *layer {
        "dev" => Layer::Dev,
        number => Layer::Product(number.parse().with_context(|| format!("no layer: {number:?}"))?),
    };
    let name = code(name)?;
    // The one crate that is not below `crates/`.
    let name = if name == BENCHES { Some(name) } else { name.strip_prefix("crates/") };
    let name = name.context("the crate is not given as `crates/…`")?;
    let may_use = match *may_use {
        "nothing" => Vec::new(),
        names => {
            names.split(',').map(|name| code(name).map(str::to_owned)).collect::<Result<_>>()?
        }
    };
    Ok(Row { layer, name: name.to_owned(), may_use })
}

fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    inner.map(|inner| inner.split('|').map(str::trim).collect()).unwrap_or_default()
}

/// The text between backticks.
fn code(cell: &str) -> Result<&str> {
    let inner = cell.trim().strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
    inner.with_context(|| format!("{cell:?} is not in backticks"))
}

const HEADING: [&str; 5] = ["layer", "crate", "holds", "must not", "may use"];

/// Where the benchmarks are, at the top of the repository.
const BENCHES: &str = "benches";

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Page\n\n| a | b |\n|---|---|\n\n| layer | crate | holds | must not | may use |\n|---|---|---|---|---|\n";

    fn error(rows: &str) -> String {
        format!("{:#}", parse(&format!("{HEAD}{rows}")).unwrap_err())
    }

    #[test]
    fn the_table_is_read_to_its_end() {
        let page = format!(
            "{HEAD}| 0 | `crates/wire` | views | allocate | nothing |\n\
             | 1 | `crates/record` | rows, formats | know sinks | `wire`, `sys` |\n\
             | dev | `benches` | costs | ship | nothing |\n\
             | dev | `crates/xtask` | this | ship | `testkit` |\n\nMore text.\n| 7 | `crates/not-in-it` | | | |\n"
        );
        let row = |layer, name: &str, may_use: &[&str]| Row {
            layer,
            name: name.to_owned(),
            may_use: may_use.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(
            parse(&page).unwrap(),
            [
                row(Layer::Product(0), "wire", &[]),
                row(Layer::Product(1), "record", &["wire", "sys"]),
                row(Layer::Dev, "benches", &[]),
                row(Layer::Dev, "xtask", &["testkit"]),
            ]
        );
        assert!(Layer::Product(4) < Layer::Dev);
    }

    #[test]
    fn a_line_of_another_form_is_an_error_that_shows_it() {
        assert_eq!(
            error("| 0 | `crates/a` | x | nothing |\n"),
            "the line \"| 0 | `crates/a` | x | nothing |\": 4 cells instead of 5"
        );
        assert!(error("| low | `crates/a` | x | y | nothing |\n").contains("no layer: \"low\""));
        assert!(error("| 0 | `a` | x | y | nothing |\n").contains("not given as `crates/…`"));
        assert!(
            error("| 0 | `crates/a` | x | y | sys |\n").contains("\"sys\" is not in backticks")
        );
        assert!(error("| 0 | `crates/a` | x | y | |\n").contains("is not in backticks"));
        let twice = "| 0 | `crates/a` | x | y | nothing |\n| 1 | `crates/a` | x | y | nothing |\n";
        assert_eq!(error(twice), "crates/a stands in the table twice");
        assert_eq!(error(""), "the table is empty");
    }

    #[test]
    fn a_page_without_the_table_is_an_error() {
        let error = parse("| layer | crate |\n|---|---|\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "no table with the heading | layer | crate | holds | must not | may use |"
        );
        let cut = HEAD.trim_end().trim_end_matches("|---|---|---|---|---|");
        assert!(parse(cut).unwrap_err().to_string().contains("below the heading"));
    }
}
