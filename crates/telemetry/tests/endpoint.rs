//! The endpoint against clients that do as they should, and against those that do not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sockeye_telemetry::endpoint::{Endpoint, Limits, Listen, Subject, Traffic};
use sockeye_telemetry::metrics::Format;

#[derive(Default)]
struct Fake {
    stopping: AtomicBool,
    /// Bytes of `/metrics`.
    large: usize,
}

impl Subject for Fake {
    fn metrics(&self, format: Format) -> String {
        format!("{format:?}\n{}", "x".repeat(self.large))
    }

    fn healthy(&self) -> (bool, String) {
        (true, "well".into())
    }

    fn unready(&self) -> Vec<String> {
        let stopping = self.stopping.load(Ordering::Relaxed);
        if stopping { vec!["one".into(), "two".into()] } else { Vec::new() }
    }

    fn polls(&self) -> String {
        "[]".into()
    }

    fn index(&self) -> String {
        "<h1>title</h1>".into()
    }
}

/// Short ones, so that tests need not wait.
fn limits() -> Limits {
    Limits {
        connections: 4,
        patience: Duration::from_millis(300),
        header: Duration::from_millis(600),
        write: Duration::from_millis(600),
        ..Limits::default()
    }
}

struct Served {
    endpoint: Endpoint,
    subject: Arc<Fake>,
    traffic: Traffic,
}

fn serve(subject: Fake, limits: Limits) -> Served {
    let bound = "127.0.0.1:0".parse::<Listen>().unwrap().bind().unwrap().unwrap();
    let (subject, traffic) = (Arc::new(subject), Traffic::default());
    let endpoint = Endpoint::start(bound, subject.clone(), traffic.clone(), limits).unwrap();
    Served { endpoint, subject, traffic }
}

impl Served {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.endpoint.place()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        all(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
    }
}

