//! The sources together: on recorded files, with files that fail, and against this host.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;

use super::{Health, Host, SourceStatus};
use crate::metric::{KtimeNs, Sample, Subject, Value};

const STAT: &str = "\
cpu  63210 109126 29284 457928 1932 0 501 39 0 0
cpu0 32154 52664 14920 230710 433 0 76 19 0 0
cpu1 31056 56461 14363 227218 1499 0 425 20 0 0
intr 1825252 0 0 1 14
ctxt 44236989
btime 1795200873
processes 58317
procs_running 2
procs_blocked 1
softirq 855932 0 111798 104 12755 305325 0 261 135536 0 290153
";

const SOFTIRQS: &str = "                    CPU0       CPU1       \n          HI:          0          0\n       TIMER:      52198      59600\n      NET_RX:       5165       7590\n";

const VMSTAT: &str = "\
nr_free_pages 4763456
allocstall_dma 0
allocstall_normal 5
allocstall_movable 7
pgfault 172352773
pgmajfault 94428
pgsteal_kswapd 11
pgsteal_direct 22
compact_stall 3
oom_kill 18
";

/// A /proc as this host's was, without pressure.
fn recorded() -> TempDir {
    let proc = TempDir::new().expect("a temporary directory");
    write(&proc, "stat", STAT);
    write(&proc, "loadavg", "0.24 1.14 1.42 2/84 25866\n");
    write(&proc, "softirqs", SOFTIRQS);
    write(&proc, "meminfo", "MemTotal:       24684084 kB\nMemAvailable:   24231420 kB\n");
    write(&proc, "vmstat", VMSTAT);
    proc
}

fn write(proc: &TempDir, name: &str, text: &str) {
    fs::write(proc.path().join(name), text).expect("writable");
}

fn collect(host: &mut Host, at_ms: u64) -> Vec<Sample> {
    let mut samples = Vec::new();
    host.collect(KtimeNs(at_ms * 1_000_000), &mut samples);
    samples
}

fn find<'a>(samples: &'a [Sample], name: &str, labels: &[&str]) -> Option<&'a Value> {
    let is_it = |sample: &&Sample| {
        sample.metric.name == name
            && sample.labels.iter().map(AsRef::as_ref).eq(labels.iter().copied())
    };
    samples.iter().find(is_it).map(|sample| &sample.value)
}

fn source(host: &Host, name: &str) -> SourceStatus {
    host.sources().into_iter().find(|source| source.name == name).expect("a source of that name")
}

#[test]
fn recorded_files_give_what_they_say() {
    let proc = recorded();
    let samples = collect(&mut Host::at(proc.path(), 100), 5_000);
    let counter = |name, labels: &[&str]| match find(&samples, name, labels) {
        Some(&Value::Counter(total)) => total,
        other => panic!("{name} {labels:?}: {other:?}"),
    };
    let gauge = |name, labels: &[&str]| match find(&samples, name, labels) {
        Some(&Value::Gauge(now)) => now,
        other => panic!("{name} {labels:?}: {other:?}"),
    };
    assert_eq!(counter("cgscope_host_cpu_seconds_total", &["0", "user"]), 321_540_000_000);
    assert_eq!(counter("cgscope_host_cpu_seconds_total", &["1", "steal"]), 200_000_000);
    assert_eq!(counter("cgscope_host_context_switches_total", &[]), 44_236_989);
    assert_eq!(counter("cgscope_host_interrupts_total", &[]), 1_825_252);
    assert_eq!(counter("cgscope_host_forks_total", &[]), 58_317);
    assert_eq!(counter("cgscope_host_softirqs_total", &["net_rx"]), 5_165 + 7_590);
    assert_eq!(counter("cgscope_host_page_faults_total", &["minor"]), 172_352_773 - 94_428);
    assert_eq!(counter("cgscope_host_page_faults_total", &["major"]), 94_428);
    assert_eq!(counter("cgscope_host_reclaimed_pages_total", &["direct"]), 22);
    assert_eq!(counter("cgscope_host_memory_stalls_total", &["reclaim"]), 12);
    assert_eq!(counter("cgscope_host_memory_stalls_total", &["compaction"]), 3);
    assert_eq!(counter("cgscope_host_oom_kills_total", &[]), 18);
    assert_eq!(gauge("cgscope_host_processes", &["running"]), 2.0);
    assert_eq!(gauge("cgscope_host_processes", &["blocked"]), 1.0);
    assert_eq!(gauge("cgscope_host_load", &["5m"]), 1.14);
    assert_eq!(gauge("cgscope_host_threads", &[]), 84.0);
    assert_eq!(gauge("cgscope_host_memory_bytes", &["available"]), 24_231_420.0 * 1024.0);
    assert!(samples.iter().all(|sample| sample.subject == Subject::Host));
    assert!(samples.iter().all(|sample| sample.labels.len() == sample.metric.labels.len()));
    let modes = samples.iter().filter(|s| s.metric.name == "cgscope_host_cpu_seconds_total");
    assert_eq!(modes.count(), 2 * 8, "the line of all CPUs is not one of them");
}

