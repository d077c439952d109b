//! The text of a scrape: Prometheus 0.0.4, or `OpenMetrics` 1.0 for those who ask for it.

use super::{Kind, Metric, Samples};

/// How a scrape is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What every scraper reads.
    Prometheus,
    /// The standard that came from it.
    OpenMetrics,
}

impl Format {
    /// What a scraper asks for in `Accept`: the format that it weighs more, and the older one when in doubt.
    pub fn accepted(accept: &str) -> Self {
        let mut best = (Self::Prometheus, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next() {
                Some("application/openmetrics-text") => Self::OpenMetrics,
                Some("text/plain" | "text/*" | "*/*") => Self::Prometheus,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse);
            let weight: f64 = weight.unwrap_or(0.0);
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }

    /// For `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Every family of the table with its samples. A family without any shows its name all the same.
pub fn expose<S: ?Sized>(metrics: &[Metric<S>], observed: &S, format: Format) -> String {
    let mut out = String::with_capacity(USUAL_BYTES);
    for metric in metrics {
        let open = format == Format::OpenMetrics;
        // There the family of a counter has a shorter name than its samples.
        let family = match metric.kind {
            Kind::Counter if open => metric.name.strip_suffix("_total").unwrap_or(metric.name),
            _ => metric.name,
        };
        for (keyword, text) in [("HELP", metric.help), ("TYPE", metric.kind.name())] {
            out.extend(["# ", keyword, " ", family, " ", text, "\n"]);
        }
        (metric.collect)(observed, &mut Samples::new(&mut out, metric.name, metric.labels));
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

const USUAL_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Metric<u64>] = &[
        Metric::new("a_things_total", Kind::Counter, &[], "Things", |seen, samples| {
            samples.value(seen);
        }),
        Metric::new("a_size_bytes", Kind::Gauge, &["of"], "Size", |_, _| ()),
    ];

    #[test]
    fn a_counter_has_a_shorter_family_name_in_openmetrics_and_the_text_an_end() {
        assert_eq!(
            expose(TABLE, &7, Format::Prometheus),
            "# HELP a_things_total Things\n# TYPE a_things_total counter\na_things_total 7\n\
             # HELP a_size_bytes Size\n# TYPE a_size_bytes gauge\n"
        );
        assert_eq!(
            expose(TABLE, &7, Format::OpenMetrics),
            "# HELP a_things Things\n# TYPE a_things counter\na_things_total 7\n\
             # HELP a_size_bytes Size\n# TYPE a_size_bytes gauge\n# EOF\n"
        );
    }

    #[test]
    fn the_format_that_weighs_more_is_taken_and_the_older_one_when_in_doubt() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text; version=1.0.0; q=0.2, text/plain; q=0.3",
                Format::Prometheus,
            ),
            ("text/plain,application/openmetrics-text", Format::Prometheus),
            ("application/openmetrics-text;q=nonsense", Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
