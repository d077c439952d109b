//! A segment: one file of a spool, appended to until it is long enough, deleted when all of it is done.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::frame::{DONE, Frame, HEADER, Header, MAGIC, STATE};

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    path: PathBuf,
    file: File,
    /// Bytes of whole frames.
    pub(crate) len: u64,
    /// What is not done yet.
    pub(crate) pending: Pending,
    /// What is done or lost and could not be marked so, by begin and end.
    gone: BTreeMap<u64, u64>,
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
        if let Err(error) = File::open(dir).and_then(|dir| dir.sync_all()) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self::of(number, path, file))
    }

    /// One that is there. A torn end is cut off; what can't be read back is marked as done.
    ///
    /// # Errors
    /// As of the file system.
    pub(crate) fn open(dir: &Path, number: u64) -> io::Result<(Self, Damage)> {
        let path = dir.join(name_of(number));
        let file = options().open(&path)?;
        let mut segment = Self::of(number, path, file);
        let whole = segment.file.metadata()?.len();
        let damage = segment.examine(whole, |segment, torn| {
            segment.file.set_len(torn)?;
            segment.len = torn;
            Ok(())
        })?;
        Ok((segment, damage))
    }

    fn of(number: u64, path: PathBuf, file: File) -> Self {
        let (pending, gone) = (Pending::default(), BTreeMap::new());
        Self { number, path, file, len: 0, pending, gone, dirty: false }
    }

    /// Looks at it again while it is open, because a header in it is none any more. The rows that are lost.
    pub(crate) fn mend(&mut self) -> io::Result<u64> {
        let before = self.pending.rows;
        // It keeps its length: what is appended next must not get the place of something that is under way.
        self.examine(self.len, |segment, torn| {
            segment.fill(torn, segment.len);
            Ok(())
        })?;
        Ok(before.saturating_sub(self.pending.rows))
    }

    /// Counts what is pending in the first `whole` bytes, and passes over what can't be read back. What is behind the
    /// last frame goes to `torn`.
    fn examine(
        &mut self,
        whole: u64,
        torn: impl FnOnce(&mut Self, u64) -> io::Result<()>,
    ) -> io::Result<Damage> {
        self.len = whole;
        let (mut damage, mut pending) = (Damage::default(), Pending::default());
        let (mut at, mut spoiled, mut gaps) = (0, Vec::new(), Vec::new());
        while at < whole {
            let (header, intact) = self.look(at)?;
            let waits = header.filter(|header| !header.done && !self.is_gone(at));
            let rows = waits.map_or(0, |header| header.rows.into());
            match header {
                Some(header) if intact => {
                    pending.envelopes += u64::from(waits.is_some());
                    pending.rows += rows;
                    at += header.frame();
                }
                // Its length is right: only what is in it is wrong.
                Some(header) if self.begins(at + header.frame())? => {
                    if waits.is_some() {
                        spoiled.push((at, header.frame()));
                        damage.bytes += header.frame();
                        damage.rows += rows;
                    }
                    at += header.frame();
                }
                _ => {
                    damage.rows += rows;
                    let Some(next) = self.next_frame(at + HEADER as u64)? else { break };
                    damage.bytes += next - at;
                    gaps.push((at, next));
                    at = next;
                }
            }
        }
        self.pending = pending;
        if at < whole {
            damage.bytes += whole - at;
            torn(self, at)?;
        }
        for (from, to) in gaps {
            self.fill(from, to);
        }
        for (offset, frame) in spoiled {
            self.gone.insert(offset, offset + frame);
            // As with gaps: what the disk does not take is found again by the next start.
            let _ = self.mark(offset);
        }
        Ok(damage)
    }

    /// What may be a header there, and whether the frame fits its checksum.
    fn look(&mut self, at: u64) -> io::Result<(Option<Header>, bool)> {
        let header = match self.header(at) {
            Ok(header) => header,
            Err(error) if is_damage(&error) => return Ok((None, false)),
            Err(error) => return Err(error),
        };
        let fits = at + header.frame() <= self.len;
        let intact = fits
            && match self.read(at, &header) {
                Err(error) if is_damage(&error) => false,
                frame => frame?.is_some(),
            };
        // A row has its bytes: counts that contradict each other are nothing to go by.
        let plausible = intact || u64::from(header.rows) <= header.body();
        Ok((plausible.then_some(header), intact))
    }

    /// Whether a frame may begin there, or nothing.
    fn begins(&self, at: u64) -> io::Result<bool> {
        match self.header(at) {
            _ if at >= self.len => Ok(at == self.len),
            Ok(_) => Ok(true),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first frame from there on that fits its checksum.
    fn next_frame(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        let mut piece = vec![0; 1 << 16];
        loop {
            let read = match self.file.read_at(&mut piece, from) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            let found = piece.get(..read).unwrap_or_default();
            for (at, _) in (from..).zip(found.windows(MAGIC.len())).filter(|(_, it)| *it == MAGIC) {
                if matches!(self.look(at)?, (Some(_), true)) {
                    return Ok(Some(at));
                }
            }
            if read < MAGIC.len() {
                return Ok(None);
            }
            // A magic may lie across two pieces.
            from += (read - MAGIC.len() + 1) as u64;
        }
    }

    /// Makes frames that are done of what lies between.
    fn fill(&mut self, mut from: u64, to: u64) {
        self.gone.insert(from, to);
        while from < to {
            let gap = to - from;
            let frame = if gap > 2 * LONGEST_FILL { LONGEST_FILL } else { gap };
            let _ = self.file.write_all_at(&Header::filling(frame).to_bytes(), from);
            from += frame;
        }
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

    /// The envelope of these rows at `offset` is pending no more. Its rows, or none when it was not; and whether the disk
    /// knows it.
    pub(crate) fn done(&mut self, offset: u64, rows: u64) -> (u64, io::Result<()>) {
        if self.is_gone(offset) {
            return (0, Ok(()));
        }
        let (known, frame) = match self.header(offset) {
            Ok(header) if header.done => return (0, Ok(())),
            // Not synced: what is forgotten by a power failure is sent again.
            Ok(header) => (self.mark(offset), header.frame()),
            Err(error) => (Err(error), UNKNOWN),
        };
        if known.is_err() {
            self.gone.insert(offset, offset + frame);
        }
        self.pending.envelopes = self.pending.envelopes.saturating_sub(1);
        self.pending.rows = self.pending.rows.saturating_sub(rows);
        (rows, known)
    }

    /// Whether what begins there is done, or lost, although it may look otherwise.
    pub(crate) fn is_gone(&self, offset: u64) -> bool {
        self.gone.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }

    /// Where to read on, when what lies there is gone.
    pub(crate) fn behind_gone(&self, offset: u64) -> Option<u64> {
        let (begin, end) = self.gone.range(..=offset).next_back()?;
        (offset < *end && *end > begin + UNKNOWN).then_some(*end)
    }

    fn mark(&mut self, offset: u64) -> io::Result<()> {
        self.file.write_all_at(&[DONE], offset + STATE as u64)
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.dirty) { self.file.sync_data() } else { Ok(()) }
    }

    /// From now on it can't be written.
    #[cfg(test)]
    pub(crate) fn make_read_only(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }

    pub(crate) fn delete(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}

/// Whether the bytes are wrong, and not the disk: trying again does not help.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
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

/// For the length of a frame of which only the begin is known.
const UNKNOWN: u64 = 1;
/// A frame has no more than 32 bits for its length.
const LONGEST_FILL: u64 = 1 << 30;
const SUFFIX: &str = ".spool";
