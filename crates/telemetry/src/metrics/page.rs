//! The page that says what every metric is, made from the table.

use std::fmt::Write;

use super::Metric;

/// The families as rows of a Markdown table.
pub fn page<S: ?Sized>(metrics: &[Metric<S>]) -> String {
    let mut text =
        String::from("| name | kind | labels | what it says |\n| --- | --- | --- | --- |\n");
    for metric in metrics {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // A String takes every write.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.name(),
            labels.join(", "),
            metric.help
        );
    }
    text
}
