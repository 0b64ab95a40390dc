//! Loading the object with what this machine needs, and handing out its parts.

use std::{io, os::fd::AsFd, path::Path};

use aya::{
    Btf, Ebpf, EbpfLoader, Endianness,
    maps::{HashMap, Map, MapData, Stack},
};
use aya_log::EbpfLogger;
use monitor_common::{
    block::{ADDRESSES_PER_CPU, DEVICES, MAX_QUEUE_WAITS, REQUEST_PLACE_BITS},
    dns::MAX_DNS_SOCKETS,
    drops::DropCounters,
    files::MAX_LAYERS,
    interference::{PAIRS_PER_CPU, WaitPair},
    irq::VECTORS_PER_CPU,
    memory::{CACHE_READS, FAULT_STARTS, MAX_OOM_PAIRS, MAX_STALLS},
    offcpu::MAX_WAITS,
    outlier::OutlierKind,
    process::SlotProcess,
    sched::{Cpu, SlotLatency, SlotTime, Thread},
    tcp::{MAX_CONNECTIONS, MAX_PACKET_DROPS},
    tunable::{STATS_BIT_NONE, Tunables},
    wakeup::MAX_WAKINGS,
    weight::{MAX_LOCK_WAITS, MAX_RESIDENT, WeightKind},
};

use super::{
    Config, EventReader, Family, MapStatus, MappedArray, OutlierReader, ProbeError, ProgramStatus,
    Sampler, Slots, StackReader, UnwindMaps, UnwindSizes, WaitSampler, WeightSampler,
    block::{self, BlockPairs},
    failure::chain,
    files::{self, FilesMaps},
    irq::IrqMaps,
    memory::MemoryMaps,
    offcpu, offsets, program, stats,
    syscall::{self, SyscallMaps},
    syscall_class,
    task::TASKS,
    tcp::{self, TcpMaps},
};
use crate::{kernel::btf, metric::KtimeNs};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CGSCOPE_EBPF_OBJECT"));

/// The kernel half, running. Dropping it detaches every program.
pub struct Probes {
    ebpf: Ebpf,
    /// Families that are on.
    families: Vec<Family>,
    /// What became of each program.
    pub programs: Vec<ProgramStatus>,
    /// What each map takes.
    pub maps: Vec<MapStatus>,
    /// Optional kernel members that this kernel lacks.
    pub missing_members: Vec<String>,
    /// What it was loaded with.
    pub tunables: Tunables,
    /// Losses, one record per CPU.
    pub drops: MappedArray<DropCounters>,
    /// What is known of each CPU.
    pub cpus: MappedArray<Cpu>,
    /// Live threads, at `tid & thread_mask`.
    pub threads: MappedArray<Thread>,
    /// Time by state, at `slot * cpus + cpu`.
    pub slot_times: MappedArray<SlotTime>,
    /// Distributions, at `slot * lanes + lane`.
    pub slot_latencies: MappedArray<SlotLatency>,
    /// Births and deaths, at `slot * cpus + cpu`.
    pub slot_processes: MappedArray<SlotProcess>,
    /// Who waited for whom, in no order, [`PAIRS_PER_CPU`] entries a CPU.
    pub wait_pairs: MappedArray<WaitPair>,
    /// What is counted per cgroup and block device.
    pub block: BlockPairs,
    /// What is counted of sockets.
    pub tcp: TcpMaps,
    /// What is counted of memory.
    pub memory: MemoryMaps,
    /// What is counted of system calls.
    pub syscall: SyscallMaps,
    /// What is counted of files.
    pub files: FilesMaps,
    /// What is counted of interrupts.
    pub irq: IrqMaps,
    /// Which cgroup has which slot.
    pub slots: Slots,
}

