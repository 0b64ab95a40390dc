//! What the stack sampler costs while every CPU is busy: the kernel half and the daemon's own CPU time.

use std::thread::{available_parallelism, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cgscope_tests::bpf::{StatsGuard, programs_of};
use cgscope_tests::{Daemon, FixtureProcess, truth};

use crate::table::Samples;

const PROGRAM: &str = "profile_sample";
/// The first seconds of a daemon read symbols and unwind tables; a share of a core is about the hours that follow.
const SETTLING: Duration = Duration::from_secs(3);

/// Measures `rounds` times for `duration`, and prints.
pub fn bench(rounds: u32, duration: Duration) -> Result<()> {
    let cpus = available_parallelism()?.get();
    let threads = cpus.to_string();
    let _load = FixtureProcess::start(&["burn", "--threads", &threads, "--seconds", "86400"])?;
    let daemon = Daemon::start(&[])?;
    sleep(SETTLING);
    let _stats = StatsGuard::enable()?;
    let mut ns_per_sample = Samples::default();
    let mut samples_per_s = Samples::default();
    let mut kernel_percent = Samples::default();
    let mut of_each_cpu = Samples::default();
    let mut daemon_percent = Samples::default();
    for _ in 0..rounds {
        // The sampler runs only while someone records.
        let recording_s = duration.as_secs() + 2;
        let path = format!("/api/v1/flamegraph?duration={recording_s}s&frequency=99&format=folded");
        let url = daemon.url();
        let recording = spawn(move || ureq::get(format!("{url}{path}")).call().is_ok());
        sleep(Duration::from_secs(1));
        let begin = Instant::now();
        let cpu_before_ns = truth::process_cpu_ns(daemon.pid())?;
        let (time_before_ns, runs_before) = sampler_runs(daemon.pid())?;
        sleep(duration);
        let (time_ns, runs) = sampler_runs(daemon.pid())?;
        let cpu_ns = truth::process_cpu_ns(daemon.pid())? - cpu_before_ns;
        let elapsed_ns = begin.elapsed().as_nanos() as f64;
        let (time_ns, runs) = ((time_ns - time_before_ns) as f64, (runs - runs_before) as f64);
        ensure!(recording.join().is_ok_and(|is_recorded| is_recorded), "the recording failed");
        samples_per_s.push(runs * 1e9 / elapsed_ns);
        let percent = time_ns * 100.0 / elapsed_ns;
        kernel_percent.push(percent);
        of_each_cpu.push(percent / cpus as f64);
        daemon_percent.push(cpu_ns as f64 * 100.0 / elapsed_ns);
        if runs > 0.0 {
            ns_per_sample.push(time_ns / runs);
        }
    }
    println!("{threads} CPUs busy: median (lowest..highest)\n");
    println!("{PROGRAM}, samples/s         {}", samples_per_s.summary(0));
    println!("{PROGRAM}, ns a sample       {}", ns_per_sample.summary(0));
    // Each CPU has its own sampler: this is what a machine of any size pays of each of its CPUs.
    println!("{PROGRAM}, % of each CPU     {}", of_each_cpu.summary(3));
    println!("{PROGRAM}, all CPUs, % of one {}", kernel_percent.summary(3));
    println!("daemon process, % of one core      {}", daemon_percent.summary(2));
    Ok(())
}

/// Time in the sampler, in nanoseconds, and its runs so far.
pub fn sampler_runs(pid: u32) -> Result<(u64, u64)> {
    let programs = programs_of(pid)?;
    let program = programs.iter().find(|program| program.is_named(PROGRAM));
    let program = program.with_context(|| format!("the daemon holds no program {PROGRAM}"))?;
    Ok((program.run_time_ns, program.run_cnt))
}
