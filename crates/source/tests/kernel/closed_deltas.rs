//! Differences over the rows of a connection add up to its final counters, exactly.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use sockeye_record::v1::XtcpFlatRecord;
use sockeye_source::sockdiag::{IoUring, Netlinkers, Settings};
use sockeye_testkit::netns::{Netns, TestNetns};

use crate::ear::{Ear, closed_settings, tracking};
use crate::eye::alone;

/// Of one connection.
#[derive(Default)]
struct Life {
    sum: [u64; 5],
    firsts: usize,
    last: Option<[u64; 5]>,
}

type Lives = BTreeMap<u64, Life>;

fn add(lives: &mut Lives, rows: &[XtcpFlatRecord]) {
    for row in rows.iter().filter(|row| row.delta_flags & 8 != 0) {
        assert_eq!(row.delta_flags & !(8 | 1), 0, "neither backwards nor forgotten");
        let life = lives.entry(row.inet_diag_msg_socket_cookie).or_default();
        life.firsts += usize::from(row.delta_flags & 1 != 0);
        let deltas = [
            row.delta_bytes_sent,
            row.delta_bytes_received,
            row.delta_bytes_retrans,
            row.delta_segs_out.into(),
            row.delta_segs_in.into(),
        ];
        life.sum.iter_mut().zip(deltas).for_each(|(sum, delta)| *sum += delta);
        if row.record_kind == 2 {
            assert!(life.last.is_none(), "none twice");
            life.last = Some([
                row.tcp_info_bytes_sent,
                row.tcp_info_bytes_received,
                row.tcp_info_bytes_retrans,
                row.tcp_info_segs_out.into(),
                row.tcp_info_segs_in.into(),
            ]);
        }
    }
}

/// Connections of random life, until told to stop; how many there were.
fn live(netns: &impl Netns, seed: u64, rounds: usize) -> u64 {
    let work = || {
        let mut random = fastrand::Rng::with_seed(seed);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut open: Vec<(TcpStream, TcpStream)> = Vec::new();
        let mut count = 0;
        for _ in 0..rounds {
            for _ in 0..random.usize(0..40) {
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                open.push((client, listener.accept().unwrap().0));
                count += 1;
            }
            for (client, server) in &mut open {
                let len = random.usize(0..3000);
                client.write_all(&vec![1; len]).unwrap();
                server.read_exact(&mut vec![0; len]).unwrap();
                server.write_all(&[1; 10]).unwrap();
                client.read_exact(&mut [0; 10]).unwrap();
            }
            open.retain(|_| random.u8(0..4) > 0);
            thread::sleep(Duration::from_millis(1));
        }
        count
    };
    netns.enter(work).unwrap()
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn sums_of_differences_are_the_final_counters_of_every_connection() {
    let _alone = alone();
    let io_uring = Some(IoUring { recv_batch: 64, cqe_batch: 64 });
    let kinds = [
        tracking(),
        Settings { io_uring, ..tracking() },
        Settings { netlinkers: Netlinkers::Fixed(3), ..tracking() },
    ];
    for (seed, settings) in (7..).zip(kinds) {
        let netns = TestNetns::new("deltas").unwrap();
        let mut ear = Ear::new(settings, closed_settings());
        let mut lives = Lives::new();
        let mut polls = 0;
        let count = thread::scope(|scope| {
            let live = scope.spawn(|| live(&netns, seed, 150));
            while !live.is_finished() {
                let poll = ear.eye.poll();
                add(&mut lives, &poll.rows_of(&netns));
                add(&mut lives, &ear.rows_of(&netns));
                polls += 1;
            }
            live.join().unwrap()
        });
        add(&mut lives, &ear.rows_of(&netns));
        assert!(polls >= 5 && count > 1500, "{polls} {count}");
        assert_eq!(lives.len() as u64, 2 * count);
        for (cookie, life) in &lives {
            assert_eq!((Some(life.sum), life.firsts), (life.last, 1), "{cookie}");
        }
        let totals = ear.eye.source.track_totals().unwrap();
        assert_eq!((totals.refused, totals.forgotten), (0, 0));
        println!("{count} connections, {polls} polls, {totals:?}");
    }
}
