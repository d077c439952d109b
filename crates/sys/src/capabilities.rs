//! Capabilities: what a thread has, and giving up what it does not need.
//!
//! They belong to threads: call these before others are started, which inherit.

use caps::errors::CapsError;
pub use caps::{CapSet, Capability};

/// Whether the calling thread has it now. What can't be read counts as missing.
pub fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Keeps of what the calling thread has only `wanted`, in its effective and permitted sets, and nothing to inherit. Returns what is left.
///
/// The bounding set is narrowed too, which takes `CAP_SETPCAP`: without it, it stays, and matters to nobody who can't
/// gain privileges ([`no_new_privs`]).
///
/// # Errors
/// The kernel's. Some may have been given up already.
pub fn keep_only(wanted: &[Capability]) -> Result<Vec<Capability>, CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: caps::CapsHashSet =
        wanted.iter().copied().filter(|capability| permitted.contains(capability)).collect();
    if has(Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding)? {
            if !kept.contains(&capability) {
                caps::drop(None, CapSet::Bounding, capability)?;
            }
        }
    }
    // A kernel before 4.3 has no ambient set.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::clear(None, CapSet::Inheritable)?;
    let mut kept: Vec<Capability> = kept.into_iter().collect();
    kept.sort_by_key(Capability::index);
    Ok(kept)
}

/// Runs `look` without these capabilities in force, and with them again afterwards: to see what works without.
///
/// # Errors
/// The kernel's.
pub fn without<T>(capabilities: &[Capability], look: impl FnOnce() -> T) -> Result<T, CapsError> {
    let before = caps::read(None, CapSet::Effective)?;
    let less = before.iter().copied().filter(|it| !capabilities.contains(it)).collect();
    caps::set(None, CapSet::Effective, &less)?;
    let seen = look();
    caps::set(None, CapSet::Effective, &before)?;
    Ok(seen)
}

/// The calling thread, and those it starts, never gain a privilege any more.
///
/// # Errors
/// The kernel is older than 3.5.
pub fn no_new_privs() -> nix::Result<()> {
    nix::sys::prctl::set_no_new_privs()
}