/// Until the other side closes.
fn all(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn every_page_has_its_status_and_kind() {
    let served = serve(Fake::default(), limits());
    for (path, status, holds) in [
        ("/", 200, "<h1>title</h1>"),
        ("/metrics", 200, "Prometheus\n"),
        ("/healthz", 200, "well\n"),
        ("/readyz", 200, "ready\n"),
        ("/debug/polls", 200, "[]"),
        ("/debug/pprof/", 200, "go tool pprof"),
        ("/debug/pprof/threads?debug=1", 200, "telemetry"),
        ("/debug/pprof/profile?seconds=x", 400, "allowed: 1 to 300"),
        ("/nothing", 404, "no such page"),
    ] {
        let answer = served.get(path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains(holds), "{path}: {answer}");
        assert!(answer.contains("connection: close"), "{path}: {answer}");
    }
    served.subject.stopping.store(true, Ordering::Relaxed);
    let answer = served.get("/readyz");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\none\ntwo\n"), "{answer}");
    assert_eq!(served.traffic.requests(), 10);
}

#[test]
fn openmetrics_is_for_those_who_ask_for_it() {
    let served = serve(Fake::default(), limits());
    let accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5";
    let answer =
        served.ask(&format!("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\n\r\n"));
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(answer.ends_with("OpenMetrics\n"), "{answer}");
}

#[test]
fn only_reading_is_answered_and_a_head_has_no_body() {
    let served = serve(Fake::default(), limits());
    let answer = served.ask("POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc");
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"), "{answer}");
    let answer = served.ask("HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("content-length: 5\r\n"), "{answer}");
}

#[test]
fn a_request_that_does_not_come_is_cut_off() {
    let served = serve(Fake::default(), limits());
    let began = Instant::now();
    let mut silent = served.connect();
    let mut slow = served.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nx-a: ").unwrap();
    assert_eq!(all(&mut silent), "");
    let _ = all(&mut slow);
    assert!(
        began.elapsed() >= Duration::from_millis(500) && began.elapsed() < Duration::from_secs(10)
    );
    assert_eq!((served.traffic.requests(), served.traffic.timed_out()), (0, 2));
}

#[test]
fn a_header_that_is_too_long_is_refused() {
    let served = serve(Fake::default(), limits());
    let long = "y".repeat(64 * 1024);
    let answer = served.ask(&format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(served.traffic.requests(), 0);
}

#[test]
fn an_answer_that_nobody_takes_is_let_go_of() {
    let served = serve(Fake { large: 64 << 20, ..Fake::default() }, limits());
    let mut stream = served.connect();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while served.traffic.timed_out() == 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(all(&mut stream).len() < 64 << 20);
    assert!(served.get("/healthz").ends_with("well\n"));
}

#[test]
fn one_connection_too_many_is_refused_at_once_and_a_silent_one_soon_makes_room() {
    let patience = Duration::from_secs(2);
    let limits = Limits { patience, header: Duration::from_secs(20), ..limits() };
    let served = serve(Fake::default(), limits);
    let silent: Vec<TcpStream> = (0..4).map(|_| served.connect()).collect();
    // Until all four have been taken.
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    let answer = served.get("/healthz");
    assert!(began.elapsed() < patience, "{:?}", began.elapsed());
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("too many connections\n"),
        "{answer}"
    );
    assert_eq!(served.traffic.refused(), 1);
    std::thread::sleep(patience);
    assert!(served.get("/healthz").ends_with("well\n"));
    drop(silent);
}

#[test]
fn five_hundred_slow_clients_keep_nobody_from_an_answer() {
    let limits = Limits { connections: 32, ..limits() };
    let served = serve(Fake::default(), limits);
    let began = Instant::now();
    let mut slow: Vec<TcpStream> = (0..500).map(|_| served.connect()).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET / HT");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while !served.get("/healthz").ends_with("well\n") {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    // Each place is given again when patience with its client runs out.
    let given = 1 + began.elapsed().as_millis().div_ceil(limits.patience.as_millis());
    let refused = u128::from(served.traffic.refused());
    assert!(
        refused >= 1.max(500_u128.saturating_sub(32 * given)),
        "{refused}, places given {given} times"
    );
}

#[test]
fn a_socket_in_the_file_system_answers_and_goes_with_the_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endpoint");
    let bound = Listen::Unix(path.clone()).bind().unwrap().unwrap();
    let subject = Arc::new(Fake::default());
    let endpoint = Endpoint::start(bound, subject, Traffic::default(), limits()).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(all(&mut stream).ends_with("well\n"));
    drop(endpoint);
    assert!(!path.exists());
}

#[test]
fn the_end_does_not_wait_for_those_who_are_connected() {
    let served = serve(Fake::default(), Limits { header: Duration::from_mins(1), ..limits() });
    let silent = served.connect();
    std::thread::sleep(Duration::from_millis(20));
    let began = Instant::now();
    drop(served);
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(silent);
}

#[cfg(feature = "pprof")]
#[test]
fn there_is_one_profile_at_a_time_and_it_is_compressed() {
    let served = serve(Fake::default(), limits());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let mut stream = served.connect();
            stream
                .write_all(b"GET /debug/pprof/profile?seconds=1 HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        });
        std::thread::sleep(Duration::from_millis(300));
        let second = served.get("/debug/pprof/profile?seconds=1");
        assert!(second.starts_with("HTTP/1.1 429 "), "{second}");
        let first = first.join().unwrap();
        let body = first.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert!(first.starts_with(b"HTTP/1.1 200 "));
        assert_eq!(first[body..body + 2], [0x1f, 0x8b], "gzip");
    });
    // A client that goes away ends its profile.
    let mut stream = served.connect();
    stream.write_all(b"GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(stream);
    std::thread::sleep(Duration::from_millis(100));
    assert!(served.get("/debug/pprof/profile?seconds=1").starts_with("HTTP/1.1 200 "));
}
