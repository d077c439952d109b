//! What changed between the namespaces that are known and those that a scan found. Pure.

use std::collections::{BTreeMap, BTreeSet};

use sockeye_sys::netns::NetnsId;

use crate::{Netns, Scan};

/// The difference. What a scan found is in exactly one of `appeared`, `renamed` and `kept`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes<'scan> {
    /// New: start reading them.
    pub appeared: Vec<&'scan Netns>,
    /// No longer found: stop reading them, now.
    pub gone: Vec<NetnsId>,
    /// Known by another name. Either they were renamed, or the identity belongs to another namespace by now: a reader
    /// starts afresh in both cases.
    pub renamed: Vec<&'scan Netns>,
    /// Known, with fresh origins and processes: they replace what is known.
    pub kept: Vec<&'scan Netns>,
}

impl AsRef<Netns> for Netns {
    fn as_ref(&self) -> &Netns {
        self
    }
}

/// Compares what is known with a scan.
///
/// A scan that is [incomplete](Scan::incomplete) makes none `gone`: the absence of a namespace proves nothing then.
pub fn reconcile<'scan, K: AsRef<Netns>>(
    known: &BTreeMap<NetnsId, K>,
    scan: &'scan Scan,
) -> Changes<'scan> {
    let mut changes = Changes::default();
    for netns in &scan.namespaces {
        match known.get(&netns.id).map(AsRef::as_ref) {
            None => changes.appeared.push(netns),
            Some(before) if before.name != netns.name => changes.renamed.push(netns),
            Some(_) => changes.kept.push(netns),
        }
    }
    if scan.incomplete.is_none() {
        let found: BTreeSet<_> = scan.namespaces.iter().map(|netns| netns.id).collect();
        changes.gone.extend(known.keys().filter(|id| !found.contains(id)));
    }
    changes
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::{Origin, ScanOptions, ScanStats};

    fn netns(inode: u64, name: &str, pid: u32) -> Netns {
        Netns {
            id: NetnsId { device: 4, inode },
            name: name.into(),
            origins: vec![Origin::Process(pid)],
            container: None,
            pid: Some(pid),
            processes: 1,
            is_default: false,
            options: ScanOptions::default().into(),
        }
    }

    fn scan(namespaces: Vec<Netns>) -> Scan {
        Scan { namespaces, stats: ScanStats::default(), incomplete: None }
    }

    fn known(namespaces: Vec<Netns>) -> BTreeMap<NetnsId, Netns> {
        namespaces.into_iter().map(|netns| (netns.id, netns)).collect()
    }

    /// Every set of namespaces over three inodes, each absent or under one of two names.
    fn worlds(pid: u32) -> Vec<Vec<Netns>> {
        let choices = [None, Some("red"), Some("blue")];
        let mut worlds = Vec::new();
        for first in choices {
            for second in choices {
                for third in choices {
                    let named = [(1, first), (2, second), (3, third)].into_iter();
                    worlds.push(
                        named.filter_map(|(inode, name)| Some(netns(inode, name?, pid))).collect(),
                    );
                }
            }
        }
        worlds
    }

    /// What a caller does with the changes.
    fn apply(known: &mut BTreeMap<NetnsId, Netns>, changes: &Changes<'_>) {
        for id in &changes.gone {
            assert!(known.remove(id).is_some());
        }
        for &netns in [&changes.appeared, &changes.renamed, &changes.kept].into_iter().flatten() {
            known.insert(netns.id, netns.clone());
        }
    }

    #[test]
    fn one_of_each_kind_of_change() {
        let known = known(vec![netns(1, "kept", 1), netns(2, "old", 1), netns(3, "gone", 1)]);
        let scan = scan(vec![netns(1, "kept", 9), netns(2, "new", 1), netns(4, "appeared", 1)]);
        let changes = reconcile(&known, &scan);
        let [kept, renamed, appeared] = &scan.namespaces[..] else { unreachable!() };
        let gone = vec![NetnsId { device: 4, inode: 3 }];
        let expected =
            Changes { appeared: vec![appeared], gone, renamed: vec![renamed], kept: vec![kept] };
        assert_eq!(changes, expected);
    }

    #[test]
    fn after_any_changes_are_applied_the_known_are_the_found() {
        for before in worlds(1) {
            for after in worlds(2) {
                let (before, scan) = (known(before.clone()), scan(after));
                let mut known = before.clone();
                apply(&mut known, &reconcile(&before, &scan));
                assert_eq!(known.into_values().collect::<Vec<_>>(), scan.namespaces);
            }
        }
    }

    #[test]
    fn a_scan_of_what_is_known_changes_nothing() {
        for world in worlds(1) {
            let scan = scan(world.clone());
            let changes = reconcile(&known(world), &scan);
            assert!(
                changes.appeared.is_empty()
                    && changes.gone.is_empty()
                    && changes.renamed.is_empty()
            );
            assert_eq!(changes.kept.len(), scan.namespaces.len());
        }
    }

    #[test]
    fn each_namespace_is_in_exactly_one_list() {
        for before in worlds(1) {
            for after in worlds(2) {
                let (known, scan) = (known(before.clone()), scan(after));
                let changes = reconcile(&known, &scan);
                let (appeared, renamed) = (changes.appeared.len(), changes.renamed.len());
                assert_eq!(appeared + renamed + changes.kept.len(), scan.namespaces.len());
                assert_eq!(changes.gone.len() + renamed + changes.kept.len(), known.len());
            }
        }
    }

    #[test]
    fn an_incomplete_scan_makes_none_gone() {
        for before in worlds(1) {
            for after in worlds(2) {
                let known = known(before.clone());
                let complete = scan(after);
                let incomplete = Scan { incomplete: Some(Errno::EMFILE), ..complete.clone() };
                let changes = reconcile(&known, &incomplete);
                assert_eq!(changes.gone, []);
                assert_eq!(changes.appeared, reconcile(&known, &complete).appeared);
            }
        }
    }
}
