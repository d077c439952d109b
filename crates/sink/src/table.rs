//! Tables for people: the rows of a poll are gathered and written aligned when it ends.

use std::io;

use sockeye_pipeline::{Delivery, DropReason, SendError, Sink};
use sockeye_record::table::{Heading, align};

use crate::put::{Put, PutError};

/// Gathers envelopes of cells ([`sockeye_record::Format::Table`]) and puts them as one table at the end of each poll,
/// rows in the order they came; an empty line stands between two tables.
///
/// What is gathered is not delivered yet, so its bytes count in the queue. Hence a poll of more than 8 MiB,
/// or of more than half of what the queue may hold, is written as several tables.
#[derive(Debug)]
pub struct TableWriter<P> {
    out: P,
    headings: Vec<Heading>,
    gathered: Vec<Delivery>,
    bytes: usize,
    /// Something of this poll has been written.
    begun: bool,
    /// Something has been written ever.
    any: bool,
    /// A write has failed and is to be tried again.
    due: bool,
}

impl<P: Put> TableWriter<P> {
    /// Tables under `headings` ([`sockeye_record::Encoder::table_header`]) into `out`.
    pub fn new(out: P, headings: Vec<Heading>) -> Self {
        Self { out, headings, gathered: Vec::new(), bytes: 0, begun: false, any: false, due: false }
    }

    /// Puts what is gathered: delivers it, or drops it when nobody can have it any more, or keeps it.
    fn write(&mut self) -> Result<(), PutError> {
        let text = self.text();
        match self.out.put(&text) {
            Ok(()) => {
                (self.begun, self.any, self.due, self.bytes) = (true, true, false, 0);
                self.gathered.drain(..).for_each(Delivery::delivered);
                Ok(())
            }
            Err(PutError::Retry(error)) => {
                self.due = true;
                Err(PutError::Retry(error))
            }
            Err(closed) => {
                (self.due, self.bytes) = (false, 0);
                self.gathered
                    .drain(..)
                    .for_each(|delivery| delivery.dropped(DropReason::SinkClosed));
                Err(closed)
            }
        }
    }

    /// The same where no envelope is at hand that could tell about it.
    fn flush(&mut self) -> io::Result<()> {
        self.write().map_err(|error| {
            self.gathered.first().inspect(|delivery| delivery.retried());
            error.into_io()
        })
    }

    fn text(&self) -> Vec<u8> {
        let mut cells = Vec::with_capacity(self.bytes);
        for delivery in &self.gathered {
            cells.extend_from_slice(delivery.bytes());
        }
        let mut text = align(&self.headings, &cells);
        if self.any {
            text.insert(0, b'\n');
        }
        text
    }
}

impl<P: Put> Sink for TableWriter<P> {
    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        let enough = GATHERED_BYTES.min(delivery.queue_bytes() / 2);
        if self.bytes + delivery.bytes().len() > enough && !self.gathered.is_empty() {
            // When this fails, what does not fit any more stays outside, and the pipeline tries again.
            if let Err(error) = self.write() {
                return Err(error.about(delivery));
            }
        }
        self.bytes += delivery.bytes().len();
        self.gathered.push(delivery);
        Ok(())
    }

    /// A poll without rows still shows its headings.
    fn end_of_poll(&mut self) -> io::Result<()> {
        let begun = std::mem::take(&mut self.begun);
        if !self.gathered.is_empty() || !begun {
            self.flush()?;
            self.begun = false;
        }
        self.out.end_of_poll()
    }

    /// Tries again what failed; and writes what it holds while others wait for the room.
    fn idle(&mut self) -> io::Result<()> {
        if self.due || self.gathered.first().is_some_and(Delivery::holds_up_others) {
            self.flush()?;
        }
        self.out.idle()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.out.reopen()
    }

    /// What came after the last poll is written as well.
    fn finish(&mut self) -> io::Result<()> {
        if self.due || !self.gathered.is_empty() {
            self.flush()?;
        }
        self.out.finish()
    }
}

/// Cells of one table at the most.
const GATHERED_BYTES: usize = 8 << 20;
