//! Reads the kernel's own accounts beside ours, for [`crate::analyze::audit`] to compare.
//!
//! Contract: the kernel's accounts of the whole machine are read just before and just after ours, so that ours must lie in between. Of a
//! container's cgroup the files are read once, where its limits are, within milliseconds after ours; the time in between is allowed for.
//! A round is every [`INTERVAL`] and reads three files, those of some network namespaces, and one of some containers, in
//! turns.

mod disk_use;
mod family;
mod namespace;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use disk_use::{DiskUse, UsesBefore};
use family::Families;
use namespace::{Namespace, Namespaces};

use crate::{
    analyze::audit::{Audit, AuditReport, Check, Growth, Reading},
    container::Registry,
    kernel::{
        accounts::{self, CpuAccounts, DiskAccount, TcpAccount},
        cgroup_limits::CpuUse,
        cpus, host,
    },
    metric::{KtimeNs, Sample, Subject, Value},
    serve::PROCESS_PREFIX,
};

/// How often the kernel's accounts are read.
const INTERVAL: Duration = Duration::from_secs(10);
/// What the kernel's account may lack of a thread that runs: the longest tick there is.
const TICK_NS: u64 = 10_000_000;

/// Compares again and again.
pub(super) struct Auditor {
    audit: Audit,
    last: Option<KtimeNs>,
    root_cpuacct: Option<PathBuf>,
    cpus: u64,
    namespaces: Namespaces,
    cpu: Growth<Arc<str>>,
    disks: BTreeMap<(Check, String), Growth<OwnerOperation>>,
    disk_use: DiskUse,
    tcp: BTreeMap<(Check, u64), Growth<Arc<str>>>,
}

