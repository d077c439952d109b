//! `sockeye decode`: protobufList back into any format.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::Context;
use sockeye_record::decode::{DecodeError, Records};
use sockeye_record::{BufferPool, Builder, Encoder, Encoding, Envelope, Format, Limits, table};

use crate::cli::DecodeArgs;
use crate::config::settings;
use crate::exit::{Failure, Status, complain};

/// Writes every whole row; says where what is not whole begins.
pub(crate) fn run(arguments: &DecodeArgs) -> Result<Status, Failure> {
    let name = arguments.input.display().to_string();
    let encoding = settings::encoding_of(&arguments.output);
    settings::check_humanize(&encoding)?;
    let output = RefCell::new(Output::new(&encoding));
    let (input, compressed) = open(&arguments.input, || output.borrow_mut().flush_before_a_wait())
        .map_err(|error| {
            Failure::usage(format!("{name}: {error}; allowed: a protobufList file, or -"))
        })?;
    let mut complaints = Complaints { name, compressed, count: 0 };
    match decode(input, &output, &mut complaints) {
        Ok(()) if complaints.count == 0 => Ok(Status::Done),
        Ok(()) => Ok(Status::Incomplete),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Status::Done),
        Err(error) => Err(Failure::Runtime(anyhow::Error::new(error).context("stdout"))),
    }
}

/// Fails when the output does.
fn decode(
    input: impl Read,
    output: &RefCell<Output>,
    complaints: &mut Complaints,
) -> io::Result<()> {
    output.borrow_mut().begin()?;
    for item in Records::new(input) {
        if let Some(error) = output.borrow_mut().failed.take() {
            return Err(error);
        }
        match item {
            Ok(record) => output.borrow_mut().record(&record)?,
            Err(error) => {
                output.borrow_mut().flush()?;
                complaints.about(&error);
            }
        }
    }
    complaints.end();
    output.borrow_mut().finish()
}

/// A line for each thing that is wrong, unless they are many.
struct Complaints {
    name: String,
    compressed: bool,
    count: usize,
}

impl Complaints {
    fn about(&mut self, error: &DecodeError) {
        self.count += 1;
        if self.count <= MOST_LINES {
            let of_what =
                if self.compressed { " (offsets are of the uncompressed bytes)" } else { "" };
            complain(&format!("{}: {error}{of_what}", self.name));
        }
    }

    fn end(&self) {
        if let more @ 1.. = self.count.saturating_sub(MOST_LINES) {
            complain(&format!("{}: {more} more rows are corrupt", self.name));
        }
    }
}

/// Opens the file; zstd is seen by its magic number. `flush` is called before something is waited for that may take its
/// time to come: rows of a pipe are shown when they are there.
fn open<'f>(
    path: &Path,
    flush: impl FnMut() -> io::Result<()> + 'f,
) -> anyhow::Result<(Box<dyn Read + 'f>, bool)> {
    let raw: Box<dyn Read> = if path == Path::new("-") {
        anyhow::ensure!(!io::stdin().is_terminal(), "standard input is a terminal");
        Box::new(Patient { input: io::stdin().lock(), flush })
    } else {
        Box::new(File::open(path)?)
    };
    let mut input = BufReader::new(raw);
    let begin = input.fill_buf()?;
    if begin.starts_with(&ZSTD_MAGIC) {
        return Ok((Box::new(zstd::Decoder::with_buffer(input).context("zstd")?), true));
    }
    Ok((Box::new(input), false))
}

/// An input that may be waited for.
struct Patient<R, F> {
    input: R,
    flush: F,
}

impl<R: Read, F: FnMut() -> io::Result<()>> Read for Patient<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.flush)()?;
        self.input.read(buffer)
    }
}

/// Rows on their way to stdout, an envelope at a time.
pub(super) struct Output {
    builder: Builder,
    header: Vec<u8>,
    headings: Option<Vec<table::Heading>>,
    cells: Vec<u8>,
    /// Why it could not be flushed before the input was waited for.
    failed: Option<io::Error>,
}

impl Output {
    pub(super) fn new(encoding: &Encoding) -> Self {
        let encoder = Encoder::for_records(encoding);
        let headings = (encoding.format == Format::Table).then(|| encoder.table_header());
        let header = encoder.header();
        let limits = Limits { rows: ROWS, bytes: BYTES };
        let builder = Builder::new(encoder, limits, BufferPool::new(2));
        Self { builder, header, headings, cells: Vec::new(), failed: None }
    }

    pub(super) fn begin(&mut self) -> io::Result<()> {
        io::stdout().lock().write_all(&self.header)
    }

    pub(super) fn record(&mut self, record: &sockeye_record::v1::XtcpFlatRecord) -> io::Result<()> {
        let mut cut: Vec<Envelope> = Vec::new();
        self.builder.push_record(record, |envelope| cut.push(envelope));
        cut.iter().try_for_each(|envelope| self.write(envelope))
    }

    /// Brings the rows so far: before a message about what follows them, or before a wait.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(envelope) = self.builder.finish() {
            self.write(&envelope)?;
        }
        io::stdout().lock().flush()
    }

    /// A failure would look like one of the input: it is kept.
    fn flush_before_a_wait(&mut self) -> io::Result<()> {
        self.flush().map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        if let Some(headings) = &self.headings {
            io::stdout().lock().write_all(&table::align(headings, &self.cells))?;
        }
        io::stdout().lock().flush()
    }

    fn write(&mut self, envelope: &Envelope) -> io::Result<()> {
        if self.headings.is_some() {
            // Cells take a tenth of what the file takes; they are aligned together at the end.
            self.cells.extend_from_slice(envelope.bytes());
            return Ok(());
        }
        io::stdout().lock().write_all(envelope.bytes())
    }
}

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const MOST_LINES: usize = 10;
const ROWS: u64 = 10_000;
const BYTES: usize = 786_432;
