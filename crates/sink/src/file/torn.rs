//! How the last writer of a file left it: whole, with a torn tail, or as something that is not ours.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use sockeye_record::Format;
use sockeye_record::decode::{DecodeError, Records, whole_prefix};

use super::{FileSettings, msgpack, zstd_frames};

/// The end of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Every row is whole.
    Whole,
    /// What begins at this offset is the begin of a row, and its end is missing.
    TornAt(u64),
    /// Not what we write. Cutting it would destroy somebody's file.
    Foreign(&'static str),
}

/// Examines a file of `len` bytes. Lines are searched from the end; other formats are read from their beginning.
pub(crate) fn examine(file: &File, len: u64, settings: &FileSettings) -> io::Result<Tail> {
    if len == 0 {
        return Ok(Tail::Whole);
    }
    let mut reader = BufReader::with_capacity(BLOCK, file);
    reader.seek(SeekFrom::Start(0))?;
    let tail = if settings.zstd {
        zstd_frames::tail(reader, len)?
    } else {
        match settings.format {
            Format::ProtobufList => protobuf_list(file, len)?,
            Format::Msgpack => msgpack::tail(reader, len)?,
            Format::Csv | Format::Tsv => quoted_lines(reader, len)?,
            Format::Jsonl | Format::ProtoJson => lines(file, len, b"{")?,
            Format::ProtoText => lines(file, len, b"row {")?,
            Format::Table => lines(file, len, b"")?,
        }
    };
    if begins_with_header(file, settings)? {
        Ok(tail)
    } else {
        Ok(Tail::Foreign("it has another header"))
    }
}

impl Tail {
    /// What a file of `len` bytes is whose first `whole` bytes are whole, and the rest the begin of something.
    pub(crate) fn after(whole: u64, len: u64) -> Self {
        if whole == len { Self::Whole } else { Self::TornAt(whole) }
    }
}

/// Behind the last end of a line, found from the end.
fn lines(file: &File, len: u64, begin: &[u8]) -> io::Result<Tail> {
    let mut first = vec![0; begin.len().min(usize::try_from(len).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut first, 0)?;
    if !begin.starts_with(&first) {
        return Ok(Tail::Foreign("it holds another format"));
    }
    let mut end = len;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let bytes =
            block.get_mut(..usize::try_from(end - start).unwrap_or(BLOCK)).unwrap_or_default();
        file.read_exact_at(bytes, start)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Tail::after(start + at as u64 + 1, len));
        }
        end = start;
    }
    Ok(Tail::TornAt(0))
}

/// Behind the last end of a line outside of quotes (RFC 4180): a quoted field may hold ends of lines, so that this can't
/// be told from the end alone.
fn quoted_lines(mut reader: impl BufRead, len: u64) -> io::Result<Tail> {
    let (mut offset, mut whole, mut quoted) = (0, 0, false);
    loop {
        let bytes = reader.fill_buf()?;
        let read = bytes.len();
        if read == 0 {
            return Ok(Tail::after(whole, len));
        }
        for (at, byte) in (offset + 1..).zip(bytes) {
            match byte {
                b'"' => quoted = !quoted,
                b'\n' if !quoted => whole = at,
                _ => {}
            }
        }
        offset += read as u64;
        reader.consume(read);
    }
}

fn protobuf_list(mut file: &File, len: u64) -> io::Result<Tail> {
    file.seek(SeekFrom::Start(0))?;
    let whole = whole_prefix(file)?;
    file.seek(SeekFrom::Start(whole))?;
    for item in Records::new(file) {
        match item {
            Ok(_) => {}
            Err(DecodeError::Truncated { .. }) => return Ok(Tail::TornAt(whole)),
            Err(DecodeError::Io { error, .. }) => return Err(error),
            Err(DecodeError::Corrupt { .. } | DecodeError::Row { .. }) => {
                return Ok(Tail::Foreign("it is no protobufList to its end"));
            }
        }
    }
    Ok(Tail::after(whole, len))
}

/// Rows under other columns must not follow each other. A header may be torn as well, with nothing behind it.
fn begins_with_header(mut file: &File, settings: &FileSettings) -> io::Result<bool> {
    let mut begin = Vec::new();
    let most = settings.header.len() as u64;
    file.seek(SeekFrom::Start(0))?;
    if settings.zstd {
        // A torn frame ends in an error; what comes before it counts.
        let _ = zstd::Decoder::new(file)?.take(most).read_to_end(&mut begin);
    } else {
        file.take(most).read_to_end(&mut begin)?;
    }
    Ok(settings.header.starts_with(&begin))
}

const BLOCK: usize = 1 << 16;
