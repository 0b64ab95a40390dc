//! The maps of the `syscall` family, and what each call is for on the architecture this was built for.

use aya::Ebpf;
use libc as c;
use monitor_common::syscall::{
    CallClass, CallClasses, SlotCalls, SlotCallsLatency, SlotSyscall, SlotSyscallLatency,
};

use super::{MappedArray, ProbeError, load::mapped, syscall_class::class_of_each};
use crate::kernel::calls::SingleCalls;

/// What is counted of system calls.
pub struct SyscallMaps {
    /// Counters, at `slot * cpus + cpu`.
    pub counters: MappedArray<SlotSyscall>,
    /// Distributions, at `slot * block_lanes + lane`.
    pub latencies: MappedArray<SlotSyscallLatency>,
    /// Counters of calls one by one, at `slot * cpus + cpu`, where some were named.
    pub single_counters: MappedArray<SlotCalls>,
    /// Their distributions, at `slot * block_lanes + lane`.
    pub single_latencies: MappedArray<SlotCallsLatency>,
    /// Calls that are counted one by one, in the order of those records.
    pub singles: Vec<Single>,
}

/// A call that is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single {
    /// As the kernel calls it.
    pub name: &'static str,
    /// The class it is of, a [`CallClass`]: the kernel half does not count it there.
    pub class: usize,
}

impl SyscallMaps {
    /// Takes the maps; `size` tells how many entries each was made with.
    pub(super) fn new(
        ebpf: &Ebpf,
        size: impl Fn(&str) -> u32,
        singles: &SingleCalls,
    ) -> Result<Self, ProbeError> {
        let classes = classes();
        let single = |(number, name)| Single { name, class: usize::from(classes[number]) };
        Ok(Self {
            singles: singles.iter().map(single).collect(),
            single_counters: mapped(ebpf, "SLOT_CALLS", size("SLOT_CALLS"))?,
            single_latencies: mapped(ebpf, "SLOT_CALLS_LATENCY", size("SLOT_CALLS_LATENCY"))?,
            counters: mapped(ebpf, "SLOT_SYSCALL", size("SLOT_SYSCALL"))?,
            latencies: mapped(ebpf, "SLOT_SYSCALL_LATENCY", size("SLOT_SYSCALL_LATENCY"))?,
        })
    }
}

const READ: &[c::c_long] = &[
    c::SYS_read,
    c::SYS_readv,
    c::SYS_pread64,
    c::SYS_preadv,
    c::SYS_preadv2,
    c::SYS_getdents64,
    c::SYS_readahead,
];

const WRITE: &[c::c_long] = &[
    c::SYS_write,
    c::SYS_writev,
    c::SYS_pwrite64,
    c::SYS_pwritev,
    c::SYS_pwritev2,
    c::SYS_sendfile,
    c::SYS_splice,
    c::SYS_tee,
    c::SYS_vmsplice,
    c::SYS_copy_file_range,
    c::SYS_fallocate,
];

const SYNC: &[c::c_long] = &[
    c::SYS_fsync,
    c::SYS_fdatasync,
    c::SYS_sync,
    c::SYS_syncfs,
    c::SYS_sync_file_range,
    c::SYS_msync,
];

const FILE: &[c::c_long] = &[
    c::SYS_openat,
    OPENAT2,
    c::SYS_close,
    CLOSE_RANGE,
    c::SYS_fstat,
    c::SYS_statx,
    c::SYS_statfs,
    c::SYS_fstatfs,
    c::SYS_lseek,
    c::SYS_faccessat,
    FACCESSAT2,
    c::SYS_readlinkat,
    c::SYS_renameat2,
    c::SYS_unlinkat,
    c::SYS_mkdirat,
    c::SYS_symlinkat,
    c::SYS_linkat,
    c::SYS_mknodat,
    c::SYS_truncate,
    c::SYS_ftruncate,
    c::SYS_fchmod,
    c::SYS_fchmodat,
    c::SYS_fchown,
    c::SYS_fchownat,
    c::SYS_utimensat,
    c::SYS_fcntl,
    c::SYS_dup,
    c::SYS_dup3,
    c::SYS_pipe2,
    c::SYS_ioctl,
    c::SYS_getcwd,
    c::SYS_chdir,
    c::SYS_fchdir,
    c::SYS_getxattr,
    c::SYS_lgetxattr,
    c::SYS_fgetxattr,
    c::SYS_fadvise64,
    c::SYS_inotify_add_watch,
    #[cfg(target_arch = "x86_64")]
    c::SYS_newfstatat,
    #[cfg(target_arch = "x86_64")]
    c::SYS_open,
    #[cfg(target_arch = "x86_64")]
    c::SYS_creat,
    #[cfg(target_arch = "x86_64")]
    c::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    c::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    c::SYS_access,
    #[cfg(target_arch = "x86_64")]
    c::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    c::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    c::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    c::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    c::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    c::SYS_link,
    #[cfg(target_arch = "x86_64")]
    c::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    c::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    c::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    c::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    c::SYS_pipe,
];

