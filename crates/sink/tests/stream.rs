//! Streams with a real pipe, a full device, and a reader who leaves.

mod kit;

use std::fs::{File, OpenOptions};
use std::io::{Read, pipe};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use kit::{Served, bytes, encoder, envelopes};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use sockeye_pipeline::{DropReason, SendError, Sink};
use sockeye_record::Format;
use sockeye_sink::Stream;

#[test]
fn the_header_comes_once_and_every_envelope_as_it_is() {
    let (mut reader, writer) = pipe().unwrap();
    let header = encoder(Format::Csv).header();
    let served = Served::start(Stream::new(writer, header.clone()));
    served.offer(envelopes(Format::Csv, 3));
    let ledger = served.close();
    assert_eq!((ledger.read, ledger.delivered), (6, 6));
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, [header, bytes(&envelopes(Format::Csv, 3))].concat());
}

#[test]
fn a_csv_without_rows_has_its_header() {
    let (mut reader, writer) = pipe().unwrap();
    Served::start(Stream::new(writer, b"a,b\n".to_vec())).close();
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert_eq!(read, "a,b\n");
}

#[test]
fn a_reader_who_leaves_ends_the_sink_quietly() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut stream = Stream::new(writer.try_clone().unwrap(), Vec::new());
    let refused = stream.send(kit::delivery(&kit::queue(), envelopes(Format::Jsonl, 1).remove(0)));
    assert!(matches!(refused, Err(SendError::Closed(_, None))), "{refused:?}");
    let served = Served::start(Stream::new(writer, Vec::new()));
    served.offer(envelopes(Format::Jsonl, 2));
    served.wait("the end of the sink", |ledger| ledger.dropped_rows() == 4);
    assert!(served.queue.sink_gone());
    let ledger = served.close();
    assert_eq!((ledger.delivered, ledger.dropped[DropReason::SinkClosed as usize]), (0, 4));
}

#[test]
fn what_is_half_written_when_the_reader_leaves_is_not_delivered() {
    let (mut reader, writer) = pipe().unwrap();
    // More than a pipe holds, so that the write is under way when the reader goes.
    let limits = sockeye_record::Limits { rows: 2000, bytes: usize::MAX };
    let pool = sockeye_record::BufferPool::new(1);
    let mut builder = sockeye_record::Builder::new(encoder(Format::Jsonl), limits, pool);
    let record =
        sockeye_record::v1::XtcpFlatRecord { hostname: "h".repeat(200), ..Default::default() };
    let mut long = None;
    for _ in 0..2000 {
        builder.push_record(&record, |envelope| long = Some(envelope));
    }
    let served = Served::start(Stream::new(writer, Vec::new()));
    served.offer(long);
    reader.read_exact(&mut [0; 100]).unwrap();
    drop(reader);
    let ledger = served.close();
    assert_eq!((ledger.delivered, ledger.dropped[DropReason::SinkClosed as usize]), (0, 2000));
}

#[test]
fn a_full_device_ends_the_sink_with_its_error() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut stream = Stream::new(full.try_clone().unwrap(), Vec::new());
    let queue = kit::queue();
    let envelope = envelopes(Format::Jsonl, 1).remove(0);
    match stream.send(kit::delivery(&queue, envelope)) {
        Err(SendError::Closed(_, Some(error))) => {
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        }
        other => panic!("{other:?}"),
    }
    let served = Served::start(Stream::new(full, Vec::new()));
    served.offer(envelopes(Format::Jsonl, 1));
    assert_eq!(served.close().dropped[DropReason::SinkClosed as usize], 2);
}

#[test]
fn a_descriptor_that_does_not_block_is_waited_for() {
    let (mut reader, writer) = pipe().unwrap();
    let writer = OwnedFd::from(writer);
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let served = Served::start(Stream::new(File::from(writer), Vec::new()));
    let expected = bytes(&envelopes(Format::Jsonl, 2000));
    assert!(expected.len() > 4 * (1 << 16), "more than a pipe holds");
    let slow = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        read
    });
    served.offer(envelopes(Format::Jsonl, 2000));
    assert_eq!(served.close().delivered, 4000);
    assert_eq!(slow.join().unwrap(), expected);
}
