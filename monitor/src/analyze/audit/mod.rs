//! What cgscope counts held against what the kernel accounts by itself.
//!
//! Contract: a check is of figures as they are published, so that a fault anywhere between a hook and `/metrics` shows: a part that
//! nobody counts, a container that has another's time, a figure that is scaled. The error of several subjects is the sum of what each is
//! off, whichever way: what one lacks is not made up for by what another has too much.

mod growth;
mod ledger;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

pub use growth::Growth;
use ledger::Ledger;
pub use ledger::{Outcome, Reading};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::metric::{Descriptor, KtimeNs, Sample, Subject, Unit, Value, descriptor};

descriptor!(
    static ERROR,
    "cgscope_own_audit_error_ratio",
    "audit error",
    Ratio,
    Gauge,
    Own,
    &["check"],
    "its own figures and the kernel's files, side by side",
    "5.8",
    "How far what cgscope counted in the last minute is from the kernel's own account: the sum over all it is compared for, \
     as a share of that account. What the instants of reading explain is no error."
);
descriptor!(
    static SECONDS,
    "cgscope_own_audit_seconds",
    "audited time",
    Seconds,
    Gauge,
    Own,
    &["check", "side"],
    "its own figures and the kernel's files, side by side",
    "5.8",
    "The time that was compared: as cgscope counted it (counted), and by the kernel's own account (expected)."
);
descriptor!(
    static BYTES,
    "cgscope_own_audit_bytes",
    "audited bytes",
    Bytes,
    Gauge,
    Own,
    &["check", "side"],
    "its own figures and the kernel's files, side by side",
    "5.8",
    "The bytes that were compared: as cgscope counted them (counted), and by the kernel's own account (expected)."
);
descriptor!(
    static EVENTS,
    "cgscope_own_audit_events",
    "audited events",
    Count,
    Gauge,
    Own,
    &["check", "side"],
    "its own figures and the kernel's files, side by side",
    "5.8",
    "The events that were compared: as cgscope counted them (counted), and by the kernel's own account (expected)."
);
descriptor!(
    static SPENT,
    "cgscope_own_audit_duration_seconds_total",
    "audit's own time",
    Seconds,
    Counter,
    Own,
    &[],
    "CLOCK_MONOTONIC",
    "5.8",
    "How long the daemon took to compare: what the audit itself costs."
);

/// What the audit publishes.
pub static DESCRIPTORS: &[&Descriptor] = &[&ERROR, &SECONDS, &BYTES, &EVENTS, &SPENT];

/// An error above this is a fault worth a word: nothing that is compared is less exact.
pub const TOLERANCE: f64 = 0.01;

/// Subjects that were not read for so long are not compared any more.
const STALE: Duration = Duration::from_secs(600);

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// CPU time of each container against its own cgroup.
    CpuOfContainers,
    /// CPU time of everybody against the scheduler's account of the root cgroup.
    CpuOfHost,
    /// The same against what the kernel samples by its tick.
    CpuByTick,
    /// Bytes that disks read, by whoever asked for them, against the kernel's account of each disk.
    BytesRead,
    /// The same of bytes written.
    BytesWritten,
    /// Reads.
    Reads,
    /// Writes.
    Writes,
    /// Bytes that each container read and wrote on all disks against its own cgroup.
    BytesOfContainers,
    /// Connections accepted, against the counters of each network namespace.
    Accepted,
    /// Segments sent again, against the same.
    Retransmitted,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::CpuOfContainers,
        Self::CpuOfHost,
        Self::CpuByTick,
        Self::BytesRead,
        Self::BytesWritten,
        Self::Reads,
        Self::Writes,
        Self::BytesOfContainers,
        Self::Accepted,
        Self::Retransmitted,
    ];

    /// The value of the label `check`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuOfContainers => "cpu_of_containers",
            Self::CpuOfHost => "cpu_of_host",
            Self::CpuByTick => "cpu_by_tick",
            Self::BytesRead => "disk_bytes_read",
            Self::BytesWritten => "disk_bytes_written",
            Self::Reads => "disk_reads",
            Self::Writes => "disk_writes",
            Self::BytesOfContainers => "disk_bytes_of_containers",
            Self::Accepted => "tcp_accepted",
            Self::Retransmitted => "tcp_retransmitted",
        }
    }

    /// The figures that are checked.
    pub const fn metric(self) -> &'static str {
        match self {
            Self::CpuOfContainers | Self::CpuOfHost | Self::CpuByTick => {
                "cgscope_sched_cpu_seconds_total"
            }
            Self::BytesRead | Self::BytesWritten | Self::BytesOfContainers => {
                "cgscope_block_bytes_total"
            }
            Self::Reads | Self::Writes => "cgscope_block_operations_total",
            Self::Accepted => "cgscope_tcp_connections_total",
            Self::Retransmitted => "cgscope_tcp_retransmitted_segments_total",
        }
    }

    /// What they are held against.
    pub const fn against(self) -> &'static str {
        match self {
            Self::CpuOfContainers => "cpu.stat or cpuacct.usage of each container",
            Self::CpuOfHost => "cpuacct.usage of the root",
            Self::CpuByTick => "/proc/stat",
            Self::BytesRead | Self::BytesWritten | Self::Reads | Self::Writes => "/proc/diskstats",
            Self::BytesOfContainers => {
                "io.stat or blkio.throttle.io_service_bytes_recursive of each container"
            }
            Self::Accepted | Self::Retransmitted => "/proc/PID/net/snmp of each network namespace",
        }
    }

    /// What is counted.
    pub const fn unit(self) -> Unit {
        match self {
            Self::CpuOfContainers | Self::CpuOfHost | Self::CpuByTick => Unit::Seconds,
            Self::BytesRead | Self::BytesWritten | Self::BytesOfContainers => Unit::Bytes,
            Self::Reads | Self::Writes | Self::Accepted | Self::Retransmitted => Unit::Count,
        }
    }

    /// The errors of this check are shares of at least so much: three requests of fifty say nothing.
    const fn floor(self) -> u64 {
        match self.unit() {
            Unit::Seconds => 100_000_000,
            Unit::Bytes => 1 << 20,
            Unit::Count | Unit::Ratio => 1_000,
        }
    }

    /// Where an error beyond [`TOLERANCE`] is the kernel's: it samples by a tick, and sees no work that begins and ends between two.
    pub const fn is_sampled(self) -> bool {
        matches!(self, Self::CpuByTick)
    }

    fn sums(self) -> &'static Descriptor {
        match self.unit() {
            Unit::Seconds => &SECONDS,
            Unit::Bytes => &BYTES,
            Unit::Count | Unit::Ratio => &EVENTS,
        }
    }
}