/// Who did what on a disk.
type OwnerOperation = (Arc<str>, &'static str);

/// What the kernel said before ours was read.
pub(super) struct Before {
    kernel: Kernel,
    namespaces: Vec<Namespace>,
    disk_use: UsesBefore,
    spent: Duration,
}

/// The kernel's accounts at one time.
struct Kernel {
    cpu: CpuAccounts,
    disks: BTreeMap<String, DiskAccount>,
    tcp: Vec<Option<TcpAccount>>,
}

impl Auditor {
    pub fn new() -> Self {
        Self {
            audit: Audit::default(),
            // Not in the first tick: windows that begin with it shall not begin late.
            last: Some(KtimeNs::now()),
            root_cpuacct: accounts::root_cpuacct(),
            cpus: cpus::possible().unwrap_or(1) as u64,
            namespaces: Namespaces::default(),
            cpu: Growth::default(),
            disks: BTreeMap::new(),
            disk_use: DiskUse::new(),
            tcp: BTreeMap::new(),
        }
    }

    /// To be called just before ours is read. `None` while it is not time yet.
    pub fn begin(&mut self, registry: &Registry) -> Option<Before> {
        let now = KtimeNs::now();
        // A twentieth early is in time, or every other round would be a tick late.
        if self.last.is_some_and(|last| now.since(last) + INTERVAL / 20 < INTERVAL) {
            return None;
        }
        let start = Instant::now();
        self.last = Some(now);
        let namespaces = self.namespaces.now(registry);
        let kernel = self.kernel(&namespaces);
        let disk_use = self.disk_use.begin(registry, &kernel.disks);
        Some(Before { kernel, namespaces, disk_use, spent: start.elapsed() })
    }

    fn kernel(&self, namespaces: &[Namespace]) -> Kernel {
        Kernel {
            cpu: accounts::cpu(self.root_cpuacct.as_deref(), host::clock_ticks_hz()),
            disks: accounts::disks(),
            tcp: namespaces.iter().map(|one| accounts::tcp_of(&one.process)).collect(),
        }
    }

    /// To be called just after ours, `samples`, was read at `taken`; `used` is what the cgroups of containers said since.
    pub fn end(
        &mut self,
        before: Option<Before>,
        taken: KtimeNs,
        samples: &mut Vec<Sample>,
        used: &[(Arc<str>, CpuUse)],
        registry: &Registry,
    ) {
        let start = Instant::now();
        self.containers(taken, samples, used, registry);
        let mut spent = Duration::ZERO;
        if let Some(before) = before {
            let after = self.kernel(&before.namespaces);
            self.host(taken, samples, &before, &after);
            self.tcp(taken, samples, &before, &after);
            if samples.iter().any(|sample| sample.metric.name.starts_with("cgscope_block_")) {
                self.disks(taken, samples, &before, &after);
                for (owner, counted, least, most) in
                    self.disk_use.end(before.disk_use, samples, &after.disks)
                {
                    let reading = Reading { at: taken, counted, least, most };
                    self.audit.note(Check::BytesOfContainers, &owner, reading);
                }
            }
            spent = before.spent;
        }
        self.audit.end_round(taken, spent + start.elapsed());
        self.audit.collect(samples);
    }

    /// What was found.
    pub fn report(&self) -> AuditReport {
        self.audit.report()
    }

    /// Of each container whose files were read: its threads and those of the containers inside it.
    fn containers(
        &mut self,
        taken: KtimeNs,
        samples: &[Sample],
        used: &[(Arc<str>, CpuUse)],
        registry: &Registry,
    ) {
        if used.is_empty() || !samples.iter().any(|sample| sample.metric.name == CPU) {
            return;
        }
        let ours = by_owner(samples, CPU, &[]);
        let threads = threads(samples);
        let living = registry.living();
        let families = Families::of(&living);
        let path_of: HashMap<&str, &str> =
            living.iter().map(|one| (one.id.as_str(), one.cgroup.as_str())).collect();
        for (owner, used) in used {
            let Some(path) = path_of.get(&**owner) else { continue };
            let sum = |of: &HashMap<&str, u64>| -> u64 {
                families.members(path).filter_map(|id| of.get(id)).sum()
            };
            let at_once = sum(&threads).clamp(1, self.cpus);
            let since_ns = used.at.since(taken).as_nanos() as u64;
            let reading = Reading {
                at: taken,
                counted: sum(&ours),
                least: used.used_ns.saturating_sub(since_ns * at_once),
                most: used.used_ns + TICK_NS * at_once,
            };
            self.audit.note(Check::CpuOfContainers, owner, reading);
        }
    }

    fn host(&mut self, at: KtimeNs, samples: &[Sample], before: &Before, after: &Kernel) {
        let ours = by_owner(samples, CPU, &[]);
        if ours.is_empty() {
            return;
        }
        let counted = self.cpu.advance(ours.into_iter().map(|(id, ns)| (id.into(), ns)));
        let slack_ns = TICK_NS * self.cpus;
        for (check, least, most) in [
            (Check::CpuOfHost, before.kernel.cpu.scheduler_ns, after.cpu.scheduler_ns),
            (Check::CpuByTick, before.kernel.cpu.ticks_ns, after.cpu.ticks_ns),
        ] {
            if let (Some(least), Some(most)) = (least, most) {
                let reading = Reading { at, counted, least, most: most + slack_ns };
                self.audit.note(check, &"host".into(), reading);
            }
        }
    }

    fn disks(&mut self, at: KtimeNs, samples: &[Sample], before: &Before, after: &Kernel) {
        for (name, most) in &after.disks {
            let Some(least) = before.kernel.disks.get(name) else { continue };
            for (check, operations, least, most) in [
                (Check::BytesRead, &["read"][..], least.read_bytes, most.read_bytes),
                (Check::BytesWritten, &["write"], least.written_bytes, most.written_bytes),
                (Check::Reads, &["read"], least.reads, most.reads),
                // The kernel counts who asks for a flush as a write without a byte.
                (Check::Writes, &["write", "flush"], least.writes, most.writes),
            ] {
                let ours = operations.iter().flat_map(|operation| {
                    let labels = [name.as_str(), *operation];
                    let of_one = by_owner(samples, check.metric(), &labels).into_iter();
                    of_one.map(|(id, n)| ((Arc::from(id), *operation), n))
                });
                let growth = self.disks.entry((check, name.clone())).or_default();
                let counted = growth.advance(ours);
                self.audit.note(check, &name.as_str().into(), Reading { at, counted, least, most });
            }
        }
        self.disks.retain(|(_, name), _| after.disks.contains_key(name));
    }

    fn tcp(&mut self, at: KtimeNs, samples: &[Sample], before: &Before, after: &Kernel) {
        for (check, labels) in
            [(Check::Accepted, &["accepted"][..]), (Check::Retransmitted, &[][..])]
        {
            let name = check.metric();
            if !samples.iter().any(|sample| sample.metric.name == name) {
                continue;
            }
            let ours = by_owner(samples, name, labels);
            for (i, namespace) in before.namespaces.iter().enumerate() {
                let (Some(least), Some(most)) = (before.kernel.tcp[i], after.tcp[i]) else {
                    continue;
                };
                let of = |account: TcpAccount| match check {
                    Check::Accepted => account.accepted,
                    _ => account.retransmitted,
                };
                let members = ours.iter().filter(|(id, _)| namespace.has(id));
                let growth = self.tcp.entry((check, namespace.number)).or_default();
                let counted = growth.advance(members.map(|(id, n)| ((*id).into(), *n)));
                let reading = Reading { at, counted, least: of(least), most: of(most) };
                self.audit.note(check, &namespace.name, reading);
            }
        }
        let is_there = |number| before.namespaces.iter().any(|one| one.number == number);
        self.tcp.retain(|(_, number), _| is_there(*number));
    }
}

const CPU: &str = "cgscope_sched_cpu_seconds_total";

/// The sum for each owner of a counter's series that carry all of these label values. A process that is watched is counted in its
/// container.
fn by_owner<'a>(samples: &'a [Sample], metric: &str, labels: &[&str]) -> HashMap<&'a str, u64> {
    let mut sums = HashMap::new();
    for sample in samples.iter().filter(|sample| sample.metric.name == metric) {
        let (Subject::Container(owner), Value::Counter(total)) = (&sample.subject, &sample.value)
        else {
            continue;
        };
        if labels.iter().all(|wanted| sample.labels.iter().any(|label| label == wanted))
            && !owner.starts_with(PROCESS_PREFIX)
        {
            *sums.entry(&**owner).or_insert(0) += total;
        }
    }
    sums
}

/// How many threads each owner has.
fn threads(samples: &[Sample]) -> HashMap<&str, u64> {
    let of_one = |sample: &'_ Sample| -> Option<u64> {
        match sample.value {
            Value::Gauge(threads) if sample.metric.name == "cgscope_sched_threads" => {
                Some(threads.max(0.0) as u64)
            }
            _ => None,
        }
    };
    let all = samples.iter().filter_map(|sample| match &sample.subject {
        Subject::Container(owner) => Some((&**owner, of_one(sample)?)),
        Subject::Host => None,
    });
    all.collect()
}
