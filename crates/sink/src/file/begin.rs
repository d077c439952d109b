//! How what we write begins. Nothing but what is recognised here is ever cut.

use sockeye_record::table::Heading;
use sockeye_record::{COLUMNS, Encoder, Encoding, Format};

use super::torn::Tail;
use super::{FileSettings, msgpack, protobuf_list};

/// Whether a file of these settings may begin with `begin`, or be no longer than that.
pub(crate) fn is_of(settings: &FileSettings, begin: &[u8]) -> Result<(), &'static str> {
    // Rows under other columns must not follow each other. A header may be torn as well, with nothing behind it.
    if !agree(&settings.header, begin) {
        return Err("it has another header");
    }
    let tail = match settings.format {
        Format::Csv | Format::Tsv => return Ok(()),
        Format::ProtobufList => protobuf_list::structure(begin, begin.len() as u64),
        Format::Msgpack => msgpack::tail(begin, begin.len() as u64),
        Format::Jsonl | Format::ProtoJson | Format::ProtoText => {
            return if is_line_of(settings.format, begin) { Ok(()) } else { Err(ANOTHER_FORMAT) };
        }
        Format::Table => return if is_table(begin) { Ok(()) } else { Err(ANOTHER_FORMAT) },
    };
    if matches!(tail, Ok(Tail::Foreign(_))) { Err(ANOTHER_FORMAT) } else { Ok(()) }
}

/// Whether a line of this format may begin with `begin`, or be no longer than that.
pub(crate) fn is_line_of(format: Format, begin: &[u8]) -> bool {
    match format {
        // Without any column there is nothing between the braces. Only with the line's end is that surely a row.
        Format::Jsonl => {
            begin.starts_with(b"{}\n")
                || COLUMNS.iter().any(|column| {
                    let key = column.json_key.strip_prefix(',').unwrap_or(column.json_key);
                    begin
                        .split_first()
                        .is_none_or(|(brace, rest)| *brace == b'{' && agree(key.as_bytes(), rest))
                })
        }
        Format::ProtoJson => agree(b"{\"row\":[{", begin),
        Format::ProtoText => agree(b"row {", begin),
        _ => true,
    }
}

/// Whether the first line that is not empty may be the headings of a table.
fn is_table(begin: &[u8]) -> bool {
    let begin = begin.iter().position(|byte| *byte != b'\n').and_then(|at| begin.get(at..));
    let Some(begin) = begin else { return true };
    let mut parts = begin.splitn(2, |byte| *byte == b'\n');
    let line = parts.next().unwrap_or_default();
    let whole = parts.next().is_some();
    let mut words: Vec<&[u8]> =
        line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    // Where the line is torn, so may be its last word.
    let torn = if whole || line.ends_with(b" ") { None } else { words.pop() };
    let encoding = Encoding { format: Format::Table, columns: None, humanize: None };
    let brief = Encoder::new(&encoding).table_header();
    let is_brief = words.len() <= brief.len()
        && (!whole || words.len() == brief.len())
        && brief.iter().zip(&words).all(|(heading, word)| heading.title.as_bytes() == *word)
        && torn.is_none_or(|torn| is_begin_of(brief.get(words.len()), torn));
    let is_chosen = !(whole && words.is_empty())
        && words.iter().all(|word| COLUMNS.iter().any(|column| column.name.as_bytes() == *word))
        && torn.is_none_or(|torn| {
            COLUMNS.iter().any(|column| column.name.as_bytes().starts_with(torn))
        });
    is_brief || is_chosen
}

fn is_begin_of(heading: Option<&Heading>, torn: &[u8]) -> bool {
    heading.is_some_and(|heading| heading.title.as_bytes().starts_with(torn))
}

/// Whether one of them begins with the other.
fn agree(expected: &[u8], begin: &[u8]) -> bool {
    expected.starts_with(begin) || begin.starts_with(expected)
}

const ANOTHER_FORMAT: &str = "it holds another format";
