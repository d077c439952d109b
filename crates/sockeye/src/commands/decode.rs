//! `sockeye decode`: protobufList back into any format.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::Context;
use sockeye_record::decode::Records;
use sockeye_record::{BufferPool, Builder, Encoder, Encoding, Envelope, Format, Limits, table};

use crate::cli::DecodeArgs;
use crate::exit::{Failure, Status, complain};

/// Writes every whole row; says where what is not whole begins.
pub(crate) fn run(arguments: &DecodeArgs) -> Result<Status, Failure> {
    let name = arguments.input.display();
    let input = open(&arguments.input).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let encoding = Encoding { format: arguments.to, columns: arguments.columns.clone(), humanize: arguments.humanize };
    let mut output = Output::new(&encoding);
    let written = output.begin().and_then(|()| {
        let mut whole = true;
        for item in Records::new(input) {
            match item {
                Ok(record) => output.record(&record)?,
                Err(error) => {
                    whole = false;
                    output.flush()?;
                    complain(&format!("{name}: {}", error));
                }
            }
        }
        output.finish()?;
        Ok(whole)
    });
    match written {
        Ok(true) => Ok(Status::Done),
        Ok(false) => Ok(Status::Incomplete),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Status::Done),
        Err(error) => Err(Failure::Runtime(anyhow::Error::new(error).context("stdout"))),
    }
}


/// Opens the file; zstd is seen by its magic number.
fn open(path: &Path) -> anyhow::Result<Box<dyn Read>> {
    let raw: Box<dyn Read> = if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut input = BufReader::new(raw);
    let begin = input.fill_buf()?;
    if begin.starts_with(&ZSTD_MAGIC) {
        return Ok(Box::new(zstd::Decoder::with_buffer(input).context("zstd")?));
    }
    Ok(Box::new(input))
}

/// Rows on their way to stdout, an envelope at a time.
struct Output {
    builder: Builder,
    header: Vec<u8>,
    headings: Option<Vec<table::Heading>>,
    cells: Vec<u8>,
}

impl Output {
    fn new(encoding: &Encoding) -> Self {
        let encoder = Encoder::for_records(encoding);
        let headings = (encoding.format == Format::Table).then(|| encoder.table_header());
        let header = encoder.header();
        let builder = Builder::new(encoder, Limits { rows: ROWS, bytes: BYTES }, BufferPool::new(2));
        Self { builder, header, headings, cells: Vec::new() }
    }

    fn begin(&mut self) -> io::Result<()> {
        io::stdout().lock().write_all(&self.header)
    }

    fn record(&mut self, record: &sockeye_record::v1::XtcpFlatRecord) -> io::Result<()> {
        let mut cut: Vec<Envelope> = Vec::new();
        self.builder.push_record(record, |envelope| cut.push(envelope));
        cut.iter().try_for_each(|envelope| self.write(envelope))
    }

    /// Brings the rows so far before a message about what follows them.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(envelope) = self.builder.finish() {
            self.write(&envelope)?;
        }
        io::stdout().lock().flush()
    }

    fn finish(&mut self) -> io::Result<()> {
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
const ROWS: u64 = 10_000;
const BYTES: usize = 786_432;
