//! What one line of the table of columns says, and the macro that turns the table into code.

/// One column of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Place in the table, from 0.
    pub index: usize,
    /// Field number in `xtcp_flat_record.v1.XtcpFlatRecord`.
    pub number: u32,
    /// Name in every format.
    pub name: &'static str,
    /// `,"name":` ready for JSON.
    pub json_key: &'static str,
    /// Type on the wire.
    pub kind: Kind,
    /// When a row has it.
    pub presence: Presence,
    /// What a humanized value says.
    pub meaning: Meaning,
    /// Unit, or empty.
    pub unit: &'static str,
    /// One sentence.
    pub text: &'static str,
    /// False for columns that the wire format reserves and Sockeye does not fill.
    pub filled: bool,
}

/// Type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "protobuf's names")]
pub enum Kind {
    Uint32,
    Uint64,
    Int64,
    String,
    Bytes,
    /// `XtcpFlatRecord.CongestionAlgorithm`.
    Algorithm,
}

/// When a row has the column; protobuf does not tell zero from absent, so this is what decoding goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In every row.
    Always,
    /// Zero or empty means absent.
    NonZero,
    /// With the bit [`NSID`](crate::row::NSID) of the column `attributes`: 0 is an id like any other.
    Nsid,
    /// With this attribute, or joined from a poll.
    Attr(u16),
    /// In every row but those of closed sockets; in those with this bit of the column `joined`.
    Owner(u32),
    /// With the bit [`HAS_DELTAS`](crate::row::HAS_DELTAS) of the column `delta_flags`.
    Deltas,
    /// With a `tcp_info` of at least so many bytes.
    Info(u32),
    /// The same, where zero means absent as well (an infinite threshold, an unlimited rate).
    InfoNonZero(u32),
}

impl Presence {
    /// Whether a row can have the column with zero in it.
    pub(crate) const fn allows_zero(self) -> bool {
        !matches!(self, Self::NonZero | Self::InfoNonZero(_))
    }
}

/// What a number stands for, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is a kernel enumeration by its name")]
pub enum Meaning {
    Plain,
    Family,
    State,
    Timer,
    CaState,
    Address,
    TimestampNs,
    RecordKind,
}

/// The accessor of a column that the wire format reserves and Sockeye does not fill.
pub(crate) fn unfilled<C: ?Sized, T>(_: &C) -> Option<T> {
    None
}

/// Calls an accessor; exists so that closures in the table need no type annotations.
#[inline(always)]
pub(crate) fn apply<'c, C: ?Sized, T>(
    context: &'c C,
    accessor: impl FnOnce(&'c C) -> Option<T>,
) -> Option<T> {
    accessor(context)
}

/// Whether a value is zero or empty.
#[inline(always)]
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Whether the accessor, as written, is not [`unfilled`].
pub(crate) const fn is_filled(accessor: &str) -> bool {
    !matches!(accessor.as_bytes(), b"unfilled")
}

macro_rules! kind {
    (u32) => {
        Kind::Uint32
    };
    (u64) => {
        Kind::Uint64
    };
    (i64) => {
        Kind::Int64
    };
    (str) => {
        Kind::String
    };
    (bytes) => {
        Kind::Bytes
    };
    (algorithm) => {
        Kind::Algorithm
    };
}

/// A record's field the way that it is passed.
macro_rules! recorded {
    (@str $field:expr) => {
        &$field
    };
    (@bytes $field:expr) => {
        &$field
    };
    (@$kind:tt $field:expr) => {
        $field
    };
}

/// Turns the table into [`Column`]s and into the functions that walk a row.
macro_rules! columns {
    (
        dump_head { $($dh:tt)* }
        socket_head { $($sh:tt)* }
        dump_tail { $($dt:tt)* }
        tracked { $($t:tt)* }
        socket_tail { $($st:tt)* }
    ) => {
        columns! { @table $($dh)* $($sh)* $($dt)* $($t)* $($st)* }
        columns! { @record $($dh)* $($sh)* $($dt)* $($t)* $($st)* }
        columns! { @walk dump_head: DumpContext<'_>, "The columns before a socket's own that are constant for a dump."; $($dh)* }
        columns! { @walk socket_head: SocketView<'_>, "Most of a socket's own columns."; $($sh)* }
        columns! { @walk dump_tail: DumpContext<'_>, "Sockeye's own columns that are constant for a dump."; $($dt)* }
        columns! { @walk tracked: SocketView<'_>, "What polls have known of a socket."; $($t)* }
        columns! { @walk socket_tail: SocketView<'_>, "Sockeye's own columns of a socket."; $($st)* }
    };
    (@table $($number:literal $name:ident: $kind:tt, $presence:expr, $meaning:ident, $unit:literal, $text:literal => $accessor:expr;)*) => {
        /// Each column's place in the table, by its name.
        #[expect(non_camel_case_types, reason = "the variants are the columns' names")]
        #[derive(Debug, Clone, Copy)]
        pub(crate) enum Index { $($name,)* }

        /// How many columns there are.
        pub const COUNT: usize = [$(stringify!($name)),*].len();

        /// Every column, in the order of their numbers.
        pub static COLUMNS: [Column; COUNT] = {
            use Presence::{Always, Attr, Deltas, Info, InfoNonZero, NonZero, Nsid, Owner};
            [$(Column {
                index: Index::$name as usize,
                number: $number,
                name: stringify!($name),
                json_key: concat!(",\"", stringify!($name), "\":"),
                kind: kind!($kind),
                presence: $presence,
                meaning: Meaning::$meaning,
                unit: $unit,
                text: $text,
                filled: is_filled(stringify!($accessor)),
            },)*]
        };
    };
    (@walk $walk:ident: $context:ty, $doc:literal; $($number:literal $name:ident: $kind:tt, $presence:expr, $meaning:ident, $unit:literal, $text:literal => $accessor:expr;)*) => {
        #[doc = $doc]
        #[expect(clippy::indexing_slicing, reason = "an Index is a place in the table")]
        #[inline(always)]
        pub(crate) fn $walk<V: Visit>(context: &$context, columns: &impl Columns, visit: &mut V) {
            $(if columns.has(Index::$name as usize)
                && let Some(value) = apply(context, $accessor)
                && (const { COLUMNS[Index::$name as usize].presence.allows_zero() } || !is_default(&value))
            {
                visit.$kind(&COLUMNS[Index::$name as usize], value);
            })*
        }
    };
    (@record $($number:literal $name:ident: $kind:tt, $presence:expr, $meaning:ident, $unit:literal, $text:literal => $accessor:expr;)*) => {
        /// The columns of a decoded record, as far as it tells that they were there.
        #[expect(clippy::indexing_slicing, reason = "an Index is a place in the table")]
        pub(crate) fn record<V: Visit>(record: &XtcpFlatRecord, selection: &Selection, visit: &mut V) {
            let recorded = Recorded::of(record, selection.is_complete());
            $(if selection.contains(Index::$name as usize) {
                let column = &COLUMNS[Index::$name as usize];
                recorded.$kind(column, recorded!(@$kind record.$name), visit);
            })*
        }
    };
}
