//! How the last writer of a file left it: whole, with a torn tail, or as something that is not ours.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use sockeye_record::Format;
use sockeye_record::decode::{DecodeError, Records};

use super::{FileSettings, begin, msgpack, protobuf_list, zstd_frames};

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
    let first = beginning(file, settings)?;
    let tail = {
        let mut reader = BufReader::with_capacity(BLOCK, file);
        reader.seek(SeekFrom::Start(0))?;
        match settings.format {
            _ if settings.zstd => zstd_frames::tail(reader, len)?,
            Format::ProtobufList => protobuf_list(reader, file, len)?,
            Format::Msgpack => msgpack::tail(reader, len)?,
            Format::Csv | Format::Tsv => quoted_lines(reader, len)?,
            Format::Jsonl | Format::ProtoJson | Format::ProtoText | Format::Table => {
                lines(file, len, settings.format)?
            }
        }
    };
    if let Tail::Foreign(_) = tail {
        return Ok(tail);
    }
    if let Err(why) = begin::is_of(settings, &first) {
        return Ok(Tail::Foreign(why));
    }
    // A torn frame that shows nothing of what is in it may be anybody's; the header of a frame holds nothing yet.
    if settings.zstd && first.is_empty() && tail != Tail::Whole && len > zstd_frames::MAX_HEADER {
        return Ok(Tail::Foreign("its only zstd frame is torn"));
    }
    Ok(tail)
}

impl Tail {
    /// What a file of `len` bytes is whose first `whole` bytes are whole, and the rest the begin of something.
    pub(crate) fn after(whole: u64, len: u64) -> Self {
        if whole == len { Self::Whole } else { Self::TornAt(whole) }
    }
}

/// Behind the last end of a line, found from the end. What is behind it must begin like a line of ours.
fn lines(file: &File, len: u64, format: Format) -> io::Result<Tail> {
    let whole = behind_last_line(file, len)?;
    let mut torn = vec![0; usize::try_from(len - whole).unwrap_or(BLOCK).min(BLOCK)];
    file.read_exact_at(&mut torn, whole)?;
    if begin::is_line_of(format, &torn) {
        Ok(Tail::after(whole, len))
    } else {
        Ok(Tail::Foreign("its last line is no row"))
    }
}

fn behind_last_line(file: &File, len: u64) -> io::Result<u64> {
    let mut end = len;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let bytes =
            block.get_mut(..usize::try_from(end - start).unwrap_or(BLOCK)).unwrap_or_default();
        file.read_exact_at(bytes, start)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
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

/// Rows in the torn envelope that are whole must be rows.
fn protobuf_list(reader: impl BufRead, mut file: &File, len: u64) -> io::Result<Tail> {
    let whole = match protobuf_list::structure(reader, len)? {
        Tail::TornAt(whole) => whole,
        tail => return Ok(tail),
    };
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

/// The first bytes of what is in the file.
fn beginning(mut file: &File, settings: &FileSettings) -> io::Result<Vec<u8>> {
    let most = settings.header.len().max(BLOCK) as u64;
    let mut begin = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    if settings.zstd {
        // A torn frame ends in an error; what comes before it counts.
        let _ = zstd::Decoder::new(file)?.take(most).read_to_end(&mut begin);
    } else {
        file.take(most).read_to_end(&mut begin)?;
    }
    Ok(begin)
}

const BLOCK: usize = 1 << 16;
