//! Whether this kernel allows an `io_uring`, and the best one that it has.

use std::{fs, io};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

/// Why there is no ring. Reading with blocking receives needs none of what is refused here.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RingError {
    /// A setting is out of range: correct it.
    #[error("{name} is {value}: it must be from 1 to {max}")]
    OutOfRange {
        /// Which setting.
        name: &'static str,
        /// What it is.
        value: usize,
        /// The largest that is allowed.
        max: usize,
    },
    /// `ENOSYS`: another kernel is needed.
    #[error(
        "this kernel has no io_uring: Linux 5.11 or later with CONFIG_IO_URING is needed \
         (a seccomp filter may also answer so)"
    )]
    NoKernelSupport,
    /// The administrator has switched it off.
    #[error("io_uring is switched off: sysctl kernel.io_uring_disabled is 2, for every process")]
    SwitchedOff,
    /// The administrator allows it to some.
    #[error(
        "io_uring is restricted: sysctl kernel.io_uring_disabled is 1, which allows it to CAP_SYS_ADMIN and to the \
         group of sysctl kernel.io_uring_group (a seccomp filter may also answer so)"
    )]
    Restricted,
    /// Refused by something that is no sysctl.
    #[error(
        "io_uring is refused ({0}) by a seccomp filter, as in the default profile of container runtimes, or by a \
         security module"
    )]
    Denied(Errno),
    /// The memory of a ring counts as locked memory, before Linux 5.12.
    #[error(
        "no memory for the ring: before Linux 5.12 it counts against RLIMIT_MEMLOCK, which is {limit} bytes \
         (LimitMEMLOCK= in a systemd unit), or lower recv_batch"
    )]
    NoMemory {
        /// The soft limit.
        limit: u64,
    },
    /// The kernel is too old.
    #[error("this kernel's io_uring has no {what}: Linux {since} or later is needed")]
    Lacks {
        /// The operation or feature.
        what: &'static str,
        /// The release that brought it.
        since: &'static str,
    },
    /// Anything else, such as too many open files.
    #[error("cannot set up an io_uring: {0}")]
    Other(Errno),
}

/// When the kernel finishes what it could not finish at once. Best first.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Taskrun {
    /// Inside `io_uring_enter`, on one thread (Linux 6.1).
    Deferred,
    /// At the next system call (Linux 5.19).
    Cooperative,
    /// At once, by interrupting the thread.
    Plain,
}

/// A ring with room for `entries` submissions, or what is in the way.
pub(crate) fn set_up(entries: u32, choices: &[Taskrun]) -> Result<IoUring, RingError> {
    let ring = first_known(choices, |taskrun| build(entries, taskrun)).map_err(|errno| {
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(u64::MAX, |(soft, _)| soft);
        explain(errno, io_uring_disabled(), limit)
    })?;
    if !ring.params().is_feature_ext_arg() {
        return Err(RingError::Lacks { what: "timeout of a wait (EXT_ARG)", since: "5.11" });
    }
    let mut probe = Probe::new();
    // A filter may allow the setup and refuse the other two calls.
    let refused = |error: &io::Error| explain(errno_of(error), io_uring_disabled(), u64::MAX);
    ring.submitter().register_probe(&mut probe).map_err(|error| refused(&error))?;
    needed_operations(|code| probe.is_supported(code))?;
    match ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&NO_TIME)) {
        Ok(_) => Ok(ring),
        Err(error) if matches!(errno_of(&error), Errno::ETIME | Errno::EINTR) => Ok(ring),
        Err(error) => Err(refused(&error)),
    }
}

/// The kernel's error number; there is none in errors that were made up in user space.
pub(crate) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn build(entries: u32, taskrun: Taskrun) -> Result<IoUring, Errno> {
    let mut builder = IoUring::builder();
    match taskrun {
        Taskrun::Deferred => builder.setup_single_issuer().setup_defer_taskrun(),
        Taskrun::Cooperative => builder.setup_coop_taskrun(),
        Taskrun::Plain => &mut builder,
    };
    builder.build(entries).map_err(|error| errno_of(&error))
}

