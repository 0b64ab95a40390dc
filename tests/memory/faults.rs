//! Page faults and their time, against the kernel's account of the process and the workload's own clock.

use anyhow::Result;
use cgscope_tests::{ContainerOptions, Daemon, expect_off};

use crate::ALONE;
use crate::file::written;
use crate::user::{User, number};

const TOUCHED_PAGES: u64 = (64 << 20) / 4096;
const MAPPED_BYTES: usize = 8 << 20;

/// The time of the faults of `mode`, s, and how many have one.
fn fault_time(user: &User, scrape: &cgscope_tests::Scrape, mode: &str) -> (f64, u64) {
    let labels = [("mode", mode)];
    let sum_s = user.value(scrape, "fault_seconds_sum", &labels);
    (sum_s, user.count(scrape, "fault_seconds_count", &labels))
}

fn faults_are_counted(flags: &[&str]) -> Result<()> {
    let daemon = Daemon::start(&[&ALONE, flags].concat())?;
    let user = User::start(ContainerOptions::new(), "faults", &["--touch-mb", "64"])?;
    let bystander = User::start(ContainerOptions::new(), "bystander", &[])?;
    let (aside_before, aside_kernel_before) = bystander.bracketed(&daemon)?;
    let (before, kernel_before) = user.bracketed(&daemon)?;
    let truth = user.run()?;
    let touch_s = number(&truth, "touch_ns")? as f64 / 1e9;
    let (scrape, kernel) = user.bracketed(&daemon)?;
    let kernel = kernel.since(kernel_before);
    assert!(kernel.minor >= TOUCHED_PAGES && kernel.minor >= number(&truth, "minor_faults")?);
    assert_eq!(user.faults(&scrape).since(user.faults(&before)), kernel, "/proc/PID/stat");
    let of_user = [("mode", "user")];
    let in_user_mode = user.count(&scrape, "faults_total", &of_user)
        - user.count(&before, "faults_total", &of_user);
    let all = kernel.minor + kernel.major;
    assert!((TOUCHED_PAGES..=all).contains(&in_user_mode), "{in_user_mode} in user mode");
    let ((before_s, before_count), (after_s, after_count)) =
        (fault_time(&user, &before, "user"), fault_time(&user, &scrape, "user"));
    let (fault_s, timed) = (after_s - before_s, after_count - before_count);
    eprintln!("{in_user_mode} faults, {timed} timed: {fault_s:.4} s of {touch_s:.4} s of touching");
    let missed = scrape.dropped("fault_missed") - before.dropped("fault_missed");
    assert!(timed <= in_user_mode && timed + missed >= in_user_mode, "{missed} missed by all");
    // The loop does nothing else, but entering and leaving the kernel is no part of a fault. What it faulted besides is little.
    assert!(fault_s < touch_s * 1.02, "{fault_s} s of {touch_s} s");
    let touch_cpu_s = number(&truth, "touch_cpu_ns")? as f64 / 1e9;
    assert!(fault_s > touch_cpu_s * 0.3, "{fault_s} s of {touch_cpu_s} s on a CPU");
    let (aside, aside_kernel) = bystander.bracketed(&daemon)?;
    let aside_seen = bystander.faults(&aside).since(bystander.faults(&aside_before));
    assert_eq!(aside_seen, aside_kernel.since(aside_kernel_before), "the bystander's own");
    assert!(aside_seen.minor < TOUCHED_PAGES / 10);
    Ok(())
}

#[test]
fn faults_are_those_of_the_kernel_by_tp_btf() -> Result<()> {
    faults_are_counted(&["--hook", "tp_btf"])
}

#[test]
fn faults_are_those_of_the_kernel_by_raw_tp() -> Result<()> {
    faults_are_counted(&["--hook", "raw_tp"])
}

/// Faults that wait for a disk.
#[test]
fn major_faults_are_those_of_the_kernel() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    let files = written(MAPPED_BYTES)?;
    let options = ContainerOptions::new().bind(files.path(), "/files");
    let user = User::start(options, "major", &["--file", "/files/data", "--map", "1"])?;
    let (before, kernel_before) = user.bracketed(&daemon)?;
    let fetched_before = user.kernel_fetched_bytes()?;
    let truth = user.run()?;
    let (scrape, kernel) = user.bracketed(&daemon)?;
    let fetched_bytes = user.kernel_fetched_bytes()? - fetched_before;
    let kernel = kernel.since(kernel_before);
    assert!(kernel.major > MAPPED_BYTES as u64 / 4096 / 2, "{kernel:?}");
    assert!(kernel.major >= number(&truth, "major_faults")?);
    assert_eq!(user.faults(&scrape).since(user.faults(&before)), kernel, "/proc/PID/stat");
    let mapped = [("access", "mapped")];
    let missed = user.count(&scrape, "cache_misses_total", &mapped)
        - user.count(&before, "cache_misses_total", &mapped);
    // By its own account of reading the file, to that of all it did: a page of the program itself may have been taken out meanwhile.
    let of_the_file = number(&truth, "fetched_bytes")?;
    assert!(
        (of_the_file..=fetched_bytes).contains(&(missed * 4096)),
        "{missed} pages missed; /proc/PID/io: {of_the_file} B of the file, {fetched_bytes} B in all"
    );
    Ok(())
}

#[test]
fn a_family_that_is_off_counts_nothing_and_takes_no_room() -> Result<()> {
    let daemon = Daemon::start(&[&ALONE[..], &["--disable", "memory"]].concat())?;
    let maps = ["SLOT_MEMORY", "SLOT_MEMORY_WAITS", "FAULTS", "STALLS", "CACHE_READ", "OOM_KILLS"];
    expect_off(&daemon, "memory", &["cgscope_memory_"], &maps)
}