/// All comparisons that go on.
#[derive(Debug, Default)]
pub struct Audit {
    ledgers: BTreeMap<(Check, Arc<str>), Ledger>,
    spent_ns: u64,
    rounds: u64,
}

impl Audit {
    /// Notes both accounts of a subject.
    pub fn note(&mut self, check: Check, subject: &Arc<str>, reading: Reading) {
        self.ledgers.entry((check, Arc::clone(subject))).or_default().note(reading);
    }

    /// Notes how long a round took, and forgets who was not read for long.
    pub fn end_round(&mut self, now: KtimeNs, spent: Duration) {
        self.spent_ns += spent.as_nanos() as u64;
        self.rounds += 1;
        self.ledgers.retain(|_, ledger| ledger.newest().is_some_and(|at| now.since(at) < STALE));
    }

    /// Everything that was found, the checks that say something in their order.
    pub fn report(&self) -> AuditReport {
        let checks = Check::ALL.into_iter().filter_map(|check| self.report_of(check)).collect();
        AuditReport { checks, spent_ns: self.spent_ns, rounds: self.rounds }
    }

    fn outcomes(&self, check: Check) -> impl Iterator<Item = (&Arc<str>, Outcome)> {
        let ledgers = self.ledgers.iter().filter(move |((of, _), _)| *of == check);
        ledgers.filter_map(|((_, subject), ledger)| Some((subject, ledger.outcome()?)))
    }

    fn report_of(&self, check: Check) -> Option<CheckReport> {
        let factor = check.unit().exposition_factor();
        let mut sums = Sums::default();
        let mut subjects: Vec<SubjectReport> = Vec::new();
        for (subject, outcome) in self.outcomes(check) {
            sums.add(outcome);
            subjects.push(SubjectReport {
                subject: subject.to_string(),
                counted: outcome.counted as f64 * factor,
                expected: outcome.expected as f64 * factor,
                error: outcome.error as f64 * factor,
                span_ns: outcome.span_ns,
            });
        }
        if subjects.is_empty() {
            return None;
        }
        subjects.sort_by(|a, b| b.error.abs().total_cmp(&a.error.abs()));
        Some(CheckReport {
            name: check.name().to_owned(),
            metric: check.metric().to_owned(),
            against: check.against().to_owned(),
            is_sampled: check.is_sampled(),
            counted: sums.counted as f64 * factor,
            expected: sums.expected as f64 * factor,
            error_ratio: sums.error_ratio(check),
            subjects,
        })
    }

    /// Appends the audit's metrics.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        let mut push = |metric, labels: &[&'static str], value| {
            let labels = labels.iter().copied().map(Cow::Borrowed).collect();
            samples.push(Sample { metric, subject: Subject::Host, labels, value });
        };
        for check in Check::ALL {
            let mut sums = Sums::default();
            let mut subjects = 0;
            for (_, outcome) in self.outcomes(check) {
                sums.add(outcome);
                subjects += 1;
            }
            if subjects > 0 {
                push(&ERROR, &[check.name()], Value::Gauge(sums.error_ratio(check)));
                let both = [("counted", sums.counted), ("expected", sums.expected)];
                for (side, sum) in both {
                    push(check.sums(), &[check.name(), side], Value::Gauge(sum as f64));
                }
            }
        }
        push(&SPENT, &[], Value::Counter(self.spent_ns));
    }
}

