//! Wakers of waits so short and so many that they are drawn: together they weigh what was waited.

use anyhow::Result;
use cgscope_tests::{Container, ContainerOptions, Stack, scratch_dir};
use tempfile::TempDir;

use crate::daemon;
use crate::recording::{assert_total, record_type};

const SECONDS: u32 = 8;

#[test]
fn a_token_between_two_containers() -> Result<()> {
    let daemon = daemon()?;
    let shared = TempDir::with_prefix_in("shared-", scratch_dir())?;
    let start = |role: &str| -> Result<Container> {
        let command = ["pipe_pair", "--via", "fifo", "--dir", "/shared", "--role", role];
        let options = ContainerOptions::new().bind(shared.path(), "/shared");
        options.run(role, &[&command[..], &["--seconds", "120"]].concat())
    };
    let (pong, ping) = (start("pong")?, start("ping")?);
    let pid = ping.host_pid()?;
    let target = format!("container={}", ping.id());
    let recorded = record_type(&daemon, "wakeup", &target, SECONDS, &[(pid, pid)])?;
    let folded = &recorded.folded;
    eprintln!("{} stacks, {} ns of {:.0}", folded.0.len(), folded.kept(), recorded.waited_ns);
    assert_total(folded.kept(), &recorded, 0.02);
    let root = format!("[woken: {}/pipe_pair]", ping.name());
    let strangers: Vec<_> = folded.0.iter().filter(|s| s.frames[0] != root).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    // Its peer wakes it, in the function that sends the token, but for the few times that somebody else comes in between.
    let waker = format!("[waker: {}/pipe_pair]", pong.name());
    let is_by_peer = |stack: &Stack| {
        stack.frames[2] == waker && stack.frames.iter().any(|frame| frame.starts_with("pong"))
    };
    let by_peer = folded.count(is_by_peer) as f64;
    assert!(by_peer >= 0.98 * folded.kept() as f64, "{by_peer} by its peer: {folded:?}");
    assert_eq!(folded.lost(), 0, "lost");
    Ok(())
}
