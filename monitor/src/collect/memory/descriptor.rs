//! What the family measures, and which program each number depends on: without it the number is unknown, not 0.

use monitor_common::memory::{MemoryCounter, MemoryWait};

use crate::metric::{Descriptor, descriptor};

const FILES: &str = "memory.* of the cgroup, v2 or v1";

descriptor!(
    pub(super) static FAULTS,
    "cgscope_memory_faults_total",
    "page faults",
    Count,
    Counter,
    Container,
    &["mode", "kind"],
    "software events minor-faults, major-faults",
    "5.8",
    "Page faults that its threads took in user mode and, on their own memory, in kernel mode; minor ones were settled from memory, \
     major ones waited for a disk."
);
descriptor!(
    pub(super) static FAULT_TIME,
    "cgscope_memory_fault_seconds",
    "fault time",
    Seconds,
    Distribution,
    Container,
    &["mode"],
    "tracepoints exceptions:page_fault_user, page_fault_kernel; software events minor-faults, major-faults",
    "5.8",
    "How long its threads were in each page fault."
);
descriptor!(
    pub(super) static CACHE_ACCESSES,
    "cgscope_memory_cache_accesses_total",
    "cached reads",
    Count,
    Counter,
    Container,
    &["access"],
    "tracepoint filemap:mm_filemap_get_pages",
    "6.12",
    "Pages that it asked the page cache for: by calls that read files (read), or by others, such as io_uring (other)."
);
descriptor!(
    pub(super) static CACHE_MISSES,
    "cgscope_memory_cache_misses_total",
    "cache misses",
    Count,
    Counter,
    Container,
    &["access"],
    "tracepoint filemap:mm_filemap_add_to_page_cache",
    "5.16",
    "Pages that were read into the page cache for it, read ahead included: by calls that read files (read), by faults on mapped \
     files (mapped), by others, such as for directories, programs and io_uring (other). Pages that writes made are not missed."
);
descriptor!(
    pub(super) static HIT_RATIO,
    "cgscope_memory_cache_hit_ratio",
    "hit ratio",
    Ratio,
    Gauge,
    Container,
    &[],
    "tracepoints filemap:mm_filemap_get_pages, mm_filemap_add_to_page_cache",
    "6.12",
    "Share of the pages that its read calls asked for, in the last tick in which they did, that were in the page cache. Never below \
     0, though more may be read ahead than was asked for."
);
descriptor!(
    pub(super) static RECLAIMED,
    "cgscope_memory_reclaimed_pages_total",
    "reclaimed",
    Count,
    Counter,
    Container,
    &["reason"],
    "tracepoints vmscan:mm_vmscan_direct_reclaim_end, mm_vmscan_memcg_reclaim_end",
    "5.11",
    "Pages that its threads freed themselves while they waited for memory: because the host was short (reclaim), or a limit was \
     reached (limit)."
);
descriptor!(
    pub(super) static OOM_KILLS,
    "cgscope_memory_oom_kills_total",
    "OOM kills",
    Count,
    Counter,
    Container,
    &["culprit_id"],
    "tracepoint oom:mark_victim",
    "6.10",
    "Processes of it that the kernel killed for want of memory, by the container whose thread asked for more."
);
descriptor!(
    pub(super) static OOM_CAUSES,
    "cgscope_memory_oom_causes_total",
    "OOM causes",
    Count,
    Counter,
    Container,
    &[],
    "tracepoint oom:mark_victim",
    "5.11",
    "Kills for want of memory, anywhere, that one of its threads brought about by asking for more."
);
descriptor!(
    pub(super) static STALLS,
    "cgscope_memory_stall_seconds",
    "memory stalls",
    Seconds,
    Distribution,
    Container,
    &["reason"],
    "tracepoints vmscan:mm_vmscan_direct_reclaim_*, mm_vmscan_memcg_reclaim_*, compaction:mm_compaction_*",
    "5.11",
    "How long its threads freed memory themselves before they got some: because the host was short (reclaim), a limit was reached \
     (limit), or a large page wanted room (compaction)."
);
descriptor!(
    pub(super) static USE,
    "cgscope_memory_use_bytes",
    "memory",
    Bytes,
    Gauge,
    Container,
    &[],
    FILES,
    "5.8",
    "Memory that is charged to it, page cache included."
);
descriptor!(
    pub(super) static PARTS,
    "cgscope_memory_part_bytes",
    "memory parts",
    Bytes,
    Gauge,
    Container,
    &["part"],
    FILES,
    "5.8",
    "Of its use: memory of its programs (anonymous), and page cache (file)."
);
descriptor!(
    pub(super) static WORKING_SET,
    "cgscope_memory_working_set_bytes",
    "working set",
    Bytes,
    Gauge,
    Container,
    &[],
    FILES,
    "5.8",
    "Its use without the page cache that nobody has used for a while."
);
descriptor!(
    pub(super) static LIMIT,
    "cgscope_memory_limit_bytes",
    "memory limit",
    Bytes,
    Gauge,
    Container,
    &[],
    FILES,
    "5.8",
    "The most memory it may use; absent without a limit."
);
descriptor!(
    pub(super) static HIGH,
    "cgscope_memory_high_bytes",
    "memory high",
    Bytes,
    Gauge,
    Container,
    &[],
    FILES,
    "5.8",
    "Above this use it is slowed down (cgroup v2); absent if not set."
);
descriptor!(
    pub(super) static SWAP,
    "cgscope_memory_swap_bytes",
    "swap",
    Bytes,
    Gauge,
    Container,
    &[],
    FILES,
    "5.8",
    "Memory of it that is swapped out; absent where swap is not accounted."
);
descriptor!(
    pub(super) static SWAP_LIMIT,
    "cgscope_memory_swap_limit_bytes",
    "swap limit",
    Bytes,
    Gauge,
    Container,
    &[],
    FILES,
    "5.8",
    "The most it may swap out, on cgroup v1 memory and swap together; absent without a limit."
);
descriptor!(
    pub(super) static EVENTS,
    "cgscope_memory_events_total",
    "memory events",
    Count,
    Counter,
    Container,
    &["event"],
    FILES,
    "5.8",
    "How often it was below its protection (low), slowed down (high), at its limit (max), out of memory (oom), and how many \
     of its processes were killed for it (oom_kill). cgroup v1 has max and oom_kill."
);
descriptor!(
    pub(super) static PRESSURE,
    "cgscope_memory_pressure_seconds_total",
    "memory pressure",
    Seconds,
    Counter,
    Container,
    &["kind"],
    "memory.pressure of the cgroup v2",
    "5.8",
    "Time in which some of its threads, and in which all of them, waited for memory."
);

