//! Samples of one family: values with their labels, written as they come.

use std::fmt::{Display, Write};

/// Takes the samples of one family. Each combination of labels comes once.
pub struct Samples<'a> {
    out: &'a mut String,
    name: &'static str,
    labels: &'static [&'static str],
}

/// Observations counted by their size.
#[derive(Debug, Clone, Copy)]
pub struct Buckets<'a> {
    /// Upper bounds, ascending, without infinity.
    pub bounds: &'a [f64],
    /// How many observations were in each bucket alone; one more than there are bounds.
    pub counts: &'a [u64],
    /// Sum of all observations.
    pub sum: f64,
}

impl<'a> Samples<'a> {
    pub(super) fn new(
        out: &'a mut String,
        name: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { out, name, labels }
    }

    /// The one sample of a family without labels.
    pub fn value(&mut self, value: impl Display) {
        self.with(&[], value);
    }

    /// A sample with these values of the labels.
    pub fn with(&mut self, labels: &[&str], value: impl Display) {
        self.out.push_str(self.name);
        self.put_labels(labels, None);
        // A String takes every write, here and below.
        let _ = writeln!(self.out, " {value}");
    }

    /// A histogram with these values of the labels.
    pub fn histogram(&mut self, labels: &[&str], buckets: &Buckets<'_>) {
        let mut total = 0;
        for (i, count) in buckets.counts.iter().enumerate() {
            total += count;
            let _ = write!(self.out, "{}_bucket", self.name);
            // With a point in it, as OpenMetrics wants it.
            let bound =
                buckets.bounds.get(i).map_or("+Inf".to_owned(), |bound| format!("{bound:?}"));
            self.put_labels(labels, Some(&bound));
            let _ = writeln!(self.out, " {total}");
        }
        for (suffix, value) in [("_sum", &buckets.sum as &dyn Display), ("_count", &total)] {
            let _ = write!(self.out, "{}{suffix}", self.name);
            self.put_labels(labels, None);
            let _ = writeln!(self.out, " {value}");
        }
    }

    fn put_labels(&mut self, values: &[&str], bound: Option<&str>) {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        let labels = self.labels.iter().copied().zip(values.iter().copied());
        let mut open = '{';
        for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            self.out.push(open);
            open = ',';
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(value, self.out);
            self.out.push('"');
        }
        if open == ',' {
            self.out.push('}');
        }
    }
}

/// A label's value may hold anything but these three as they are, in both formats.
fn escape(value: &str, out: &mut String) {
    for char in value.chars() {
        match char {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            char => out.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(labels: &'static [&'static str], write: impl Fn(&mut Samples<'_>)) -> String {
        let mut out = String::new();
        write(&mut Samples::new(&mut out, "m", labels));
        out
    }

    #[test]
    fn a_label_with_newline_quote_and_backslash_stays_on_its_line() {
        let text = written(&["netns", "plan"], |samples| samples.with(&["a\"b\\c\nd", "walk"], 7));
        assert_eq!(text, "m{netns=\"a\\\"b\\\\c\\nd\",plan=\"walk\"} 7\n");
    }

    #[test]
    fn buckets_are_written_as_running_sums_that_end_at_infinity() {
        let buckets = Buckets { bounds: &[0.5, 2.0], counts: &[1, 0, 3], sum: 9.25 };
        let text = written(&[], |samples| samples.histogram(&[], &buckets));
        assert_eq!(
            text,
            "m_bucket{le=\"0.5\"} 1\nm_bucket{le=\"2.0\"} 1\nm_bucket{le=\"+Inf\"} 4\nm_sum 9.25\nm_count 4\n"
        );
    }
}
