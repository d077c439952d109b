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
    /// Since the last acknowledgement brokers were out of reach, as a whole.
    away: bool,
    /// Messages were refused or late, and that this is over was not said yet.
    refusing: bool,
    said_works: Option<Instant>,
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
        let away = std::mem::take(&mut self.away);
        if away {
            // What comes next is news. Of single messages it is not: others may be taken all the while.
            for (trouble, said) in Trouble::ALL.into_iter().zip(&mut self.said) {
                if is_about_connections(trouble) {
                    *said = None;
                }
            }
        }
        if away || self.refusing && is_due(&mut self.said_works) {
            self.refusing = false;
            info!(sink, "the broker takes messages again");
        }
    }

    /// Whether no connection came about, or none that we may use, since the last acknowledgement.
    pub(crate) fn is_away(&self) -> bool {
        self.away
    }

    fn warn(&mut self, trouble: Trouble, error: &str, rows: u64) {
        if is_about_connections(trouble) {
            self.away = true;
        } else {
            self.refusing = true;
        }
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

fn is_about_connections(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::Unreachable | Trouble::Tls | Trouble::Authentication)
}

fn is_due(said: &mut Option<Instant>) -> bool {
    let due = said.is_none_or(|said| said.elapsed() >= PACE);
    if due {
        *said = Some(Instant::now());
    }
    due
}

const PACE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_makes_connections_news_again_and_refused_messages_not() {
        let (mut complaints, counters) = (Complaints::default(), KafkaCounters::default());
        let said = |complaints: &Complaints, trouble: Trouble| complaints.said[trouble as usize];
        complaints.message(Code::MessageSizeTooLarge, 1, &counters);
        let first = said(&complaints, Trouble::MessageTooLarge);
        assert!(first.is_some() && complaints.refusing && !complaints.away);
        complaints.works("kafka");
        let works = complaints.said_works;
        assert!(works.is_some() && !complaints.refusing);
        complaints.message(Code::MessageSizeTooLarge, 1, &counters);
        complaints.works("kafka");
        assert_eq!(said(&complaints, Trouble::MessageTooLarge), first);
        assert_eq!(complaints.said_works, works);

        complaints.client(vec![(Code::AllBrokersDown, "down".into())], &counters);
        assert!(complaints.away && said(&complaints, Trouble::Unreachable).is_some());
        complaints.works("kafka");
        assert!(!complaints.away && said(&complaints, Trouble::Unreachable).is_none());
        assert_eq!(counters.troubles(Trouble::MessageTooLarge), 2);
    }
}
