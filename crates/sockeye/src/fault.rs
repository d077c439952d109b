//! Why a sink has ended before its time: for the last words and the exit code. A reader that has seen enough is no fault.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sockeye_pipeline::{Delivery, Queue, SendError, Sink};
use sockeye_record::Encoding;

/// The error that has ended a sink. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fault(Arc<OnceLock<String>>);

impl Fault {
    /// What the error said.
    pub(crate) fn text(&self) -> Option<String> {
        self.0.get().cloned()
    }

    fn set(&self, error: &io::Error) {
        // A sink ends once.
        let _ = self.0.set(error.to_string());
    }

    /// Where no envelope is at hand, the end is a broken pipe, and another error inside of it is a fault.
    fn look_into(&self, result: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::BrokenPipe
            && error.get_ref().is_some()
        {
            self.set(error);
        }
        result
    }
}

/// A sink whose fault is noted.
pub(crate) struct Watched {
    sink: Box<dyn Sink>,
    fault: Fault,
}

impl Watched {
    pub(crate) fn new(sink: Box<dyn Sink>, fault: Fault) -> Self {
        Self { sink, fault }
    }
}

impl Sink for Watched {
    fn start(&mut self, queue: &Queue) {
        self.sink.start(queue);
    }

    fn nap(&self) -> Duration {
        self.sink.nap()
    }

    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        let sent = self.sink.send(delivery);
        if let Err(SendError::Closed(_, Some(error))) = &sent {
            self.fault.set(error);
        }
        sent
    }

    fn end_of_poll(&mut self) -> io::Result<()> {
        self.fault.look_into(self.sink.end_of_poll())
    }

    fn encoding(&mut self, encoding: &Encoding) -> io::Result<()> {
        self.fault.look_into(self.sink.encoding(encoding))
    }

    fn idle(&mut self) -> io::Result<()> {
        self.fault.look_into(self.sink.idle())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.fault.look_into(self.sink.reopen())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.fault.look_into(self.sink.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_pipe_with_another_error_inside_is_a_fault() {
        let fault = Fault::default();
        assert!(fault.look_into(Err(io::ErrorKind::BrokenPipe.into())).is_err());
        assert!(fault.look_into(Err(io::Error::other("disk"))).is_err());
        assert_eq!(fault.text(), None);
        let wrapped = io::Error::new(io::ErrorKind::BrokenPipe, io::Error::other("no space"));
        assert!(fault.look_into(Err(wrapped)).is_err());
        assert_eq!(fault.text().as_deref(), Some("no space"));
    }
}
