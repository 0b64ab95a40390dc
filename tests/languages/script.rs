//! A script in a container that says what its two functions took, and recordings of it, judged.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{
    Container, ContainerOptions, Daemon, Folded, Stack, wait_until, workspace_root,
};
use serde_json::Value;

const FREQUENCY_HZ: u32 = 499;
const PATIENCE: Duration = Duration::from_secs(30);

/// A container that runs one.
pub struct Script(pub Container);

/// Microseconds of the function that takes three parts, and of that which takes one.
pub type Spent = (f64, f64);

impl Script {
    /// Runs a command where the host's libraries and an interpreter in a directory of the host's are, and the scripts in `/shared`.
    pub fn start(name: &str, interpreter: &Path, command: &[&str]) -> Result<Self> {
        let programs = workspace_root().join("tests/languages/programs");
        let mut options = ContainerOptions::new()
            .argument("--volume=/usr:/usr:ro")
            .argument("--volume=/usr/lib:/lib:ro")
            .argument("--volume=/usr/lib64:/lib64:ro")
            .bind(&programs, "/shared")
            .argument("--workdir=/tmp");
        if !interpreter.starts_with("/usr") {
            let directory = interpreter.display();
            options = options.argument(&format!("--volume={directory}:{directory}:ro"));
        }
        // Where distributions put what belongs to Java beside it.
        for entry in fs::read_dir("/etc")?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("java-") {
                let directory = entry.path().display().to_string();
                options = options.argument(&format!("--volume={directory}:{directory}:ro"));
            }
        }
        // The container's own shell becomes it: a path of the host's would be taken for a fixture, which says when it is ready.
        let command = [&["sh", "-c", "exec \"$@\"", "sh"], command].concat();
        let script = Self(options.run(name, &command)?);
        wait_until("the first account of the script", PATIENCE, || script.accounts())?;
        Ok(script)
    }

    /// What it said last.
    pub fn spent(&self) -> Result<Spent> {
        self.accounts()?.context("an account of the script")
    }

    fn accounts(&self) -> Result<Option<Spent>> {
        let text = self.0.stdout()?;
        let Some(last) = text.lines().next_back() else { return Ok(None) };
        let value: Value = serde_json::from_str(last).with_context(|| last.to_owned())?;
        let number = |of: &str| value[of].as_f64().with_context(|| last.to_owned());
        Ok(Some((number("three_us")?, number("one_us")?)))
    }

    /// Its stacks for so long, and what it spent meanwhile.
    pub fn record(&self, daemon: &Daemon, seconds: u32) -> Result<(Folded, Spent)> {
        let before = self.spent()?;
        let name = self.0.name();
        let path = format!(
            "/api/v1/flamegraph?container={name}&duration={seconds}s&frequency={FREQUENCY_HZ}&format=folded"
        );
        let folded = Folded::parse(&daemon.text(&path)?)?;
        let after = self.spent()?;
        Ok((folded, (after.0 - before.0, after.1 - before.1)))
    }
}

/// Whether a frame says that callers are missing or in doubt.
fn is_doubt(frame: &str) -> bool {
    frame.starts_with("[truncated: ") || frame.starts_with("[by frame pointers: ")
}

fn is_doubtful(stack: &Stack) -> bool {
    stack.frames.iter().any(|frame| is_doubt(frame))
}

/// Fails unless the shares of both functions are those of the script's own account, and nearly all of it is named.
pub fn expect_shares(
    name: &str,
    folded: &Folded,
    spent: Spent,
    is_function: impl Fn(&str, &str) -> bool,
    functions: [&str; 2],
) -> Result<()> {
    let truth = 100.0 * spent.0 / (spent.0 + spent.1);
    let within = |of: &str| folded.count(|stack| stack.frames.iter().any(|f| is_function(f, of)));
    let [three, one] = functions.map(within);
    let all = folded.kept();
    let share = 100.0 * three as f64 / (three + one).max(1) as f64;
    eprintln!(
        "{name}: {share:.1} % of both in the one, {truth:.1} % by its own account; {} of {all} in both",
        three + one
    );
    ensure!(
        three + one >= 300,
        "{name}: {three} and {one} samples of functions that never wait, but {:?}",
        folded.0.first()
    );
    // Three times what chance makes of so many samples, and a point for accounts that are not of the same instants.
    let chance = 100.0 * (0.75 * 0.25 / (three + one) as f64).sqrt();
    let limit = 1.0 + 3.0 * chance;
    ensure!((share - truth).abs() < limit, "{name}: {share:.1} % for {truth:.1} +- {limit:.1} %");
    // What else the process does: the collector, the compiler, its accounts.
    ensure!((three + one) * 100 >= all * 90, "{name}: {} of {all} are named", three + one);
    expect_complete(name, folded)
}

/// Fails unless 99 of 100 stacks are whole.
pub fn expect_complete(name: &str, folded: &Folded) -> Result<()> {
    let (all, doubtful) = (folded.kept(), folded.count(is_doubtful));
    let example = folded.0.iter().find(|stack| is_doubtful(stack));
    eprintln!("{name}: {doubtful} of {all} stacks in doubt");
    ensure!(doubtful * 100 <= all, "{name}: {doubtful} of {all} stacks in doubt, as {example:?}");
    Ok(())
}

/// Fails unless each stack of the last of these has all of them, in this order.
pub fn expect_callers(folded: &Folded, callers: &[&str]) -> Result<()> {
    let is_in_order = |stack: &Stack| {
        let mut frames = stack.frames.iter();
        callers.iter().all(|caller| frames.any(|frame| frame.contains(caller)))
    };
    let last = callers.last().context("callers")?;
    let ends = |stack: &Stack| stack.frames.iter().any(|frame| frame.contains(last));
    let (all, right) = (folded.count(ends), folded.count(is_in_order));
    let odd = folded.0.iter().find(|stack| ends(stack) && !is_in_order(stack));
    eprintln!("{right} of {all} have their callers from the start of the program on");
    ensure!(all > 0 && right * 100 >= all * 99, "{right} of {all} have {callers:?}, but {odd:?}");
    Ok(())
}
