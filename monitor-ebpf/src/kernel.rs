//! Reading kernel structures at the offsets of the running kernel: the one place that knows how.
//!
//! Contract: a [`Task`] is a pointer the verifier knows as a `task_struct`. With [`Direct`] a load is one instruction
//! (a fault reads as 0); with [`Probe`] it is a helper call, for hooks whose arguments carry no type.

use core::{ffi::c_void, marker::PhantomData};

use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_task_pt_regs,
};
use monitor_common::{offset::ABSENT, outlier::ThreadName, tunable::IDENTITY_V2};

use crate::config::{offset, tunable};

/// Set for threads of the kernel's own; workers of io_uring and vhost act for a process and do not have it.
const PF_KTHREAD: u32 = 0x0020_0000;

/// How a load is done.
pub trait Read: Copy {
    /// Whether helpers take the pointers that are read through.
    const IS_TYPED: bool;

    /// Reads a plain value at `pointer + offset`.
    fn at<T: Copy + Default>(pointer: *const c_void, offset: u32) -> T;
}

/// Loads through pointers the verifier knows the type of.
#[derive(Clone, Copy)]
pub struct Direct;

/// Loads through `bpf_probe_read_kernel`.
#[derive(Clone, Copy)]
pub struct Probe;

impl Read for Direct {
    const IS_TYPED: bool = true;

    #[inline(always)]
    fn at<T: Copy + Default>(pointer: *const c_void, offset: u32) -> T {
        // SAFETY: the verifier checks that the offset lies in the structure; a faulting load reads as 0.
        unsafe { core::ptr::read_volatile(pointer.byte_add(offset as usize).cast()) }
    }
}

impl Read for Probe {
    const IS_TYPED: bool = false;

    #[inline(always)]
    fn at<T: Copy + Default>(pointer: *const c_void, offset: u32) -> T {
        let mut value = T::default();
        // SAFETY: the helper checks the source address; the destination is a value of T of this frame.
        unsafe {
            bpf_probe_read_kernel(
                (&raw mut value).cast(),
                size_of::<T>() as u32,
                pointer.byte_add(offset as usize),
            );
        }
        value
    }
}

/// A pointer member.
#[inline(always)]
pub fn pointer<R: Read>(base: *const c_void, offset: u32) -> *const c_void {
    R::at::<usize>(base, offset) as *const c_void
}

/// The clocks of a runqueue.
#[derive(Clone, Copy)]
pub struct Clocks {
    /// The scheduler's clock, ns.
    pub now_ns: u64,
    /// How far it is ahead of the clock of work, ns; 0 where that cannot be told.
    pub taken_ns: u64,
}

/// A thread, as the kernel sees it.
#[derive(Clone, Copy)]
pub struct Task<R: Read>(*const c_void, PhantomData<R>);

impl<R: Read> Task<R> {
    /// From an argument of a hook.
    #[inline(always)]
    pub fn new(task: *const c_void) -> Self {
        Self(task, PhantomData)
    }

    /// The structure itself.
    #[inline(always)]
    pub fn as_ptr(self) -> *const c_void {
        self.0
    }

    /// Thread id; 0 for the idle task of each CPU.
    #[inline(always)]
    pub fn tid(self) -> u32 {
        R::at(self.0, offset!(task_pid))
    }

    /// Process id.
    #[inline(always)]
    pub fn tgid(self) -> u32 {
        R::at(self.0, offset!(task_tgid))
    }

    /// Its name, up to a zero.
    #[inline(always)]
    pub fn name(self) -> ThreadName {
        [R::at(self.0, offset!(task_comm)), R::at(self.0, offset!(task_comm) + 8)]
    }

    /// Scheduler state, 0 when it wants to run.
    #[inline(always)]
    pub fn state(self) -> u32 {
        R::at(self.0, offset!(task_state))
    }

