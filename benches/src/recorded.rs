//! Messages that a kernel sent, as one chunk of bytes: out of a capture, or of a dump that is made now.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sockeye_sys::DiagSocket;
use sockeye_testkit::pcap::{Direction, PcapReader};
use sockeye_wire::inet_diag::is_socket;
use sockeye_wire::{AttrSet, InetDiag, Messages};

use crate::request::drain;

/// Messages of sockets behind each other, as one receive would bring them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    chunk: Vec<u8>,
    rows: u64,
}

impl Recorded {
    /// The established sockets of the capture that is part of the repository.
    ///
    /// # Errors
    /// It is not there, or has no such socket.
    pub fn capture() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/testkit/captures");
        let path = newest(&folder).with_context(|| folder.display().to_string())?;
        Self::read(&path).with_context(|| path.display().to_string())
    }

    /// The established sockets of the calling thread's network namespace, now.
    ///
    /// # Errors
    /// The kernel refused, or there is no such socket.
    pub fn live() -> Result<Self> {
        let socket = DiagSocket::open(Duration::from_secs(1))?;
        let mut recorded = Self { chunk: Vec::new(), rows: 0 };
        drain(&socket, 1, &[], &mut vec![0; 32 * 1024], |chunk| recorded.add(chunk))?;
        recorded.checked()
    }

    /// The bytes.
    pub fn chunk(&self) -> &[u8] {
        &self.chunk
    }

    /// How many sockets.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Every socket as a view of these attributes.
    pub fn sockets(&self, attrs: AttrSet) -> Vec<InetDiag<'_>> {
        let messages = Messages::new(&self.chunk).flatten();
        messages.filter_map(|message| InetDiag::parse(message.payload, attrs).ok()).collect()
    }

    fn read(path: &Path) -> Result<Self> {
        let mut recorded = Self { chunk: Vec::new(), rows: 0 };
        for packet in PcapReader::new(BufReader::new(File::open(path)?))? {
            let packet = packet?;
            if packet.direction == Some(Direction::FromKernel) {
                recorded.add(&packet.payload);
            }
        }
        recorded.checked()
    }

    /// Adds those that are established: the others are shorter, and would make a row look cheap.
    fn add(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        for message in Messages::new(chunk).flatten() {
            let length = (message.payload.len() + HEADER_BYTES).next_multiple_of(4).min(rest.len());
            let (bytes, after) = rest.split_at(length);
            rest = after;
            let socket = InetDiag::parse(message.payload, AttrSet::ALL);
            if is_socket(message.kind) && socket.is_ok_and(|socket| socket.state() == ESTABLISHED) {
                self.chunk.extend_from_slice(bytes);
                self.rows += 1;
            }
        }
    }

    fn checked(self) -> Result<Self> {
        ensure!(self.rows > 0, "no established socket in the messages");
        Ok(self)
    }
}

/// The capture with the highest name of a kernel.
fn newest(folder: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for kernel in folder.read_dir()? {
        let kernel = kernel?.path();
        if !kernel.is_dir() {
            continue;
        }
        for file in kernel.read_dir()? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "pcap") {
                found.push(file);
            }
        }
    }
    found.into_iter().max().context("no capture")
}

const HEADER_BYTES: usize = sockeye_wire::netlink::HEADER_BYTES;
const ESTABLISHED: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capture_of_the_repository_has_established_sockets_alone() {
        let recorded = Recorded::capture().unwrap();
        let sockets = recorded.sockets(AttrSet::ALL);
        assert_eq!(sockets.len() as u64, recorded.rows());
        assert!(recorded.rows() >= 30, "{}", recorded.rows());
        assert!(sockets.iter().all(|socket| socket.state() == ESTABLISHED));
        assert!(sockets.iter().all(|socket| socket.info().is_some()));
        let whole = Messages::new(recorded.chunk()).collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(whole.len() as u64, recorded.rows());
    }

    #[test]
    fn no_established_socket_is_an_error() {
        assert!(Recorded { chunk: Vec::new(), rows: 0 }.checked().is_err());
    }
}
