//! `table`: aligned columns for people.
//!
//! Rows travel as cells; whoever prints them aligns a whole poll at once with [`align`].

use std::io::Write;

use super::text::{address, integer};
use crate::column::{Column, Kind, Meaning};
use crate::columns::{COLUMNS, Index};
use crate::names::name;
use crate::selection::Selection;
use crate::visit::Visit;

/// Ends a cell inside a row, where people's text can't have it: control characters are replaced.
pub const CELL_END: u8 = 0x1f;

/// Title of a column and the side that its cells keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heading {
    /// What stands above it.
    pub title: &'static str,
    /// Numbers keep right.
    pub right: bool,
}

/// Aligns `cells`, rows as the encoder wrote them, under `headings`.
pub fn align(headings: &[Heading], cells: &[u8]) -> Vec<u8> {
    let lines = || {
        cells
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    };
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.title.len()).collect();
    for line in lines() {
        for (width, cell) in widths.iter_mut().zip(line.split(|byte| *byte == CELL_END)) {
            *width = (*width).max(columns_of(cell));
        }
    }
    let mut out = Vec::with_capacity(cells.len() * 2);
    put_line(&mut out, headings, &widths, headings.iter().map(|heading| heading.title.as_bytes()));
    for line in lines() {
        put_line(&mut out, headings, &widths, line.split(|byte| *byte == CELL_END));
    }
    out
}

/// Titles of chosen columns.
pub(crate) fn headings(selection: &Selection) -> Vec<Heading> {
    let columns = selection.order().iter().filter_map(|index| COLUMNS.get(*index));
    columns
        .map(|column| Heading {
            title: column.name,
            right: matches!(column.kind, Kind::Uint32 | Kind::Uint64 | Kind::Int64)
                && column.meaning == Meaning::Plain,
        })
        .collect()
}

/// Titles of the columns that a table has by itself.
pub(crate) fn brief_headings() -> Vec<Heading> {
    BRIEF.iter().map(|(title, right)| Heading { title, right: *right }).collect()
}

/// The columns that a table has by itself: some of them joined, in units for people.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brief {
    netns: Vec<u8>,
    state: Option<u32>,
    rqueue: Option<u32>,
    wqueue: Option<u32>,
    source: Vec<u8>,
    destination: Vec<u8>,
    source_port: u32,
    destination_port: u32,
    rtt_us: Option<u32>,
    cwnd: Option<u32>,
    retransmits: Option<u32>,
    delivery_rate: Option<u64>,
    pacing_rate: Option<u64>,
    algorithm: Vec<u8>,
}

impl Brief {
    pub(crate) fn begin_dump(&mut self, columns: impl FnOnce(&mut Self)) {
        self.netns.clear();
        columns(self);
    }

    pub(crate) fn row(&mut self, out: &mut Vec<u8>, columns: impl FnOnce(&mut Self)) {
        // A decoded record may lack any of them, and must not show its predecessor's.
        self.source.clear();
        self.destination.clear();
        self.algorithm.clear();
        (self.state, self.rqueue, self.wqueue) = (None, None, None);
        (self.source_port, self.destination_port) = (0, 0);
        (self.rtt_us, self.cwnd, self.retransmits) = (None, None, None);
        (self.delivery_rate, self.pacing_rate) = (None, None);
        columns(self);
        put_text(out, &self.netns);
        out.push(CELL_END);
        if let Some(state) = self.state {
            match name(Meaning::State, u64::from(state)) {
                Some(name) => out.extend_from_slice(name.as_bytes()),
                None => integer(out, state),
            }
        }
        for queue in [self.rqueue, self.wqueue] {
            out.push(CELL_END);
            if let Some(queue) = queue {
                integer(out, queue);
            }
        }
        for (bytes, port) in
            [(&self.source, self.source_port), (&self.destination, self.destination_port)]
        {
            out.push(CELL_END);
            endpoint(out, bytes, port);
        }
        out.push(CELL_END);
        if let Some(us) = self.rtt_us.filter(|us| *us != 0) {
            milliseconds(out, us);
        }
        for number in [self.cwnd.filter(|cwnd| *cwnd != 0), self.retransmits] {
            out.push(CELL_END);
            if let Some(number) = number {
                integer(out, number);
            }
        }
        for rate in [self.delivery_rate.filter(|rate| *rate != 0), self.pacing_rate] {
            out.push(CELL_END);
            if let Some(bytes_per_second) = rate {
                bits_per_second(out, bytes_per_second);
            }
        }
        out.push(CELL_END);
        put_text(out, &self.algorithm);
        out.push(b'\n');
    }
}

