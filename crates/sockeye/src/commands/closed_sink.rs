//! Where `sockeye closed` has its rows: the closed ones are shown, as lines or in a format, those of polls are not.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sockeye_pipeline::{Delivery, SendError, Sink, Stop};
use sockeye_record::CLOSED;
use sockeye_record::decode::Records;

use super::closed_line::Line;
use super::decode::Output;

/// What has been shown, for the last line; and whether a poll has seen everything by now.
#[derive(Debug, Default)]
pub(super) struct Shown {
    count: AtomicU64,
    polled: AtomicBool,
}

impl Shown {
    /// A poll has ended.
    pub(super) fn polled(&self) {
        self.polled.store(true, Ordering::Release);
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

/// Shows closed sockets on stdout, and flushes each envelope.
pub(super) struct ClosedSink {
    show: Show,
    has_begun: bool,
    most: u64,
    stop: Stop,
    shown: Arc<Shown>,
}

enum Show {
    Rows(Box<Output>),
    Lines(Line),
}

impl ClosedSink {
    pub(super) fn rows(output: Output) -> Self {
        Self::new(Show::Rows(Box::new(output)))
    }

    pub(super) fn lines(line: Line) -> Self {
        Self::new(Show::Lines(line))
    }

    fn new(show: Show) -> Self {
        let (stop, shown) = (Stop::default(), Arc::default());
        Self { show, has_begun: false, most: u64::MAX, stop, shown }
    }

    /// The same, which asks to stop when it has shown so many.
    pub(super) fn ending_after(self, count: Option<u64>, stop: &Stop, shown: Arc<Shown>) -> Self {
        Self { most: count.unwrap_or(u64::MAX), stop: stop.clone(), shown, ..self }
    }

    fn show(&mut self, envelope: &[u8]) -> io::Result<()> {
        self.begin()?;
        let mut count = self.shown.count();
        let mut text = String::new();
        let knows_all = self.shown.polled.load(Ordering::Acquire);
        // Our own bytes: what can't be read is not there.
        for record in Records::new(envelope).map_while(Result::ok) {
            // An envelope is all of a poll or all of closed sockets.
            if record.record_kind != CLOSED || count >= self.most {
                break;
            }
            match &mut self.show {
                Show::Rows(output) => output.record(&record)?,
                Show::Lines(line) => line.put(&record, knows_all, &mut text),
            }
            count += 1;
        }
        match &mut self.show {
            Show::Rows(output) => output.flush()?,
            Show::Lines(_) => io::stdout().lock().write_all(text.as_bytes())?,
        }
        self.shown.count.store(count, Ordering::Release);
        if count >= self.most {
            self.stop.request();
        }
        Ok(())
    }

    /// The header of csv and tsv, once.
    fn begin(&mut self) -> io::Result<()> {
        match &mut self.show {
            Show::Rows(output) if !std::mem::replace(&mut self.has_begun, true) => output.begin(),
            _ => Ok(()),
        }
    }
}

impl Sink for ClosedSink {
    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        match self.show(delivery.bytes()) {
            Ok(()) => {
                delivery.delivered();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(SendError::Closed(delivery, None))
            }
            Err(error) => Err(SendError::Closed(delivery, Some(error))),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.begin()?;
        match &mut self.show {
            Show::Rows(output) => output.finish(),
            Show::Lines(_) => Ok(()),
        }
    }
}
