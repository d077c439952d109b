//! `sockeye consume`: the rows of a Kafka topic in any format; what a consumer has to do, and no more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use sockeye_record::decode::Records;

use super::decode::Output;
use crate::cli::ConsumeArgs;
use crate::config::kafka::credentials;
use crate::config::{Invocation, settings};
use crate::exit::{Failure, Status, complain};
use crate::record_filter::RecordFilter;
use crate::wire_up::{Read, read_topic};

/// Writes every whole row; says which messages are no envelopes, and how many.
pub(crate) fn run(arguments: &ConsumeArgs, invocation: &Invocation) -> Result<Status, Failure> {
    let encoding = settings::encoding_of(&arguments.output);
    settings::check_humanize(&encoding)?;
    let filter = RecordFilter::new(invocation.filter()?.as_ref())?;
    let sasl = credentials(&arguments.connection)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends at once.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop)).context("signals")?;
        flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    let name = format!("topic {}", arguments.topic);
    let mut read = read_topic(arguments, sasl.as_ref()).context(name.clone())?;
    let output = Output::new(&encoding);
    let mut consumer = Consumer { output, filter, name, messages: 0, corrupt: 0 };
    let result = consumer.consume(&stop, &mut read);
    if consumer.corrupt > 0 {
        let Consumer { name, messages, corrupt, .. } = &consumer;
        complain(&format!("{name}: {corrupt} of {messages} messages could not be decoded"));
    }
    match result {
        Ok(()) if consumer.corrupt == 0 => Ok(Status::Done),
        Ok(()) => Ok(Status::Incomplete),
        Err(error) => match error.downcast_ref::<io::Error>() {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Status::Done),
            _ => Err(Failure::Runtime(error)),
        },
    }
}

struct Consumer {
    output: Output,
    filter: RecordFilter,
    name: String,
    messages: u64,
    corrupt: u64,
}

impl Consumer {
    fn consume(
        &mut self,
        stop: &AtomicBool,
        read: &mut impl FnMut(Duration) -> anyhow::Result<Read>,
    ) -> anyhow::Result<()> {
        self.output.begin()?;
        // Rows are shown when there is nothing else to do.
        let mut wait = AT_ONCE;
        while !stop.load(Ordering::Relaxed) {
            match read(wait).context(self.name.clone())? {
                Read::Message(partition, offset, payload) => {
                    self.message(partition, offset, &payload)?;
                    wait = AT_ONCE;
                }
                Read::Nothing => {
                    self.output.flush()?;
                    wait = A_WHILE;
                }
                Read::End => break,
            }
        }
        Ok(self.output.finish()?)
    }

    /// The rows of one message. Those before something that is wrong are good.
    fn message(&mut self, partition: i32, offset: i64, payload: &[u8]) -> io::Result<()> {
        self.messages += 1;
        let mut wrong = payload.is_empty().then(|| "no envelope".to_owned());
        for item in Records::new(payload) {
            match item {
                Ok(record) if self.filter.wants(&record) => self.output.record(&record)?,
                Ok(_) => {}
                Err(error) => wrong = wrong.or(Some(error.to_string())),
            }
        }
        if let Some(wrong) = wrong {
            self.corrupt += 1;
            if self.corrupt <= MOST_LINES {
                self.output.flush()?;
                let name = &self.name;
                complain(&format!("{name}: partition {partition}: message {offset}: {wrong}"));
            }
        }
        Ok(())
    }
}

const AT_ONCE: Duration = Duration::from_millis(1);
const A_WHILE: Duration = Duration::from_millis(200);
const MOST_LINES: u64 = 10;
