//! Programs whose call chains are known, in each layout that linkers make.

use anyhow::{Result, ensure};
use cgscope_tests::{Folded, Stack};

use crate::daemon;
use crate::program::Program;
use crate::stacks::{doubts, expect_complete, is_doubt, own, record};

const CHAIN: [&str; 7] = ["main", "one", "two", "three", "four", "five", "leaf"];

/// Samples whose stack is not a beginning of the chain, though it claims to be whole.
fn astray<'a>(folded: &'a Folded, chain: &[&str]) -> Vec<&'a Stack> {
    let is_astray = |stack: &&Stack| {
        let own = own(stack, chain);
        !stack.frames.iter().any(|frame| is_doubt(frame)) && !chain.starts_with(&own)
    };
    folded.0.iter().filter(is_astray).collect()
}

/// Each layout: complete, and no caller calls what it does not.
fn expect_chain(flags: &[&str]) -> Result<()> {
    let daemon = daemon()?;
    let program = Program::compile("chain", flags)?;
    let running = program.run(&[])?;
    let folded = record(&daemon, running.pid(), 4)?;
    let name = format!("chain {flags:?}");
    expect_complete(&name, &folded, 995)?;
    let astray = astray(&folded, &CHAIN);
    ensure!(astray.is_empty(), "{name}: impossible callers: {astray:?}");
    let whole = folded.count(|stack| own(stack, &CHAIN) == CHAIN);
    let all = folded.kept();
    ensure!(whole * 100 >= all * 98, "{name}: {whole} of {all} samples have the whole chain");
    Ok(())
}

#[test]
fn position_independent() -> Result<()> {
    expect_chain(&["-fPIE", "-pie"])
}

#[test]
fn at_fixed_addresses() -> Result<()> {
    expect_chain(&["-fno-pie", "-no-pie"])
}

#[test]
fn statically_linked() -> Result<()> {
    expect_chain(&["-fno-pie", "-static"])
}

#[test]
fn static_and_position_independent() -> Result<()> {
    expect_chain(&["-fPIE", "-static-pie"])
}

/// lld shares pages of the file between segments and shifts each by another distance.
#[test]
fn laid_out_by_lld() -> Result<()> {
    expect_chain(&["-fPIE", "-pie", "-fuse-ld=lld"])
}

#[test]
fn stripped() -> Result<()> {
    // Without symbols there are no names to compare, but every stack must still reach its end.
    let daemon = daemon()?;
    let program = Program::compile("chain", &["-fPIE", "-pie", "-s"])?;
    let running = program.run(&[])?;
    let folded = record(&daemon, running.pid(), 3)?;
    expect_complete("chain stripped", &folded, 995)
}

#[test]
fn a_signal_handler_stands_on_what_it_interrupted() -> Result<()> {
    let daemon = daemon()?;
    let program = Program::compile("signal", &[])?;
    let running = program.run(&[])?;
    let folded = record(&daemon, running.pid(), 4)?;
    expect_complete("signal", &folded, 995)?;
    let chain = ["main", "outer", "waits", "handler", "handled"];
    let handled = folded.count(|stack| stack.has("handled"));
    ensure!(handled > 100, "{handled} samples in the handler");
    // The signal may come anywhere in main and outer, so the middle may be missing; the ends and the order may not.
    let is_right = |stack: &Stack| {
        let own = own(stack, &chain);
        let mut rest = chain.iter();
        own.first() == Some(&"main")
            && own.ends_with(&["handler", "handled"])
            && own.iter().all(|frame| rest.any(|of| of == frame))
    };
    let right = folded.count(|stack| stack.has("handled") && is_right(stack));
    ensure!(right * 1000 >= handled * 995, "{right} of {handled} samples of the handler are right");
    let in_waits = folded.count(|stack| own(stack, &chain) == chain);
    ensure!(in_waits * 100 >= handled * 90, "{in_waits} of {handled} handled stand on waits");
    Ok(())
}

#[test]
fn a_library_that_is_loaded_and_unloaded_meanwhile() -> Result<()> {
    let daemon = daemon()?;
    let plugin = Program::compile("plugin", &["-fPIC", "-shared"])?;
    let loader = Program::compile("loader", &[])?;
    let running = loader.run(&[plugin.path.to_str().expect("a path of ours")])?;
    let folded = record(&daemon, running.pid(), 6)?;
    expect_complete("loader", &folded, 995)?;
    let through = ["main", "entry", "in_library", "called_back"];
    let alone = ["main", "before", "called_back"];
    let functions = ["main", "before", "entry", "in_library", "called_back"];
    let wrong: Vec<_> = folded
        .0
        .iter()
        .filter(|stack| {
            let own = own(stack, &functions);
            let is_doubtful = stack.frames.iter().any(|frame| is_doubt(frame));
            !is_doubtful && !through.starts_with(&own) && !alone.starts_with(&own)
        })
        .collect();
    ensure!(wrong.is_empty(), "impossible callers: {wrong:?}");
    let seen = folded.count(|stack| own(stack, &functions) == through);
    ensure!(seen * 2 > folded.kept(), "{seen} of {} samples through the library", folded.kept());
    Ok(())
}

#[test]
fn a_hundred_frames_are_whole_and_more_than_fit_are_marked() -> Result<()> {
    let daemon = daemon()?;
    let program = Program::compile("chain", &[])?;
    let running = program.run(&["100"])?;
    let folded = record(&daemon, running.pid(), 3)?;
    expect_complete("dive 100", &folded, 995)?;
    let dives = |stack: &Stack| stack.frames.iter().filter(|frame| *frame == "dive").count();
    // On the way down and up the stack is not that deep.
    let at_bottom = folded.count(|stack| stack.has("leaf"));
    let whole = folded.count(|stack| stack.has("leaf") && dives(stack) == 101);
    ensure!(at_bottom * 10 >= folded.kept() * 9, "{at_bottom} of {} at the bottom", folded.kept());
    ensure!(whole == at_bottom, "{whole} of {at_bottom} have 101 dives");
    ensure!(folded.count(|stack| dives(stack) > 101) == 0, "a stack is deeper than it can be");
    drop(running);

    let running = program.run(&["400"])?;
    let folded = record(&daemon, running.pid(), 3)?;
    // Only what stands on all of it is marked.
    let at_bottom = folded.count(|stack| stack.has("leaf"));
    let is_marked = |stack: &Stack| stack.has("leaf") && stack.has("[truncated: too deep]");
    let marked = folded.count(is_marked);
    ensure!(at_bottom * 10 >= folded.kept() * 8, "{at_bottom} of {} at the bottom", folded.kept());
    ensure!(marked == at_bottom, "{marked} of {at_bottom} marked: {:?}", doubts(&folded));
    Ok(())
}
