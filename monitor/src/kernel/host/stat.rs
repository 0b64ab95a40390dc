//! `/proc/stat`: CPU time by mode, switches, interrupts, forks, threads that run or block.

use std::{path::Path, sync::LazyLock};

use super::{
    file::{ProcFile, ReadError},
    metrics::{CPU, FORKS, INTERRUPTS, Label, PROCESSES, SWITCHES, counter, gauge},
    source::Measure,
};
use crate::{kernel::cpus, metric::Sample};

/// The modes in the order of their columns. `guest` and `guest_nice` follow, and are contained in the first two.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// The kernel's idle and I/O-wait times step back by a few ticks at times. A larger step is a CPU that was taken off
/// line and came back.
const MAX_STEP_BACK_NS: u64 = 3_000_000_000;

/// The names of CPUs: made once, not at each tick.
static CPU_NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..cpus::possible().unwrap_or(0)).map(|cpu| cpu.to_string()).collect());

/// Reads the file.
pub(super) struct Stat {
    file: ProcFile,
    clock_ticks_hz: u64,
    /// What was said of each CPU, so that a time never steps back by little.
    said_ns: Vec<[u64; MODES.len()]>,
}

/// Ticks of the times in procfs, per second.
pub fn clock_ticks_hz() -> u64 {
    // SAFETY: no pointers.
    let hz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    // Every Linux says 100 to user space, whatever it ticks by.
    u64::try_from(hz).ok().filter(|&hz| hz > 0).unwrap_or(100)
}

impl Stat {
    pub fn new(proc: &Path, clock_ticks_hz: u64) -> Self {
        let file = ProcFile::new(proc.join("stat"), "mount procfs at /proc");
        Self { file, clock_ticks_hz, said_ns: Vec::new() }
    }
}

impl Measure for Stat {
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError> {
        let text = self.file.read()?;
        let (mut cpus, mut singles) = (0, 0);
        for line in text.lines() {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            let first = || rest.split_ascii_whitespace().next()?.parse::<u64>().ok();
            let sample = match name {
                "ctxt" => first().map(|total| counter(&SWITCHES, [], total)),
                "intr" => first().map(|total| counter(&INTERRUPTS, [], total)),
                "processes" => first().map(|total| counter(&FORKS, [], total)),
                "procs_running" => first().map(|now| of_state("running", now)),
                "procs_blocked" => first().map(|now| of_state("blocked", now)),
                _ => {
                    let number = name.strip_prefix("cpu").and_then(|number| number.parse().ok());
                    if let Some(cpu) = number {
                        let Some(times) = times_ns(rest, self.clock_ticks_hz) else {
                            let what = format!("eight times in its line {name}");
                            return Err(self.file.malformed(what));
                        };
                        cpus += 1;
                        show(cpu, hold(&mut self.said_ns, cpu, times), samples);
                    }
                    continue;
                }
            };
            singles += usize::from(sample.is_some());
            samples.extend(sample);
        }
        match (cpus, singles) {
            (1.., 5) => Ok(()),
            (0, _) => Err(self.file.malformed("line of a CPU")),
            _ => Err(self
                .file
                .malformed("whole set of intr, ctxt, processes, procs_running and procs_blocked")),
        }
    }
}

fn of_state(state: &'static str, threads: u64) -> Sample {
    gauge(&PROCESSES, [Label::Borrowed(state)], threads as f64)
}

fn show(cpu: usize, times_ns: [u64; MODES.len()], samples: &mut Vec<Sample>) {
    let name = match CPU_NAMES.get(cpu) {
        Some(name) => Label::Borrowed(name.as_str()),
        None => Label::Owned(cpu.to_string()),
    };
    samples.extend(
        MODES
            .iter()
            .zip(times_ns)
            .map(|(mode, ns)| counter(&CPU, [name.clone(), Label::Borrowed(mode)], ns)),
    );
}

/// The times of a line; `None` if one is missing.
fn times_ns(columns: &str, clock_ticks_hz: u64) -> Option<[u64; MODES.len()]> {
    let mut times = [0; MODES.len()];
    let mut columns = columns.split_ascii_whitespace();
    for time in &mut times {
        let ticks: u64 = columns.next()?.parse().ok()?;
        *time = ticks_to_ns(ticks, clock_ticks_hz);
    }
    Some(times)
}

/// Exact: 2^64 ticks times 10^9 fit 128 bits.
fn ticks_to_ns(ticks: u64, clock_ticks_hz: u64) -> u64 {
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(clock_ticks_hz);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// The times to say: never a little less than before.
fn hold(
    said: &mut Vec<[u64; MODES.len()]>,
    cpu: usize,
    times_ns: [u64; MODES.len()],
) -> [u64; MODES.len()] {
    // A number beyond any CPU's is not worth memory.
    if cpu >= 1 << 16 {
        return times_ns;
    }
    if said.len() <= cpu {
        said.resize(cpu + 1, [0; MODES.len()]);
    }
    for (said, now) in said[cpu].iter_mut().zip(times_ns) {
        if said.saturating_sub(now) == 0 || *said - now > MAX_STEP_BACK_NS {
            *said = now;
        }
    }
    said[cpu]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_convert_exactly() {
        assert_eq!(ticks_to_ns(457_928, 100), 4_579_280_000_000);
        // 3,000 does not divide a second, and 2^33 seconds would overflow 64 bits on the way.
        assert_eq!(ticks_to_ns(1, 3_000), 333_333);
        assert_eq!(ticks_to_ns((1 << 33) * 100, 100), (1u64 << 33) * 1_000_000_000);
    }

    #[test]
    fn a_small_step_back_is_held_and_a_large_one_is_a_new_start() {
        let mut said = Vec::new();
        let at = |idle_ns| {
            let mut times = [7; MODES.len()];
            times[3] = idle_ns;
            times
        };
        assert_eq!(hold(&mut said, 1, at(10_000_000_000))[3], 10_000_000_000);
        assert_eq!(hold(&mut said, 1, at(9_990_000_000))[3], 10_000_000_000);
        assert_eq!(hold(&mut said, 1, at(10_010_000_000))[3], 10_010_000_000);
        assert_eq!(hold(&mut said, 1, at(5_000_000))[3], 5_000_000);
    }
}
