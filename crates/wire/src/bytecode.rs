//! Programs of `INET_DIAG_REQ_BYTECODE`: conditions, and, or and not of them, and the assembler.
//!
//! The kernel runs the program for each socket (`inet_diag_bc_run`). An operation is `{ u8 code, u8 yes, u16 no }` with
//! its operand behind it; evaluation goes on `yes` or `no` bytes further. It accepts by arriving exactly at the end and
//! rejects by arriving four bytes beyond. Jumps lead forward only, and `yes` is always the operation's own length, since
//! `inet_diag_bc_audit` walks the program by it and wants every `no` to be on that walk.

use crate::inet_diag::{AF_INET, AF_INET6};

/// Which end of a socket.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The local end.
    Source,
    /// The remote end; all zero for a listener.
    Destination,
}

/// The leading bits of an address.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// At most 32 bits. To the kernel, IPv4-mapped addresses of IPv6 sockets are IPv4 as well.
    V4([u8; 4], u8),
    /// At most 128 bits. Length 0 is every IPv6 socket, with mapped addresses too.
    V6([u8; 16], u8),
}

/// What the kernel can ask of one socket in one or two operations.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The port lies between two others, both included.
    Ports(End, u16, u16),
    /// The address begins so.
    Host(End, Prefix),
    /// Bound to the interface with this index; 0 is bound to none. Since Linux 4.8.
    Device(u32),
    /// `mark & mask == value`. Since Linux 4.9, and `EPERM` without `CAP_NET_ADMIN`.
    Mark {
        /// What is left of the mark.
        value: u32,
        /// The bits to look at.
        mask: u32,
    },
    /// In the cgroup v2 with this id. Unknown to older kernels and to those without `CONFIG_SOCK_CGROUP_DATA`.
    Cgroup(u64),
    /// The source port was not named by `bind`. Sockets that a listener accepted count too.
    Autobound,
}

/// And, or and not of conditions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Predicate<C = Condition> {
    /// Every one of them; of none, always true.
    All(Vec<Self>),
    /// One of them; of none, never true.
    Any(Vec<Self>),
    /// The opposite.
    Not(Box<Self>),
    /// A condition.
    Is(C),
}

/// The program has more than [`MAX_BYTES`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The longest program that is made.
///
/// The kernel takes four times as much. But its audit walks to each operation from the beginning, and took 2.6 ms for
/// this length and 42 ms for that one (Linux 6.18, alternatives of 12 bytes); and it runs the program for each socket.
pub const MAX_BYTES: usize = 16 * 1024;

impl<C> Predicate<C> {
    /// True for every socket.
    pub const ALWAYS: Self = Self::All(Vec::new());
    /// True for no socket.
    pub const NEVER: Self = Self::Any(Vec::new());

    /// Whether it is [`Predicate::ALWAYS`].
    pub fn is_always(&self) -> bool {
        matches!(self, Self::All(of) if of.is_empty())
    }

    /// Whether it is [`Predicate::NEVER`].
    pub fn is_never(&self) -> bool {
        matches!(self, Self::Any(of) if of.is_empty())
    }

    /// Both, as flat and short as can be said.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (never, _) | (_, never) if never.is_never() => Self::NEVER,
            (always, it) | (it, always) if always.is_always() => it,
            (Self::All(mut of), Self::All(more)) => {
                of.extend(more);
                Self::All(of)
            }
            (Self::All(mut of), it) => {
                of.push(it);
                Self::All(of)
            }
            (it, Self::All(mut of)) => {
                of.insert(0, it);
                Self::All(of)
            }
            (it, other) => Self::All(vec![it, other]),
        }
    }

    /// One of the two, as flat and short as can be said.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (always, _) | (_, always) if always.is_always() => Self::ALWAYS,
            (never, it) | (it, never) if never.is_never() => it,
            (Self::Any(mut of), Self::Any(more)) => {
                of.extend(more);
                Self::Any(of)
            }
            (Self::Any(mut of), it) => {
                of.push(it);
                Self::Any(of)
            }
            (it, Self::Any(mut of)) => {
                of.insert(0, it);
                Self::Any(of)
            }
            (it, other) => Self::Any(vec![it, other]),
        }
    }

    /// The opposite.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::Not(it) => *it,
            it if it.is_always() => Self::NEVER,
            it if it.is_never() => Self::ALWAYS,
            it => Self::Not(Box::new(it)),
        }
    }

    /// Puts something else in the place of each condition.
    ///
    /// `replace` is told whether the condition is affirmed: under an odd number of negations it is not, and then what
    /// accepts less in its place makes the whole accept more.
    #[must_use]
    pub fn replace<D>(&self, replace: &mut dyn FnMut(&C, bool) -> Predicate<D>) -> Predicate<D> {
        self.replace_under(true, replace)
    }

    fn replace_under<D>(
        &self,
        affirmed: bool,
        replace: &mut dyn FnMut(&C, bool) -> Predicate<D>,
    ) -> Predicate<D> {
        match self {
            Self::All(of) => of
                .iter()
                .fold(Predicate::ALWAYS, |all, one| all.and(one.replace_under(affirmed, replace))),
            Self::Any(of) => of
                .iter()
                .fold(Predicate::NEVER, |any, one| any.or(one.replace_under(affirmed, replace))),
            Self::Not(it) => it.replace_under(!affirmed, replace).negated(),
            Self::Is(condition) => replace(condition, affirmed),
        }
    }
}

