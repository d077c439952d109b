//! The endpoint's thread: takes connections, serves each within its limits, and ends when it is told to.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout, timeout_at};

use super::Subject;
use super::connections::{Connections, Slot};
use super::listen::{Bound, OwnFile, Socket};
use super::routes::{Asked, Routes};

/// What clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// A connection whose request has not come for so long makes room for another.
    pub patience: Duration,
    /// How long the header of a request may take to come.
    pub header: Duration,
    /// How long an answer may take to be made; a profile has its own time besides.
    pub answer: Duration,
    /// How long an answer may take to be taken.
    pub write: Duration,
    /// Bytes of a request's header.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 32,
            patience: Duration::from_millis(500),
            header: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            write: Duration::from_secs(10),
            header_bytes: 16 * 1024,
        }
    }
}

/// What clients have done. Clones share the figures.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    refused: AtomicU64,
    timed_out: AtomicU64,
}

impl Traffic {
    /// Requests that were answered.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Connections that were refused since there were too many.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Connections that were cut off: the request did not come, or the answer was not taken, in time.
    pub fn timed_out(&self) -> u64 {
        self.0.timed_out.load(Ordering::Relaxed)
    }
}

/// The endpoint at work. Ends with it.
#[derive(Debug)]
pub struct Endpoint {
    place: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Starts answering at a place that was bound.
    ///
    /// # Errors
    /// The system has no thread, or no epoll, to give.
    pub fn start(
        bound: Bound,
        subject: Arc<dyn Subject>,
        traffic: Traffic,
        limits: Limits,
    ) -> io::Result<Self> {
        let place = bound.place();
        let Bound { socket, file } = bound;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Profiles are made beside the one thread that answers.
            .max_blocking_threads(2)
            .thread_name("telemetry-work")
            .thread_keep_alive(Duration::from_secs(1))
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            Listener::new(socket)?
        };
        let (stop, stopped) = oneshot::channel();
        let server = Server {
            connections: Connections::new(limits.connections, limits.patience),
            refusing: Arc::default(),
            routes: Arc::new(Routes::new(subject)),
            traffic,
            limits,
        };
        let work = move || {
            server.work(&runtime, &listener, stopped, file);
            // A profile whose names are being looked up is not waited for.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("telemetry".into()).spawn(work)?;
        Ok(Self { place, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic has ended the process already.
            let _ = thread.join();
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

impl Listener {
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(socket)?)
            }
            Socket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(socket)?)
            }
        })
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

struct Server {
    connections: Connections,
    /// Refused clients that still listen to the refusal.
    refusing: Arc<AtomicUsize>,
    routes: Arc<Routes>,
    traffic: Traffic,
    limits: Limits,
}

impl Server {
    fn work(
        &self,
        runtime: &Runtime,
        listener: &Listener,
        stopped: oneshot::Receiver<()>,
        file: Option<OwnFile>,
    ) {
        runtime.block_on(async {
            let mut accepting = pin!(self.accept(listener));
            let mut stopped = pin!(stopped);
            // Whichever ends first; only the order to stop does.
            std::future::poll_fn(|context| {
                if stopped.as_mut().poll(context).is_ready() {
                    return std::task::Poll::Ready(());
                }
                accepting.as_mut().poll(context)
            })
            .await;
        });
        drop(file);
    }

    async fn accept(&self, listener: &Listener) {
        let mut number = 0;
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    number += 1;
                    match self.connections.enter(number, Instant::now()) {
                        Some(slot) => {
                            let task = tokio::spawn(self.connection(stream, slot));
                            self.connections.serves(number, task.abort_handle());
                        }
                        None => self.refuse(stream),
                    }
                }
                // Out of descriptors: those that are open will end.
                Err(_) => sleep(REST).await,
            }
        }
    }

    /// Serves one request.
    fn connection(
        &self,
        stream: Box<dyn Stream>,
        slot: Slot,
    ) -> impl Future<Output = ()> + Send + use<> {
        let Limits { header, answer, write, header_bytes, .. } = self.limits;
        let (routes, traffic) = (Arc::clone(&self.routes), self.traffic.clone());
        let deadline = Deadline::new(header);
        async move {
            let service = service_fn(|request: Request<Incoming>| {
                slot.asked();
                let asked = Asked::of(&request);
                deadline.set(answer + asked.time());
                let (routes, traffic, deadline) = (&routes, &traffic, &deadline);
                let head_only = request.method() == Method::HEAD;
                async move {
                    let answer = routes.answer(asked).await;
                    traffic.0.requests.fetch_add(1, Ordering::Relaxed);
                    deadline.set(write);
                    Ok::<_, Infallible>(answer.into_response(head_only))
                }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(header);
            http.max_buf_size(header_bytes).keep_alive(false);
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            loop {
                match timeout_at(deadline.get().into(), &mut connection).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        if error.is_timeout() {
                            traffic.0.timed_out.fetch_add(1, Ordering::Relaxed);
                        }
                        return;
                    }
                    Err(_) if deadline.get() <= Instant::now() => {
                        traffic.0.timed_out.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    Err(_) => {}
                }
            }
        }
    }

    /// Says that there are too many, at once. A few are given the time to read it; more are closed.
    fn refuse(&self, mut stream: Box<dyn Stream>) {
        self.traffic.0.refused.fetch_add(1, Ordering::Relaxed);
        let refusing = Arc::clone(&self.refusing);
        if refusing.fetch_add(1, Ordering::Relaxed) >= MOST_REFUSING {
            refusing.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        tokio::spawn(async move {
            let refuse = async {
                stream.write_all(REFUSAL).await?;
                stream.shutdown().await?;
                // Closed with something unread, the kernel would send a reset instead of the refusal.
                let mut unread = [0; 1024];
                while stream.read(&mut unread).await? > 0 {}
                io::Result::Ok(())
            };
            // Whether it was read is the client's affair.
            let _ = timeout(REFUSING, refuse).await;
            refusing.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// When a connection is cut off; it moves as the request goes on.
struct Deadline(Mutex<Instant>);

impl Deadline {
    fn new(left: Duration) -> Self {
        Self(Mutex::new(Instant::now() + left))
    }

    fn set(&self, left: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + left;
    }

    fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const REST: Duration = Duration::from_millis(100);
const MOST_REFUSING: usize = 32;
const REFUSING: Duration = Duration::from_millis(250);
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\nretry-after: 1\r\nconnection: close\r\n\r\ntoo many connections\n";
