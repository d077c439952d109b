//! A segment: one file of a spool, appended to until it is long enough, deleted when all of it is done.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frame::{DONE, Frame, HEADER, Header, STATE};

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    path: PathBuf,
    file: File,
    /// Bytes of whole frames.
    pub(crate) len: u64,
    /// What is not done yet.
    pub(crate) pending: Pending,
    /// What was written since it was last synced.
    dirty: bool,
}

/// Envelopes and their rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) envelopes: u64,
    pub(crate) rows: u64,
}

/// What was wrong with a segment, and was cut off or marked as done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) bytes: u64,
    /// As far as headers told.
    pub(crate) rows: u64,
}

impl Segment {
    /// A new one.
    ///
    /// # Errors
    /// As of the file system.
    pub(crate) fn create(dir: &Path, number: u64) -> io::Result<Self> {
        let path = dir.join(name_of(number));
        let file = options().create_new(true).open(&path)?;
        // Without its entry in the directory a synced file is lost all the same.
        File::open(dir)?.sync_all()?;
        Ok(Self { number, path, file, len: 0, pending: Pending::default(), dirty: false })
    }

    /// One that is there. A torn end is cut off; a frame that does not fit its checksum is marked as done.
    ///
    /// # Errors
    /// As of the file system.
    pub(crate) fn open(dir: &Path, number: u64) -> io::Result<(Self, Damage)> {
        let path = dir.join(name_of(number));
        let file = options().open(&path)?;
        let mut segment =
            Self { number, path, file, len: 0, pending: Pending::default(), dirty: false };
        let damage = segment.examine()?;
        Ok((segment, damage))
    }

    fn examine(&mut self) -> io::Result<Damage> {
        let (mut damage, whole) = (Damage::default(), self.file.metadata()?.len());
        let mut reader = BufReader::with_capacity(1 << 16, self.file.try_clone()?);
        reader.seek(SeekFrom::Start(0))?;
        let mut spoiled = Vec::new();
        loop {
            let mut header = [0; HEADER];
            match reader.read_exact(&mut header) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            let Some(header) = Header::parse(header) else { break };
            match header.read_body(&mut reader) {
                Ok(Some(_)) if header.done => {}
                Ok(Some(_)) => {
                    self.pending.envelopes += 1;
                    self.pending.rows += u64::from(header.rows);
                }
                Ok(None) => {
                    if !header.done {
                        spoiled.push(self.len);
                        damage.bytes += header.frame();
                        damage.rows += u64::from(header.rows);
                    }
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    damage.rows += u64::from(header.rows);
                    break;
                }
                Err(error) => return Err(error),
            }
            self.len += header.frame();
        }
        if self.len < whole {
            damage.bytes += whole - self.len;
            self.file.set_len(self.len)?;
        }
        for offset in spoiled {
            self.mark(offset)?;
        }
        Ok(damage)
    }

    /// Appends a frame and says where it is. One that does not fit on the disk leaves nothing.
    ///
    /// # Errors
    /// As of the file system.
    pub(crate) fn append(&mut self, key: &[u8], envelope: &[u8], rows: u64) -> io::Result<u64> {
        let header = Header::new(key, envelope, rows)?;
        let offset = self.len;
        self.file.seek(SeekFrom::Start(offset))?;
        let head = [&header.to_bytes()[..], key].concat();
        if let Err(error) = self.file.write_all(&head).and_then(|()| self.file.write_all(envelope))
        {
            // Where even that fails, the next start cuts it, and the next append goes over it.
            let _ = self.file.set_len(offset);
            return Err(error);
        }
        self.len += header.frame();
        self.pending.envelopes += 1;
        self.pending.rows += rows;
        self.dirty = true;
        Ok(offset)
    }

    /// The header at an offset.
    pub(crate) fn header(&self, offset: u64) -> io::Result<Header> {
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, offset)?;
        Header::parse(header).ok_or_else(|| ErrorKind::InvalidData.into())
    }

    /// The frame at an offset; `None` when it can't be read back any more.
    pub(crate) fn read(&mut self, offset: u64, header: &Header) -> io::Result<Option<Frame>> {
        self.file.seek(SeekFrom::Start(offset + HEADER as u64))?;
        header.read_body(&self.file)
    }

    /// The envelope at `offset` is pending no more. Its rows; none when it was not.
    pub(crate) fn done(&mut self, offset: u64) -> io::Result<u64> {
        let header = self.header(offset)?;
        if header.done {
            return Ok(0);
        }
        self.pending.envelopes = self.pending.envelopes.saturating_sub(1);
        self.pending.rows = self.pending.rows.saturating_sub(header.rows.into());
        // Not synced: what is forgotten by a power failure is sent again.
        self.mark(offset)?;
        Ok(header.rows.into())
    }

    fn mark(&mut self, offset: u64) -> io::Result<()> {
        self.file.write_all_at(&[DONE], offset + STATE as u64)
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) { self.file.sync_data() } else { Ok(()) }
    }

    pub(crate) fn delete(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}

/// The numbers of the segments in a directory, in order. Other files are left alone.
pub(crate) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        numbers.extend(number.filter(|number| *name == *name_of(*number)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn name_of(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Addresses of connections are nobody else's business.
    options.read(true).write(true).mode(0o600);
    options
}

const SUFFIX: &str = ".spool";
