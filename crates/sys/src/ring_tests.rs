//! The ring against this kernel: its own namespace, listeners of its own, no privilege.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::thread::JoinHandleExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::pthread::pthread_kill;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::*;

/// Rings are counted by their descriptors, so one test at a time makes them.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(20);
const BUFFER: usize = 32 * 1024;

fn open() -> Arc<DiagSocket> {
    Arc::new(DiagSocket::open(Duration::from_secs(5)).unwrap())
}

fn listeners(count: usize) -> Vec<TcpListener> {
    (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect()
}

/// `SOCK_DIAG_BY_FAMILY` for the IPv4 listeners, with all extensions.
fn listen_dump(seq: u32) -> Vec<u8> {
    let mut request = vec![0; 72];
    request[..4].copy_from_slice(&72_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&20_u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
    request[8..12].copy_from_slice(&seq.to_ne_bytes());
    request[16..19].copy_from_slice(&[libc::AF_INET.try_into().unwrap(), 6, 0xff]);
    request[20..24].copy_from_slice(&(1_u32 << 10).to_ne_bytes());
    request
}

/// The messages of one dump by source port, and whether its end was seen.
#[derive(Default, Debug, PartialEq, Eq)]
struct Dump {
    rows: BTreeMap<u16, Vec<u8>>,
    chunks: usize,
    done: bool,
}

impl Dump {
    fn read(&mut self, seq: u32, mut chunk: &[u8]) {
        self.chunks += 1;
        while chunk.len() >= 16 {
            let len = u32::from_ne_bytes(chunk[..4].try_into().unwrap()) as usize;
            let kind = u16::from_ne_bytes([chunk[4], chunk[5]]);
            assert_eq!(chunk[8..12], seq.to_ne_bytes());
            match kind {
                3 => self.done = true,
                20 => {
                    let port = u16::from_be_bytes([chunk[20], chunk[21]]);
                    assert_eq!(self.rows.insert(port, chunk[16..len].to_vec()), None);
                }
                other => panic!("message of type {other}"),
            }
            chunk = &chunk[len.next_multiple_of(4).min(chunk.len())..];
        }
    }

    /// The rows of these listeners: others come and go.
    fn of(mut self, listeners: &[TcpListener]) -> Vec<Vec<u8>> {
        assert!(self.done);
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        listeners.iter().map(|listener| self.rows.remove(&port(listener)).unwrap()).collect()
    }
}

fn blocking_dump(seq: u32) -> Dump {
    let (socket, mut buffer) = (open(), vec![0; BUFFER]);
    socket.send(&listen_dump(seq)).unwrap();
    let mut dump = Dump::default();
    while !dump.done {
        let received = socket.recv(&mut buffer).unwrap();
        dump.read(seq, &buffer[..received.len]);
    }
    dump
}

/// Dumps through `ring`, one for each token below `conversations`, all at once.
fn ring_dumps(ring: &mut Ring, conversations: u16) -> Vec<Dump> {
    let mut sockets: Vec<_> = (0..conversations).map(|_| Some(open())).collect();
    let mut dumps: Vec<_> = sockets.iter().map(|_| Dump::default()).collect();
    for (token, socket) in (0..).zip(sockets.iter().flatten()) {
        ring.send(token, socket, listen_dump(token)).unwrap();
        ring.recv(token, socket).unwrap();
    }
    while ring.in_flight() > 0 {
        assert_ne!(ring.submit_and_wait(LONG).unwrap(), 0);
        while let Some((token, completion)) = ring.next_completion() {
            let index = token as usize;
            match completion {
                Completion::Sent(result, request) => {
                    result.unwrap();
                    assert_eq!(request, listen_dump(token));
                }
                Completion::Received(result) => {
                    let (received, bytes) = result.unwrap();
                    assert_eq!(
                        (received.len, received.truncated, received.from_kernel),
                        (bytes.len(), false, true)
                    );
                    dumps[index].read(token, bytes);
                    if dumps[index].done {
                        sockets[index] = None;
                    } else {
                        ring.recv(token, sockets[index].as_ref().unwrap()).unwrap();
                    }
                }
            }
        }
    }
    dumps
}

/// A receive that waits: nobody was asked for anything.
fn waiting_receive(ring: &mut Ring, token: u32) -> Arc<DiagSocket> {
    let socket = open();
    ring.recv(token, &socket).unwrap();
    assert_eq!(ring.submit_and_wait(SHORT).unwrap(), 0);
    socket
}

fn received_errno(completion: Option<(u32, Completion<'_>)>) -> (u32, Option<i32>) {
    match completion {
        Some((token, Completion::Received(Err(error)))) => (token, error.raw_os_error()),
        other => panic!("{other:?}"),
    }
}

/// `socket:[inode]` of each.
fn links(sockets: &[Arc<DiagSocket>]) -> Vec<PathBuf> {
    let link = |socket: &Arc<DiagSocket>| format!("/proc/self/fd/{}", socket.as_raw_fd());
    sockets.iter().map(|socket| fs::read_link(link(socket)).unwrap()).collect()
}

/// How many descriptors of this process lead to one of `links`, and how many to a ring.
fn open_descriptors(links: &[PathBuf]) -> (usize, usize) {
    let open: Vec<_> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .collect();
    let rings = open.iter().filter(|link| link.to_string_lossy().contains("io_uring")).count();
    (open.iter().filter(|link| links.contains(link)).count(), rings)
}

/// How many of the sockets the kernel still has, whoever holds them.
fn in_kernel(links: &[PathBuf]) -> usize {
    let table = fs::read_to_string("/proc/net/netlink").unwrap();
    let inodes: Vec<_> = table.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let exists = |link: &&PathBuf| {
        let name = link.to_string_lossy();
        inodes.contains(&name.trim_start_matches("socket:[").trim_end_matches(']'))
    };
    links.iter().filter(exists).count()
}

#[test]
fn this_kernel_allows_a_ring() {
    let _alone = alone();
    assert_eq!(Ring::probe(), Ok(()));
    assert_eq!(open_descriptors(&[]).1, 0);
}

#[test]
fn a_dump_through_the_ring_equals_a_blocking_one_in_every_mode() {
    let _alone = alone();
    let listeners = listeners(150);
    for taskrun in BEST_FIRST {
        let mut ring = Ring::with_taskrun(64, 128, BUFFER, &[taskrun]).unwrap();
        let dump = ring_dumps(&mut ring, 1).remove(0);
        assert!(dump.chunks > 2, "{}", dump.chunks);
        assert_eq!(dump.of(&listeners), blocking_dump(0).of(&listeners), "{taskrun:?}");
    }
}

#[test]
fn many_conversations_share_the_system_calls() {
    let _alone = alone();
    let listeners = listeners(100);
    let wanted = blocking_dump(7).of(&listeners);
    let mut ring = Ring::new(64, 128, BUFFER).unwrap();
    let dumps = ring_dumps(&mut ring, 64);
    let most_chunks = dumps.iter().map(|dump| dump.chunks).max().unwrap() as u64;
    for dump in dumps {
        assert_eq!(dump.of(&listeners), wanted);
    }
    assert_eq!(ring.enters(), most_chunks);
    assert_eq!(ring.buffers(), 64);
    ring.shrink();
    assert_eq!(ring.buffers(), 0);
}

#[test]
fn the_smallest_and_the_largest_ring_work_too() {
    let _alone = alone();
    let listeners = listeners(60);
    let wanted = blocking_dump(0).of(&listeners);
    let mut ring = Ring::new(1, 1, BUFFER).unwrap();
    assert_eq!(ring_dumps(&mut ring, 1).remove(0).of(&listeners), wanted);
    assert_eq!(ring.buffers(), 1);
    let mut ring = Ring::new(4096, 4096, BUFFER).unwrap();
    for dump in ring_dumps(&mut ring, 100) {
        assert_eq!(dump.of(&listeners), wanted);
    }
    let mut ring = Ring::new(64, 1, BUFFER).unwrap();
    for dump in ring_dumps(&mut ring, 20) {
        assert_eq!(dump.of(&listeners), wanted);
    }
}

#[test]
fn a_wait_takes_no_more_completions_than_it_was_told() {
    let _alone = alone();
    let mut ring = Ring::new(4, 3, BUFFER).unwrap();
    let sockets: Vec<_> = (0..4).map(|_| open()).collect();
    for (token, socket) in (0..).zip(&sockets) {
        ring.send(token, socket, listen_dump(token)).unwrap();
    }
    assert_eq!(ring.submit_and_wait(LONG).unwrap(), 3);
    let mut tokens = Vec::new();
    while let Some((token, completion)) = ring.next_completion() {
        assert!(matches!(completion, Completion::Sent(Ok(()), _)));
        tokens.push(token);
    }
    assert_eq!((tokens.as_slice(), ring.in_flight()), ([0, 1, 2].as_slice(), 1));
    // The fourth had completed with the others: to take it needs no call.
    assert_eq!((ring.submit_and_wait(LONG).unwrap(), ring.enters()), (1, 1));
    assert_eq!(ring.next_completion().map(|(token, _)| token), Some(3));
}

#[test]
fn a_buffer_that_is_too_small_reports_truncation() {
    let _alone = alone();
    let _listeners = listeners(3);
    let mut ring = Ring::new(1, 4, 100).unwrap();
    let socket = open();
    ring.send(5, &socket, listen_dump(5)).unwrap();
    ring.recv(5, &socket).unwrap();
    assert_eq!(ring.submit_and_wait(LONG).unwrap(), 2);
    assert!(matches!(ring.next_completion(), Some((5, Completion::Sent(Ok(()), _)))));
    match ring.next_completion() {
        Some((5, Completion::Received(Ok((received, bytes))))) => {
            assert_eq!(received, Received { len: 100, truncated: true, from_kernel: true });
            assert_eq!(bytes.len(), 100);
            assert_eq!(bytes[8..12], 5_u32.to_ne_bytes());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_that_the_kernel_refuses_to_take_is_an_error_of_its_send() {
    let _alone = alone();
    let mut ring = Ring::new(1, 4, BUFFER).unwrap();
    let request = vec![1; 16 << 20];
    ring.send(1, &open(), request.clone()).unwrap();
    ring.submit_and_wait(LONG).unwrap();
    match ring.next_completion() {
        Some((1, Completion::Sent(Err(error), returned))) => {
            assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
            assert!(returned == request);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wait_with_nothing_to_read_ends_with_its_timeout() {
    let _alone = alone();
    let mut ring = Ring::new(1, 1, BUFFER).unwrap();
    let begin = Instant::now();
    assert_eq!(ring.submit_and_wait(LONG).unwrap(), 0);
    assert!(begin.elapsed() < LONG, "with nothing in flight there is nothing to wait for");
    let _socket = waiting_receive(&mut ring, 1);
    let elapsed = begin.elapsed();
    assert!(elapsed >= SHORT && elapsed < LONG, "{elapsed:?}");
    assert_eq!(ring.enters(), 1);
    assert_eq!(ring.submit_and_wait(Duration::ZERO).unwrap(), 0);
}

extern "C" fn ignore(_: libc::c_int) {}

#[test]
fn a_signal_does_not_end_a_wait() {
    let _alone = alone();
    let handler = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is safe in every context.
    unsafe { sigaction(Signal::SIGUSR1, &handler) }.unwrap();
    let waiting = thread::spawn(|| {
        let mut ring = Ring::new(1, 1, BUFFER).unwrap();
        let socket = open();
        ring.recv(1, &socket).unwrap();
        let begin = Instant::now();
        let completed = ring.submit_and_wait(SHORT * 10).unwrap();
        (completed, begin.elapsed(), ring.enters())
    });
    for _ in 0..3 {
        thread::sleep(SHORT * 2);
        pthread_kill(waiting.as_pthread_t(), Signal::SIGUSR1).unwrap();
    }
    let (completed, elapsed, enters) = waiting.join().unwrap();
    assert!(elapsed >= SHORT * 10, "{elapsed:?}");
    assert_eq!(completed, 0);
    assert!(enters > 1, "no signal interrupted the wait");
}

#[test]
fn a_receive_that_waits_is_woken_by_what_arrives() {
    let _alone = alone();
    for taskrun in BEST_FIRST {
        let mut ring = Ring::with_taskrun(2, 2, BUFFER, &[taskrun]).unwrap();
        let socket = waiting_receive(&mut ring, 1);
        socket.send(&listen_dump(9)).unwrap();
        assert_eq!(ring.submit_and_wait(LONG).unwrap(), 1, "{taskrun:?}");
        assert!(matches!(ring.next_completion(), Some((1, Completion::Received(Ok(_))))));
    }
}

#[test]
fn a_cancelled_receive_completes_alone_and_lets_go_of_its_socket() {
    let _alone = alone();
    for taskrun in BEST_FIRST {
        let mut ring = Ring::with_taskrun(8, 8, BUFFER, &[taskrun]).unwrap();
        let (cancelled, waiting) = (waiting_receive(&mut ring, 1), waiting_receive(&mut ring, 2));
        let links = links(&[cancelled]);
        ring.cancel(1);
        ring.cancel(1);
        ring.cancel(3);
        assert_eq!((in_kernel(&links), ring.submit_and_wait(LONG).unwrap()), (1, 1));
        assert_eq!(received_errno(ring.next_completion()), (1, Some(libc::ECANCELED)));
        assert_eq!((in_kernel(&links), ring.in_flight()), (0, 1));
        assert_eq!(ring.submit_and_wait(SHORT).unwrap(), 0);
        assert_eq!(Arc::strong_count(&waiting), 2);
    }
}

#[test]
fn a_receive_is_cancelled_before_it_was_submitted_as_well() {
    let _alone = alone();
    let mut ring = Ring::new(1, 1, BUFFER).unwrap();
    ring.recv(4, &open()).unwrap();
    ring.cancel(4);
    assert_eq!(ring.submit_and_wait(LONG).unwrap(), 1);
    assert_eq!(received_errno(ring.next_completion()), (4, Some(libc::ECANCELED)));
}

#[test]
fn a_cancellation_does_not_meet_the_next_operation_in_its_place() {
    let _alone = alone();
    let mut ring = Ring::new(1, 1, BUFFER).unwrap();
    let socket = waiting_receive(&mut ring, 1);
    socket.send(&listen_dump(1)).unwrap();
    assert_eq!(ring.submit_and_wait(LONG).unwrap(), 1);
    // Completed, but not taken: the kernel will not find it.
    ring.cancel(1);
    assert!(matches!(ring.next_completion(), Some((1, Completion::Received(Ok(_))))));
    let _next = waiting_receive(&mut ring, 1);
    assert_eq!((ring.submit_and_wait(SHORT).unwrap(), ring.in_flight()), (0, 1));
}

#[test]
fn a_ring_that_is_full_says_so_and_drops_nothing() {
    let _alone = alone();
    let mut ring = Ring::new(2, 2, BUFFER).unwrap();
    let sockets = [open(), open(), open()];
    for socket in &sockets[..2] {
        ring.recv(0, socket).unwrap();
        ring.send(0, socket, listen_dump(0)).unwrap();
    }
    assert_eq!(ring.recv(0, &sockets[2]), Err(RingFull { limit: 2 }));
    assert_eq!(ring.send(0, &sockets[2], listen_dump(0)), Err(RingFull { limit: 2 }));
    assert_eq!((ring.in_flight(), Arc::strong_count(&sockets[2])), (4, 1));
}

#[test]
fn buffers_are_made_when_needed_used_again_and_freed_when_told() {
    let _alone = alone();
    let mut ring = Ring::new(64, 64, BUFFER).unwrap();
    assert_eq!(ring.buffers(), 0);
    ring_dumps(&mut ring, 3);
    ring_dumps(&mut ring, 2);
    assert_eq!(ring.buffers(), 3);
    let _socket = waiting_receive(&mut ring, 1);
    ring.shrink();
    assert_eq!(ring.buffers(), 1);
}

#[test]
fn a_ring_dropped_with_receives_in_flight_leaves_nothing_behind() {
    let _alone = alone();
    for taskrun in BEST_FIRST {
        let mut ring = Ring::with_taskrun(64, 8, BUFFER, &[taskrun]).unwrap();
        let sockets: Vec<_> = (0..64).map(|_| open()).collect();
        let links = links(&sockets);
        for (token, socket) in (0..).zip(&sockets) {
            // Some wait, some complete unseen, some are not submitted.
            ring.recv(token, socket).unwrap();
            if token % 4 == 0 {
                ring.send(token, socket, listen_dump(token)).unwrap();
            }
            if token == 48 {
                ring.submit_and_wait(LONG).unwrap();
            }
        }
        drop(sockets);
        assert_eq!((in_kernel(&links), open_descriptors(&links)), (64, (64, 1)));
        let begin = Instant::now();
        drop(ring);
        assert!(begin.elapsed() < LONGEST_DROP, "{:?}", begin.elapsed());
        assert_eq!((in_kernel(&links), open_descriptors(&links)), (0, (0, 0)), "{taskrun:?}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused = |ring: Result<Ring, RingError>| ring.unwrap_err().to_string();
    assert_eq!(refused(Ring::new(0, 1, 1)), "recv_batch is 0: it must be from 1 to 4096");
    assert_eq!(refused(Ring::new(1, 4097, 1)), "cqe_batch is 4097: it must be from 1 to 4096");
    assert_eq!(refused(Ring::new(1, 1, 0)), "buffer_bytes is 0: it must be from 1 to 1073741824");
}

#[test]
#[ignore = "needs root; `cargo xtask ci` runs it"]
fn what_another_process_sent_is_not_taken_for_the_kernels() {
    let _alone = alone();
    let mut ring = Ring::new(1, 1, BUFFER).unwrap();
    let socket = waiting_receive(&mut ring, 1);
    let mut other = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_SOCK_DIAG).unwrap();
    other.bind_auto().unwrap();
    let address = netlink_sys::SocketAddr::new(socket.port_id(), 0);
    assert_eq!(other.send_to(b"forged", &address, 0).unwrap(), 6);
    assert_eq!(ring.submit_and_wait(LONG).unwrap(), 1);
    match ring.next_completion() {
        Some((1, Completion::Received(Ok((received, bytes))))) => {
            assert_eq!(received, Received { len: 6, truncated: false, from_kernel: false });
            assert_eq!(bytes, b"forged");
        }
        other => panic!("{other:?}"),
    }
}