impl Visit for Brief {
    #[inline]
    fn u32(&mut self, column: &'static Column, value: u32) {
        match column.index {
            STATE => self.state = Some(value),
            RQUEUE => self.rqueue = Some(value),
            WQUEUE => self.wqueue = Some(value),
            SOURCE_PORT => self.source_port = value,
            DESTINATION_PORT => self.destination_port = value,
            RTT => self.rtt_us = Some(value),
            CWND => self.cwnd = Some(value),
            RETRANSMITS => self.retransmits = Some(value),
            _ => {}
        }
    }

    #[inline]
    fn u64(&mut self, column: &'static Column, value: u64) {
        match column.index {
            DELIVERY_RATE => self.delivery_rate = Some(value),
            PACING_RATE => self.pacing_rate = Some(value),
            _ => {}
        }
    }

    fn i64(&mut self, _: &'static Column, _: i64) {}

    #[inline]
    fn str(&mut self, column: &'static Column, value: &str) {
        match column.index {
            NETNS => self.netns.extend_from_slice(value.as_bytes()),
            ALGORITHM => self.algorithm.extend_from_slice(value.as_bytes()),
            _ => {}
        }
    }

    #[inline]
    fn bytes(&mut self, column: &'static Column, value: &[u8]) {
        let place = if column.index == SOURCE { &mut self.source } else { &mut self.destination };
        place.clear();
        place.extend_from_slice(value);
    }

    fn algorithm(&mut self, _: &'static Column, _: i32) {}
}

/// Appends text of unknown origin: what a terminal would act on becomes `?`.
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_ascii() {
        out.extend(text.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }));
    } else {
        for letter in String::from_utf8_lossy(text).chars() {
            let letter = if letter.is_control() { '?' } else { letter };
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

fn put_line<'a>(
    out: &mut Vec<u8>,
    headings: &[Heading],
    widths: &[usize],
    cells: impl Iterator<Item = &'a [u8]>,
) {
    for (i, ((heading, width), cell)) in headings.iter().zip(widths).zip(cells).enumerate() {
        if i > 0 {
            out.extend_from_slice(b"  ");
        }
        let blanks = std::iter::repeat_n(b' ', width - columns_of(cell));
        if heading.right {
            out.extend(blanks);
            out.extend_from_slice(cell);
        } else {
            out.extend_from_slice(cell);
            out.extend(blanks);
        }
    }
    while out.last() == Some(&b' ') {
        out.pop();
    }
    out.push(b'\n');
}

/// How many columns of a terminal a cell takes: its characters, not its bytes.
fn columns_of(cell: &[u8]) -> usize {
    String::from_utf8_lossy(cell).chars().count()
}

/// `10.0.0.1:80`, `[::1]:80`, and `*` for a port that is 0, as `ss` writes them; nothing when there is neither.
fn endpoint(out: &mut Vec<u8>, bytes: &[u8], port: u32) {
    if bytes.is_empty() && port == 0 {
        return;
    }
    if bytes.len() == 16 {
        out.push(b'[');
        address(out, bytes);
        out.push(b']');
    } else {
        address(out, bytes);
    }
    out.push(b':');
    if port == 0 { out.push(b'*') } else { integer(out, port) }
}

fn milliseconds(out: &mut Vec<u8>, us: u32) {
    // A Vec takes every write, here and below.
    let _ = write!(out, "{}.{:03}ms", us / 1000, us % 1000);
}

/// Three digits and a unit: `950bps`, `31.6Gbps`.
fn bits_per_second(out: &mut Vec<u8>, bytes_per_second: u64) {
    let mut value = u128::from(bytes_per_second) * 8 * 10;
    let mut units = ["bps", "Kbps", "Mbps", "Gbps", "Tbps", "Pbps", "Ebps"].into_iter().peekable();
    while value >= 10_000 && units.len() > 1 {
        value /= 1000;
        units.next();
    }
    let unit = units.next().unwrap_or_default();
    let _ = if value >= 1000 || unit == "bps" {
        write!(out, "{}{unit}", value / 10)
    } else {
        write!(out, "{}.{}{unit}", value / 10, value % 10)
    };
}

const NETNS: usize = Index::netns as usize;
const STATE: usize = Index::inet_diag_msg_state as usize;
const RQUEUE: usize = Index::inet_diag_msg_rqueue as usize;
const WQUEUE: usize = Index::inet_diag_msg_wqueue as usize;
const SOURCE: usize = Index::inet_diag_msg_socket_source as usize;
const SOURCE_PORT: usize = Index::inet_diag_msg_socket_source_port as usize;
const DESTINATION_PORT: usize = Index::inet_diag_msg_socket_destination_port as usize;
const RTT: usize = Index::tcp_info_rtt as usize;
const CWND: usize = Index::tcp_info_snd_cwnd as usize;
const RETRANSMITS: usize = Index::tcp_info_total_retrans as usize;
const DELIVERY_RATE: usize = Index::tcp_info_delivery_rate as usize;
const PACING_RATE: usize = Index::tcp_info_pacing_rate as usize;
const ALGORITHM: usize = Index::congestion_algorithm_string as usize;

const BRIEF: [(&str, bool); 12] = [
    ("NETNS", false),
    ("STATE", false),
    ("RECV-Q", true),
    ("SEND-Q", true),
    ("LOCAL", false),
    ("PEER", false),
    ("RTT", true),
    ("CWND", true),
    ("RETRANS", true),
    ("DELIVERY", true),
    ("PACING", true),
    ("CC", false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned_under_their_titles() {
        let headings =
            [Heading { title: "NAME", right: false }, Heading { title: "N", right: true }];
        let text = align(&headings, b"a\x1f1\nlonger\x1f100\n\x1f7\n");
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "NAME      N\na         1\nlonger  100\n          7\n"
        );
    }

    #[test]
    fn a_row_without_anything_in_it_is_still_a_line() {
        let text = align(&[Heading { title: "NAME", right: false }], b"a\n\nb\n");
        assert_eq!(String::from_utf8(text).unwrap(), "NAME\na\n\nb\n");
    }

    #[test]
    fn a_namespace_cannot_paint_on_the_terminal() {
        let mut out = Vec::new();
        put_text(&mut out, b"a\x1b[31m\nb\x1f");
        assert_eq!(out, b"a?[31m?b?");
        out.clear();
        put_text(&mut out, "é\u{9b}31m".as_bytes());
        assert_eq!(out, "é?31m".as_bytes(), "U+009B begins an escape sequence too");
    }

    #[test]
    fn rates_have_three_digits_and_a_unit() {
        let rate = |bytes: u64| {
            let mut out = Vec::new();
            bits_per_second(&mut out, bytes);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(rate(12), "96bps");
        assert_eq!(rate(1_000), "8.0Kbps");
        assert_eq!(rate(3_947_951_807), "31.5Gbps");
        assert_eq!(rate(125_000_000), "1.0Gbps");
        assert_eq!(rate(u64::MAX), "147Ebps");
    }
}