/// A kernel that does not know a flag says `EINVAL`.
fn first_known<T>(
    choices: &[Taskrun],
    mut build: impl FnMut(Taskrun) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let mut refused = Errno::EINVAL;
    for &taskrun in choices {
        match build(taskrun) {
            Err(Errno::EINVAL) => refused = Errno::EINVAL,
            other => return other,
        }
    }
    Err(refused)
}

fn explain(errno: Errno, disabled: Option<u8>, memlock: u64) -> RingError {
    match (errno, disabled) {
        (Errno::ENOSYS, _) => RingError::NoKernelSupport,
        (Errno::EPERM, Some(2)) => RingError::SwitchedOff,
        (Errno::EPERM, Some(1)) => RingError::Restricted,
        (Errno::EPERM | Errno::EACCES, _) => RingError::Denied(errno),
        (Errno::ENOMEM, _) => RingError::NoMemory { limit: memlock },
        (other, _) => RingError::Other(other),
    }
}

fn needed_operations(is_supported: impl Fn(u8) -> bool) -> Result<(), RingError> {
    for (code, what, since) in [
        (opcode::Send::CODE, "IORING_OP_SEND", "5.6"),
        (opcode::RecvMsg::CODE, "IORING_OP_RECVMSG", "5.3"),
        (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL", "5.5"),
    ] {
        if !is_supported(code) {
            return Err(RingError::Lacks { what, since });
        }
    }
    Ok(())
}

/// Linux 6.6 brought this sysctl; `None` before.
fn io_uring_disabled() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

pub(crate) const BEST_FIRST: [Taskrun; 3] =
    [Taskrun::Deferred, Taskrun::Cooperative, Taskrun::Plain];

const NO_TIME: Timespec = Timespec::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told_apart_and_names_what_to_change() {
        for (errno, disabled, refusal, says) in [
            (Errno::ENOSYS, None, RingError::NoKernelSupport, "Linux 5.11 or later"),
            (Errno::EPERM, Some(2), RingError::SwitchedOff, "kernel.io_uring_disabled is 2"),
            (Errno::EPERM, Some(1), RingError::Restricted, "kernel.io_uring_disabled is 1"),
            (Errno::EPERM, Some(0), RingError::Denied(Errno::EPERM), "a seccomp filter"),
            (Errno::EPERM, None, RingError::Denied(Errno::EPERM), "(EPERM: "),
            (Errno::EACCES, Some(2), RingError::Denied(Errno::EACCES), "a security module"),
            (Errno::ENOMEM, Some(0), RingError::NoMemory { limit: 65_536 }, "is 65536 bytes"),
            (Errno::EMFILE, None, RingError::Other(Errno::EMFILE), "EMFILE"),
        ] {
            let explained = explain(errno, disabled, 65_536);
            assert_eq!(explained, refusal);
            assert!(explained.to_string().contains(says), "{explained}");
        }
    }

    #[test]
    fn a_kernel_that_does_not_know_a_flag_is_asked_without_it() {
        let mut tried = Vec::new();
        let chosen = first_known(&BEST_FIRST, |taskrun| {
            tried.push(taskrun);
            if taskrun == Taskrun::Plain { Ok(taskrun) } else { Err(Errno::EINVAL) }
        });
        assert_eq!(chosen, Ok(Taskrun::Plain));
        assert_eq!(tried, BEST_FIRST);
    }

    #[test]
    fn a_refusal_other_than_of_a_flag_is_final() {
        let mut tries = 0;
        let refused = first_known(&BEST_FIRST, |_| -> Result<(), _> {
            tries += 1;
            Err(Errno::EPERM)
        });
        assert_eq!((refused, tries), (Err(Errno::EPERM), 1));
    }

    #[test]
    fn a_missing_operation_is_named_with_the_release_that_brought_it() {
        let missing = needed_operations(|code| code != opcode::Send::CODE).unwrap_err();
        let says = "this kernel's io_uring has no IORING_OP_SEND: Linux 5.6 or later is needed";
        assert_eq!(missing.to_string(), says);
        assert_eq!(needed_operations(|_| true), Ok(()));
    }
}