/// The parts that are read by threads of their own.
pub struct Readers {
    /// Cgroups and processes that come and go.
    pub events: EventReader,
    /// The slowest operations of each second.
    pub outliers: OutlierReader,
    /// Stack samples.
    pub stacks: StackReader,
    /// What walks of user stacks go by.
    pub unwind: UnwindMaps,
    /// Starts and stops sampling.
    pub sampler: Option<Sampler>,
    /// Starts and stops the recording of waits.
    pub waits: Result<WaitSampler, String>,
    /// Starts and stops the recording of events with a weight.
    pub weights: WeightSampler,
    /// What the kernel half says of itself, when it may.
    pub log: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl Probes {
    /// Loads and attaches what the configuration asks for. What the kernel refuses is in [`Self::programs`]; an error is
    /// only what leaves nothing to run.
    pub fn load(config: &Config) -> Result<(Self, Readers), ProbeError> {
        if OBJECT.is_empty() {
            return Err(ProbeError::NoObject);
        }
        let given = Some(config.stack_ring_bytes).filter(|bytes| *bytes != 0);
        for bytes in [config.event_ring_bytes].into_iter().chain(given) {
            if !bytes.is_power_of_two() || bytes < 4096 {
                return Err(ProbeError::RingSize { bytes });
            }
        }
        let types = btf::Btf::open(&config.btf)?;
        let (kernel_offsets, missing_members) = offsets::resolve(&types)?;
        let tunables = config.tunables(&types)?;
        let packet_drop_reasons = tcp::packet_drop_reasons(&types);
        let are_waits_safe = offcpu::is_safe(&types);
        drop(types);

        let classes = syscall_class::table();
        let call_classes = syscall::table(&config.single_calls);
        let file_calls = files::table();
        let sizes = map_sizes(config, &tunables)?;
        let mut loader = EbpfLoader::new();
        loader
            .btf(None)
            .override_global("OFFSETS", &kernel_offsets, true)
            .override_global("TUNABLES", &tunables, true)
            .override_global("SYSCALL_CLASSES", &classes[..], true)
            .override_global("CALL_CLASSES", &call_classes[..], true)
            .override_global("FILE_CALLS", &file_calls[..], true);
        loader.override_global("AYA_LOG_LEVEL", &config.kernel_log_level, true);
        for (name, entries) in &sizes {
            loader.map_max_entries(name, *entries);
        }
        let mut ebpf = loader.load(OBJECT).map_err(|error| refused("its object", &error))?;

        let maps = stats::maps(&ebpf);
        let slots = Slots::new(
            HashMap::try_from(take(&mut ebpf, "CGROUP_SLOTS")?).map_err(map_error)?,
            Stack::try_from(take(&mut ebpf, "FREE_SLOTS")?).map_err(map_error)?,
            config.slots(),
        )?;
        let size = |name: &str| sizes.iter().find(|(n, _)| *n == name).map_or(1, |(_, size)| *size);
        let pairs = BlockPairs::new(&mut ebpf, size)?;
        let memory = MemoryMaps::new(&mut ebpf, size)?;
        let syscall = SyscallMaps::new(&ebpf, size, &config.single_calls)?;
        let files = FilesMaps::new(&mut ebpf, size)?;
        let irq = IrqMaps::new(&ebpf, size)?;
        let tcp = TcpMaps::new(&mut ebpf, size, packet_drop_reasons)?;
        let mut probes = Self {
            families: config.families.clone(),
            programs: Vec::new(),
            maps,
            missing_members,
            drops: mapped(&ebpf, "DROPS", size("DROPS"))?,
            cpus: mapped(&ebpf, "CPUS", size("CPUS"))?,
            threads: mapped(&ebpf, "THREADS", size("THREADS"))?,
            slot_times: mapped(&ebpf, "SLOT_TIMES", size("SLOT_TIMES"))?,
            slot_latencies: mapped(&ebpf, "SLOT_LATENCIES", size("SLOT_LATENCIES"))?,
            slot_processes: mapped(&ebpf, "SLOT_PROCESSES", size("SLOT_PROCESSES"))?,
            wait_pairs: mapped(&ebpf, "WAIT_PAIRS", size("WAIT_PAIRS"))?,
            tunables,
            block: pairs,
            tcp,
            memory,
            syscall,
            files,
            irq,
            slots,
            ebpf,
        };
        // Before the programs are loaded: the logger reads a map that they refer to by its descriptor.
        let log = (config.kernel_log_level > 0)
            .then(|| EbpfLogger::init(&mut probes.ebpf).ok())
            .flatten();
        let kernel_types = kernel_types(&config.btf)?;
        let ebpf = &mut probes.ebpf;
        let is_insert_wanted =
            tunables.block_stats_bit == STATS_BIT_NONE || block::is_any_disk_without_statistics();
        let tasks = TASKS
            .iter()
            .filter(|task| {
                config.has(task.family) || task.is_of_calls() && are_calls_hooked(config)
            })
            .filter(|task| is_insert_wanted || !task.is_of_insert())
            .filter(|task| are_waits_safe || !task.is_of_growing_maps());
        let pending = program::load_all(ebpf, &kernel_types, tasks, config.hook);
        probes.programs = program::attach_all(ebpf, &kernel_types, pending, config.hook);
        program::take_stock_again(ebpf, &probes.programs);
        let readers = Readers {
            events: EventReader::new(take(&mut probes.ebpf, "EVENTS")?)?,
            outliers: OutlierReader::new(take(&mut probes.ebpf, "OUTLIERS")?)?,
            stacks: StackReader::new(take(&mut probes.ebpf, "STACKS")?)?,
            unwind: UnwindMaps::new(&mut probes.ebpf, unwind_sizes(config))?,
            sampler: Sampler::new(&mut probes.ebpf, &probes.programs),
            waits: WaitSampler::new(&mut probes.ebpf, &probes.programs, size)
                .map_err(|missing| if are_waits_safe { missing } else { offcpu::UNSAFE.into() }),
            weights: WeightSampler::new(
                &mut probes.ebpf,
                &probes.programs,
                (!are_waits_safe).then_some(offcpu::UNSAFE),
                size,
            )?,
            log,
        };
        Ok((probes, readers))
    }

    /// An instant of `CLOCK_MONOTONIC` on the scheduler's clock, ns; `None` until a CPU has compared the two, which is at its first
    /// switch.
    pub fn scheduler_clock_ns(&self, instant: KtimeNs) -> Option<u64> {
        let records = (0..self.cpus.len()).map(|cpu| self.cpus.read(cpu));
        let newest = records.max_by_key(|cpu| cpu.calibrated_at_ns)?;
        (newest.calibrated_at_ns != 0).then(|| instant.0.wrapping_sub(newest.ktime_distance_ns))
    }

    /// Whether a family is on, whatever the kernel took of it.
    pub fn has(&self, family: Family) -> bool {
        self.families.contains(&family)
    }

    /// Whether every program of a family is attached.
    pub fn is_whole(&self, family: Family) -> bool {
        let mut programs = self.programs.iter().filter(|p| p.family == family).peekable();
        programs.peek().is_some() && programs.all(|p| p.hook.is_some())
    }

    pub(super) fn object(&self) -> &Ebpf {
        &self.ebpf
    }
}

/// Requests on their way whose place is taken by another: of four NVMe queues of 1,023 commands, 500 are.
const DISPLACED_REQUESTS: u32 = 2_048;

/// How many entries each map gets. Maps of a family that is off shrink to one.
fn map_sizes(config: &Config, tunables: &Tunables) -> Result<Vec<(&'static str, u32)>, ProbeError> {
    let on = |family, entries: u32| if config.has(family) { entries } else { 1 };
    let singles =
        |entries| if config.single_calls.is_empty() { 1 } else { on(Family::Syscall, entries) };
    let slots = config.slots();
    let pairs = config.block_pairs();
    let unwind = unwind_sizes(config);
    let has_outliers = config.has(Family::Block) || config.has(Family::Files);
    let gates = tunables.cpus * OutlierKind::COUNT as u32;
    Ok(vec![
        ("OUTLIER_GATES", if has_outliers { gates } else { 1 }),
        ("OUTLIERS", if has_outliers { outlier_ring_bytes(tunables.cpus) } else { 4096 }),
        ("FILE_OUTLIERS", on(Family::Files, tunables.cpus)),
        ("OUTLIER_STACKS", if tunables.outlier_stacks != 0 { tunables.cpus } else { 1 }),
        ("BLOCK_PAIRS", on(Family::Block, pairs)),
        ("BLOCK_FREE", on(Family::Block, pairs)),
        ("BLOCK_KEYS", on(Family::Block, pairs)),
        ("PAIR_COUNTERS", on(Family::Block, pairs * tunables.cpus)),
        ("PAIR_LATENCIES", on(Family::Block, pairs * tunables.block_lanes)),
        ("REQUESTS", on(Family::Block, 1 << REQUEST_PLACE_BITS)),
        ("ADDRESSES", on(Family::Block, tunables.cpus * ADDRESSES_PER_CPU)),
        ("DEVICE_TIMELINES", on(Family::Block, DEVICES)),
        ("QUEUE_WAITS", on(Family::Block, MAX_QUEUE_WAITS)),
        ("DISPLACED", on(Family::Block, DISPLACED_REQUESTS)),
        ("SLOT_TCP", on(Family::Tcp, slots * tunables.cpus)),
        ("SLOT_TCP_LATENCIES", on(Family::Tcp, slots * tunables.block_lanes)),
        ("CONNECTIONS", on(Family::Tcp, MAX_CONNECTIONS)),
        ("DNS_SOCKETS", on(Family::Tcp, MAX_DNS_SOCKETS)),
        ("PACKET_DROPS", on(Family::Tcp, MAX_PACKET_DROPS)),
        ("SLOT_MEMORY", on(Family::Memory, slots * tunables.cpus)),
        ("SLOT_MEMORY_WAITS", on(Family::Memory, slots * tunables.block_lanes)),
        ("STALLS", on(Family::Memory, MAX_STALLS)),
        ("FAULTS", on(Family::Memory, 2 * FAULT_STARTS)),
        ("CACHE_READ", on(Family::Memory, CACHE_READS)),
        ("OOM_KILLS", on(Family::Memory, MAX_OOM_PAIRS)),
        ("SLOT_SYSCALL", on(Family::Syscall, slots * tunables.cpus)),
        ("SLOT_SYSCALL_LATENCY", on(Family::Syscall, slots * tunables.block_lanes)),
        ("SLOT_CALLS", singles(slots * tunables.cpus)),
        ("SLOT_CALLS_LATENCY", singles(slots * tunables.block_lanes)),
        ("SLOT_FILES", on(Family::Files, slots * tunables.cpus)),
        ("SLOT_FILES_LATENCY", on(Family::Files, slots * tunables.block_lanes)),
        ("FILE_LAYERS", on(Family::Files, MAX_LAYERS)),
        ("CALLS", if are_calls_hooked(config) { tunables.thread_mask + 1 } else { 1 }),
        ("SLOT_IRQ", on(Family::Irq, slots * tunables.cpus)),
        ("IRQ_VECTORS", on(Family::Irq, tunables.cpus * VECTORS_PER_CPU)),
        ("IRQ_CPUS", on(Family::Irq, tunables.cpus)),
        ("CGROUP_SLOTS", config.max_cgroups),
        ("FREE_SLOTS", config.max_cgroups),
        ("DROPS", tunables.cpus),
        ("CPUS", on(Family::Sched, tunables.cpus)),
        ("THREADS", on(Family::Sched, tunables.thread_mask + 1)),
        ("SLOT_TIMES", on(Family::Sched, slots * tunables.cpus)),
        ("SLOT_LATENCIES", on(Family::Sched, slots * tunables.lanes)),
        ("TIMELINES", on(Family::Sched, tunables.cpus)),
        ("RUN_TOTALS", on(Family::Sched, tunables.cpus)),
        ("WAIT_PAIRS", on(Family::Sched, tunables.cpus * PAIRS_PER_CPU)),
        ("SLOT_PROCESSES", on(Family::Process, slots * tunables.cpus)),
        ("EVENTS", config.event_ring_bytes),
        ("STACK_SCRATCH", on(Family::Profile, tunables.cpus)),
        ("STACKS", on(Family::Profile, config.stack_ring_bytes(tunables.cpus)).max(4096)),
        // Two rows a slot.
        ("UNWIND_ROWS", unwind.rows.div_ceil(2)),
        ("UNWIND_RULES", unwind.rules),
        ("UNWIND_PAGES", unwind.pages),
        ("UNWIND_SLICES", unwind.mappings),
        ("UNWIND_PROCESSES", unwind.processes),
        ("WAITS", on(Family::Profile, MAX_WAITS)),
        ("WAIT_SLOTS", on(Family::Profile, slots)),
        ("WAIT_DRAWS", on(Family::Profile, tunables.cpus)),
        ("WEIGHT_SLOTS", on(Family::Profile, slots)),
        ("WEIGHT_DRAWS", on(Family::Profile, tunables.cpus) * WeightKind::COUNT as u32),
        ("LOCK_WAITS", on(Family::Profile, MAX_LOCK_WAITS)),
        ("RESIDENT", on(Family::Profile, MAX_RESIDENT)),
        ("WAKINGS", on(Family::Profile, MAX_WAKINGS)),
        ("AYA_LOGS", if config.kernel_log_level > 0 { 128 << 10 } else { 4096 }),
    ])
}

/// What a CPU sends of both kinds in a fifth of a second, with paths of 100 bytes and stacks of 30 frames, if it sends as much as it
/// may: it is read ten times a second.
const OUTLIER_BYTES_PER_CPU: u32 = 32 << 10;

fn outlier_ring_bytes(cpus: u32) -> u32 {
    OUTLIER_BYTES_PER_CPU.saturating_mul(cpus).clamp(64 << 10, 4 << 20).next_power_of_two()
}

/// Whether there are programs where calls begin and return: two families need them, and share them.
fn are_calls_hooked(config: &Config) -> bool {
    config.has(Family::Syscall) || config.has(Family::Files)
}

/// What the walk of user stacks goes by; nothing where nobody walks.
fn unwind_sizes(config: &Config) -> UnwindSizes {
    if config.has(Family::Profile) {
        UnwindSizes::for_bytes(config.unwind_table_bytes)
    } else {
        UnwindSizes { rows: 1, rules: 1, pages: 1, mappings: 1, processes: 1 }
    }
}

fn kernel_types(path: &Path) -> Result<Btf, ProbeError> {
    Btf::parse_file(path, Endianness::default())
        .map_err(|error| refused("the kernel's types", &error))
}

pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, ProbeError> {
    ebpf.take_map(name).ok_or_else(|| missing_map(name))
}

pub(super) fn mapped<T: super::mapping::Record>(
    ebpf: &Ebpf,
    name: &str,
    entries: u32,
) -> Result<MappedArray<T>, ProbeError> {
    let map: &Map = ebpf.map(name).ok_or_else(|| missing_map(name))?;
    let Map::Array(data) = map else { return Err(missing_map(name)) };
    let data: &MapData = data;
    MappedArray::new(data.fd().as_fd(), entries).map_err(|source| ProbeError::Refused {
        what: format!("mapping {name}"),
        reason: source.to_string(),
    })
}

pub(super) fn missing_map(name: &str) -> ProbeError {
    ProbeError::Refused { what: format!("map {name}"), reason: "the object has no such map".into() }
}

pub(super) fn map_error(error: aya::maps::MapError) -> ProbeError {
    refused("a map", &error)
}

/// `EPERM` anywhere among the causes is a matter of privilege, not of the object.
fn refused(what: &str, error: &(dyn std::error::Error + 'static)) -> ProbeError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(source) = error.downcast_ref::<io::Error>()
            && source.kind() == io::ErrorKind::PermissionDenied
        {
            let source = io::Error::from(source.kind());
            return ProbeError::Privilege { what: "load eBPF", source };
        }
        cause = error.source();
    }
    ProbeError::Refused { what: what.into(), reason: chain(error) }
}
