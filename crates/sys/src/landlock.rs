//! Landlock: the files and ports that a thread, and those it starts, may open from here on.
//!
//! A thread in a domain of its own may not look into processes outside of it, their `/proc/PID/ns/net` included, whatever
//! its capabilities (`hook_ptrace_access_check`). So a thread that looks for namespaces can't be restricted.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};

/// What stays allowed. What a path leads to is what counts; one that is not there is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Files, and everything in directories, to read.
    pub read: Vec<PathBuf>,
    /// Directories in which files are made, written, renamed and removed; files and devices that are written.
    pub write: Vec<PathBuf>,
    /// Connections to other hosts. Ports of our own are never opened.
    pub connect: bool,
}

/// How much of it the kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    /// All.
    Fully,
    /// Part: an older Landlock.
    Partly,
    /// Nothing: no Landlock in this kernel, or it is switched off.
    Not,
}

/// Restricts the calling thread and those that it will start.
///
/// # Errors
/// The kernel refused what it says that it knows.
pub fn restrict_thread(allowed: &Allowed) -> Result<Enforced, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?;
    if !allowed.connect {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut created = ruleset.create()?;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    created = add(created, &allowed.read, reading)?;
    // All but what makes devices and what is run.
    let writing = reading
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Truncate
        | AccessFs::IoctlDev;
    created = add(created, &allowed.write, writing)?;
    Ok(match created.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::Not,
    })
}

fn add(
    mut ruleset: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    for path in paths {
        let Ok(fd) = PathFd::new(path) else { continue };
        // Most rights make sense of directories alone, and others are refused by the kernel.
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
        ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
    }
    Ok(ruleset)
}

/// Linux 6.10; what older ones do not know is left out.
const KNOWN: ABI = ABI::V5;
