//! Streams: the standard output, the standard error, and whatever else is a file descriptor already.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use sockeye_pipeline::{Delivery, SendError, Sink};

use crate::put::{self, Put, PutError};

/// Writes each envelope as it is, unbuffered, and the header once before them.
///
/// What is half written when the other side goes is not delivered: nobody has read it to its end.
#[derive(Debug)]
pub struct Stream {
    file: File,
    /// Empty once it is written.
    header: Vec<u8>,
    /// What it writes goes where the log goes. A pipe that is full takes a write in pieces, and lines of others between
    /// them, so that lines of the log wait for the end of each. Where writes do not block, as those of the log do not
    /// either, they don't: nobody may have to wait there who did not before.
    beside_the_log: bool,
}

impl Stream {
    /// The standard output. `header` stands once before the first bytes; [`sockeye_record::Encoder::header`] has it.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn stdout(header: Vec<u8>) -> io::Result<Self> {
        let beside_the_log = is_one_file(io::stdout(), io::stderr()) && blocks(io::stdout());
        let stream = Self::new(io::stdout().as_fd().try_clone_to_owned()?, header);
        Ok(Self { beside_the_log, ..stream })
    }

    /// The standard error.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn stderr(header: Vec<u8>) -> io::Result<Self> {
        let stream = Self::new(io::stderr().as_fd().try_clone_to_owned()?, header);
        Ok(Self { beside_the_log: blocks(io::stderr()), ..stream })
    }

    /// Any descriptor that can be written; one that does not block is waited for.
    pub fn new(fd: impl Into<OwnedFd>, header: Vec<u8>) -> Self {
        Self { file: File::from(fd.into()), header, beside_the_log: false }
    }

    fn put_header(&mut self) -> Result<(), PutError> {
        let header = std::mem::take(&mut self.header);
        self.write(&header)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        let _others_wait = self.beside_the_log.then(|| io::stderr().lock());
        write_all(&mut self.file, bytes)
    }
}

impl Put for Stream {
    fn put(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.put_header()?;
        self.write(bytes)
    }
}

impl Sink for Stream {
    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        put::send(self, delivery)
    }

    /// A csv without rows has its header all the same.
    fn finish(&mut self) -> io::Result<()> {
        self.put_header().map_err(PutError::into_io)
    }
}

/// Everything that fails here fails for good: a stream can't take back what it has written of an envelope.
fn write_all(file: &mut File, mut bytes: &[u8]) -> Result<(), PutError> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(PutError::Closed(Some(ErrorKind::WriteZero.into()))),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => {
                    wait_writable(file).map_err(|error| PutError::Closed(Some(error)))?;
                }
                ErrorKind::BrokenPipe => return Err(PutError::Closed(None)),
                _ => return Err(PutError::Closed(Some(error))),
            },
        }
    }
    Ok(())
}

/// Whether both are open on the same pipe, terminal or file: `2>&1`.
fn is_one_file(one: impl AsFd, other: impl AsFd) -> bool {
    matches!((fstat(one), fstat(other)), (Ok(one), Ok(other)) if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn blocks(fd: impl AsFd) -> bool {
    fcntl(fd, FcntlArg::F_GETFL)
        .is_ok_and(|flags| !OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
}

/// Returns as well when the other side has gone; the next write says so.
fn wait_writable(file: &File) -> io::Result<()> {
    match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
