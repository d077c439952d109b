//! What is wrong with an expression, and where.

use std::fmt;
use std::ops::Range;

/// Shows the column, what is wrong and what is allowed, and the expression with a line that points at the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    text: String,
    /// Bytes of the text.
    place: Range<usize>,
    what: String,
}

impl FilterError {
    pub(crate) fn new(text: &str, place: Range<usize>, what: impl Into<String>) -> Self {
        Self { text: text.to_owned(), place, what: what.into() }
    }

    /// The first character that is wrong, counted from 1; one behind the last where something is missing.
    pub fn column(&self) -> usize {
        self.characters(0..self.place.start) + 1
    }

    fn characters(&self, bytes: Range<usize>) -> usize {
        self.text.get(bytes).unwrap_or_default().chars().count()
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.column();
        writeln!(f, "column {column}: {}", self.what)?;
        // Of a long expression, what is around the place. One line of it, or the pointer would point nowhere.
        let first = column.saturating_sub(SHOWN / 2);
        let shown = self.text.chars().skip(first).take(SHOWN);
        let shown: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = if first > 0 { "… " } else { "" };
        let after = if self.text.chars().count() > first + SHOWN { " …" } else { "" };
        writeln!(f, "  {before}{shown}{after}")?;
        let indent = before.chars().count() + column - 1 - first;
        let width = self.characters(self.place.clone()).clamp(1, SHOWN / 2);
        write!(f, "  {:indent$}{}", "", "^".repeat(width))
    }
}

impl std::error::Error for FilterError {}

/// Characters of the expression in an error.
const SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_stands_below_the_characters_that_are_wrong() {
        let error = FilterError::new("dst é\tfoo", 7..10, "no");
        assert_eq!(error.column(), 7);
        assert_eq!(error.to_string(), "column 7: no\n  dst é foo\n        ^^^");
    }

    #[test]
    fn of_a_long_expression_the_part_around_the_place_is_shown() {
        let text = format!("{} foo {}", "a".repeat(200), "b".repeat(200));
        let error = FilterError::new(&text, 201..204, "no").to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines[0], "column 202: no");
        assert_eq!(lines[1], format!("  … {} foo {} …", "a".repeat(58), "b".repeat(57)));
        assert_eq!(lines[2].find('^'), lines[1].find("foo").map(|at| at - "…".len() + 1));
    }
}