/// Appends the program to `out`; nothing when the predicate is always true.
///
/// # Errors
/// [`TooLong`]: `out` is as it was. Ask for less, and look at the rows again.
pub fn assemble(predicate: &Predicate, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let start = out.len();
    let mut assembler = Assembler { start, out, too_long: false };
    assembler.put(predicate, ACCEPT, REJECT);
    if assembler.too_long {
        out.truncate(start);
        return Err(TooLong);
    }
    out.get_mut(start..).unwrap_or_default().reverse();
    Ok(())
}

/// Writes a program from its end to its beginning, so that it knows how far each jump leads when it writes it.
///
/// A place in the program is the number of bytes from there to four bytes beyond its end.
struct Assembler<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    too_long: bool,
}

impl Assembler<'_> {
    /// What stands behind the operation that is written next.
    fn here(&self) -> usize {
        ACCEPT + self.out.len() - self.start
    }

    /// Code that goes to `yes` or to `no`.
    fn put(&mut self, predicate: &Predicate, yes: usize, no: usize) {
        if self.too_long {
            return;
        }
        match predicate {
            Predicate::Not(it) => self.put(it, no, yes),
            Predicate::Is(condition) => {
                self.jump(yes);
                self.condition(*condition, no);
            }
            Predicate::All(of) => self.put_each(of, yes, no, true),
            Predicate::Any(of) => self.put_each(of, yes, no, false),
        }
    }

    fn put_each(&mut self, of: &[Predicate], mut yes: usize, mut no: usize, all: bool) {
        let Some((last, rest)) = of.split_last() else {
            return self.jump(if all { yes } else { no });
        };
        self.put(last, yes, no);
        for predicate in rest.iter().rev() {
            *(if all { &mut yes } else { &mut no }) = self.here();
            self.put(predicate, yes, no);
        }
    }

    /// What accepts falls through; what does not goes to `no`.
    fn condition(&mut self, condition: Condition, no: usize) {
        match condition {
            Condition::Ports(end, port, same) if port == same => {
                self.host(end, 0, 0, i32::from(port), &[], no);
            }
            Condition::Ports(end, low, high) => {
                let (ge, le) = match end {
                    End::Source => (INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE),
                    End::Destination => (INET_DIAG_BC_D_GE, INET_DIAG_BC_D_LE),
                };
                if high < u16::MAX {
                    self.operation(le, &port_operand(high), no);
                }
                if low > 0 {
                    self.operation(ge, &port_operand(low), no);
                }
            }
            Condition::Host(end, Prefix::V4(address, len)) => {
                self.host(end, AF_INET, len.min(32), ANY_PORT, &address, no);
            }
            Condition::Host(end, Prefix::V6(address, len)) => {
                self.host(end, AF_INET6, len.min(128), ANY_PORT, &address, no);
            }
            Condition::Device(index) => {
                self.operation(INET_DIAG_BC_DEV_COND, &index.to_ne_bytes(), no);
            }
            Condition::Mark { value, mask } => {
                let mut operand = [0; 8];
                let (first, second) = operand.split_at_mut(4);
                first.copy_from_slice(&value.to_ne_bytes());
                second.copy_from_slice(&mask.to_ne_bytes());
                self.operation(INET_DIAG_BC_MARK_COND, &operand, no);
            }
            Condition::Cgroup(id) => {
                self.operation(INET_DIAG_BC_CGROUP_COND, &id.to_ne_bytes(), no);
            }
            Condition::Autobound => self.operation(INET_DIAG_BC_AUTO, &[], no),
        }
    }

    /// `struct inet_diag_hostcond`. Family 0 has no address and leaves the port to compare.
    fn host(&mut self, end: End, family: u8, len: u8, port: i32, address: &[u8], no: usize) {
        let code = match end {
            End::Source => INET_DIAG_BC_S_COND,
            End::Destination => INET_DIAG_BC_D_COND,
        };
        let mut operand = [0; 24];
        for (place, byte) in operand.iter_mut().zip(
            [family, len, 0, 0]
                .into_iter()
                .chain(port.to_ne_bytes())
                .chain(address.iter().copied()),
        ) {
            *place = byte;
        }
        self.operation(code, operand.get(..8 + address.len()).unwrap_or_default(), no);
    }

    fn jump(&mut self, to: usize) {
        if to != self.here() {
            self.operation(INET_DIAG_BC_JMP, &[], to);
        }
    }

    fn operation(&mut self, code: u8, operand: &[u8], no: usize) {
        let len = OPERATION_BYTES + operand.len();
        if self.too_long || self.here() + len - ACCEPT > MAX_BYTES {
            self.too_long = true;
            return;
        }
        let jump = u16::try_from(self.here() + len - no).expect("MAX_BYTES is less than u16 holds");
        self.out.extend(operand.iter().rev());
        self.out.extend(jump.to_ne_bytes().iter().rev());
        self.out.push(u8::try_from(len).expect("the longest operation has 28 bytes"));
        self.out.push(code);
    }
}