descriptor!(
    pub(super) static HOST_HIT_RATIO,
    "cgscope_host_cache_hit_ratio",
    "hit ratio",
    Ratio,
    Gauge,
    Host,
    &[],
    HIT_RATIO.source,
    "6.12",
    "Share of the pages that read calls of the whole host asked for, in the last tick in which they did, that were in the page cache."
);

/// Everything.
pub(in crate::collect) static DESCRIPTORS: &[&Descriptor] = &[
    &FAULTS,
    &FAULT_TIME,
    &CACHE_ACCESSES,
    &CACHE_MISSES,
    &HIT_RATIO,
    &HOST_HIT_RATIO,
    &STALLS,
    &RECLAIMED,
    &OOM_KILLS,
    &OOM_CAUSES,
    &USE,
    &PARTS,
    &WORKING_SET,
    &LIMIT,
    &HIGH,
    &SWAP,
    &SWAP_LIMIT,
    &EVENTS,
    &PRESSURE,
];

/// One number of a slot: its metric, its labels, and the program it comes from.
pub(super) type Series = (&'static Descriptor, &'static [&'static str], &'static str);

/// In the order of [`MemoryCounter`].
pub(super) static COUNTERS: [Series; MemoryCounter::COUNT] = [
    (&FAULTS, &["user", "minor"], "memory_fault_minor"),
    (&FAULTS, &["user", "major"], "memory_fault_major"),
    (&FAULTS, &["kernel", "minor"], "memory_fault_minor"),
    (&FAULTS, &["kernel", "major"], "memory_fault_major"),
    (&CACHE_ACCESSES, &["read"], "memory_cache_read"),
    (&CACHE_ACCESSES, &["other"], "memory_cache_read"),
    (&CACHE_MISSES, &["read"], "memory_cache_add"),
    (&CACHE_MISSES, &["mapped"], "memory_cache_add"),
    (&CACHE_MISSES, &["other"], "memory_cache_add"),
    (&RECLAIMED, &["reclaim"], "memory_reclaim_end"),
    (&RECLAIMED, &["limit"], "memory_limit_end"),
    (&OOM_CAUSES, &[], "memory_oom"),
];

/// In the order of [`MemoryWait`].
pub(super) static WAITS: [Series; MemoryWait::COUNT] = [
    (&FAULT_TIME, &["user"], "memory_fault_user"),
    (&FAULT_TIME, &["kernel"], "memory_fault_kernel"),
    (&STALLS, &["reclaim"], "memory_reclaim_end"),
    (&STALLS, &["limit"], "memory_limit_end"),
    (&STALLS, &["compaction"], "memory_compact_end"),
];
