//! Files: whole envelopes behind one another, rotated by size, age and name; after any crash they are whole again.
//!
//! What is promised, and what is not:
//! - A file never holds half an envelope once a write has failed or the file was opened again: it is cut back.
//! - No file is ever overwritten, and nothing is cut off but the begin of what we write. What can't be continued (another
//!   format, other columns, anything that is not ours) is set aside by a rename.
//! - What a crash left as `.partial` is completed at the next start with the same pattern, unless it is being written.
//! - Delivered means written to the kernel. Data is forced to the disk (`fdatasync`) when a file is completed, and
//!   not before: a power failure may cost what the kernel had not written back yet.
//! - A file has one writer: it is locked (`flock`) while it is open.

mod active;
mod begin;
mod cursor;
mod leftovers;
mod msgpack;
mod open;
mod pattern;
mod place;
mod protobuf_list;
#[cfg(test)]
mod tests;
mod torn;
mod zstd_frames;

use std::fmt;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use sockeye_pipeline::{Delivery, SendError, Sink};
use sockeye_record::Format;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use crate::put::{self, Put, PutError};
use active::Active;
pub use open::OpenError;
pub use pattern::{PathPattern, PatternError};
use place::Place;

/// What a file sink writes, and when it begins the next file.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// Where. `.zst` is added to the name when `zstd` is set and the name does not end so.
    pub path: PathPattern,
    /// A file is completed rather than made longer than this on disk, unless by a single envelope. Default: no limit.
    pub rotate_bytes: Option<u64>,
    /// A file that has rows is completed at this age. Default: no limit.
    pub rotate_age: Option<Duration>,
    /// Compresses each envelope into a zstd frame of its own (level 3); the frames together are a valid `.zst` file.
    pub zstd: bool,
    /// Stands once at the start of each file: [`sockeye_record::Encoder::header`].
    pub header: Vec<u8>,
    /// What the envelopes are; says where a torn tail begins.
    pub format: Format,
}

/// Writes envelopes to a file, and to the next one.
///
/// A full disk, or any other error, is never fatal: what was half written is cut off and tried again.
pub struct FileSink {
    settings: FileSettings,
    compressor: Option<Compressor<'static>>,
    /// As it stands in the file.
    header: Vec<u8>,
    clock: Clock,
    /// `None` between a file and the next, when that could not be opened yet.
    active: Option<Active>,
}

type Clock = Box<dyn Fn() -> Timestamp + Send>;

impl FileSink {
    /// Opens the first file.
    ///
    /// # Errors
    /// See [`OpenError`]: each variant names what to change.
    pub fn open(settings: FileSettings) -> Result<Self, OpenError> {
        Self::open_with_clock(settings, Box::new(Timestamp::now))
    }

    fn open_with_clock(settings: FileSettings, clock: Clock) -> Result<Self, OpenError> {
        let mut compressor = settings.zstd.then(compressor).transpose().map_err(OpenError::Zstd)?;
        let header = match &mut compressor {
            Some(compressor) if !settings.header.is_empty() => {
                compressor.compress(&settings.header).map_err(OpenError::Zstd)?
            }
            _ => settings.header.clone(),
        };
        let mut sink = Self { settings, compressor, header, clock, active: None };
        sink.open_next()?;
        if let Some(active) = sink.active.as_ref().filter(|active| active.place().is_pattern()) {
            leftovers::complete(&sink.settings, active.place().path(), active.opened());
        }
        Ok(sink)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let frame;
        let bytes = match &mut self.compressor {
            Some(compressor) => {
                frame = compressor.compress(bytes)?;
                &frame
            }
            None => bytes,
        };
        self.rotate(bytes.len() as u64)?;
        if self.active.is_none() {
            self.open_next().map_err(OpenError::into_io)?;
        }
        match &mut self.active {
            Some(active) => active.append(&self.header, bytes),
            None => Ok(()),
        }
    }

    /// Completes the file if it is time to, or if `more` bytes would make it too long.
    fn rotate(&mut self, more: u64) -> io::Result<()> {
        let Some(active) = self.active.as_ref().filter(|active| !active.is_device()) else {
            return Ok(());
        };
        let now = (self.clock)();
        let len = active.len()?;
        let renamed = active.place().renamed(&self.place(now));
        let has_rows = len > self.header.len() as u64;
        let too_long =
            self.settings.rotate_bytes.is_some_and(|most| len.saturating_add(more) > most);
        let age = Duration::try_from(now.duration_since(active.opened())).unwrap_or_default();
        let too_old = self.settings.rotate_age.is_some_and(|most| age >= most);
        if renamed || (has_rows && (too_long || too_old)) { self.complete() } else { Ok(()) }
    }

    fn complete(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            active.complete()?;
            self.active = None;
        }
        Ok(())
    }

    fn open_next(&mut self) -> Result<(), OpenError> {
        let now = (self.clock)();
        let place = self.place(now).behind_link();
        self.active = Some(Active::open(place, &self.settings, now)?);
        Ok(())
    }

    fn place(&self, now: Timestamp) -> Place {
        Place::at(&self.settings.path, self.settings.zstd, now)
    }
}

impl Put for FileSink {
    fn put(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.append(bytes).map_err(PutError::Retry)
    }
}

impl Sink for FileSink {
    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        put::send(self, delivery)
    }

    /// Rotates by age and name without traffic as well.
    fn idle(&mut self) -> io::Result<()> {
        self.rotate(0)?;
        match &mut self.active {
            Some(active) => active.cut_if_due(),
            None => self.open_next().map_err(OpenError::into_io),
        }
    }

    /// Opens the path again, without completing anything: a plain file may have been moved away. One with a pattern is
    /// completed and the next one begun.
    fn reopen(&mut self) -> io::Result<()> {
        if let Some(active) = &mut self.active {
            if active.place().is_pattern() {
                active.complete()?;
            } else {
                // What could not be cut off now is found when the file is opened again.
                let _ = active.cut_if_due();
            }
        }
        // The lock must go before the same file can be opened again.
        self.active = None;
        self.open_next().map_err(OpenError::into_io)
    }

    /// Completes a file with a pattern; a plain one stays where it is. A csv without rows has its header all the same.
    fn finish(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        active.cut_if_due()?;
        if active.len()? == 0 {
            active.append(&self.header, &[])?;
        }
        if active.place().is_pattern() {
            active.complete()?;
        }
        self.active = None;
        Ok(())
    }
}

impl fmt::Debug for FileSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink")
            .field("settings", &self.settings)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

fn compressor() -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(ZSTD_LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor)
}

const ZSTD_LEVEL: i32 = 3;
