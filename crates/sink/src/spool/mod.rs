//! A spool: envelopes on a disk, in order, until somebody can have them.
//!
//! A directory of segment files. An envelope is appended with one header, and marked as done in place. What was written
//! survives the end of the process at once; the power failing, as of the last [`Spool::sync`]. At the next start a torn
//! end is cut off and counted, and what is not done is read again from the beginning. At most so many bytes are kept:
//! the oldest segment goes when there is no room for what is new.

mod frame;
mod segment;

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use segment::{Damage, Pending, Segment};

/// Where envelopes wait, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    /// A directory of its own; made when its parent exists.
    pub dir: PathBuf,
    /// Bytes of all files at the most.
    pub bytes: u64,
}

/// An open spool. Nobody else has it open.
#[derive(Debug)]
pub struct Spool {
    settings: SpoolSettings,
    /// In order; the last one is appended to.
    segments: VecDeque<Segment>,
    next_number: u64,
    /// The next envelope to read.
    cursor: Place,
    _lock: File,
}

/// What a spool had when it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Envelopes that wait.
    pub envelopes: u64,
    /// Their rows.
    pub rows: u64,
    /// Bytes that could not be read back, and were cut off or are passed over.
    pub damaged_bytes: u64,
    /// Rows in them, as far as could be told.
    pub damaged_rows: u64,
}

/// Where an envelope is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    segment: u64,
    offset: u64,
    /// Of the envelope, which may not be there to be asked when it is done.
    rows: u64,
}

/// An envelope that was read back.
#[derive(Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Where it is.
    pub place: Place,
    /// The message's key; empty for none.
    pub key: Vec<u8>,
    /// The envelope's bytes.
    pub envelope: Vec<u8>,
    /// Its rows.
    pub rows: u64,
}

/// What reading on has brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// An envelope.
    Envelope(Spooled),
    /// These rows can't be read back; they are done with.
    Damaged(u64),
    /// Everything has been read.
    End,
}

