//! Of many short waits some are drawn: what they weigh is still the time, beside long ones too.

use anyhow::{Result, bail};
use cgscope_tests::Container;

use crate::daemon;
use crate::recording::{assert_total, record, waited_ns};

#[test]
fn many_short_waits_and_few_long_ones_weigh_their_time() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("waits", &["waits", "--short", "1", "--seconds", "60"])?;
    let pid = container.host_pid()?;
    let target = format!("container={}", container.id());
    let recorded = record(&daemon, &target, 8, &[(pid, pid)])?;
    let truth = container.stop()?;
    let folded = &recorded.folded;
    assert_total(folded.kept(), &recorded, 0.01);
    let (short_ns, long_ns) = (waited_ns(&truth, "short_wait")?, waited_ns(&truth, "long_wait")?);
    let of = |function: &str| folded.count(|stack| stack.has(function)) as f64;
    let named = of("short_wait") + of("long_wait");
    // A long wait that was not walked says so: nobody knows which function it was of.
    let unwalked =
        folded.count(|stack| stack.has("[truncated: too many waits to walk each]")) as f64;
    for (function, truth_ns) in [("short_wait", short_ns), ("long_wait", long_ns)] {
        let share = 100.0 * truth_ns / (short_ns + long_ns);
        let seen = 100.0 * of(function) / named;
        assert!(
            (seen - share).abs() <= 2.0 + 100.0 * unwalked / folded.kept() as f64,
            "{function}: {seen:.2} % of the time, by its own account {share:.2}: {folded:?}"
        );
    }
    // The beginning may be of frame pointers: a container that was started a moment ago.
    assert!(
        named + unwalked >= 0.9 * folded.kept() as f64,
        "in the two functions {named} ns: {folded:?}"
    );
    assert_eq!(folded.lost(), 0, "lost");
    Ok(())
}

/// More switches than are walked: two processes that wait for each other's byte all the time. What is not walked is made up for.
#[test]
fn more_waits_than_are_walked_weigh_their_time() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("pair", &["pipe_pair", "--cpu", "0", "--seconds", "60"])?;
    let pids = container.pids()?;
    let [first, second] = pids[..] else { bail!("a pair is two: {pids:?}") };
    let target = format!("container={}", container.id());
    let recorded = record(&daemon, &target, 5, &[(first, first), (second, second)])?;
    assert_total(recorded.folded.kept(), &recorded, 0.02);
    assert_eq!(recorded.folded.lost(), 0, "lost");
    Ok(())
}