    /// The low 32 bits of its count of voluntary switches.
    #[inline(always)]
    pub fn voluntary_switches(self) -> u32 {
        R::at(self.0, offset!(task_nvcsw))
    }

    /// Kernel-mode time, ns.
    #[inline(always)]
    pub fn system_time_ns(self) -> u64 {
        R::at(self.0, offset!(task_stime))
    }

    /// Whether it is on a CPU now; false where that cannot be told. One byte of an `int`, which is all there is of it since Linux 7.0.
    #[inline(always)]
    pub fn is_on_cpu(self) -> bool {
        offset!(task_on_cpu) != ABSENT && R::at::<u8>(self.0, offset!(task_on_cpu)) != 0
    }

    /// Whether it waits for I/O.
    #[inline(always)]
    pub fn is_in_iowait(self) -> bool {
        let bit = offset!(task_in_iowait);
        let byte: u8 = R::at(self.0, bit >> 3);
        byte >> (bit & 7) & 1 != 0
    }

    /// Whether it is a thread of the kernel's own.
    #[inline(always)]
    pub fn is_kernel_thread(self) -> bool {
        let flags: u32 = R::at(self.0, offset!(task_flags));
        flags & PF_KTHREAD != 0
    }

    /// What is behind one of its descriptors; null if there is nothing, or it cannot be told. To be read by [`Probe`].
    #[inline(always)]
    pub fn open_file(self, descriptor: u32) -> *const c_void {
        if offset!(task_files) == ABSENT
            || offset!(files_fdt) == ABSENT
            || offset!(fdtable_fd) == ABSENT
            || offset!(fdtable_max_fds) == ABSENT
            || offset!(file_inode) == ABSENT
            || offset!(inode_mode) == ABSENT
        {
            return core::ptr::null();
        }
        let files = pointer::<R>(self.0, offset!(task_files));
        let table = pointer::<R>(files, offset!(files_fdt));
        if descriptor >= R::at::<u32>(table, offset!(fdtable_max_fds)) {
            return core::ptr::null();
        }
        // The array holds pointers to pointers, whose type the verifier does not follow: from here on by helper.
        let array = pointer::<R>(table, offset!(fdtable_fd));
        pointer::<Probe>(array.wrapping_byte_add(8 * descriptor as usize), 0)
    }

    /// Whether the quota of its cgroup keeps it from running.
    #[inline(always)]
    pub fn is_throttled(self) -> bool {
        if offset!(task_throttled) != ABSENT {
            return R::at::<u8>(self.0, offset!(task_throttled)) != 0;
        }
        if offset!(task_cfs_rq) == ABSENT || offset!(cfs_rq_throttle_count) == ABSENT {
            return false;
        }
        let runqueue = pointer::<R>(self.0, offset!(task_cfs_rq));
        R::at::<u32>(runqueue, offset!(cfs_rq_throttle_count)) != 0
    }

    /// The scheduler's clock of the CPU whose runqueue the thread is on, ns. Where this kernel does not show it, the time since
    /// boot.
    #[inline(always)]
    pub fn runqueue_clock_ns(self) -> u64 {
        self.runqueue_clocks().now_ns
    }

    /// Both clocks of that runqueue. What is not read costs nothing.
    #[inline(always)]
    pub fn runqueue_clocks(self) -> Clocks {
        if offset!(task_cfs_rq) == ABSENT
            || offset!(cfs_rq_rq) == ABSENT
            || offset!(rq_clock) == ABSENT
        {
            // SAFETY: no arguments.
            return Clocks { now_ns: unsafe { bpf_ktime_get_ns() }, taken_ns: 0 };
        }
        let group = pointer::<R>(self.0, offset!(task_cfs_rq));
        let runqueue = pointer::<R>(group, offset!(cfs_rq_rq));
        let now_ns: u64 = R::at(runqueue, offset!(rq_clock));
        if offset!(rq_clock_task) == ABSENT {
            return Clocks { now_ns, taken_ns: 0 };
        }
        let work_ns: u64 = R::at(runqueue, offset!(rq_clock_task));
        Clocks { now_ns, taken_ns: now_ns.wrapping_sub(work_ns) }
    }

