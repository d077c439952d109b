//! The callbacks of the client library: they note what happened, and the sink's thread looks at it after each poll.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode as Code;
use tracing::trace;

/// What happened.
#[derive(Debug)]
pub(crate) enum Happened {
    /// The message of this number is settled.
    Settled(usize, Result<(), Code>),
    /// Something is wrong with a broker or the connection to it.
    Error(Code, String),
    /// A broker does not know zstd; the client library would send it everything uncompressed.
    OldBroker,
}

#[derive(Debug, Default)]
pub(crate) struct Context {
    happened: Mutex<Vec<Happened>>,
    calls: AtomicU64,
}

impl Context {
    /// How often the client library has called back so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// What happened since it was last asked.
    pub(crate) fn take(&self) -> Vec<Happened> {
        mem::take(&mut self.happened.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, happened: Happened) {
        self.happened.lock().unwrap_or_else(PoisonError::into_inner).push(happened);
    }

    fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl ClientContext for Context {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.called();
        // There is no other sign of it; and the line about messages that go uncompressed comes once a day at the most.
        if facility == "APIVERSION" && produce_version(text).is_some_and(|most| most < ZSTD_SINCE) {
            self.note(Happened::OldBroker);
        }
        // What matters comes as an error too, and is told once a minute.
        trace!(target: "librdkafka", facility, "{text}");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.called();
        trace!(target: "librdkafka", "{}", String::from_utf8_lossy(statistics));
    }

    fn error(&self, error: KafkaError, text: &str) {
        self.called();
        if let Some(code) = error.rdkafka_error_code() {
            self.note(Happened::Error(code, text.into()));
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        self.called();
        let outcome = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        self.note(Happened::Settled(number, outcome));
    }
}

/// The newest version of produce requests that a broker has: `… ApiKey Produce (0) Versions 0..11`.
fn produce_version(text: &str) -> Option<u16> {
    let (_, versions) = text.split_once("ApiKey Produce (0) Versions ")?;
    versions.split_once("..")?.1.parse().ok()
}

/// Kafka 2.1.
const ZSTD_SINCE: u16 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_its_line_alone() {
        assert_eq!(
            produce_version("[thrd:b/1]: b/1:   ApiKey Produce (0) Versions 0..11"),
            Some(11)
        );
        assert_eq!(produce_version("[thrd:b/1]: b/1:   ApiKey Fetch (1) Versions 0..11"), None);
        assert_eq!(produce_version("[thrd:b/1]: b/1:   ApiKey Produce (0) Versions 0"), None);
    }
}
