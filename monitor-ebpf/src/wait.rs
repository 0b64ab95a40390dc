//! Why a thread that leaves its CPU waits: from its state, `in_iowait`, and the system call it is in.

use monitor_common::{
    offset::ABSENT,
    sched::{DESCRIPTOR_MEMORY_USES, Thread},
    state::{SyscallClass, ThreadState},
};

use crate::{
    config::{self, offset},
    kernel::{self, Direct, Probe, Read, Task},
};

const TASK_INTERRUPTIBLE: u32 = 0x1;
const TASK_STOPPED_OR_TRACED: u32 = 0x4 | 0x8;
/// A sleep of a kernel thread that is no load: `TASK_UNINTERRUPTIBLE | TASK_NOLOAD`.
const TASK_NOLOAD: u32 = 0x400;

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const S_IFIFO: u16 = 0o010_000;

/// The state of a blocked thread. `typed` is the same task as a pointer that helpers accept; `state` its scheduler state.
#[inline(always)]
pub fn classify<R: Read>(
    task: Task<R>,
    typed: Task<Direct>,
    state: u32,
    thread: &mut Thread,
) -> ThreadState {
    if task.is_in_iowait() {
        return ThreadState::Disk;
    }
    if state & TASK_STOPPED_OR_TRACED != 0 {
        return ThreadState::Other;
    }
    if task.is_kernel_thread() {
        // It has no system call; waiting for work is sleeping, anything else is a wait of its own.
        let is_idle = state & (TASK_INTERRUPTIBLE | TASK_NOLOAD) != 0;
        return if is_idle { ThreadState::Sleeping } else { ThreadState::Other };
    }
    if offset!(regs_syscall) == ABSENT {
        return ThreadState::Unknown;
    }
    let registers = kernel::user_registers(typed);
    let number: i32 = Direct::at(registers, offset!(regs_syscall));
    if number < 0 {
        return ThreadState::Fault;
    }
    match config::syscall_class(number as u32) {
        c if c == SyscallClass::Lock as u8 => ThreadState::Lock,
        c if c == SyscallClass::Network as u8 => ThreadState::Network,
        c if c == SyscallClass::Sleep as u8 => ThreadState::Sleeping,
        c if c == SyscallClass::Disk as u8 => ThreadState::Disk,
        c if c == SyscallClass::Descriptor as u8 => {
            let descriptor: u32 = Direct::at(registers, offset!(regs_argument0));
            on_descriptor(task, descriptor, thread)
        }
        _ => ThreadState::Other,
    }
}

/// The state of a wait on a descriptor, remembered for the next few waits on the same one.
#[inline(always)]
fn on_descriptor<R: Read>(task: Task<R>, descriptor: u32, thread: &mut Thread) -> ThreadState {
    if thread.descriptor == descriptor && thread.descriptor_uses != 0 {
        thread.descriptor_uses -= 1;
        return match thread.descriptor_state {
            s if s == ThreadState::Network as u8 => ThreadState::Network,
            s if s == ThreadState::Pipe as u8 => ThreadState::Pipe,
            _ => ThreadState::Other,
        };
    }
    let state = match mode(task, descriptor) & S_IFMT {
        S_IFSOCK => ThreadState::Network,
        S_IFIFO => ThreadState::Pipe,
        _ => ThreadState::Other,
    };
    thread.descriptor = descriptor;
    thread.descriptor_state = state as u8;
    thread.descriptor_uses = DESCRIPTOR_MEMORY_USES;
    state
}

/// The mode of the file behind a descriptor; 0 if it cannot be told.
#[inline(always)]
fn mode<R: Read>(task: Task<R>, descriptor: u32) -> u16 {
    let file = task.open_file(descriptor);
    if file.is_null() {
        return 0;
    }
    let inode = kernel::pointer::<Probe>(file, offset!(file_inode));
    Probe::at(inode, offset!(inode_mode))
}
