//! Tables into streams and files: a poll at a time, and what becomes of rows that can't be written.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod kit;

use std::io::{self, Read, pipe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{Served, bytes, encoder, envelopes};
use sockeye_pipeline::{
    Delivery, DropReason, Queue, QueueLimits, SendError, Sink, SinkThread, Stop, WhenFull,
};
use sockeye_record::{Format, table};
use sockeye_sink::{FileSettings, FileSink, PathPattern, Put, PutError, Stream, TableWriter};

/// What `count` envelopes look like.
fn aligned(count: u64) -> Vec<u8> {
    table::align(&encoder(Format::Table).table_header(), &bytes(&envelopes(Format::Table, count)))
}

fn headings() -> Vec<table::Heading> {
    encoder(Format::Table).table_header()
}

#[test]
fn each_poll_is_one_table_and_an_empty_line_stands_between_two() {
    let (mut reader, writer) = pipe().unwrap();
    let served = Served::start(TableWriter::new(Stream::new(writer, Vec::new()), headings()));
    served.offer(envelopes(Format::Table, 3));
    served.queue.end_of_poll();
    served.offer(envelopes(Format::Table, 1));
    served.queue.end_of_poll();
    assert_eq!(served.close().delivered, 8);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(
        String::from_utf8(read),
        String::from_utf8([aligned(3), b"\n".to_vec(), aligned(1)].concat())
    );
}

#[test]
fn a_poll_without_rows_shows_the_headings() {
    let (mut reader, writer) = pipe().unwrap();
    let served = Served::start(TableWriter::new(Stream::new(writer, Vec::new()), headings()));
    served.queue.end_of_poll();
    assert_eq!(served.close().read, 0);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, aligned(0));
}

#[test]
fn rows_are_not_delivered_before_their_table_is_written_and_rows_without_a_poll_come_at_the_end() {
    let (mut reader, writer) = pipe().unwrap();
    let served = Served::start(TableWriter::new(Stream::new(writer, Vec::new()), headings()));
    served.offer(envelopes(Format::Table, 2));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((served.queue.ledger().delivered, served.queue.ledger().in_flight), (0, 4));
    assert_eq!(served.close().delivered, 4);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, aligned(2));
}

#[test]
fn a_reader_who_leaves_loses_the_gathered_rows_and_ends_the_sink() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let served = Served::start(TableWriter::new(Stream::new(writer, Vec::new()), headings()));
    served.offer(envelopes(Format::Table, 2));
    served.queue.end_of_poll();
    served.wait("the end of the sink", |ledger| ledger.dropped_rows() == 4);
    let ledger = served.close();
    assert_eq!(ledger.dropped[DropReason::SinkClosed as usize], 4);
}

#[test]
fn a_full_device_ends_the_sink_at_the_end_of_the_poll() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let served = Served::start(TableWriter::new(Stream::new(full, Vec::new()), headings()));
    served.offer(envelopes(Format::Table, 1));
    served.queue.end_of_poll();
    served.wait("the end of the sink", |ledger| ledger.dropped_rows() == 2);
    assert!(served.queue.sink_gone());
    assert_eq!(served.close().dropped[DropReason::SinkClosed as usize], 2);
}

#[test]
fn a_table_goes_into_a_file_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sockets.txt");
    let settings = FileSettings {
        path: PathPattern::parse(path.to_str().unwrap()).unwrap(),
        rotate_bytes: None,
        rotate_age: None,
        zstd: false,
        header: Vec::new(),
        format: Format::Table,
    };
    let served = Served::start(TableWriter::new(FileSink::open(settings).unwrap(), headings()));
    served.offer(envelopes(Format::Table, 2));
    served.queue.end_of_poll();
    assert_eq!(served.close().delivered, 4);
    assert_eq!(std::fs::read(path).unwrap(), aligned(2));
}

/// Takes bytes only while it works.
#[derive(Clone, Default)]
struct Flaky {
    works: Arc<AtomicBool>,
    texts: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Put for Flaky {
    fn put(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        if !self.works.load(Ordering::Acquire) {
            return Err(PutError::Retry(io::ErrorKind::StorageFull.into()));
        }
        self.texts.lock().unwrap().push(bytes.to_vec());
        Ok(())
    }
}

impl Sink for Flaky {
    fn send(&mut self, _: Delivery) -> Result<(), SendError> {
        unreachable!("tables are put")
    }
}

#[test]
fn a_table_that_could_not_be_written_is_kept_and_written_later() {
    let out = Flaky::default();
    let served = Served::start(TableWriter::new(out.clone(), headings()));
    served.offer(envelopes(Format::Table, 2));
    served.queue.end_of_poll();
    served.wait("a second attempt", |ledger| ledger.retries > 1);
    assert_eq!(served.queue.ledger().in_flight, 4);
    out.works.store(true, Ordering::Release);
    served.wait("the table", |ledger| ledger.delivered == 4);
    served.close();
    assert_eq!(*out.texts.lock().unwrap(), [aligned(2)]);
}

#[test]
fn a_table_that_can_never_be_written_is_dropped_at_the_flush_deadline() {
    let served = Served::start(TableWriter::new(Flaky::default(), headings()));
    served.offer(envelopes(Format::Table, 2));
    served.queue.end_of_poll();
    let ledger = served.close_within(Duration::from_millis(300));
    assert_eq!(ledger.dropped[DropReason::Shutdown as usize], 4);
}

#[test]
fn a_poll_larger_than_the_queue_is_written_in_parts_and_nothing_waits_for_ever() {
    let all = envelopes(Format::Table, 100);
    let longest = all.iter().map(|envelope| envelope.bytes().len()).max().unwrap();
    // Four envelopes fit; and, worse, only one: then the room that it takes is never half of the queue.
    for bytes in [4 * longest, longest + longest / 2] {
        let out = Flaky::default();
        out.works.store(true, Ordering::Release);
        let queue = Queue::new("test", QueueLimits { bytes, when_full: WhenFull::Wait });
        let thread =
            SinkThread::spawn(queue.clone(), Box::new(TableWriter::new(out.clone(), headings())))
                .unwrap();
        let served = Served { queue, thread };
        let count = if bytes > 2 * longest { 100 } else { 5 };
        for envelope in envelopes(Format::Table, count) {
            served.queue.offer(Arc::new(envelope), &Stop::default()).unwrap();
        }
        served.queue.end_of_poll();
        assert_eq!(served.close().delivered, 2 * count);
        let text = out.texts.lock().unwrap().concat();
        let rows =
            text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"default")).count();
        assert_eq!(rows as u64, 2 * count);
    }
}

#[test]
fn what_is_gathered_never_takes_more_than_half_of_the_queue() {
    let out = Flaky::default();
    out.works.store(true, Ordering::Release);
    let mut sink = TableWriter::new(out.clone(), headings());
    // Their counters have one digit, so they are of one length.
    let three = envelopes(Format::Table, 3);
    let bytes = 4 * three[0].bytes().len();
    let queue = Queue::new("test", QueueLimits { bytes, when_full: WhenFull::Wait });
    for (envelope, delivered) in three.into_iter().zip([0, 0, 4]) {
        sink.send(kit::delivery(&queue, envelope)).unwrap();
        assert_eq!(queue.ledger().delivered, delivered);
    }
    assert_eq!(*out.texts.lock().unwrap(), [aligned(2)]);
}