impl Spool {
    /// Opens the spool, or makes it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: somebody else has it open. Others as of the file system.
    pub fn open(settings: SpoolSettings) -> io::Result<(Self, Found)> {
        if !settings.dir.is_dir() {
            fs::create_dir(&settings.dir)?;
        }
        let lock = File::create(settings.dir.join("lock"))?;
        // There are file systems without locks.
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (mut segments, mut found) = (VecDeque::new(), Found::default());
        let mut next_number = 0;
        for number in segment::numbers(&settings.dir)? {
            let (segment, Damage { bytes, rows }) = Segment::open(&settings.dir, number)?;
            found.damaged_bytes += bytes;
            found.damaged_rows += rows;
            let Pending { envelopes, rows } = segment.pending;
            found.envelopes += envelopes;
            found.rows += rows;
            next_number = number + 1;
            segments.push_back(segment);
        }
        let mut spool =
            Self { settings, segments, next_number, cursor: Place::default(), _lock: lock };
        spool.remove_what_is_done()?;
        Ok((spool, found))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.settings.dir
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Envelopes that are not done.
    pub fn envelopes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.pending.envelopes).sum()
    }

    /// Removes the oldest segments until an envelope of this length fits. The rows that are lost with them.
    pub fn make_room(&mut self, key: &[u8], envelope: &[u8]) -> u64 {
        let len = frame_len(key, envelope);
        let mut lost = 0;
        while len <= self.settings.bytes && self.bytes() + len > self.settings.bytes {
            let Some(oldest) = self.segments.pop_front() else { break };
            lost += oldest.pending.rows;
            // What can't be deleted is found again by the next start.
            let _ = oldest.delete();
        }
        lost
    }

    /// Appends an envelope and says where it is. [`Spool::make_room`] goes before.
    ///
    /// # Errors
    /// Nothing of it is on the disk: it is full, or fails, or the envelope is longer than the whole spool may be.
    pub fn append(&mut self, key: &[u8], envelope: &[u8], rows: u64) -> io::Result<Place> {
        let len = frame_len(key, envelope);
        if self.bytes() + len > self.settings.bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "longer than the spool may be",
            ));
        }
        let segment_bytes = self.settings.bytes / SEGMENTS;
        if self.segments.back().is_none_or(|last| last.len > 0 && last.len + len > segment_bytes) {
            if let Some(last) = self.segments.back_mut() {
                last.sync()?;
            }
            // Before: a number that can't be had is not asked for again.
            self.next_number += 1;
            self.segments.push_back(Segment::create(&self.settings.dir, self.next_number - 1)?);
        }
        let last = self.segments.back_mut().expect("one was made");
        let offset = last.append(key, envelope, rows)?;
        Ok(Place { segment: last.number, offset, rows })
    }

    /// Whether everything has been read that is not done.
    pub fn is_read(&self) -> bool {
        let behind = |segment: &Segment| {
            let end = Place { segment: segment.number, offset: segment.len, rows: 0 };
            end > self.cursor && segment.pending.envelopes > 0
        };
        !self.segments.iter().any(behind)
    }

    /// Reads on: the next envelope that is not done and that `skip` does not name.
    ///
    /// # Errors
    /// The disk fails; it can be tried again.
    pub fn next(&mut self, skip: impl Fn(Place) -> bool) -> io::Result<Next> {
        let from = self.cursor.segment;
        for segment in self.segments.iter_mut().filter(|segment| segment.number >= from) {
            if segment.number > self.cursor.segment {
                self.cursor = Place { segment: segment.number, offset: 0, rows: 0 };
            }
            while self.cursor.offset < segment.len {
                if let Some(end) = segment.behind_gone(self.cursor.offset) {
                    self.cursor.offset = end;
                    continue;
                }
                let header = match segment.header(self.cursor.offset) {
                    Err(error) if segment::is_damage(&error) => {
                        let rows = segment.mend()?;
                        // A wrong length may have led astray; what is done or under way is passed over again.
                        self.cursor.offset = 0;
                        return Ok(Next::Damaged(rows));
                    }
                    header => header?,
                };
                let place = Place { rows: header.rows.into(), ..self.cursor };
                if header.done || segment.is_gone(place.offset) || skip(place) {
                    self.cursor.offset += header.frame();
                    continue;
                }
                let frame = match segment.read(place.offset, &header) {
                    // The file is shorter than it was.
                    Err(error) if segment::is_damage(&error) => None,
                    frame => frame?,
                };
                let Some(frame) = frame else {
                    let rows = segment.mend()?;
                    self.cursor.offset = 0;
                    return Ok(Next::Damaged(rows));
                };
                self.cursor.offset += header.frame();
                let frame::Frame { key, envelope } = frame;
                return Ok(Next::Envelope(Spooled {
                    place,
                    key,
                    envelope,
                    rows: header.rows.into(),
                }));
            }
        }
        Ok(Next::End)
    }

    /// What is there so far need not be read: it is on its way already.
    pub fn pass_over(&mut self) {
        if let Some(last) = self.segments.back() {
            self.cursor = Place { segment: last.number, offset: last.len, rows: 0 };
        }
    }

    /// It has to be read again, and with it what is behind.
    pub fn read_again(&mut self, place: Place) {
        self.cursor = self.cursor.min(place);
    }

    /// The envelope is needed no more. Its rows, or none when the spool has it no more; and how the disk has taken it:
    /// when it fails, the envelope may be read again after the next start.
    pub fn done(&mut self, place: Place) -> (u64, io::Result<()>) {
        let segment = self.segments.iter_mut().find(|segment| segment.number == place.segment);
        let Some(segment) = segment else { return (0, Ok(())) };
        let (rows, marked) = segment.done(place.offset, place.rows);
        let removed = self.remove_what_is_done();
        (rows, marked.and(removed))
    }

    /// Makes sure that a power failure takes nothing that was appended so far.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync(&mut self) -> io::Result<()> {
        self.segments.back_mut().map_or(Ok(()), Segment::sync)
    }

    fn remove_what_is_done(&mut self) -> io::Result<()> {
        while self.segments.front().is_some_and(|first| first.pending.envelopes == 0) {
            if let Some(segment) = self.segments.pop_front() {
                segment.delete()?;
            }
        }
        Ok(())
    }
}

fn frame_len(key: &[u8], envelope: &[u8]) -> u64 {
    (frame::HEADER + key.len() + envelope.len()) as u64
}

/// A spool has about so many files at the most: what is given up when it is full is one of them.
const SEGMENTS: u64 = 16;

#[cfg(test)]
mod tests;
