//! The kernel half of cgscope: one object, one file per hook family, each program loaded and attached on its own.
//!
//! Families hold programs: [`sched`], [`profile`], [`process`], [`cgroup`], [`block`], [`tcp`], [`memory`], [`syscall`], [`irq`], [`offcpu`],
//! [`weight`], [`wakeup`]. [`files`] is called by the
//! programs of [`syscall`]. What they share: [`kernel`] (reading kernel
//! structures), [`config`] (what user space set before load), [`slot`] (a dense number per cgroup), [`socket`], [`thread`] (the state of
//! each thread), [`interference`] (whom it waited for), [`contention`] (the same of requests), [`outlier`] (the slowest of each second), [`histogram`], [`unwind`] (user stacks without frame pointers), [`rows`] (the tables it goes by), [`python`] (the functions
//! of an interpreter in them), [`atomic`],
//! [`drops`].
#![no_std]
// Inline assembly for BPF is not stable: the build sets RUSTC_BOOTSTRAP, as for `-Z build-std`.
#![feature(asm_experimental_arch)]
#![no_main]

mod atomic;
mod block;
mod cgroup;
mod config;
mod contention;
mod dns;
mod drops;
mod event;
mod files;
mod histogram;
mod interference;
mod irq;
mod kernel;
mod memory;
mod offcpu;
mod outlier;
mod outlier_stack;
mod path;
mod process;
mod profile;
mod python;
mod rows;
mod sched;
mod slot;
mod socket;
mod syscall;
mod tcp;
mod thread;
mod unwind;
mod wait;
mod wakeup;
mod weight;

/// The licence the kernel asks for: GPL-only helpers (`bpf_probe_read_kernel`, `bpf_get_stack`) need it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nothing in the programs panics: a path that did would be refused by the verifier at load.
    unsafe { core::hint::unreachable_unchecked() }
}
