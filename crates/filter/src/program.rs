//! The program for the kernel: what it is able and allowed to look at.

use sockeye_wire::bytecode::{Condition, Predicate, assemble};
use sockeye_wire::request::Part;

use crate::resolved::Resolved;

/// Which conditions the kernel may be given, beside ports, hosts and `autobound`, which every kernel knows.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// `dev`: since Linux 4.8.
    pub device: bool,
    /// `fwmark`: since Linux 4.9, with `CAP_NET_ADMIN` in the user namespace of the network namespace; else `EPERM`.
    pub mark: bool,
    /// `cgroup`: kernels that send `INET_DIAG_CGROUP_ID` know it; others answer `EINVAL`.
    pub cgroup: bool,
}

impl Support {
    /// Everything.
    pub const ALL: Self = Self { device: true, mark: true, cgroup: true };
    /// What every kernel knows: for another try where a program was refused.
    pub const LEAST: Self = Self { device: false, mark: false, cgroup: false };

    fn contains(self, condition: Condition) -> bool {
        match condition {
            Condition::Device(_) => self.device,
            Condition::Mark { .. } => self.mark,
            Condition::Cgroup(_) => self.cgroup,
            Condition::Ports(..) | Condition::Host(..) | Condition::Autobound => true,
        }
    }
}

impl Default for Support {
    /// A kernel of today and no privilege.
    fn default() -> Self {
        Self { mark: false, ..Self::ALL }
    }
}

/// The program for the filter within any of these parts (none: everywhere), or `None` when there is nothing to leave out.
///
/// It accepts every socket that [`Resolved::matches`] accepts, and more where a condition is not in `support` or the
/// program would be longer than the kernel should be given: so look at each row again.
pub fn bytecode(filter: Option<&Resolved>, parts: &[Part], support: Support) -> Option<Vec<u8>> {
    let part = match parts {
        [] => Predicate::ALWAYS,
        [part] => part.predicate(),
        parts => Predicate::Any(parts.iter().map(Part::predicate).collect()),
    };
    let mut program = Vec::new();
    let whole = filter.map_or(Predicate::ALWAYS, |filter| filter.within(support));
    if assemble(&part.clone().and(whole), &mut program).is_err() {
        assemble(&part, &mut program).expect("a part is a few comparisons");
    }
    (!program.is_empty()).then_some(program)
}

impl Resolved {
    /// What the kernel is asked instead.
    fn within(&self, support: Support) -> Predicate {
        self.predicate.replace(&mut |condition: &Condition, affirmed| match affirmed {
            _ if support.contains(*condition) => Predicate::Is(*condition),
            true => Predicate::ALWAYS,
            false => Predicate::NEVER,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Filter;

    fn within(text: &str, support: Support) -> Predicate {
        let filter: Filter = text.parse().unwrap();
        filter.resolve(|_: &str| Some(7)).within(support)
    }

    #[test]
    fn what_the_kernel_may_not_look_at_accepts_more_and_never_less() {
        let least = |text| within(text, Support::LEAST);
        let all = |text| within(text, Support::ALL);
        assert!(least("fwmark = 1").is_always() && least("not fwmark = 1").is_always());
        assert!(least("dev = a").is_always() && least("dev != a").is_always());
        assert_eq!(least("sport = :1 and fwmark = 1"), all("sport = :1"));
        assert_eq!(least("sport = :1 and fwmark != 1"), all("sport = :1"));
        assert!(least("sport = :1 or fwmark = 1").is_always());
        assert_eq!(least("not ( sport = :1 or fwmark = 1 )"), all("not sport = :1"));
        assert!(least("not ( sport = :1 and fwmark = 1 )").is_always());
        let unprivileged = within("dev = a and fwmark = 1", Support::default());
        assert_eq!(unprivileged, all("dev = a"));
    }

    #[test]
    fn no_program_is_made_for_everything_and_a_long_one_becomes_that_of_the_part() {
        assert_eq!(bytecode(None, &[], Support::ALL), None);
        assert_eq!(bytecode(None, &[Part::ALL], Support::ALL), None);
        let part = Part::equal(1, 4);
        let of_part = bytecode(None, &[part], Support::ALL).unwrap();
        assert_eq!(of_part.len(), 16);
        let long = vec!["dst 10.0.0.1"; 2000].join(" or ").parse::<Filter>().unwrap();
        let long = long.resolve(|_: &str| None);
        assert_eq!(bytecode(Some(&long), &[part], Support::ALL), Some(of_part));
        assert_eq!(bytecode(Some(&long), &[], Support::ALL), None);
    }
}
