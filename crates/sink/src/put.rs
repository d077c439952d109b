//! What streams and files have in common: they take bytes, whole or not at all.

use std::io;

use sockeye_pipeline::{Delivery, SendError, Sink};

/// A sink that can be given bytes that are nobody's envelope, such as an aligned table.
pub trait Put: Sink {
    /// Puts all of `bytes` behind what is there.
    ///
    /// # Errors
    /// [`PutError::Retry`]: nothing of it stayed; put it again later. [`PutError::Closed`]: put nothing any more.
    fn put(&mut self, bytes: &[u8]) -> Result<(), PutError>;
}

/// Why bytes were not put.
#[derive(Debug)]
pub enum PutError {
    /// It may work later: a full disk.
    Retry(io::Error),
    /// It will never work again; `None` when that is nobody's fault: the reader has seen enough.
    Closed(Option<io::Error>),
}

impl PutError {
    /// The same about an envelope.
    pub(crate) fn about(self, delivery: Delivery) -> SendError {
        match self {
            Self::Retry(error) => SendError::Retry(delivery, error),
            Self::Closed(error) => SendError::Closed(delivery, error),
        }
    }

    /// The same where no envelope is at hand, as [`Sink::end_of_poll`] and its like want it.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Retry(error) => error,
            Self::Closed(None) => io::ErrorKind::BrokenPipe.into(),
            Self::Closed(Some(error)) => io::Error::new(io::ErrorKind::BrokenPipe, error),
        }
    }
}

/// Puts an envelope; it is delivered when its bytes are.
pub(crate) fn send(sink: &mut impl Put, delivery: Delivery) -> Result<(), SendError> {
    match sink.put(delivery.bytes()) {
        Ok(()) => {
            delivery.delivered();
            Ok(())
        }
        Err(error) => Err(error.about(delivery)),
    }
}
