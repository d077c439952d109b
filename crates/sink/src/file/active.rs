//! The file that is being written: appends are whole or leave nothing.

use std::fs::{self, File};
use std::io::{self, Write};

use jiff::Timestamp;
use tracing::{debug, warn};

use super::FileSettings;
use super::open::{self, OpenError, Opened};
use super::place::Place;

/// A file open for appending.
#[derive(Debug)]
pub(crate) struct Active {
    file: File,
    device: bool,
    /// Bytes that a device has taken; a file knows by itself.
    taken: u64,
    place: Place,
    opened: Timestamp,
    /// The length to cut the file back to before anything else is written.
    cut_due: Option<u64>,
}

impl Active {
    pub(crate) fn open(
        place: Place,
        settings: &FileSettings,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let Opened { file, device } = open::open(place.path(), settings, now)?;
        let mut active = Self { file, device, taken: 0, place, opened: now, cut_due: None };
        active.opened = active.begun_before(now).unwrap_or(now);
        debug!(path = %active.place.path().display(), "opened");
        Ok(active)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// When the file began, by whichever process.
    pub(crate) fn opened(&self) -> Timestamp {
        self.opened
    }

    /// Whether it is a character device: there is nothing to rotate.
    pub(crate) fn is_device(&self) -> bool {
        self.device
    }

    /// Its length on disk.
    pub(crate) fn len(&self) -> io::Result<u64> {
        // Asked anew each time: logrotate's copytruncate shortens the file under us.
        if self.device { Ok(self.taken) } else { Ok(self.file.metadata()?.len()) }
    }

    /// Appends `bytes`, and `header` before them when the file is empty. When it fails, nothing of it stays.
    pub(crate) fn append(&mut self, header: &[u8], bytes: &[u8]) -> io::Result<()> {
        self.cut_if_due()?;
        let before = self.len()?;
        let header = if before == 0 { header } else { &[] };
        let written = self.file.write_all(header).and_then(|()| self.file.write_all(bytes));
        if written.is_ok() {
            self.taken += (header.len() + bytes.len()) as u64;
        } else if !self.device {
            self.cut_due = Some(before);
            // If it can't be now, it will be before the next write.
            let _ = self.cut_if_due();
        }
        written
    }

    /// Cuts off what a failed write has left.
    pub(crate) fn cut_if_due(&mut self) -> io::Result<()> {
        if let Some(len) = self.cut_due {
            if self.len()? > len {
                self.file.set_len(len)?;
            }
            self.cut_due = None;
        }
        Ok(())
    }

    /// Forces the file to the disk and gives it its final name; a `.partial` without content is removed instead. May be
    /// called again after an error.
    pub(crate) fn complete(&mut self) -> io::Result<()> {
        if self.device {
            return Ok(());
        }
        self.cut_if_due()?;
        self.file.sync_data()?;
        if !self.still_in_place()? {
            warn!(path = %self.place.path().display(), "moved away by somebody else: left as it is");
            return Ok(());
        }
        if self.place.is_pattern() && self.len()? == 0 {
            return fs::remove_file(self.place.path());
        }
        let path = self.place.complete(self.opened)?;
        debug!(path = %path.display(), "completed");
        Ok(())
    }

    /// Whether the path still leads to this file; what is another's is not renamed.
    fn still_in_place(&self) -> io::Result<bool> {
        open::leads_to(self.place.path(), &self.file)
    }

    /// A file that is continued is as old as the file system says.
    fn begun_before(&self, now: Timestamp) -> Option<Timestamp> {
        let metadata = self
            .file
            .metadata()
            .ok()
            .filter(|metadata| metadata.is_file() && metadata.len() > 0)?;
        let created = Timestamp::try_from(metadata.created().ok()?).ok()?;
        (created < now).then_some(created)
    }
}
