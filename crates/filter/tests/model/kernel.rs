//! What `net/ipv4/inet_diag.c` does with a program: `inet_diag_bc_audit` and `inet_diag_bc_run`, said again.

use std::net::IpAddr;

use crate::socket::Socket;

pub(crate) const DEV_COND: u8 = 9;
pub(crate) const MARK_COND: u8 = 10;
pub(crate) const CGROUP_COND: u8 = 13;
const NOP: u8 = 0;
const JMP: u8 = 1;
const AUTO: u8 = 6;

/// The errno that the kernel refuses the program with.
pub(crate) fn audit(program: &[u8], net_admin: bool) -> Result<(), &'static str> {
    if program.len() < 4 {
        return Err("EINVAL: shorter than an operation");
    }
    let mut at = 0;
    while at < program.len() {
        let left = program.len() - at;
        let (code, yes, no) = operation(program, at);
        let least = match code {
            NOP | JMP | AUTO => 4,
            2..=5 | 11 | 12 | DEV_COND => 8,
            7 | 8 => {
                let address = match program.get(at + 4) {
                    Some(0) => 0,
                    Some(2) => 4,
                    Some(10) => 16,
                    _ => return Err("EINVAL: family"),
                };
                match program.get(at + 5) {
                    Some(len) if usize::from(*len) <= 8 * address => 12 + address,
                    _ => return Err("EINVAL: length of the prefix"),
                }
            }
            MARK_COND if !net_admin => return Err("EPERM"),
            MARK_COND | CGROUP_COND => 12,
            _ => return Err("EINVAL: unknown operation"),
        };
        if left < least {
            return Err("EINVAL: the operand is cut");
        }
        let in_range = |jump: usize| jump >= least && jump <= left + 4 && jump.is_multiple_of(4);
        if code != NOP {
            if !in_range(no) {
                return Err("EINVAL: no");
            }
            if no < left && !is_on_the_walk(program, at + no) {
                return Err("EINVAL: no leads into an operation");
            }
        }
        if !in_range(yes) {
            return Err("EINVAL: yes");
        }
        at += yes;
    }
    if at == program.len() { Ok(()) } else { Err("EINVAL: the walk leads past the end") }
}

/// `valid_cc`: from the beginning, by `yes`.
fn is_on_the_walk(program: &[u8], target: usize) -> bool {
    let mut at = 0;
    while at < target {
        let (_, yes, _) = operation(program, at);
        if yes < 4 || !yes.is_multiple_of(4) {
            return false;
        }
        at += yes;
    }
    at == target
}

/// Whether the socket is sent.
pub(crate) fn run(program: &[u8], socket: &Socket) -> bool {
    let mut at = 0;
    while at < program.len() {
        let (code, yes, no) = operation(program, at);
        let operand = &program[at + 4..];
        let word = |i: usize| u32::from_ne_bytes(operand[4 * i..][..4].try_into().unwrap());
        let port = || u16::from_ne_bytes(operand[2..4].try_into().unwrap());
        let holds = match code {
            NOP => true,
            JMP => false,
            2 => socket.source.1 >= port(),
            3 => socket.source.1 <= port(),
            4 => socket.destination.1 >= port(),
            5 => socket.destination.1 <= port(),
            AUTO => socket.autobound,
            7 => host(operand, socket, socket.source),
            8 => host(operand, socket, socket.destination),
            DEV_COND => word(0) == socket.interface,
            MARK_COND => socket.mark.unwrap_or(0) & word(1) == word(0),
            CGROUP_COND => {
                u64::from_ne_bytes(operand[..8].try_into().unwrap()) == socket.cgroup.unwrap_or(0)
            }
            _ => unreachable!("the audit knows operation {code} not"),
        };
        at += if holds { yes } else { no };
    }
    at == program.len()
}

/// Whether an operation is in the program.
pub(crate) fn has(program: &[u8], wanted: u8) -> bool {
    let mut at = 0;
    while at < program.len() {
        let (code, yes, _) = operation(program, at);
        if code == wanted {
            return true;
        }
        at += yes;
    }
    false
}

/// `struct inet_diag_hostcond` against one end.
fn host(operand: &[u8], socket: &Socket, (address, port): (IpAddr, u16)) -> bool {
    let wanted = i32::from_ne_bytes(operand[4..8].try_into().unwrap());
    if wanted != -1 && wanted != i32::from(port) {
        return false;
    }
    let (family, bits) = (operand[0], usize::from(operand[1]));
    let octets = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    if family != 0 && family != socket.family() {
        let mapped = socket.family() == 10
            && family == 2
            && octets[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        return mapped && same_bits(&octets[12..], &operand[8..], bits);
    }
    same_bits(&octets, &operand[8..], bits)
}

fn same_bits(one: &[u8], other: &[u8], bits: usize) -> bool {
    (0..bits).all(|bit| (one[bit / 8] ^ other[bit / 8]) & (0x80 >> (bit % 8)) == 0)
}

fn operation(program: &[u8], at: usize) -> (u8, usize, usize) {
    let no = u16::from_ne_bytes([program[at + 2], program[at + 3]]);
    (program[at], usize::from(program[at + 1]), usize::from(no))
}

#[test]
fn the_audit_refuses_what_the_kernel_refuses() {
    let jump = |yes: u8, no: u16| [&[JMP, yes][..], &no.to_ne_bytes()].concat();
    assert_eq!(audit(&jump(4, 8), false), Ok(()));
    assert_eq!(audit(&[], false), Err("EINVAL: shorter than an operation"));
    assert_eq!(audit(&jump(4, 12), false), Err("EINVAL: no"));
    assert_eq!(audit(&jump(4, 0), false), Err("EINVAL: no"));
    assert_eq!(audit(&jump(0, 4), false), Err("EINVAL: yes"));
    assert_eq!(audit(&jump(8, 4), false), Err("EINVAL: the walk leads past the end"));
    assert_eq!(audit(&[99, 4, 4, 0], false), Err("EINVAL: unknown operation"));
    assert_eq!(audit(&[MARK_COND, 12, 16, 0], false), Err("EPERM"));
    assert_eq!(audit(&[MARK_COND, 12, 16, 0], true), Err("EINVAL: the operand is cut"));
    let device = [&[DEV_COND, 8][..], &12u16.to_ne_bytes(), &[0; 4]].concat();
    assert_eq!(audit(&[jump(4, 4), device.clone()].concat(), false), Ok(()));
    let into = [jump(4, 8), device].concat();
    assert_eq!(audit(&into, false), Err("EINVAL: no leads into an operation"));
}
