//! A disk that is really full: nothing is lost, and no half row stays.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod kit;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use kit::{Served, bytes, encoder, envelopes};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use sockeye_pipeline::DropReason;
use sockeye_record::Format;
use sockeye_sink::spool::{Next, Spool, SpoolSettings};
use sockeye_sink::{FileSettings, FileSink, PathPattern};

fn settings(path: &Path, format: Format) -> FileSettings {
    FileSettings {
        path: PathPattern::parse(path.to_str().unwrap()).unwrap(),
        rotate_bytes: None,
        rotate_age: None,
        zstd: false,
        header: encoder(format).header(),
        format,
    }
}

/// Runs `work` in a mount namespace of its own, with a file system of `kib` KiB at `dir`.
fn with_small_disk(dir: &Path, kib: usize, work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
                let size = format!("size={kib}k");
                mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
                    .unwrap();
                work();
                umount2(dir, MntFlags::MNT_DETACH).unwrap();
            })
            .join()
            .unwrap();
    });
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_full_disk_is_waited_out_and_the_file_is_whole_all_the_while() {
    for format in [Format::ProtobufList, Format::Jsonl, Format::Csv] {
        let dir = tempfile::tempdir().unwrap();
        with_small_disk(dir.path(), 256, || {
            let path = dir.path().join("sockets");
            let ballast = dir.path().join("ballast");
            fs::write(&ballast, vec![0; 240 << 10]).unwrap();
            let header = encoder(format).header();
            let full = [header, bytes(&envelopes(format, 300))].concat();
            assert!(full.len() > 16 << 10 && full.len() < 240 << 10, "{}", full.len());
            let served = Served::start(FileSink::open(settings(&path, format)).unwrap());
            served.offer(envelopes(format, 300));
            served.wait("a retry", |ledger| ledger.retries > 1);

            // What is there is what was delivered: whole envelopes, nothing of the next one.
            let ledger = served.queue.ledger();
            let part = fs::read(&path).unwrap();
            assert!(ledger.delivered > 0 && ledger.delivered < 600, "{ledger}");
            assert_eq!(
                part,
                [encoder(format).header(), bytes(&envelopes(format, ledger.delivered / 2))]
                    .concat()
            );

            fs::remove_file(&ballast).unwrap();
            served.wait("the rest", |ledger| ledger.delivered == 600);
            let ledger = served.close();
            assert_eq!((ledger.read, ledger.delivered, ledger.dropped_rows()), (600, 600, 0));
            assert_eq!(fs::read(&path).unwrap(), full);
        });
    }
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_disk_that_stays_full_costs_rows_at_the_flush_deadline_and_no_half_row() {
    let dir = tempfile::tempdir().unwrap();
    with_small_disk(dir.path(), 16, || {
        let path = dir.path().join("sockets");
        let served = Served::start(FileSink::open(settings(&path, Format::ProtobufList)).unwrap());
        served.offer(envelopes(Format::ProtobufList, 300));
        served.wait("a retry", |ledger| ledger.retries > 0);
        let ledger = served.close_within(Duration::from_millis(200));
        assert_eq!(
            ledger.dropped[DropReason::Shutdown as usize],
            600 - ledger.delivered,
            "{ledger}"
        );
        assert_eq!(ledger.in_flight, 0);
        let written = bytes(&envelopes(Format::ProtobufList, ledger.delivered / 2));
        assert_eq!(fs::read(&path).unwrap(), written);
    });
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn a_full_disk_takes_nothing_into_a_spool_and_nothing_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    with_small_disk(dir.path(), 256, || {
        let settings = SpoolSettings { dir: dir.path().join("spool"), bytes: 1 << 30 };
        let (mut spool, _) = Spool::open(settings.clone()).unwrap();
        let envelope = vec![7; 10_000];
        let mut whole = 0;
        let error = loop {
            match spool.append(b"", &envelope, 1) {
                Ok(_) => whole += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!((20..=26).contains(&whole), "{whole}");
        drop(spool);
        let (mut spool, found) = Spool::open(settings).unwrap();
        assert_eq!((found.envelopes, found.damaged_bytes), (whole, 0), "no half envelope");
        // What is read and done makes room.
        let mut done = 0;
        while let Next::Envelope(spooled) = spool.next(|_| false).unwrap() {
            assert_eq!(spooled.envelope, envelope);
            let (rows, outcome) = spool.done(spooled.place);
            outcome.unwrap();
            done += rows;
        }
        assert_eq!(done, whole);
        spool.append(b"", &envelope, 1).unwrap();
    });
}

#[cfg(feature = "kafka")]
#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn with_a_full_disk_a_kafka_sink_keeps_what_it_can_in_memory_and_delivers_it() {
    use sockeye_sink::kafka::{Compression, KafkaSettings, KafkaSink, Key};

    let dir = tempfile::tempdir().unwrap();
    with_small_disk(dir.path(), 64, || {
        let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
        cluster.create_topic("xtcp", 1, 1).unwrap();
        cluster.broker_down(1).unwrap();
        let sink = KafkaSink::open(KafkaSettings {
            brokers: cluster.bootstrap_servers(),
            topic: "xtcp".into(),
            key: Key::None,
            compression: Compression::Auto,
            linger: Duration::ZERO,
            message_max_bytes: 1_000_000,
            produce_timeout: Duration::from_mins(1),
            queue_bytes: 1 << 20,
            tls: None,
            sasl: None,
            set: vec![("reconnect.backoff.max.ms".into(), "200".into())],
            spool: Some(SpoolSettings { dir: dir.path().join("spool"), bytes: 1 << 30 }),
            shutdown_timeout: Duration::from_secs(10),
        })
        .unwrap();
        let counters = sink.counters();
        let served = Served::start(sink);
        served.offer(envelopes(Format::ProtobufList, 1000));
        // What stalls goes to the disk, as far as there is room.
        served.wait("a full disk", |ledger| ledger.spooled > 0 && counters.spool_failures() > 0);
        let ledger = served.queue.ledger();
        assert!(ledger.spooled < 2000 && ledger.in_flight == 2000, "{ledger}");
        cluster.broker_up(1).unwrap();
        served.wait("the broker", |ledger| ledger.delivered == 2000);
        let ledger = served.close();
        assert_eq!((ledger.read, ledger.dropped_rows(), ledger.spooled), (2000, 0, 0));
    });
}
