//! What a wait in each system call means, for the architecture this was built for.

use libc as c;
use monitor_common::{
    memory::CALL_WORDS,
    state::{SYSCALL_LIMIT, SyscallClass},
    tunable::SyscallClasses,
};

/// Calls that wait for a lock.
const LOCK: &[c::c_long] =
    &[c::SYS_futex, FUTEX_WAIT, FUTEX_WAITV, c::SYS_semtimedop, c::SYS_semop, c::SYS_flock];

/// Calls that only sockets have.
const NETWORK: &[c::c_long] = &[
    c::SYS_accept,
    c::SYS_accept4,
    c::SYS_connect,
    c::SYS_recvfrom,
    c::SYS_recvmsg,
    c::SYS_recvmmsg,
    c::SYS_sendto,
    c::SYS_sendmsg,
    c::SYS_sendmmsg,
    c::SYS_shutdown,
];

/// Calls by which a thread waits on purpose.
const SLEEP: &[c::c_long] = &[
    c::SYS_nanosleep,
    c::SYS_clock_nanosleep,
    c::SYS_ppoll,
    c::SYS_pselect6,
    c::SYS_epoll_pwait,
    EPOLL_PWAIT2,
    c::SYS_wait4,
    c::SYS_waitid,
    c::SYS_rt_sigsuspend,
    c::SYS_rt_sigtimedwait,
    c::SYS_io_uring_enter,
    c::SYS_mq_timedreceive,
    c::SYS_msgrcv,
    c::SYS_restart_syscall,
    #[cfg(target_arch = "x86_64")]
    c::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    c::SYS_select,
    #[cfg(target_arch = "x86_64")]
    c::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    c::SYS_pause,
];

/// Calls that wait for a file to be durable, or for file I/O handed over before.
const DISK: &[c::c_long] = &[
    c::SYS_fsync,
    c::SYS_fdatasync,
    c::SYS_sync,
    c::SYS_syncfs,
    c::SYS_sync_file_range,
    c::SYS_msync,
    c::SYS_io_getevents,
    IO_PGETEVENTS,
];

/// Calls whose meaning depends on the kind of the descriptor in their first argument.
const DESCRIPTOR: &[c::c_long] = &[
    c::SYS_read,
    c::SYS_write,
    c::SYS_readv,
    c::SYS_writev,
    c::SYS_pread64,
    c::SYS_pwrite64,
    c::SYS_preadv,
    c::SYS_pwritev,
    c::SYS_preadv2,
    c::SYS_pwritev2,
    c::SYS_splice,
    c::SYS_tee,
    c::SYS_vmsplice,
    c::SYS_sendfile,
    c::SYS_ioctl,
];

// Numbers shared by every architecture since 5.0 that libc does not name for all.
const IO_PGETEVENTS: c::c_long = if cfg!(target_arch = "x86_64") { 333 } else { 292 };
const EPOLL_PWAIT2: c::c_long = 441;
const FUTEX_WAITV: c::c_long = 449;
const FUTEX_WAIT: c::c_long = 455;

/// Calls that read files, and do nothing else with the page cache.
const READ: &[c::c_long] = &[
    c::SYS_read,
    c::SYS_readv,
    c::SYS_pread64,
    c::SYS_preadv,
    c::SYS_preadv2,
    c::SYS_sendfile,
    c::SYS_splice,
    c::SYS_readahead,
    c::SYS_fadvise64,
];

/// Calls that write to files: pages they add to the page cache were made, not missed.
const WRITE: &[c::c_long] = &[
    c::SYS_write,
    c::SYS_writev,
    c::SYS_pwrite64,
    c::SYS_pwritev,
    c::SYS_pwritev2,
    c::SYS_fallocate,
    c::SYS_ftruncate,
    c::SYS_truncate,
];

/// [`READ`], a bit each.
pub fn read_calls() -> [u32; CALL_WORDS] {
    bits(READ)
}

/// [`WRITE`], a bit each.
pub fn write_calls() -> [u32; CALL_WORDS] {
    bits(WRITE)
}

fn bits(calls: &[c::c_long]) -> [u32; CALL_WORDS] {
    let mut words = [0; CALL_WORDS];
    for &call in calls {
        words[call as usize / 32] |= 1 << (call & 31);
    }
    words
}

/// Calls and what a wait in them means; a wait in any other is [`SyscallClass::Other`].
const CLASSES: [(&[c::c_long], SyscallClass); 5] = [
    (LOCK, SyscallClass::Lock),
    (NETWORK, SyscallClass::Network),
    (SLEEP, SyscallClass::Sleep),
    (DISK, SyscallClass::Disk),
    (DESCRIPTOR, SyscallClass::Descriptor),
];

/// The table the kernel half is loaded with.
pub fn table() -> SyscallClasses {
    class_of_each(SyscallClass::Other as u8, CLASSES.map(|(calls, class)| (calls, class as u8)))
}

/// The class of each call by its number; `other` for those that no list names.
pub fn class_of_each<const LISTS: usize>(
    other: u8,
    lists: [(&[c::c_long], u8); LISTS],
) -> [u8; SYSCALL_LIMIT] {
    let mut classes = [other; SYSCALL_LIMIT];
    for (calls, class) in lists {
        for &call in calls {
            classes[call as usize] = class;
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_has_two_classes() {
        let named: usize = CLASSES.iter().map(|(calls, _)| calls.len()).sum();
        let classified =
            table().iter().filter(|&&class| class != SyscallClass::Other as u8).count();
        assert_eq!(classified, named);
    }
}
