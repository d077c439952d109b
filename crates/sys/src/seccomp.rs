//! Seccomp: system calls that fail from here on, for the calling thread and those it starts.
//!
//! A list of what is denied and not of what is allowed: it is what an intruder wants (run a program, look into another
//! process, mount, load code into the kernel, become somebody else, enter another kind of namespace) and what no release of a C or client library
//! has ever called. What is denied fails with `EPERM` and kills nothing.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCondition as Condition, SeccompFilter, SeccompRule,
    apply_filter, sock_filter,
};

/// Denies what the daemon never does. `io_uring`: rings will be made.
///
/// # Errors
/// The kernel has no seccomp filters, or this processor is not known.
pub fn restrict_thread(io_uring: bool) -> Result<(), Error> {
    let arch = std::env::consts::ARCH.try_into().map_err(Error::Backend)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for &call in DENIED.iter().chain(DENIED_HERE) {
        rules.insert(call, Vec::new());
    }
    if !io_uring {
        for call in
            [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register]
        {
            rules.insert(call, Vec::new());
        }
    }
    rules.insert(libc::SYS_setns, vec![all(&[(1, Ne, libc::CLONE_NEWNET)])?]);
    rules.insert(libc::SYS_socket, sockets()?);
    rules.insert(libc::SYS_ioctl, vec![all(&[(1, Eq, TIOCSTI)])?]);
    let namespaces: Result<_, Error> = NEW_NAMESPACES.into_iter().map(new_namespace).collect();
    rules.insert(libc::SYS_clone, namespaces?);
    let errno = |errno: i32| SeccompAction::Errno(errno.cast_unsigned());
    let denied = SeccompFilter::new(rules, SeccompAction::Allow, errno(libc::EPERM), arch)
        .map_err(Error::Backend)?;
    // Its flags are in memory, where a filter can't look. Everybody falls back to clone.
    let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let unknown = SeccompFilter::new(unknown, SeccompAction::Allow, errno(libc::ENOSYS), arch)
        .map_err(Error::Backend)?;
    for filter in [unknown, denied] {
        apply_filter(&BpfProgram::try_from(filter).map_err(Error::Backend)?)?;
    }
    if cfg!(target_arch = "x86_64") { apply_filter(&WITHOUT_X32) } else { Ok(()) }
}

/// Anything but unix, IP, and the two kinds of netlink that are used: the routes' (the C library asks it for addresses) and
/// `sock_diag`.
fn sockets() -> Result<Vec<SeccompRule>, Error> {
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let families = families.map(|family| (0, Ne, family));
    let netlink =
        [(0, Eq, libc::AF_NETLINK), (2, Ne, libc::NETLINK_ROUTE), (2, Ne, libc::NETLINK_SOCK_DIAG)];
    Ok(vec![all(&families)?, all(&netlink)?])
}

/// A rule that holds when all of these do.
fn all(conditions: &[(u8, seccompiler::SeccompCmpOp, i32)]) -> Result<SeccompRule, Error> {
    let conditions = conditions.iter().map(|(argument, compare, value)| {
        Condition::new(*argument, Dword, compare.clone(), u64::from(value.cast_unsigned()))
    });
    let conditions = conditions.collect::<Result<_, _>>().map_err(Error::Backend)?;
    SeccompRule::new(conditions).map_err(Error::Backend)
}

fn new_namespace(flag: i32) -> Result<SeccompRule, Error> {
    let flag = u64::from(flag.cast_unsigned());
    let has_flag = Condition::new(0, Dword, MaskedEq(flag), flag).map_err(Error::Backend)?;
    SeccompRule::new(vec![has_flag]).map_err(Error::Backend)
}

const DENIED: &[c_long] = &[
    // Run a program.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Look into another process, or change it.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Change what is mounted; new namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_mknodat,
    // Become somebody else.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    // Into the kernel.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_syslog,
    // The host's own.
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Calls that only this processor's kernels have.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_mknod,
    libc::SYS_fork,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[c_long] = &[];

const NEW_NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWCGROUP,
];

/// Types what a terminal's owner did not.
const TIOCSTI: i32 = 0x5412;

/// Numbers from `__X32_SYSCALL_BIT` up are the same calls once more, by other numbers than those above.
const WITHOUT_X32: [sock_filter; 4] = [
    // Load the number; skip one if it is below; fail with EPERM; allow.
    sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
    sock_filter { code: 0x35, jt: 0, jf: 1, k: 0x4000_0000 },
    sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0001 },
    sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 },
];
