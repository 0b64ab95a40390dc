//! What cgscope itself costs and loses, as metrics.

use std::borrow::Cow;

use monitor_common::drops::DropReason;

use super::Probes;
use crate::kernel::memory::{Resident, resident};
use crate::metric::{Descriptor, Sample, Subject, Value, descriptor};

descriptor!(
    static DROPPED,
    "cgscope_own_dropped_total",
    "dropped",
    Count,
    Counter,
    Own,
    &["reason"],
    "eBPF map DROPS",
    "5.8",
    "Events, samples and attributions that the kernel half lost, by reason."
);
descriptor!(
    static MEMORY,
    "cgscope_own_memory_bytes",
    "memory",
    Bytes,
    Gauge,
    Own,
    &["kind"],
    "/proc/self/statm, memlock of /proc/self/fdinfo",
    "5.8",
    "Memory of the daemon: resident (rss), the part of it that is its own (anonymous), and eBPF maps in the kernel (maps). Maps \
     that are mapped are in rss too, so add up anonymous and maps only."
);
descriptor!(
    static CPU,
    "cgscope_own_cpu_seconds_total",
    "CPU",
    Seconds,
    Counter,
    Own,
    &[],
    "CLOCK_PROCESS_CPUTIME_ID",
    "5.8",
    "CPU time of the daemon; its kernel programs run on the time of others and are not in it."
);
descriptor!(
    static PROGRAM_CALLS,
    "cgscope_own_program_calls_total",
    "calls",
    Count,
    Counter,
    Own,
    &["program"],
    "run_cnt of /proc/self/fdinfo",
    "5.8",
    "Calls of each kernel program while run-time statistics were on; absent if they never were."
);
descriptor!(
    static PROGRAM_TIME,
    "cgscope_own_program_seconds_total",
    "program time",
    Seconds,
    Counter,
    Own,
    &["program"],
    "run_time_ns of /proc/self/fdinfo",
    "5.8",
    "Time in each kernel program while run-time statistics were on, with the two clock reads of the measurement."
);

/// What is measured of cgscope itself.
pub static DESCRIPTORS: &[&Descriptor] = &[&DROPPED, &MEMORY, &CPU, &PROGRAM_CALLS, &PROGRAM_TIME];

/// Appends what cgscope costs and has lost so far. What cannot be read is left out.
pub fn collect(probes: &Probes, samples: &mut Vec<Sample>) {
    let mut push = |metric, label: Option<Cow<'static, str>>, value| {
        let labels = label.into_iter().collect();
        samples.push(Sample { metric, subject: Subject::Host, labels, value });
    };
    for (reason, count) in dropped(probes) {
        push(&DROPPED, Some(reason.name().into()), Value::Counter(count));
    }
    if let Some(Resident { bytes, anonymous_bytes }) = resident() {
        push(&MEMORY, Some("rss".into()), Value::Gauge(bytes as f64));
        push(&MEMORY, Some("anonymous".into()), Value::Gauge(anonymous_bytes as f64));
    }
    push(&MEMORY, Some("maps".into()), Value::Gauge(maps_bytes(probes) as f64));
    if let Some(ns) = cpu_ns() {
        push(&CPU, None, Value::Counter(ns));
    }
    if !probes.were_timed() {
        return;
    }
    for cost in probes.costs().into_iter().filter(|cost| cost.calls > 0) {
        let program = Some(Cow::Owned(cost.name));
        push(&PROGRAM_CALLS, program.clone(), Value::Counter(cost.calls));
        push(&PROGRAM_TIME, program, Value::Counter(cost.run_time_ns));
    }
}

/// Losses so far, every reason, summed over CPUs.
pub fn dropped(probes: &Probes) -> [(DropReason, u64); DropReason::COUNT] {
    let mut counts = DropReason::ALL.map(|reason| (reason, 0));
    for cpu in 0..probes.drops.len() {
        let counters = probes.drops.read(cpu);
        for (count, lost) in counts.iter_mut().zip(counters.by_reason) {
            count.1 += lost;
        }
    }
    counts
}

/// What the kernel charges for the maps.
pub fn maps_bytes(probes: &Probes) -> u64 {
    probes.maps.iter().map(|map| map.bytes).sum()
}

/// CPU time of all threads of this process, those that ended included, ns.
pub fn cpu_ns() -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of this frame.
    let outcome = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    (outcome == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn cpu_time_is_what_this_process_used() {
        let ticks = || {
            let stat = fs::read_to_string("/proc/self/stat").expect("procfs");
            let columns = stat.rsplit_once(')').expect("a name").1;
            let column = |i| columns.split_ascii_whitespace().nth(i)?.parse::<u64>().ok();
            column(11).unwrap() + column(12).unwrap()
        };
        let low = ticks();
        let ns = cpu_ns().expect("the clock");
        let high = ticks();
        // The kernel's own sum is in ticks of 10 ms, cut off for user and kernel time apart.
        let tick_ns = 10_000_000;
        assert!(ns + tick_ns >= low * tick_ns && ns <= (high + 2) * tick_ns, "{low} {ns} {high}");
    }
}