#[derive(Default)]
struct Sums {
    counted: u64,
    expected: u64,
    error: u64,
}

impl Sums {
    fn add(&mut self, outcome: Outcome) {
        self.counted += outcome.counted;
        self.expected += outcome.expected;
        self.error += outcome.error.unsigned_abs();
    }

    fn error_ratio(&self, check: Check) -> f64 {
        self.error as f64 / self.expected.max(check.floor()) as f64
    }
}

/// How far cgscope's figures are from the kernel's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditReport {
    /// Each comparison that says something.
    pub checks: Vec<CheckReport>,
    /// How long comparing took so far.
    pub spent_ns: u64,
    /// How often it was done.
    pub rounds: u64,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditCheck)]
pub struct CheckReport {
    /// Its name, as in the label `check`.
    pub name: String,
    /// The metric that is checked.
    pub metric: String,
    /// What it is held against.
    pub against: String,
    /// Whether the kernel samples that by its tick: an error is then the kernel's more often than ours.
    pub is_sampled: bool,
    /// The sum of what was counted in the window: seconds, bytes or events.
    pub counted: f64,
    /// The sum by the kernel's own account.
    pub expected: f64,
    /// What all subjects are off, as a share of what was expected.
    pub error_ratio: f64,
    /// Each subject, the furthest off first.
    pub subjects: Vec<SubjectReport>,
}

/// A container, a disk, a network namespace or the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditSubject)]
pub struct SubjectReport {
    /// A container's id, a disk's name, `host`.
    pub subject: String,
    /// What was counted in the window: seconds, bytes or events.
    pub counted: f64,
    /// The kernel's own account of it.
    pub expected: f64,
    /// How much more was counted than the instants of reading explain; negative if less.
    pub error: f64,
    /// How long the window is.
    pub span_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// CPU time of containers over ten seconds: what was counted, and what the kernel says, ns.
    fn report(containers: &[(&str, u64, u64)]) -> CheckReport {
        let mut audit = Audit::default();
        for (at, is_end) in [(0, false), (10 * SECOND, true)] {
            for &(id, counted, truth) in containers {
                let (counted, truth) = if is_end { (counted, truth) } else { (0, 0) };
                let reading = Reading { at: KtimeNs(at), counted, least: truth, most: truth };
                audit.note(Check::CpuOfContainers, &id.into(), reading);
            }
        }
        let mut samples = Vec::new();
        audit.collect(&mut samples);
        let published = samples.iter().find(|s| s.metric.name == ERROR.name).unwrap();
        let report = audit.report().checks.remove(0);
        assert_eq!(published.value, Value::Gauge(report.error_ratio));
        report
    }

    #[test]
    fn two_accounts_that_agree() {
        let found = report(&[("a", 7 * SECOND, 7 * SECOND), ("b", SECOND, SECOND)]);
        assert_eq!((found.error_ratio, found.counted, found.expected), (0.0, 8.0, 8.0));
    }

    #[test]
    fn a_figure_that_is_scaled_shows() {
        let found = report(&[("a", 7_210_000_000, 7 * SECOND), ("b", 1_030_000_000, SECOND)]);
        assert!((found.error_ratio - 0.03).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn a_container_that_is_hidden_shows_and_is_named() {
        let found = report(&[("seen", 7 * SECOND, 7 * SECOND), ("hidden", 0, 3 * SECOND)]);
        assert!((found.error_ratio - 0.3).abs() < 1e-9, "{found:?}");
        assert_eq!((&*found.subjects[0].subject, found.subjects[0].error), ("hidden", -3.0));
    }

    #[test]
    fn what_is_charged_to_another_does_not_cancel_out() {
        let found = report(&[("a", 4 * SECOND, 5 * SECOND), ("b", 6 * SECOND, 5 * SECOND)]);
        assert_eq!((found.counted, found.expected), (10.0, 10.0));
        assert!((found.error_ratio - 0.2).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn little_is_not_judged_by_its_share() {
        let found = report(&[("idle", 3_000_000, 1_000_000)]);
        assert!((found.error_ratio - 0.02).abs() < 1e-9, "2 ms of 100 ms: {found:?}");
    }

    #[test]
    fn who_was_not_read_for_long_is_forgotten() {
        let mut audit = Audit::default();
        let reading = Reading { at: KtimeNs(0), counted: 0, least: 0, most: 0 };
        audit.note(Check::Reads, &"vda".into(), reading);
        audit.end_round(KtimeNs(STALE.as_nanos() as u64 - 1), Duration::from_millis(1));
        assert_eq!(audit.ledgers.len(), 1);
        audit.end_round(KtimeNs(STALE.as_nanos() as u64), Duration::from_millis(1));
        assert_eq!((audit.ledgers.len(), audit.report().spent_ns), (0, 2_000_000));
    }
}