#[test]
fn what_this_kernel_lacks_is_absent_and_not_zero() {
    let proc = recorded();
    let mut host = Host::at(proc.path(), 100);
    let samples = collect(&mut host, 0);
    assert!(samples.iter().all(|s| s.metric.name != "cgscope_host_pressure_seconds_total"));
    assert!(find(&samples, "cgscope_host_memory_bytes", &["dirty"]).is_none());
    assert!(find(&samples, "cgscope_host_swapped_pages_total", &["in"]).is_none());
    assert!(find(&samples, "cgscope_host_reclaimed_pages_total", &["other"]).is_none());
    let pressure = source(&host, "pressure");
    assert_eq!(pressure.health, Health::Absent);
    assert!(pressure.last_error.is_some_and(|error| error.contains("CONFIG_PSI")));
}

#[test]
fn pressure_of_the_resources_that_are_there() {
    let proc = recorded();
    fs::create_dir(proc.path().join("pressure")).expect("a directory");
    write(&proc, "pressure/cpu", "some avg10=0.02 total=450619371\nfull avg10=0.00 total=0\n");
    write(&proc, "pressure/io", "some avg10=0.03 total=22478601\nfull avg10=0.03 total=13255727\n");
    let mut host = Host::at(proc.path(), 100);
    let samples = collect(&mut host, 0);
    let of = |labels: &[&str]| find(&samples, "cgscope_host_pressure_seconds_total", labels);
    assert_eq!(of(&["cpu", "some"]), Some(&Value::Counter(450_619_371_000)));
    assert_eq!(of(&["io", "full"]), Some(&Value::Counter(13_255_727_000)));
    assert_eq!(of(&["cpu", "full"]), None, "a zero that the kernel only writes for old readers");
    assert_eq!(of(&["memory", "some"]), None);
    assert_eq!(source(&host, "pressure").health, Health::Ok);
}

#[test]
fn a_source_that_fails_stops_no_other_and_comes_back() {
    let proc = recorded();
    write(&proc, "stat", "cpu0 1 2 3\n");
    let mut host = Host::at(proc.path(), 100);
    let samples = collect(&mut host, 0);
    assert!(
        samples.iter().all(|s| s.metric.source != "/proc/stat"),
        "half a file is no measurement"
    );
    assert!(find(&samples, "cgscope_host_load", &["1m"]).is_some());
    let stat = source(&host, "stat");
    assert_eq!((stat.health, stat.last_read), (Health::Failing, None));
    assert!(stat.last_error.is_some_and(|error| error.contains("stat has no eight times")));

    write(&proc, "stat", STAT);
    let samples = collect(&mut host, 100);
    assert!(find(&samples, "cgscope_host_forks_total", &[]).is_some());
    let stat = source(&host, "stat");
    assert_eq!((stat.health, stat.last_error), (Health::Ok, None));
    assert_eq!(stat.last_read, Some(KtimeNs(100_000_000)));
}

#[test]
fn a_value_that_went_stale_by_failing_is_not_repeated() {
    let proc = recorded();
    let mut host = Host::at(proc.path(), 100);
    collect(&mut host, 0);
    write(&proc, "loadavg", "");
    assert!(find(&collect(&mut host, 100), "cgscope_host_load", &["1m"]).is_none());
}

#[test]
fn a_fast_tick_repeats_what_is_not_due() {
    let proc = recorded();
    let mut host = Host::at(proc.path(), 100);
    let free = |host: &mut Host, at_ms| {
        let samples = collect(host, at_ms);
        find(&samples, "cgscope_host_memory_bytes", &["total"]).cloned()
    };
    let before = free(&mut host, 0);
    assert_eq!(before, Some(Value::Gauge(24_684_084.0 * 1024.0)));
    write(&proc, "meminfo", "MemTotal:       1 kB\n");
    for at_ms in (100..=900).step_by(100) {
        assert_eq!(free(&mut host, at_ms), before, "at {at_ms} ms");
    }
    assert_eq!(source(&host, "meminfo").last_read, Some(KtimeNs(0)));
    // A tick that comes 3 ms early must not cost a whole tick.
    assert_eq!(free(&mut host, 997), Some(Value::Gauge(1024.0)));
    assert_eq!(source(&host, "loadavg").last_read, Some(KtimeNs(997_000_000)));
}

