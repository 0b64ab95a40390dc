//! The same seconds of the same process by cgscope and, twice over, by `perf record --call-graph dwarf`: the function chains of the one are
//! those of the other.
//!
//! Contract: each samples at instants of its own, so chains that are rare are seen by one and not by another: how much that is, two
//! perfs at the same time tell of themselves; the rest of it is allowed for, two standard deviations. Chains are compared by the addresses of their functions in the files, without what was
//! inlined, and without the kernel's part. Functions of Python stand in the place of the interpreter's own that evaluates them, which perf
//! shows: both are left out. perf finds no callers in statically linked programs, so there is nothing to compare there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Daemon, Pprof, peer, run_captured};
use tempfile::TempDir;

use crate::code::{Code, Function};
use crate::daemon;
use crate::program::Running;
use crate::stacks::is_doubt;

/// Ours, and those of the two perfs. Of one frequency they would sample at the same instants: two perfs of 199 Hz once agreed in every chain, which says nothing
/// of how many one is bound to miss.
const FREQUENCY_HZ: u32 = 199;
const PERF_FREQUENCIES_HZ: [u32; 2] = [193, 211];
const SECONDS: u32 = 8;
/// As much of each stack as perf can copy.
const DUMP_BYTES: u32 = 65_528;

type Chains = HashMap<Vec<Function>, u64>;

/// Whether a frame by its name is a function of Python, or the interpreter's own that evaluates them.
fn is_evaluated(name: &str) -> bool {
    name.starts_with("py::") || name.starts_with("_PyEval_EvalFrameDefault")
}

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
            if location.functions.iter().any(|name| is_evaluated(name)) {
                continue;
            }
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
struct Perf(Child, PathBuf);

impl Perf {
    fn start(pid: u32, directory: &TempDir, frequency_hz: u32) -> Result<Self> {
        let path = directory.path().join(format!("perf-{frequency_hz}"));
        let mut perf = Command::new(peer::tool_path("perf")?);
        perf.args(["record", "-q", "-e", "cpu-clock", "-F", &frequency_hz.to_string()]);
        perf.args(["--call-graph", &format!("dwarf,{DUMP_BYTES}"), "-p", &pid.to_string(), "-o"]);
        perf.arg(&path).args(["--", "sleep", &SECONDS.to_string()]);
        perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(perf.spawn()?, path))
    }

    /// Its chains, leaf first.
    fn chains(mut self, code: &mut Code) -> Result<Chains> {
        ensure!(self.0.wait()?.success(), "perf record failed");
        let mut script = Command::new(peer::tool_path("perf")?);
        script.args(["script", "-F", "ip,sym,dso", "--no-inline", "-i"]);
        let script = run_captured(script.arg(&self.1))?;
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
                if offset < 1 << 63 && !is_evaluated(rest) {
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

fn all(chains: &Chains) -> u64 {
    chains.values().sum()
}

/// How much of the weight of some chains lies on chains that others have as well.
fn share(of: &Chains, others: &Chains) -> f64 {
    let seen: u64 = of.iter().filter(|(c, _)| others.contains_key(*c)).map(|(_, n)| n).sum();
    seen as f64 / all(of).max(1) as f64
}

/// How far a share that is `share` in truth lies from that by chance, in the smallest of some samplings: its standard deviation.
fn deviation(share: f64, samples: [u64; 3]) -> f64 {
    let least = samples.into_iter().min().unwrap_or(0).max(1);
    (share * (1.0 - share) / least as f64).sqrt()
}

/// Each function with the one that it called, and the innermost alone.
fn calls(chain: &[Function]) -> impl Iterator<Item = &[Function]> {
    chain.windows(2).chain(chain.first().map(std::slice::from_ref))
}

/// Why chains are not among those of others, with their weight.
fn causes(of: &Chains, others: &[&Chains]) -> BTreeMap<String, u64> {
    let known: HashSet<_> = others.iter().flat_map(|o| o.keys()).flat_map(|c| calls(c)).collect();
    let is_less = |chain: &[Function], of: &[Function]| chain.len() < of.len();
    let lacks_callers = |c: &[Function], of: &[Function]| is_less(c, of) && of.starts_with(c);
    let lacks_callees = |c: &[Function], of: &[Function]| is_less(c, of) && of.ends_with(c);
    let mut causes = BTreeMap::new();
    for (chain, count) in of.iter().filter(|(c, _)| others.iter().all(|o| !o.contains_key(*c))) {
        let theirs = || others.iter().flat_map(|o| o.keys());
        let new: Vec<_> = calls(chain).filter(|call| !known.contains(*call)).collect();
        let cause = if chain.iter().any(|(name, _)| is_doubt(name)) {
            "marked as truncated".to_owned()
        } else if new.is_empty() {
            "known calls, not seen in this order".to_owned()
        } else if theirs().any(|c| lacks_callers(chain, c)) {
            "a chain of theirs without callers".to_owned()
        } else if theirs().any(|c| lacks_callees(chain, c)) {
            format!("the callers of a chain of theirs: {:x?}", chain[0])
        } else if theirs().any(|c| lacks_callers(c, chain) || lacks_callees(c, chain)) {
            "more than a chain of theirs".to_owned()
        } else {
            format!("a call not seen: {:x?}", new[0])
        };
        *causes.entry(cause).or_default() += count;
    }
    causes
}

/// Fails unless stacks are complete, and their chains are those of perf as much as its own are.
pub fn expect_agreement(name: &str, command: &mut Command) -> Result<()> {
    let daemon = daemon()?;
    let directory = tempfile::tempdir()?;
    let running = Running::start(command)?;
    // Until it has loaded what it needs.
    std::thread::sleep(Duration::from_secs(1));
    let mut code = Code::default();
    let perf = |hz| Perf::start(running.pid(), &directory, hz);
    let perfs = [perf(PERF_FREQUENCIES_HZ[0])?, perf(PERF_FREQUENCIES_HZ[1])?];
    let ours = ours(&daemon, running.pid(), &directory, &mut code)?;
    let [one, other] = perfs.map(|perf| perf.chains(&mut code));
    let (one, other) = (one?, other?);
    let agreed = f64::midpoint(share(&ours, &one), share(&ours, &other));
    let possible = f64::midpoint(share(&one, &other), share(&other, &one));
    eprintln!(
        "{name}: {agreed:.4} of ours is perf's, {possible:.4} of perf's is perf's; {} samples on {} chains, {} and {} of perf",
        all(&ours),
        ours.len(),
        all(&one),
        all(&other)
    );
    let strangers = causes(&ours, &[&one, &other]);
    eprintln!("  ours that neither perf has: {strangers:?}");
    eprintln!("  perf's that neither has: {:?}", causes(&one, &[&ours, &other]));
    ensure!(all(&ours) >= 100 && all(&one) >= 100 && all(&other) >= 100, "{name}: too few samples");
    let is_whole = |chain: &[Function]| !chain.iter().any(|(name, _)| is_doubt(name));
    let whole: u64 = ours.iter().filter(|(chain, _)| is_whole(chain)).map(|(_, n)| n).sum();
    ensure!(whole * 1000 >= all(&ours) * 995, "{name}: {whole} of {} are complete", all(&ours));
    let least = 0.98 * possible - 2.0 * deviation(possible, [all(&ours), all(&one), all(&other)]);
    ensure!(agreed >= least, "{name}: {agreed:.4}, {possible:.4} is possible: {strangers:?}");
    Ok(())
}
