//! A filter whose names have the meaning that they have in one namespace, and the test of one socket.

use sockeye_wire::Address;
use sockeye_wire::bytecode::{Condition, End, Predicate, Prefix};

use crate::subject::Subject;

/// What to look at in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub(crate) predicate: Predicate,
}

impl Resolved {
    /// Whether the socket is wanted. Allocates nothing.
    ///
    /// Whether a port was chosen by the kernel cannot be seen from outside of it: a socket that may or may not be
    /// wanted for it is taken to be, since the kernel's program has looked already.
    #[inline]
    pub fn matches(&self, subject: &impl Subject) -> bool {
        holds(&self.predicate, subject, true)
    }

    /// Whether the socket is wanted by what is known of it: one that may or may not be is not.
    #[inline]
    pub fn surely_matches(&self, subject: &impl Subject) -> bool {
        holds(&self.predicate, subject, false)
    }

    /// No socket is wanted: there is no need to ask.
    pub fn is_never(&self) -> bool {
        self.predicate.is_never()
    }

    /// Every socket is wanted.
    pub fn is_always(&self) -> bool {
        self.predicate.is_always()
    }
}

/// What is not known counts as `unknown`, which turns around with each negation: so the whole is rather that.
fn holds(predicate: &Predicate, subject: &impl Subject, unknown: bool) -> bool {
    match predicate {
        Predicate::All(of) => of.iter().all(|one| holds(one, subject, unknown)),
        Predicate::Any(of) => of.iter().any(|one| holds(one, subject, unknown)),
        Predicate::Not(it) => !holds(it, subject, !unknown),
        Predicate::Is(condition) => is(*condition, subject).unwrap_or(unknown),
    }
}

#[inline]
fn is(condition: Condition, subject: &impl Subject) -> Option<bool> {
    Some(match condition {
        Condition::Ports(End::Source, low, high) => (low..=high).contains(&subject.source_port()),
        Condition::Ports(End::Destination, low, high) => {
            (low..=high).contains(&subject.destination_port())
        }
        Condition::Host(End::Source, prefix) => begins(subject.source(), prefix),
        Condition::Host(End::Destination, prefix) => begins(subject.destination(), prefix),
        Condition::Mark { .. } | Condition::Cgroup(_) if !subject.is_known() => return None,
        Condition::Device(index) => subject.interface() == index,
        Condition::Mark { value, mask } => subject.mark().unwrap_or(0) & mask == value,
        Condition::Cgroup(id) => subject.cgroup() == Some(id),
        Condition::Autobound => return subject.autobound(),
    })
}

fn begins(address: Address<'_>, prefix: Prefix) -> bool {
    match (address, prefix) {
        (Address::V4(address), Prefix::V4(prefix, len)) => v4_begins(*address, prefix, len),
        (Address::V6(address), Prefix::V4(prefix, len)) => match address {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, mapped @ ..] => {
                v4_begins(*mapped, prefix, len)
            }
            _ => false,
        },
        (Address::V6(address), Prefix::V6(prefix, len)) => {
            let differing = u128::from_be_bytes(*address) ^ u128::from_be_bytes(prefix);
            differing.checked_shr(128 - u32::from(len.min(128))).unwrap_or(0) == 0
        }
        (Address::V4(_), Prefix::V6(..)) => false,
    }
}

fn v4_begins(address: [u8; 4], prefix: [u8; 4], len: u8) -> bool {
    let differing = u32::from_be_bytes(address) ^ u32::from_be_bytes(prefix);
    differing.checked_shr(32 - u32::from(len.min(32))).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_prefix_takes_mapped_addresses_and_an_ipv6_prefix_takes_no_ipv4() {
        let mapped = std::net::Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped().octets();
        let v4 = Prefix::V4([10, 0, 0, 0], 8);
        assert!(begins(Address::V4(&[10, 1, 2, 3]), v4) && begins(Address::V6(&mapped), v4));
        assert!(!begins(Address::V4(&[11, 1, 2, 3]), v4));
        assert!(!begins(Address::V6(&[0; 16]), Prefix::V4([0; 4], 0)));
        assert!(begins(Address::V6(&[0; 16]), Prefix::V6([9; 16], 0)));
        assert!(begins(Address::V6(&mapped), Prefix::V6(mapped, 128)));
        assert!(!begins(Address::V4(&[0; 4]), Prefix::V6([0; 16], 0)));
    }

    #[test]
    fn what_is_not_known_of_a_socket_is_no_match_either_way() {
        struct Unknown;
        impl Subject for Unknown {
            fn source(&self) -> Address<'_> {
                Address::V4(&[10, 0, 0, 1])
            }
            fn destination(&self) -> Address<'_> {
                Address::V4(&[10, 0, 0, 2])
            }
            fn source_port(&self) -> u16 {
                80
            }
            fn destination_port(&self) -> u16 {
                9
            }
            fn interface(&self) -> u32 {
                0
            }
            fn mark(&self) -> Option<u32> {
                None
            }
            fn cgroup(&self) -> Option<u64> {
                None
            }
            fn is_known(&self) -> bool {
                false
            }
        }
        let surely = |text: &str| {
            let filter: crate::Filter = text.parse().unwrap();
            filter.resolve(|_: &str| None).surely_matches(&Unknown)
        };
        assert!(!surely("fwmark 0") && !surely("not fwmark 0") && !surely("autobound"));
        assert!(surely("fwmark 1 or sport = :80") && !surely("fwmark 1 and sport = :80"));
        assert!(surely("not ( fwmark 1 and sport = :81 )"));
    }

    #[test]
    fn exactly_the_bits_of_the_prefix_are_compared() {
        for len in 0..=32 {
            let flipped = |bit: u32| (0x0a01_0203u32 ^ (1 << (31 - bit))).to_be_bytes();
            for bit in 0..32 {
                let same = v4_begins(flipped(bit), [10, 1, 2, 3], len);
                assert_eq!(same, bit >= u32::from(len), "{bit} of {len}");
            }
        }
        let mut last = [7; 16];
        last[15] = 6;
        assert!(begins(Address::V6(&last), Prefix::V6([7; 16], 127)));
        assert!(!begins(Address::V6(&last), Prefix::V6([7; 16], 128)));
    }
}
