//! The page at `/`: what a person wants to see first.

use std::fmt::Write;
use std::time::Duration;

use sockeye_pipeline::{Completeness, Link};

use super::polls::Poll;
use super::snapshot::{Observed, SinkNow};

/// The body, as HTML.
pub(super) fn index(now: &Observed) -> String {
    let mut page = String::new();
    let state = if now.stopping { "stopping" } else { "running" };
    // A String takes every write, here and below.
    let _ = write!(
        page,
        "<h1>Sockeye {}</h1>\n<p>{state}, up {}; {} polls, {} rows; {:.1} MiB of memory, {} threads, {} open files</p>\n{LINKS}",
        env!("CARGO_PKG_VERSION"),
        humantime::format_duration(Duration::from_secs(now.up.as_secs())),
        now.polls.made,
        now.polls.rows,
        mebibytes(now.process.resident_bytes),
        now.process.threads,
        now.process.open_files,
    );
    page.push_str("<h2>Destinations</h2>\n<table><tr><th>label</th><th>destination</th><th>state</th><th>queue</th><th>rows</th></tr>\n");
    for sink in &now.sinks {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{:.1} of {:.1} MiB</td><td>{}</td></tr>",
            escape(&sink.label),
            escape(&sink.name),
            state_of(sink),
            mebibytes(sink.now.pending_bytes as u64),
            mebibytes(sink.limits.bytes as u64),
            escape(&sink.now.ledger.to_string()),
        );
    }
    page.push_str("</table>\n");
    match now.polls.last() {
        Some(poll) => namespaces(poll, &mut page),
        None => page.push_str("<p>No poll has ended yet.</p>\n"),
    }
    page
}

fn namespaces(poll: &Poll, page: &mut String) {
    let _ = write!(
        page,
        "<h2>Namespaces in poll {}</h2>\n<p>{} rows, {} bytes in {:.1} ms, begun {:.1} ms late; {} incomplete</p>\n\
         <table><tr><th>namespace</th><th>plan</th><th>rows</th><th>bytes</th><th>ms</th><th>complete</th></tr>\n",
        poll.number,
        poll.rows,
        poll.bytes,
        millis(poll.took),
        millis(poll.late),
        poll.incomplete,
    );
    for part in poll.parts.iter().take(MOST_SHOWN) {
        let complete = match part.completeness {
            Completeness::Complete => "yes".to_owned(),
            Completeness::Incomplete(why) => why.to_string(),
        };
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2}</td><td>{}</td></tr>",
            escape(&part.part),
            part.plan,
            part.rows,
            part.bytes,
            millis(part.took),
            escape(&complete),
        );
    }
    page.push_str("</table>\n");
    let more = poll.parts.len().saturating_sub(MOST_SHOWN) + poll.others;
    if more > 0 {
        let _ = writeln!(page, "<p>and {more} more</p>");
    }
}

fn state_of(sink: &SinkNow) -> String {
    match (sink.now.gone, sink.now.link) {
        (Some(reason), _) => format!("ended ({})", reason.name()),
        (None, Link::Up) => "up".into(),
        (None, Link::Connecting) => "connecting".into(),
        (None, Link::Down) => "can't deliver".into(),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            char => escaped.push(char),
        }
    }
    escaped
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

const MOST_SHOWN: usize = 100;
const LINKS: &str = "<p><a href=\"/metrics\">metrics</a> · <a href=\"/healthz\">healthz</a> · <a href=\"/readyz\">readyz</a> · \
    <a href=\"/debug/polls\">the last 100 polls</a> · <a href=\"/debug/pprof/\">profiles</a> · \
    <a href=\"/debug/pprof/threads?debug=1\">threads</a></p>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(escape("<b>\"&'"), "&lt;b&gt;&quot;&amp;'");
    }
}