#[test]
fn a_tick_that_came_late_does_not_cost_the_next() {
    let proc = recorded();
    let mut host = Host::at(proc.path(), 100);
    // Whole seconds, as they come on a busy machine; the sixth is missed.
    for at_ms in [0, 1_180, 2_000, 3_240, 4_010, 6_240, 7_000, 8_030] {
        collect(&mut host, at_ms);
        let read_at = source(&host, "softirqs").last_read;
        assert_eq!(read_at, Some(KtimeNs(at_ms * 1_000_000)), "at {at_ms} ms");
    }
}

#[test]
fn sources_are_switched_and_paced_by_name() {
    let proc = recorded();
    let mut host = Host::at(proc.path(), 100);
    assert!(host.enable("stat", false) && host.set_interval("loadavg", Duration::from_secs(10)));
    assert!(!host.enable("nothing", true) && !host.set_interval("nothing", Duration::ZERO));
    let samples = collect(&mut host, 0);
    assert!(find(&samples, "cgscope_host_forks_total", &[]).is_none());
    assert_eq!(source(&host, "stat").health, Health::Disabled);
    assert_eq!(source(&host, "loadavg").interval_ns, 10_000_000_000);
    write(&proc, "loadavg", "9 9 9 1/1 1\n");
    let load = |samples: &[Sample]| find(samples, "cgscope_host_load", &["1m"]).cloned();
    assert_eq!(load(&collect(&mut host, 5_000)), Some(Value::Gauge(0.24)));
    assert_eq!(load(&collect(&mut host, 10_000)), Some(Value::Gauge(9.0)));
    host.enable("stat", true);
    assert!(find(&collect(&mut host, 10_100), "cgscope_host_forks_total", &[]).is_some());
    let order: Vec<u8> = host.sources().iter().map(|source| source.priority).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn a_huge_file_is_refused() {
    let proc = recorded();
    write(&proc, "softirqs", &" ".repeat((4 << 20) + 1));
    let mut host = Host::at(proc.path(), 100);
    collect(&mut host, 0);
    let softirqs = source(&host, "softirqs");
    assert_eq!(softirqs.health, Health::Failing);
    assert!(softirqs.last_error.is_some_and(|error| error.contains("more than")));
}

/// `/proc/stat` before and after brackets what the host says, for all that only rises.
#[test]
fn this_host_lies_between_two_readings_of_its_own_file() {
    let read = || {
        let proc = TempDir::new().expect("a temporary directory");
        fs::copy("/proc/stat", proc.path().join("stat")).expect("readable");
        fs::copy("/proc/softirqs", proc.path().join("softirqs")).expect("readable");
        collect(&mut Host::at(proc.path(), super::stat::clock_ticks_hz()), 0)
    };
    let mut host = Host::new();
    // The files are open and have been read before: the second reading must not see the first one's text.
    collect(&mut host, 0);
    std::thread::sleep(Duration::from_millis(50));
    let before = read();
    let now = collect(&mut host, 2_000);
    let after = read();
    let mut compared = 0;
    for sample in &now {
        let Value::Counter(total) = sample.value else { continue };
        let labels: Vec<&str> = sample.labels.iter().map(AsRef::as_ref).collect();
        let bound = |samples: &[Sample]| match find(samples, sample.metric.name, &labels) {
            Some(&Value::Counter(total)) => Some(total),
            _ => None,
        };
        let (Some(low), Some(high)) = (bound(&before), bound(&after)) else { continue };
        // Idle and I/O wait may step back by a few ticks: ours do not.
        let slack =
            if labels.iter().any(|l| matches!(*l, "idle" | "iowait")) { 50_000_000 } else { 0 };
        let is_inside = (low.saturating_sub(slack)..=high + slack).contains(&total);
        assert!(is_inside, "{} {labels:?}: {low} <= {total} <= {high}", sample.metric.name);
        compared += 1;
    }
    assert!(compared >= 8 + 3 + 5, "only {compared} series compared");
}

#[test]
fn a_tick_of_a_tenth_of_a_second_is_no_load() {
    let mut host = Host::new();
    collect(&mut host, 0);
    let start = std::time::Instant::now();
    for tick in 1..=100 {
        assert!(!collect(&mut host, tick * 100).is_empty());
    }
    // 100 ticks are 10 s of wall time; a tenth of one core would be a second.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let is_real = Path::new("/proc/pressure/cpu").exists();
    assert_eq!(source(&host, "pressure").health == Health::Ok, is_real);
}