    /// When its time on a CPU was last accounted, on that CPU's clock of work; 0 where this cannot be told.
    #[inline(always)]
    pub fn exec_start_ns(self) -> u64 {
        if offset!(task_exec_start) == ABSENT {
            return 0;
        }
        R::at(self.0, offset!(task_exec_start))
    }

    /// When it was last put on a runqueue, ns of the scheduler's clock; 0 where this cannot be told.
    #[inline(always)]
    pub fn last_queued_ns(self) -> u64 {
        if offset!(task_last_queued) == ABSENT {
            return 0;
        }
        R::at(self.0, offset!(task_last_queued))
    }

    /// When it was last put on a CPU, ns of the scheduler's clock; 0 where this cannot be told.
    #[inline(always)]
    pub fn last_arrival_ns(self) -> u64 {
        if offset!(task_last_arrival) == ABSENT {
            return 0;
        }
        R::at(self.0, offset!(task_last_arrival))
    }

    /// The address of its set of cgroups, which is another one after a move.
    #[inline(always)]
    pub fn cgroups(self) -> u64 {
        R::at(self.0, offset!(task_cgroups))
    }

    /// Its cgroup of v2.
    #[inline(always)]
    pub fn default_cgroup(self) -> *const c_void {
        pointer::<R>(pointer::<R>(self.0, offset!(task_cgroups)), offset!(css_set_dfl_cgrp))
    }

    /// The id of its cgroup in the hierarchy that gives the identity; 0 if it cannot be read.
    #[inline(always)]
    pub fn cgroup_id(self) -> u64 {
        let cgroup = if tunable!(identity_subsys) == IDENTITY_V2 {
            self.default_cgroup()
        } else {
            let set = pointer::<R>(self.0, offset!(task_cgroups));
            let state = pointer::<R>(set, offset!(css_set_subsys) + 8 * tunable!(identity_subsys));
            pointer::<R>(state, offset!(css_cgroup))
        };
        cgroup_id::<R>(cgroup)
    }
}

/// The id of a cgroup: the inode of its directory.
#[inline(always)]
pub fn cgroup_id<R: Read>(cgroup: *const c_void) -> u64 {
    R::at(pointer::<R>(cgroup, offset!(cgroup_kn)), offset!(kernfs_id))
}

/// The id of the hierarchy a cgroup is in: 0 for v2.
#[inline(always)]
pub fn hierarchy_id<R: Read>(cgroup: *const c_void) -> u32 {
    R::at(pointer::<R>(cgroup, offset!(cgroup_root)), offset!(root_hierarchy_id))
}

/// The running thread, typed.
#[inline(always)]
pub fn current() -> Task<Direct> {
    // SAFETY: no arguments; the helper returns the running task.
    Task::new(unsafe { bpf_get_current_task_btf() }.cast())
}

/// Where the stack of the program began that a process runs; `None` if it has no memory any more, 0 where the kernel does not say.
#[inline(always)]
pub fn start_stack(task: Task<Direct>) -> Option<u64> {
    let mm = pointer::<Direct>(task.as_ptr(), offset!(task_mm));
    if mm.is_null() {
        None
    } else if offset!(mm_start_stack) == ABSENT {
        Some(0)
    } else {
        Some(Direct::at(mm, offset!(mm_start_stack)))
    }
}

/// The user registers of a thread at its entry to the kernel. `task` must be a pointer the verifier has typed.
#[inline(always)]
pub fn user_registers(task: Task<Direct>) -> *const c_void {
    // SAFETY: the verifier checks that it is a task.
    unsafe { bpf_task_pt_regs(task.as_ptr() as *mut _) as *const c_void }
}