const NETWORK: &[c::c_long] = &[
    c::SYS_socket,
    c::SYS_socketpair,
    c::SYS_bind,
    c::SYS_listen,
    c::SYS_accept,
    c::SYS_accept4,
    c::SYS_connect,
    c::SYS_sendto,
    c::SYS_sendmsg,
    c::SYS_sendmmsg,
    c::SYS_recvfrom,
    c::SYS_recvmsg,
    c::SYS_recvmmsg,
    c::SYS_shutdown,
    c::SYS_getsockopt,
    c::SYS_setsockopt,
    c::SYS_getsockname,
    c::SYS_getpeername,
];

const POLL: &[c::c_long] = &[
    c::SYS_ppoll,
    c::SYS_pselect6,
    c::SYS_epoll_pwait,
    EPOLL_PWAIT2,
    c::SYS_epoll_ctl,
    c::SYS_epoll_create1,
    c::SYS_io_uring_enter,
    c::SYS_io_getevents,
    #[cfg(target_arch = "x86_64")]
    c::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    c::SYS_select,
    #[cfg(target_arch = "x86_64")]
    c::SYS_epoll_wait,
];

const SLEEP: &[c::c_long] = &[
    c::SYS_nanosleep,
    c::SYS_clock_nanosleep,
    c::SYS_rt_sigsuspend,
    c::SYS_rt_sigtimedwait,
    c::SYS_sched_yield,
    #[cfg(target_arch = "x86_64")]
    c::SYS_pause,
];

const LOCK: &[c::c_long] = &[
    c::SYS_futex,
    FUTEX_WAITV,
    FUTEX_WAKE,
    FUTEX_WAIT,
    FUTEX_REQUEUE,
    c::SYS_semop,
    c::SYS_semtimedop,
    c::SYS_flock,
];

const MEMORY: &[c::c_long] = &[
    c::SYS_mmap,
    c::SYS_munmap,
    c::SYS_mremap,
    c::SYS_mprotect,
    c::SYS_madvise,
    c::SYS_brk,
    c::SYS_mlock,
    c::SYS_munlock,
    c::SYS_mincore,
];

const PROCESS: &[c::c_long] = &[
    c::SYS_clone,
    CLONE3,
    c::SYS_execve,
    c::SYS_execveat,
    c::SYS_wait4,
    c::SYS_waitid,
    c::SYS_kill,
    c::SYS_tkill,
    c::SYS_tgkill,
    #[cfg(target_arch = "x86_64")]
    c::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    c::SYS_vfork,
];

// Numbers shared by every architecture since 5.0 that libc does not name for all.
const CLONE3: c::c_long = 435;
const CLOSE_RANGE: c::c_long = 436;
const OPENAT2: c::c_long = 437;
const FACCESSAT2: c::c_long = 439;
const EPOLL_PWAIT2: c::c_long = 441;
const FUTEX_WAITV: c::c_long = 449;
const FUTEX_WAKE: c::c_long = 454;
const FUTEX_WAIT: c::c_long = 455;
const FUTEX_REQUEUE: c::c_long = 456;

/// Calls and what they are for; those that are in none are [`CallClass::Other`].
const CLASSES: [(&[c::c_long], CallClass); CallClass::COUNT - 1] = [
    (READ, CallClass::Read),
    (WRITE, CallClass::Write),
    (SYNC, CallClass::Sync),
    (FILE, CallClass::File),
    (NETWORK, CallClass::Network),
    (POLL, CallClass::Poll),
    (SLEEP, CallClass::Sleep),
    (LOCK, CallClass::Lock),
    (MEMORY, CallClass::Memory),
    (PROCESS, CallClass::Process),
];

/// The table the kernel half is loaded with.
pub(super) fn table(singles: &SingleCalls) -> CallClasses {
    let mut table = classes();
    for ((number, _), place) in singles.iter().zip(CallClass::COUNT as u8..) {
        table[number] = place;
    }
    table
}

/// The [`CallClass`] of each call.
fn classes() -> CallClasses {
    class_of_each(CallClass::Other as u8, CLASSES.map(|(calls, class)| (calls, class as u8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_in_two_classes() {
        let named: usize = CLASSES.iter().map(|(calls, _)| calls.len()).sum();
        let classified = classes().iter().filter(|&&class| class != CallClass::Other as u8).count();
        assert_eq!(classified, named);
    }
    #[test]
    fn single_calls_leave_their_class_and_no_other_call_does() {
        let singles: SingleCalls = "futex,openat".parse().unwrap();
        let table = table(&singles);
        assert_eq!(usize::from(table[c::SYS_futex as usize]), CallClass::COUNT);
        assert_eq!(usize::from(table[c::SYS_openat as usize]), CallClass::COUNT + 1);
        let moved = table.iter().zip(classes()).filter(|(now, before)| **now != *before).count();
        assert_eq!(moved, 2);
    }
}