/// The port of a comparison stands in the `no` of a second operation.
fn port_operand(port: u16) -> [u8; 4] {
    let [first, second] = port.to_ne_bytes();
    [0, 0, first, second]
}

const OPERATION_BYTES: usize = 4;
/// Places: the end of the program, and four bytes beyond.
const ACCEPT: usize = 4;
const REJECT: usize = 0;
/// `port` of a `hostcond` that is about the address alone.
const ANY_PORT: i32 = -1;

const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_S_GE: u8 = 2;
const INET_DIAG_BC_S_LE: u8 = 3;
const INET_DIAG_BC_D_GE: u8 = 4;
const INET_DIAG_BC_D_LE: u8 = 5;
const INET_DIAG_BC_AUTO: u8 = 6;
const INET_DIAG_BC_S_COND: u8 = 7;
const INET_DIAG_BC_D_COND: u8 = 8;
const INET_DIAG_BC_DEV_COND: u8 = 9;
const INET_DIAG_BC_MARK_COND: u8 = 10;
const INET_DIAG_BC_CGROUP_COND: u8 = 13;

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Predicate = Predicate::Is(Condition::Ports(End::Source, 1000, 2000));
    const AUTO: Predicate = Predicate::Is(Condition::Autobound);
    const DEVICE: Predicate = Predicate::Is(Condition::Device(7));

    /// Operations as (code, yes, no), with the operand's bytes.
    fn operations(predicate: &Predicate) -> Vec<(u8, u8, u16, Vec<u8>)> {
        let mut bytes = Vec::new();
        assemble(predicate, &mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        let mut operations = Vec::new();
        while let [code, yes, first, second, ..] = *rest {
            let operand = rest[4..usize::from(yes)].to_vec();
            operations.push((code, yes, u16::from_ne_bytes([first, second]), operand));
            rest = &rest[usize::from(yes)..];
        }
        assert_eq!(rest, [0; 0]);
        operations
    }

    #[test]
    fn a_range_is_two_comparisons_whose_failures_lead_past_the_end() {
        let operand = |port: u16| [[0, 0], port.to_ne_bytes()].concat();
        assert_eq!(operations(&SOURCE), [(2, 8, 20, operand(1000)), (3, 8, 12, operand(2000))]);
        let half = |low, high| Predicate::Is(Condition::Ports(End::Destination, low, high));
        assert_eq!(operations(&half(0, 80)), [(5, 8, 12, operand(80))]);
        assert_eq!(operations(&half(80, u16::MAX)), [(4, 8, 12, operand(80))]);
        assert_eq!(operations(&half(0, u16::MAX)), []);
    }

    #[test]
    fn conditions_have_the_layout_of_the_kernels_structs() {
        let one = |condition| {
            let operations = operations(&Predicate::Is(condition));
            let [(code, yes, no, operand)] = operations.try_into().unwrap();
            assert_eq!(u16::from(yes) + 4, no);
            (code, operand)
        };
        let host = |family: u8, len: u8, port: i32, address: &[u8]| {
            [&[family, len, 0, 0][..], &port.to_ne_bytes(), address].concat()
        };
        assert_eq!(one(Condition::Ports(End::Source, 80, 80)), (7, host(0, 0, 80, &[])));
        let v4 = Condition::Host(End::Destination, Prefix::V4([10, 0, 0, 0], 8));
        assert_eq!(one(v4), (8, host(2, 8, -1, &[10, 0, 0, 0])));
        let v6 = Condition::Host(End::Source, Prefix::V6([1; 16], 128));
        assert_eq!(one(v6), (7, host(10, 128, -1, &[1; 16])));
        assert_eq!(one(Condition::Device(7)), (9, 7u32.to_ne_bytes().to_vec()));
        let mark = Condition::Mark { value: 1, mask: 3 };
        assert_eq!(one(mark), (10, [1u32.to_ne_bytes(), 3u32.to_ne_bytes()].concat()));
        assert_eq!(one(Condition::Cgroup(9)), (13, 9u64.to_ne_bytes().to_vec()));
        assert_eq!(one(Condition::Autobound), (6, Vec::new()));
    }

    #[test]
    fn or_jumps_over_what_is_left_and_not_turns_the_targets_around() {
        let jumps = |predicate: &Predicate| -> Vec<(u8, u16)> {
            operations(predicate).iter().map(|(code, _, no, _)| (*code, *no)).collect()
        };
        assert_eq!(jumps(&AUTO.and(DEVICE)), [(6, 16), (9, 12)]);
        assert_eq!(jumps(&AUTO.or(DEVICE)), [(6, 8), (1, 12), (9, 12)]);
        assert_eq!(jumps(&AUTO.negated()), [(6, 8), (1, 8)]);
        assert_eq!(jumps(&AUTO.or(DEVICE).negated()), [(6, 8), (1, 20), (9, 12), (1, 8)]);
        assert_eq!(jumps(&AUTO.negated().and(DEVICE)), [(6, 8), (1, 16), (9, 12)]);
    }

    #[test]
    fn always_needs_no_program_and_never_is_one_jump() {
        assert_eq!(operations(&Predicate::ALWAYS), []);
        assert_eq!(operations(&Predicate::NEVER), [(1, 4, 8, Vec::new())]);
        assert!(AUTO.and(Predicate::NEVER).is_never() && AUTO.or(Predicate::ALWAYS).is_always());
        assert_eq!((AUTO.and(Predicate::ALWAYS), Predicate::NEVER.or(AUTO)), (AUTO, AUTO));
        assert_eq!(AUTO.negated().negated(), AUTO);
        assert!(Predicate::<Condition>::ALWAYS.negated().is_never());
    }

    #[test]
    fn what_takes_the_place_of_a_condition_knows_whether_it_is_affirmed() {
        let predicate = AUTO.and(DEVICE.or(AUTO.negated()).negated());
        let mut seen = Vec::new();
        let same = predicate.replace(&mut |condition: &Condition, affirmed| {
            seen.push((*condition, affirmed));
            Predicate::Is(*condition)
        });
        assert_eq!(same, predicate);
        let auto = (Condition::Autobound, true);
        assert_eq!(seen, [auto, (Condition::Device(7), false), auto]);
    }

    #[test]
    fn a_program_is_as_long_as_the_limit_and_no_longer() {
        let mut bytes = vec![1, 2, 3];
        let of = |count| Predicate::All(vec![DEVICE; count]);
        assert_eq!(assemble(&of(MAX_BYTES / 8), &mut bytes), Ok(()));
        assert_eq!(bytes.len(), 3 + MAX_BYTES);
        bytes.truncate(3);
        assert_eq!(assemble(&of(MAX_BYTES / 8 + 1), &mut bytes), Err(TooLong));
        assert_eq!(bytes, [1, 2, 3]);
    }
}
