//! A sink that writes something in front of the rows, such as a header: another encoding takes another sink.

use std::io;
use std::time::Duration;

use sockeye_pipeline::{Delivery, Queue, SendError, Sink};
use sockeye_record::Encoding;

/// Opens the destination for an encoding.
pub(crate) type Open = Box<dyn FnMut(&Encoding) -> Result<Box<dyn Sink>, String> + Send>;

/// The sink of now, and how to open the next one.
pub(crate) struct Renewed {
    /// `None` while the next one can't be opened.
    sink: Option<Box<dyn Sink>>,
    wanted: Encoding,
    open: Open,
}

impl Renewed {
    pub(crate) fn new(sink: Box<dyn Sink>, encoding: Encoding, open: Open) -> Self {
        Self { sink: Some(sink), wanted: encoding, open }
    }

    fn renew(&mut self) -> io::Result<&mut Box<dyn Sink>> {
        match &mut self.sink {
            Some(sink) => Ok(sink),
            none => Ok(none.insert((self.open)(&self.wanted).map_err(io::Error::other)?)),
        }
    }
}

impl Sink for Renewed {
    fn start(&mut self, queue: &Queue) {
        if let Some(sink) = &mut self.sink {
            sink.start(queue);
        }
    }

    fn nap(&self) -> Duration {
        self.sink.as_ref().map_or(Duration::from_millis(200), |sink| sink.nap())
    }

    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        match self.renew() {
            Ok(sink) => sink.send(delivery),
            Err(error) => Err(SendError::Retry(delivery, error)),
        }
    }

    fn end_of_poll(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.end_of_poll())
    }

    /// What the sink before has begun is ended first: a file is completed or set aside by the next.
    fn encoding(&mut self, encoding: &Encoding) -> io::Result<()> {
        if *encoding == self.wanted {
            return Ok(());
        }
        self.wanted = encoding.clone();
        let ended = self.sink.take().map_or(Ok(()), |mut sink| sink.finish());
        self.renew()?;
        ended
    }

    fn idle(&mut self) -> io::Result<()> {
        self.renew()?.idle()
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.reopen())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sockeye_record::{Format, Selection};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    struct Noted(Log, String);

    impl Sink for Noted {
        fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
            delivery.delivered();
            Ok(())
        }

        fn idle(&mut self) -> io::Result<()> {
            self.0.0.lock().unwrap().push(format!("idle {}", self.1));
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            self.0.0.lock().unwrap().push(format!("finish {}", self.1));
            Ok(())
        }
    }

    fn encoding(columns: &str) -> Encoding {
        let columns: Selection = columns.parse().unwrap();
        Encoding { format: Format::Csv, columns: Some(columns), humanize: None }
    }

    #[test]
    fn the_sink_before_is_ended_and_one_that_can_not_be_opened_is_tried_again() {
        let log = Log::default();
        let (first, second) = (encoding("netns"), encoding("netns,tag"));
        let (opens, mut refusals) = (log.clone(), 1);
        let open = move |wanted: &Encoding| {
            assert_eq!(*wanted, encoding("netns,tag"));
            if refusals > 0 {
                refusals -= 1;
                return Err("no directory".to_owned());
            }
            Ok(Box::new(Noted(opens.clone(), "second".into())) as Box<dyn Sink>)
        };
        let sink = Box::new(Noted(log.clone(), "first".into()));
        let mut renewed = Renewed::new(sink, first.clone(), Box::new(open));
        renewed.encoding(&first).unwrap();
        renewed.idle().unwrap();
        assert_eq!(renewed.encoding(&second).unwrap_err().to_string(), "no directory");
        renewed.idle().unwrap();
        renewed.finish().unwrap();
        assert_eq!(
            *log.0.lock().unwrap(),
            ["idle first", "finish first", "idle second", "finish second"]
        );
    }
}
