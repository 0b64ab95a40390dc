//! One family's programs on a load that calls them as often as it can, beside the peers that count the same.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::bpf::{StatsGuard, programs_of};
use cgscope_tests::{FixtureProcess, scratch_dir};

use crate::table::{Samples, ratio};
use crate::tool::Tool;

const PORT: &str = "17077";
/// Fewer calls than this say nothing about a call's price.
const FEWEST_CALLS: u64 = 1_000;

/// A load, by what it does a second.
struct Load {
    name: &'static str,
    run: fn(Duration) -> Result<f64>,
}

/// Of one tool under one load.
#[derive(Default)]
struct Measured {
    rate: Samples,
    /// ns a call, by program.
    programs: BTreeMap<String, Samples>,
}

/// Sockets. What counts bytes by container without kprobes has no peer: `tcptop` needs them.
pub fn tcp(rounds: u32, duration: Duration) -> Result<()> {
    let seconds = "86400";
    let _server = FixtureProcess::start(&[
        "net_peer",
        "--listen",
        PORT,
        "--seconds",
        seconds,
        "--blind",
        "1",
    ])?;
    let ours = Tool::Family("tcp");
    let messages = Load { name: "messages of 100 bytes and their answers", run: messages };
    bench(&messages, &[Tool::Nothing, ours], "tcp_", rounds, duration)?;
    let connections = Load { name: "connections with one message", run: connections };
    let tools = [Tool::Nothing, Tool::peer("tcplife"), Tool::peer("tcpstates"), ours];
    bench(&connections, &tools, "tcp_", rounds, duration)
}

/// Block I/O. `biolatency` keeps one distribution of the whole host, ours two for each container, disk and operation, and the slowest.
pub fn block(rounds: u32, duration: Duration) -> Result<()> {
    let reads = Load { name: "direct reads of a disk", run: direct_reads };
    let tools = [Tool::Nothing, Tool::peer("biolatency"), Tool::Family("block")];
    bench(&reads, &tools, "block_", rounds, duration)
}

/// By cgroup and mode, how long each page fault took: what ours keep of it.
const FAULTS: &str = "tracepoint:exceptions:page_fault_user { @at[tid] = nsecs; } \
    software:minor-faults:1 /@at[tid]/ { @[cgroup] = hist(nsecs - @at[tid]); delete(@at[tid]); }";
/// By cgroup, how many pages were asked of the page cache.
const READS: &str = "tracepoint:filemap:mm_filemap_get_pages { @[cgroup] = sum(args->last_index - args->index + 1); }";

/// Memory. The tools of libbpf-tools on the page cache need kprobes or fentry, and on faults there are none: bpftrace, which
/// compiles what one asks for, is the peer.
pub fn memory(rounds: u32, duration: Duration) -> Result<()> {
    // With the scheduler's family on: without it each owner is looked up anew.
    let ours = Tool::Cgscope;
    let faults = Load { name: "page faults on fresh memory", run: faults };
    bench(
        &faults,
        &[Tool::Nothing, Tool::Script("bpftrace", FAULTS), ours],
        "memory_",
        rounds,
        duration,
    )?;
    let reads = Load { name: "reads of a cached page", run: reads };
    bench(
        &reads,
        &[Tool::Nothing, Tool::Script("bpftrace", READS), ours],
        "memory_",
        rounds,
        duration,
    )
}

fn faults(duration: Duration) -> Result<f64> {
    let truth = use_memory(duration, &["--touch-mb", "64", "--rounds", "1000000"])?;
    let touch_s = truth["touch_ns"].as_f64().context("touch_ns")? / 1e9;
    Ok(truth["minor_faults"].as_f64().context("minor_faults")? / touch_s)
}

fn reads(duration: Duration) -> Result<f64> {
    let path = scratch_dir().join("cached");
    fs::write(&path, vec![0x33; 1 << 20])?;
    let path = path.to_str().context("a path")?;
    let truth =
        use_memory(duration, &["--file", path, "--passes", "1000000000", "--bytes", "4096"])?;
    let wall_s = truth["wall_ns"].as_f64().context("wall_ns")? / 1e9;
    Ok(truth["read_bytes"].as_f64().context("read_bytes")? / 4096.0 / wall_s)
}

fn use_memory(duration: Duration, load: &[&str]) -> Result<serde_json::Value> {
    let seconds = duration.as_secs().to_string();
    let user = FixtureProcess::start(&[&["memory_user", "--seconds", &seconds], load].concat())?;
    user.wait_truth(duration + Duration::from_secs(10))
}

/// System calls. `syscount -L` keeps the sum of times by call of the whole host, ours distributions by class and container.
pub fn syscall(rounds: u32, duration: Duration) -> Result<()> {
    let calls = Load { name: "calls that do nothing", run: calls };
    let tools = [Tool::Nothing, Tool::peer("syscount -L"), Tool::With("syscall")];
    bench(&calls, &tools, "syscall_", rounds, duration)
}

/// Calls on files. The tools of libbpf-tools on them need kprobes or fentry, and know one file system.
pub fn files(rounds: u32, duration: Duration) -> Result<()> {
    let reads = Load { name: "reads of a cached page", run: reads };
    bench(&reads, &[Tool::Nothing, Tool::With("files")], "syscall_", rounds, duration)
}

fn calls(duration: Duration) -> Result<f64> {
    let seconds = duration.as_secs().to_string();
    let load = ["syscall_heavy", "--seconds", &seconds, "--getppid", "1000", "--failing", "0"];
    let truth = FixtureProcess::start(&load)?.wait_truth(duration + Duration::from_secs(10))?;
    let wall_s = truth["wall_ns"].as_f64().context("wall_ns")? / 1e9;
    Ok(truth["getppids"].as_f64().context("getppids")? / wall_s)
}

