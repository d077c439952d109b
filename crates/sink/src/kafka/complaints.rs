//! What a producer's trouble is worth in the log: a line a minute for each kind, and one when it is over.

use std::io;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::{error, info, warn};

use super::counters::KafkaCounters;
use super::trouble::Trouble;

#[derive(Debug, Default)]
pub(crate) struct Complaints {
    sink: String,
    said: [Option<Instant>; Trouble::ALL.len()],
    said_spool: Option<Instant>,
    /// What keeps the brokers away, since the last acknowledgement: the cause when messages time out.
    client: Option<Trouble>,
    /// All brokers are away, as far as is known; and what the last connection said.
    down: bool,
    connection: String,
    /// Something was complained about since the last acknowledgement.
    any: bool,
}

impl Complaints {
    pub(crate) fn name(&mut self, sink: &str) {
        self.sink = sink.into();
    }

    /// Errors of the client library from one poll. It tells each of them twice, and the end of every connection, which
    /// is nothing as long as there are others.
    pub(crate) fn client(&mut self, errors: Vec<(Code, String)>, counters: &KafkaCounters) {
        let mut seen = [false; Trouble::ALL.len()];
        for (code, mut text) in errors {
            let trouble = Trouble::of(code);
            if code == Code::AllBrokersDown {
                self.down = true;
                text = format!("{text}; {}", self.connection);
            } else if trouble == Trouble::Unreachable {
                self.connection.clone_from(&text);
                if !self.down {
                    continue;
                }
            }
            // What keeps us out is a better answer than that somebody does.
            if self.client.is_none_or(|before| before == Trouble::Unreachable) {
                self.client = Some(trouble);
            }
            let Some(seen) = seen.get_mut(trouble as usize) else { continue };
            if !std::mem::replace(seen, true) {
                counters.trouble(trouble);
                self.warn(trouble, &text, 0);
            }
        }
    }

    /// An error of a message; gives what is behind it.
    pub(crate) fn message(&mut self, code: Code, rows: u64, counters: &KafkaCounters) -> Trouble {
        let trouble = match (Trouble::of(code), self.client) {
            (Trouble::Timeout, Some(client)) => client,
            // The producer has failed for good, and said why.
            (Trouble::Refused, Some(client)) if code == Code::Fatal => client,
            (trouble, _) => trouble,
        };
        counters.trouble(trouble);
        self.warn(trouble, &code.to_string(), rows);
        trouble
    }

    /// The spool's disk fails: what it should keep is kept in memory as long as there is room.
    pub(crate) fn spool(&mut self, error: &io::Error) {
        if is_due(&mut self.said_spool) {
            error!(sink = %self.sink, %error, "the spool can't be written or read; going on without");
        }
    }

    /// A message was acknowledged.
    pub(crate) fn works(&mut self, sink: &str) {
        (self.client, self.down) = (None, false);
        if std::mem::take(&mut self.any) {
            info!(sink, "the broker takes messages again");
            // What comes next is news.
            self.said = Default::default();
        }
    }

    fn warn(&mut self, trouble: Trouble, error: &str, rows: u64) {
        self.any = true;
        if self.said.get_mut(trouble as usize).is_some_and(is_due) {
            let (sink, trouble, text) = (&self.sink, trouble.name(), trouble.text());
            if rows > 0 {
                warn!(%sink, trouble, rows, error, "{text}");
            } else {
                warn!(%sink, trouble, error, "{text}");
            }
        }
    }
}

fn is_due(said: &mut Option<Instant>) -> bool {
    let due = said.is_none_or(|said| said.elapsed() >= PACE);
    if due {
        *said = Some(Instant::now());
    }
    due
}

const PACE: Duration = Duration::from_mins(1);
