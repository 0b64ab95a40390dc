//! The same seconds of the same process by cgscope and by `perf record --call-graph dwarf`: the function chains of the one are those of
//! the other.
//!
//! Contract: the two sample at instants of their own, so counts differ by chance; which chains there are may not. Chains are compared by
//! the addresses of their functions in the files, without what was inlined, and without the kernel's part. perf finds no callers in
//! statically linked programs, so there is nothing to compare there.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Daemon, Pprof, peer, run_captured};
use tempfile::TempDir;

use crate::code::{Code, Function};
use crate::daemon;
use crate::program::Running;
use crate::stacks::is_doubt;

const FREQUENCY_HZ: u32 = 199;
const SECONDS: u32 = 8;
/// As much of each stack as perf can copy.
const DUMP_BYTES: u32 = 65_528;

type Chains = HashMap<Vec<Function>, u64>;

/// Ours, leaf first.
fn ours(daemon: &Daemon, pid: u32, directory: &TempDir, code: &mut Code) -> Result<Chains> {
    let file = directory.path().join("ours.pb.gz");
    let path = file.to_str().context("a path of ours")?;
    let (pid, seconds, frequency) =
        (pid.to_string(), format!("{SECONDS}s"), FREQUENCY_HZ.to_string());
    let arguments =
        ["flamegraph", "--pid", &pid, "--duration", &seconds, "--frequency", &frequency];
    let recorded = daemon.cli(&[&arguments[..], &["-o", path]].concat())?;
    ensure!(recorded.success(), "flamegraph: {}", recorded.stderr);
    let pprof = Pprof::parse(&std::fs::read(file)?)?;
    let mut chains = Chains::new();
    for sample in &pprof.samples {
        let mut chain = Vec::new();
        for location in &sample.locations {
            match &location.file {
                Some((file, _)) if file.starts_with("[kernel") => {}
                Some((file, _)) => chain.push(code.in_file(file, location.address)?),
                // What a walk lacks is a frame too, and in no chain of perf's.
                None => chain.push((location.functions.join(" "), 0)),
            }
        }
        *chains.entry(chain).or_default() += sample.values[0];
    }
    Ok(chains)
}

/// perf at work. It ends by itself.
struct Perf(Child);

impl Perf {
    fn start(pid: u32, directory: &TempDir) -> Result<Self> {
        let mut perf = Command::new(peer::tool_path("perf")?);
        perf.args(["record", "-q", "-e", "cpu-clock", "-F", &FREQUENCY_HZ.to_string()]);
        perf.args(["--call-graph", &format!("dwarf,{DUMP_BYTES}"), "-p", &pid.to_string(), "-o"]);
        perf.arg(directory.path().join("perf.data")).args(["--", "sleep", &SECONDS.to_string()]);
        Ok(Self(perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    /// Its chains, leaf first.
    fn chains(mut self, directory: &TempDir, code: &mut Code) -> Result<Chains> {
        ensure!(self.0.wait()?.success(), "perf record failed");
        let mut script = Command::new(peer::tool_path("perf")?);
        script.args(["script", "-F", "ip,sym,dso", "--no-inline", "-i"]);
        let script = run_captured(script.arg(directory.path().join("perf.data")))?;
        ensure!(script.success(), "perf script: {}", script.stderr);
        let mut chains = Chains::new();
        for sample in script.stdout.split("\n\n") {
            let mut chain = Vec::new();
            let mut has_frames = false;
            for line in sample.lines().filter(|line| !line.trim().is_empty()) {
                // `OFFSET SYMBOL (FILE)`: perf shows where in the file it is. The upper half is the kernel's.
                let (offset, rest) = line.trim().split_once(' ').context("a frame")?;
                let (_, file) = rest.rsplit_once('(').with_context(|| line.to_owned())?;
                let offset = u64::from_str_radix(offset, 16).with_context(|| line.to_owned())?;
                has_frames = true;
                if offset < 1 << 63 {
                    chain.push(code.at_offset(file.trim_end_matches(')'), offset)?);
                }
            }
            if has_frames {
                *chains.entry(chain).or_default() += 1;
            }
        }
        Ok(chains)
    }
}

/// Fails unless stacks are complete, and their chains are those of perf.
pub fn expect_agreement(name: &str, command: &mut Command) -> Result<()> {
    let daemon = daemon()?;
    let directory = tempfile::tempdir()?;
    let running = Running::start(command)?;
    // Until it has loaded what it needs.
    std::thread::sleep(Duration::from_secs(1));
    let mut code = Code::default();
    let perf = Perf::start(running.pid(), &directory)?;
    let ours = ours(&daemon, running.pid(), &directory, &mut code)?;
    let theirs = perf.chains(&directory, &mut code)?;
    let (all, all_of_perf): (u64, u64) = (ours.values().sum(), theirs.values().sum());
    let seen: u64 =
        ours.iter().filter(|(chain, _)| theirs.contains_key(*chain)).map(|(_, n)| n).sum();
    // As much weight lies on chains that a sampler has not seen as on those it saw once only, by and large (Good and Turing).
    let once = theirs.values().filter(|count| **count == 1).count() as f64;
    let unseen = (once + 2.0 * once.sqrt()) / all_of_perf as f64;
    eprintln!(
        "{name}: {seen} of {all} on {} chains of perf's {}, which saw {once} of its {all_of_perf} once",
        ours.len(),
        theirs.len()
    );
    ensure!(all >= 100 && all_of_perf >= 100, "{name}: {all} and {all_of_perf} samples");
    let is_whole = |chain: &[Function]| !chain.iter().any(|(name, _)| is_doubt(name));
    let whole: u64 = ours.iter().filter(|(chain, _)| is_whole(chain)).map(|(_, n)| n).sum();
    ensure!(whole * 1000 >= all * 995, "{name}: {whole} of {all} stacks are complete");
    let mut unlike: Vec<_> =
        ours.iter().filter(|(chain, _)| !theirs.contains_key(*chain)).collect();
    unlike.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let (share, expected) = (seen as f64 / all as f64, 0.98 - unseen);
    ensure!(share >= expected, "{name}: {share:.4} of {expected:.4}: {:#?}", unlike.first());
    Ok(())
}
