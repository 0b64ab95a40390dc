//! What a walk of user stacks without frame pointers costs by its depth, and how large the tables are against what they are made of.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{available_parallelism, sleep, spawn};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::bpf::{StatsGuard, programs_of};
use cgscope_tests::peer::AttachedPeer;
use cgscope_tests::{Daemon, run_captured, workspace_root};

use crate::sampler::sampler_runs;
use crate::table::{Samples, ratio};

/// Frames of `chain` beside those of its argument: its own functions, `main`, and three that call it.
const OTHER_FRAMES: u32 = 11;
const DEPTHS: [u32; 2] = [15, 100];
/// What is beside a walk: a program that only counts its samples, with the clock reads of the measurement.
const BARE: &str = "profile:hz:499 { @ = count(); }";
/// What the kernel's own walk by frame pointers costs, which here finds one caller or none.
const BY_FRAME_POINTERS: &str = "profile:hz:499 { @[ustack(perf, 127)] = count(); }";
/// Fewer samples than this say nothing about the price of one.
const FEWEST_SAMPLES: u64 = 200;

/// Measures both depths in turn, `rounds` times for `duration` each, and prints.
pub fn bench(rounds: u32, duration: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let chain = directory.path().join("chain");
    let source = workspace_root().join("tests/unwind/programs/chain.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=gnu17", "-O2", "-fomit-frame-pointer", "-o"]).arg(&chain).arg(source);
    let compiled = run_captured(&mut gcc)?;
    ensure!(compiled.success(), "gcc: {}", compiled.stderr);
    // Room for everything, so that nothing is left out of the comparison.
    let daemon = Daemon::start(&["--unwind-table-size", "256M"])?;
    let mut ns_per_sample = DEPTHS.map(|_| Samples::default());
    let mut ns_of_peers = [BARE, BY_FRAME_POINTERS].map(|_| Samples::default());
    for round in 0..rounds {
        for (script, samples) in [BARE, BY_FRAME_POINTERS].iter().zip(&mut ns_of_peers) {
            samples.push(peer_ns(script, &chain, DEPTHS[0], duration)?);
        }
        for (depth, samples) in DEPTHS.iter().zip(&mut ns_per_sample) {
            eprintln!("round {} of {rounds}: {depth} frames", round + 1);
            samples.push(ns_at(&daemon, &chain, *depth, duration)?);
        }
    }
    println!("one sample: median (lowest..highest)\n");
    for (depth, samples) in DEPTHS.iter().zip(&ns_per_sample) {
        println!("{depth:>3} frames, ns a sample          {}", samples.summary(0));
    }
    println!("bpftrace, a count, ns a sample      {}", ns_of_peers[0].summary(0));
    println!("bpftrace, ustack, ns a sample       {}", ns_of_peers[1].summary(0));
    println!(
        "{} frames / {} frames            {}\n",
        DEPTHS[1],
        DEPTHS[0],
        ratio(&ns_per_sample[1], &ns_per_sample[0])
    );
    tables(&daemon)
}

fn loads(chain: &PathBuf, depth: u32) -> Result<Vec<Load>> {
    let argument = (depth - OTHER_FRAMES).to_string();
    (0..available_parallelism()?.get()).map(|_| Load::start(chain, &argument)).collect()
}

/// ns a sample of a script under the same load.
fn peer_ns(script: &str, chain: &PathBuf, depth: u32, duration: Duration) -> Result<f64> {
    // The peer first: beside a load of that priority it was not ready after 10 s.
    let peer = AttachedPeer::start("bpftrace", &["-e", script])?;
    let _load = loads(chain, depth)?;
    let _stats = StatsGuard::enable()?;
    let sums = || -> Result<(u64, u64)> {
        let programs = programs_of(peer.pid())?;
        Ok(programs.iter().fold((0, 0), |(ns, n), p| (ns + p.run_time_ns, n + p.run_cnt)))
    };
    let (time_before_ns, runs_before) = sums()?;
    sleep(duration);
    let (time_ns, runs) = sums()?;
    let runs = runs - runs_before;
    ensure!(runs >= FEWEST_SAMPLES, "{runs} samples of {script}");
    Ok((time_ns - time_before_ns) as f64 / runs as f64)
}

/// ns a sample while every CPU runs a stack of so many frames.
fn ns_at(daemon: &Daemon, chain: &PathBuf, depth: u32, duration: Duration) -> Result<f64> {
    let _load = loads(chain, depth)?;
    let recording_s = duration.as_secs() + 2;
    let url = daemon.url();
    let recording = spawn(move || {
        let path =
            format!("/api/v1/flamegraph?duration={recording_s}s&frequency=499&format=folded");
        ureq::get(format!("{url}{path}")).call().is_ok()
    });
    sleep(Duration::from_secs(1));
    let _stats = StatsGuard::enable()?;
    let (time_before_ns, runs_before) = sampler_runs(daemon.pid())?;
    sleep(duration);
    let (time_ns, runs) = sampler_runs(daemon.pid())?;
    ensure!(recording.join().is_ok_and(|is_recorded| is_recorded), "the recording failed");
    let runs = runs - runs_before;
    ensure!(runs >= FEWEST_SAMPLES, "{runs} samples");
    Ok((time_ns - time_before_ns) as f64 / runs as f64)
}

struct Load(Child);

impl Load {
    fn start(chain: &PathBuf, argument: &str) -> Result<Self> {
        // Ahead of whatever else runs, so that nearly all samples are of this stack.
        let mut command = Command::new("nice");
        command.args(["-n", "-20"]).arg(chain);
        Ok(Self(command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It runs until it is told to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The tables that are held now against the sections they are made of.
fn tables(daemon: &Daemon) -> Result<()> {
    let probes = daemon.get("/api/v1/probes")?;
    let number = |key: &str| probes["unwind"][key].as_u64().with_context(|| key.to_owned());
    let (used_bytes, frame_bytes) = (number("used_bytes")?, number("frame_bytes")?);
    println!("tables                         {}", number("tables")?);
    println!("their size, KiB                {}", used_bytes / 1024);
    println!("their .eh_frame, KiB           {}", frame_bytes / 1024);
    println!("tables / .eh_frame             {:.2}", used_bytes as f64 / frame_bytes as f64);
    Ok(())
}
