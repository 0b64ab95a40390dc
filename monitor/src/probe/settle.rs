//! Bringing the accounts of running threads up to date before they are read.
//!
//! Contract: the program runs on each busy CPU, in an interrupt sent there; an idle CPU is left asleep.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use aya::Ebpf;

use super::Probes;

const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_F_TEST_RUN_ON_CPU: u32 = 1;
const PROGRAM: &str = "sched_settle";

/// The part of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    data_sizes: [u32; 2],
    data: [u64; 2],
    repeat: u32,
    duration: u32,
    context_sizes: [u32; 2],
    context: [u64; 2],
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

const _: () = assert!(size_of::<TestRun>() == 80);

impl Probes {
    /// Has each busy CPU account for what its thread did since it came. Kernel >= 5.10; before, it is accounted when it leaves.
    pub fn settle(&self) {
        let Some(program) = program(self.object()) else { return };
        for cpu in 0..self.cpus.len() {
            if self.cpus.read(cpu).tid != 0
                && let Err(error) = run_on(program, cpu as u32)
            {
                tracing::debug!(cpu, %error, "running threads were not settled");
            }
        }
    }
}

fn program(ebpf: &Ebpf) -> Option<BorrowedFd<'_>> {
    Some(ebpf.program(PROGRAM)?.fd().ok()?.as_fd())
}

fn run_on(program: BorrowedFd<'_>, cpu: u32) -> io::Result<()> {
    let mut attributes = TestRun {
        program: program.as_raw_fd() as u32,
        flags: BPF_F_TEST_RUN_ON_CPU,
        cpu,
        ..TestRun::default()
    };
    // SAFETY: the kernel reads and writes within the structure, whose size it is told.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size_of::<TestRun>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
