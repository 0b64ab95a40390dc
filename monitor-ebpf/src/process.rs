//! The `process` family: births, new programs and deaths, counted per cgroup and announced.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::bpf_get_smp_processor_id,
    macros::{btf_tracepoint, map},
    maps::Array,
    programs::BtfTracePointContext,
};
use monitor_common::{
    event::{EventKind, ProcessEvent},
    process::SlotProcess,
};

use crate::{
    config::{offset, tunable},
    event,
    kernel::{Direct, Read, Task},
    slot, thread, unwind,
};

/// Births and deaths, at `slot * cpus + cpu`.
#[map]
static SLOT_PROCESSES: Array<SlotProcess> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork(ctx: BtfTracePointContext) -> i32 {
    let parent = Task::<Direct>::new(ctx.arg(0));
    let child = Task::<Direct>::new(ctx.arg(1));
    let is_process = child.tid() == child.tgid();
    // Counted for the cgroup the child begins in, which is its parent's unless clone3 says otherwise.
    count(child, |record| {
        record.forks += u64::from(is_process);
        record.clones += u64::from(!is_process);
    });
    if is_process {
        unwind::inherit(parent.tgid(), child.tgid());
        announce(child, EventKind::Fork, parent.tgid());
    }
    0
}

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    let task = Task::<Direct>::new(ctx.arg(0));
    count(task, |record| record.execs += 1);
    thread::forget_descriptor(task.tid());
    announce(task, EventKind::Exec, 0);
    0
}

/// `sched_process_exit(struct task_struct *p, ...)`.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn process_exit(ctx: BtfTracePointContext) -> i32 {
    let task = Task::<Direct>::new(ctx.arg(0));
    // `signal->live` is 0 once the last thread is on its way out; the argument `group_dead` is not there on every kernel.
    let signal = crate::kernel::pointer::<Direct>(task.as_ptr(), offset!(task_signal));
    let live: u32 = Direct::at(signal, offset!(signal_live));
    if live == 0 {
        count(task, |record| record.exits += 1);
        announce(task, EventKind::Exit, 0);
    }
    0
}

#[inline(always)]
fn count(task: Task<Direct>, update: impl Fn(&mut SlotProcess)) {
    let slot = slot::of_task(task, task.cgroup_id());
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(record) = SLOT_PROCESSES.get_ptr_mut(slot * tunable!(cpus) + cpu) {
        // SAFETY: the hooks run in process context with preemption off; no interrupt writes this record.
        update(unsafe { &mut *record });
    }
}

#[inline(always)]
fn announce(task: Task<Direct>, kind: EventKind, parent_tgid: u32) {
    event::send(&ProcessEvent {
        header: event::header(kind),
        cgroup_id: task.cgroup_id(),
        tgid: task.tgid(),
        parent_tgid,
        comm: comm(task),
    });
}

/// The name of a thread.
#[inline(always)]
pub fn comm(task: Task<Direct>) -> [u8; 16] {
    let ([low, high], mut comm) = (task.name(), [0; 16]);
    comm[..8].copy_from_slice(&low.to_ne_bytes());
    comm[8..].copy_from_slice(&high.to_ne_bytes());
    comm
}
