//! A source of closed sockets beside one of polls, and connections that close.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use sockeye_pipeline::{PartReport, Source as _};
use sockeye_record::v1::XtcpFlatRecord;
use sockeye_source::closed::{Closed, Scope, Settings as ClosedSettings};
use sockeye_source::sockdiag::Settings;
use sockeye_source::track::TrackSettings;
use sockeye_testkit::netns::Netns;

use crate::eye::{Eye, decode, envelopes, settings};

pub(crate) struct Ear {
    pub(crate) eye: Eye,
    pub(crate) closed: Closed,
    pub(crate) report: Option<PartReport>,
}

pub(crate) fn tracking() -> Settings {
    Settings { track: Some(TrackSettings { bytes: 64 << 20, deltas: true }), ..settings() }
}

/// Rows are sent when they are asked for.
pub(crate) fn closed_settings() -> ClosedSettings {
    ClosedSettings {
        scope: Scope::All,
        buffer_bytes: 16 << 20,
        flush_every: Duration::from_hours(1),
    }
}

impl Ear {
    pub(crate) fn new(settings: Settings, closed: ClosedSettings) -> Self {
        let eye = Eye::new(settings);
        let mut closed = Closed::new(&eye.source, closed).unwrap();
        closed.start(&eye.outlet, &eye.stop);
        Self { eye, closed, report: None }
    }

    /// What has closed since this was last asked.
    pub(crate) fn rows(&mut self) -> Vec<XtcpFlatRecord> {
        // The kernel tells of a socket a little after its end.
        thread::sleep(Duration::from_millis(50));
        let mut parts = self.closed.poll(&self.eye.outlet, &self.eye.stop);
        let report = parts.pop().unwrap();
        assert!(parts.is_empty());
        let queue = self.eye.queues.first().unwrap();
        let rows: Vec<_> = envelopes(queue).iter().flat_map(|envelope| decode(envelope)).collect();
        let ledger = queue.ledger();
        assert!(
            ledger.balances() && ledger.in_flight == 0 && ledger.dropped_rows() == 0,
            "{ledger}"
        );
        assert_eq!(report.rows, rows.len() as u64, "rows reported are rows sent");
        assert!(rows.iter().all(|row| row.record_kind == 2));
        self.report = Some(report);
        rows
    }

    pub(crate) fn rows_of(&mut self, netns: &impl Netns) -> Vec<XtcpFlatRecord> {
        let inode = netns.inode().unwrap();
        self.rows().into_iter().filter(|row| row.netns_inode == inode).collect()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.closed.finish(&self.eye.outlet);
    }
}

/// So many connections, one after the other: each sends `up` bytes, gets `down` bytes and closes.
pub(crate) fn short_lived(netns: &impl Netns, host: &str, count: usize, up: usize, down: usize) {
    let connect = || {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..count {
                    let (mut server, _) = listener.accept().unwrap();
                    let mut got = Vec::new();
                    server.read_to_end(&mut got).unwrap();
                    assert_eq!(got.len(), up);
                    server.write_all(&vec![2; down]).unwrap();
                }
            });
            for _ in 0..count {
                let mut client = TcpStream::connect(to).unwrap();
                client.write_all(&vec![1; up]).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let mut got = Vec::new();
                client.read_to_end(&mut got).unwrap();
                assert_eq!(got.len(), down);
            }
        });
    };
    netns.enter(connect).unwrap();
}
