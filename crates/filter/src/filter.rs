//! An expression that was read once and means something else in each namespace.

use std::fmt;
use std::str::FromStr;

use sockeye_wire::AttrSet;
use sockeye_wire::attrs::nr;
use sockeye_wire::bytecode::{Condition, End, Predicate};

use crate::error::FilterError;
use crate::parse::parse;
use crate::resolved::Resolved;

/// An expression in the language of `ss`. It is shown as it was written.
///
/// Paths of cgroups are looked up when it is parsed, in the hierarchy that is mounted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    expression: Predicate<Name>,
}

/// A condition, or what a namespace makes one of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Is(Condition),
    /// An interface by name.
    Device(String),
    /// The port was not named by `bind`, and is one that the kernel chooses.
    Autobound,
}

/// What a namespace says of itself. Functions that find the index of an interface by its name do too.
pub trait InNetns {
    /// The index of an interface; `None` when there is none of this name.
    fn index_of(&mut self, device: &str) -> Option<u32>;

    /// First and last port that the kernel chooses: `net.ipv4.ip_local_port_range`.
    fn local_ports(&mut self) -> (u16, u16) {
        LOCAL_PORTS
    }
}

impl<F: FnMut(&str) -> Option<u32>> InNetns for F {
    fn index_of(&mut self, device: &str) -> Option<u32> {
        self(device)
    }
}

impl Filter {
    /// The names of interfaces in it, as often as they occur.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.names().into_iter().filter_map(|name| match name {
            Name::Device(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether it depends on what a namespace says of itself. If not, one resolved filter is good for all.
    pub fn is_per_netns(&self) -> bool {
        self.names().iter().any(|name| !matches!(name, Name::Is(_)))
    }

    /// Whether it asks for what rows do not show (`autobound`), so that only the kernel can tell.
    pub fn is_for_the_kernel(&self) -> bool {
        self.names().contains(&&Name::Autobound)
    }

    /// The attributes that it looks at, to be asked for and read beside those of the columns.
    pub fn attrs(&self) -> AttrSet {
        self.names().into_iter().fold(AttrSet::NONE, |attrs, name| match name {
            Name::Is(Condition::Mark { .. }) => attrs.union(AttrSet::of(nr::MARK)),
            Name::Is(Condition::Cgroup(_)) => attrs.union(AttrSet::of(nr::CGROUP_ID)),
            _ => attrs,
        })
    }

    /// The filter in one namespace. The name of an interface that it has not got matches nothing.
    pub fn resolve(&self, mut netns: impl InNetns) -> Resolved {
        let predicate = self.expression.replace(&mut |name: &Name, _| match name {
            Name::Is(condition) => Predicate::Is(*condition),
            Name::Device(name) => netns
                .index_of(name)
                .map_or(Predicate::NEVER, |index| Predicate::Is(Condition::Device(index))),
            Name::Autobound => {
                let (low, high) = netns.local_ports();
                // What a listener accepted is not bound by name either, so `ss` looks at the port as well.
                Predicate::Is(Condition::Ports(End::Source, low, high))
                    .and(Predicate::Is(Condition::Autobound))
            }
        });
        Resolved { predicate }
    }

    fn names(&self) -> Vec<&Name> {
        let mut names = Vec::new();
        collect(&self.expression, &mut names);
        names
    }
}

fn collect<'a>(expression: &'a Predicate<Name>, names: &mut Vec<&'a Name>) {
    match expression {
        Predicate::All(of) | Predicate::Any(of) => of.iter().for_each(|one| collect(one, names)),
        Predicate::Not(it) => collect(it, names),
        Predicate::Is(name) => names.push(name),
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Ok(Self { text: text.to_owned(), expression: parse(text)? })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The kernel's default.
const LOCAL_PORTS: (u16, u16) = (32768, 60999);

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    fn eth0(name: &str) -> Option<u32> {
        (name == "eth0").then_some(2)
    }

    #[test]
    fn a_filter_is_shown_as_it_was_written() {
        assert_eq!(filter(" dport=:443  and dev eth0").to_string(), " dport=:443  and dev eth0");
        assert_ne!(filter("dport=:443"), filter("dport = :443"));
    }

    #[test]
    fn names_of_interfaces_mean_what_the_namespace_says() {
        let by_name = filter("dev eth0 or not dev eth1");
        assert_eq!(by_name.devices().collect::<Vec<_>>(), ["eth0", "eth1"]);
        assert!(by_name.is_per_netns() && by_name.resolve(eth0).is_always());
        assert!(filter("dev eth1").resolve(eth0).is_never());
        assert_eq!(filter("dev eth0").resolve(eth0), filter("dev 2").resolve(|_: &str| None));
        assert!(!filter("dev 2").is_per_netns());
        assert!(filter("autobound").is_per_netns());
    }

    #[test]
    fn only_attributes_that_are_looked_at_are_wanted() {
        assert_eq!(filter("dport 443 dev eth0").attrs(), AttrSet::NONE);
        assert_eq!(filter("not fwmark 1").attrs(), AttrSet::of(nr::MARK));
    }

    #[test]
    fn autobound_is_about_the_ports_that_this_namespace_chooses_from() {
        struct Ports;
        impl InNetns for Ports {
            fn index_of(&mut self, _: &str) -> Option<u32> {
                None
            }

            fn local_ports(&mut self) -> (u16, u16) {
                (9000, 9100)
            }
        }
        let of = |low, high| {
            Predicate::Is(Condition::Ports(End::Source, low, high))
                .and(Predicate::Is(Condition::Autobound))
        };
        assert_eq!(filter("autobound").resolve(Ports).predicate, of(9000, 9100));
        assert_eq!(filter("autobound").resolve(eth0).predicate, of(32768, 60999));
    }

    #[test]
    fn a_filter_may_go_to_any_thread() {
        fn check<T: Send + Sync + 'static>() {}
        check::<Filter>();
        check::<Resolved>();
        check::<FilterError>();
    }
}
