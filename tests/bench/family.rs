//! One family's programs on a load that calls them as often as it can, beside the peers that count the same.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::FixtureProcess;
use cgscope_tests::bpf::{StatsGuard, programs_of};

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
            let is_ours = matches!(tool, Tool::Family(_));
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
