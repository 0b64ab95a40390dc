//! Tools compared on one load: ns a call of each scheduler program, and the load's rounds per second.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use cgscope_tests::bpf::{Program, StatsGuard, programs_of};

use crate::load::Load;
use crate::table::{Samples, ratio};
use crate::tool::Tool;

/// The hooks that the tools share.
const HOOKS: [&str; 3] = ["sched_switch", "sched_wakeup", "sched_wakeup_new"];
/// How peers spell a hook's program: cpudist has `sched_switch_btf`, or `_tp` where there is no BTF.
const SPELLINGS: [&str; 3] = ["", "_btf", "_tp"];
/// Fewer calls than this say nothing about a call's price.
const FEWEST_CALLS: u64 = 1_000;

/// Of one tool, over all rounds.
pub struct Measured {
    tool: Tool,
    rounds_per_s: Samples,
    ns_per_call: [Samples; HOOKS.len()],
}

/// Attaches each of `tools` in turn, `rounds` times, beginning with another one each time.
pub fn compare(
    tools: &[Tool],
    load: Load,
    rounds: u32,
    duration: Duration,
) -> Result<Vec<Measured>> {
    let mut results: Vec<Measured> = tools
        .iter()
        .map(|&tool| Measured {
            tool,
            rounds_per_s: Samples::default(),
            ns_per_call: Default::default(),
        })
        .collect();
    for round in 0..rounds as usize {
        for turn in 0..tools.len() {
            let measured = &mut results[(round + turn) % tools.len()];
            eprintln!("round {} of {rounds}: {}", round + 1, measured.tool.name());
            visit(measured, load, duration)?;
        }
    }
    Ok(results)
}

/// The kernel's timing of programs costs the load some rounds, so the two figures are taken one after the other.
fn visit(measured: &mut Measured, load: Load, duration: Duration) -> Result<()> {
    let attached = measured.tool.attach()?;
    measured.rounds_per_s.push(load.run(duration)?);
    let Some(pid) = attached.pid() else { return Ok(()) };
    let stats = StatsGuard::enable()?;
    let before = runs_by_id(programs_of(pid)?);
    load.run(duration)?;
    let after = programs_of(pid)?;
    drop(stats);
    for (hook, samples) in HOOKS.iter().zip(&mut measured.ns_per_call) {
        let (mut time_ns, mut calls) = (0, 0);
        for program in after.iter().filter(|program| serves(program, hook)) {
            let (time_before_ns, calls_before) =
                before.get(&program.id).copied().unwrap_or_default();
            time_ns += program.run_time_ns - time_before_ns;
            calls += program.run_cnt - calls_before;
        }
        if calls >= FEWEST_CALLS {
            samples.push(time_ns as f64 / calls as f64);
        }
    }
    Ok(())
}

fn runs_by_id(programs: Vec<Program>) -> BTreeMap<u32, (u64, u64)> {
    programs.into_iter().map(|p| (p.id, (p.run_time_ns, p.run_cnt))).collect()
}

fn serves(program: &Program, hook: &str) -> bool {
    SPELLINGS.iter().any(|suffix| program.is_named(&format!("{hook}{suffix}")))
}

/// Prints medians with their ranges; then the last tool's medians divided by those of the others.
pub fn print(results: &[Measured], load: Load) {
    println!("{}: median (lowest..highest)\n", load.name());
    print!("{:<10} {:>27}", "attached", "rounds/s");
    HOOKS.iter().for_each(|hook| print!(" {:>27}", format!("{hook} ns")));
    println!();
    for measured in results {
        print!("{:<10} {:>27}", measured.tool.name(), measured.rounds_per_s.summary(0));
        measured.ns_per_call.iter().for_each(|samples| print!(" {:>27}", samples.summary(1)));
        println!();
    }
    let Some((ours, others)) = results.split_last() else { return };
    println!();
    for peer in others {
        let name = format!("{} / {}", ours.tool.name(), peer.tool.name());
        print!("{name:<22} rounds/s {}", ratio(&ours.rounds_per_s, &peer.rounds_per_s));
        for (hook, (a, b)) in HOOKS.iter().zip(ours.ns_per_call.iter().zip(&peer.ns_per_call)) {
            print!("  {hook} {}", ratio(a, b));
        }
        println!();
    }
}