/// Interrupts. `softirqs` and `hardirqs` keep a sum by vector of the whole host, ours also by CPU and container.
pub fn irq(rounds: u32, duration: Duration) -> Result<()> {
    let seconds = "86400";
    let server = ["net_peer", "--listen", PORT, "--seconds", seconds, "--blind", "1"];
    let _server = FixtureProcess::start(&server)?;
    let ours = Tool::With("irq");
    let messages = Load { name: "messages of 100 bytes and their answers", run: messages };
    let tools = [Tool::Nothing, Tool::peer("softirqs"), Tool::Cgscope, ours];
    bench(&messages, &tools, "irq_", rounds, duration)?;
    let reads = Load { name: "direct reads of a disk", run: direct_reads };
    let peers = [Tool::peer("softirqs"), Tool::peer("hardirqs")];
    let tools = [&[Tool::Nothing], &peers[..], &[Tool::Cgscope, ours]].concat();
    bench(&reads, &tools, "irq_", rounds, duration)
}

fn direct_reads(duration: Duration) -> Result<f64> {
    let path = scratch_dir().join("direct");
    fs::write(&path, vec![0x33; 16 << 20])?;
    fs::File::open(&path)?.sync_all()?;
    let path = path.to_str().context("a path")?;
    let seconds = duration.as_secs().to_string();
    let load = ["direct_io", "--file", path, "--reads", "1000000000", "--seconds", &seconds];
    let truth = FixtureProcess::start(&load)?.wait_truth(duration + Duration::from_secs(10))?;
    let wait_s = truth["read_wait_ns"].as_f64().context("read_wait_ns")? / 1e9;
    Ok(truth["reads"].as_f64().context("reads")? / wait_s)
}

fn messages(duration: Duration) -> Result<f64> {
    let many = ["--connections", "1", "--messages", "1000000000", "--bytes", "100"];
    let (truth, wall_s) = ask(duration, &many)?;
    Ok(truth["sends"].as_f64().context("sends")? / wall_s)
}

fn connections(duration: Duration) -> Result<f64> {
    let many = ["--connections", "1000000000", "--messages", "1", "--reset", "1"];
    let (truth, wall_s) = ask(duration, &many)?;
    Ok(truth["opened"].as_f64().context("opened")? / wall_s)
}

fn ask(duration: Duration, load: &[&str]) -> Result<(serde_json::Value, f64)> {
    let seconds = duration.as_secs().to_string();
    let fixed = ["net_peer", "--port", PORT, "--blind", "1", "--seconds", &seconds];
    let client = FixtureProcess::start(&[&fixed, load].concat())?;
    let truth = client.wait_truth(duration + Duration::from_secs(10))?;
    let wall_s = truth["wall_ns"].as_f64().context("wall_ns")? / 1e9;
    Ok((truth, wall_s))
}

/// Attaches each tool in turn, `rounds` times, and prints; of ours the programs whose names begin with `prefix`.
fn bench(load: &Load, tools: &[Tool], prefix: &str, rounds: u32, duration: Duration) -> Result<()> {
    let mut results: Vec<(Tool, Measured)> =
        tools.iter().map(|&tool| (tool, Measured::default())).collect();
    for round in 0..rounds as usize {
        for turn in 0..tools.len() {
            let (tool, measured) = &mut results[(round + turn) % tools.len()];
            eprintln!("round {} of {rounds}: {}", round + 1, tool.name());
            let is_ours = matches!(tool, Tool::Family(_) | Tool::With(_) | Tool::Cgscope);
            visit(*tool, load, duration, measured)?;
            measured.programs.retain(|name, _| !is_ours || name.starts_with(prefix));
        }
    }
    print(load, &results);
    Ok(())
}

/// The kernel's timing of programs costs the load some of its rate, so the two figures are taken one after the other.
fn visit(tool: Tool, load: &Load, duration: Duration, measured: &mut Measured) -> Result<()> {
    let attached = tool.attach()?;
    measured.rate.push((load.run)(duration)?);
    let Some(pid) = attached.pid() else { return Ok(()) };
    let stats = StatsGuard::enable()?;
    let runs = |programs: Vec<cgscope_tests::bpf::Program>| -> BTreeMap<u32, (u64, u64)> {
        programs.into_iter().map(|p| (p.id, (p.run_time_ns, p.run_cnt))).collect()
    };
    let before = runs(programs_of(pid)?);
    (load.run)(duration)?;
    let after = programs_of(pid)?;
    drop(stats);
    for program in after {
        let (time_ns, calls) = before.get(&program.id).copied().unwrap_or_default();
        let (time_ns, calls) = (program.run_time_ns - time_ns, program.run_cnt - calls);
        if calls >= FEWEST_CALLS {
            let samples = measured.programs.entry(program.name).or_default();
            samples.push(time_ns as f64 / calls as f64);
        }
    }
    Ok(())
}

fn print(load: &Load, results: &[(Tool, Measured)]) {
    println!("\n{}: median (lowest..highest)\n", load.name);
    for (tool, measured) in results {
        println!("{:<10} a second {}", tool.name(), measured.rate.summary(0));
        for (program, samples) in &measured.programs {
            println!("{:<10} {program:<22} {:>24} ns", "", samples.summary(1));
        }
    }
    let Some(((ours, measured), others)) = results.split_last() else { return };
    for (tool, other) in others {
        println!(
            "{} / {} a second {}",
            ours.name(),
            tool.name(),
            ratio(&measured.rate, &other.rate)
        );
    }
}
