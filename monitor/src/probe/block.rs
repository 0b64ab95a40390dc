//! The pairs of a cgroup and a device that have an index, and giving indexes back.
//!
//! Contract: the kernel half takes indexes by itself and shows the key of each in [`BlockPairs::keys`]. An index is given back
//! when its cgroup is gone, and only after its records were read for the last time and zeroed.

use std::{collections::BTreeMap, fs};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, Stack},
};
use monitor_common::{
    block::{BlockKey, PAIR_FIRST, PairCounters, PairLatency, QueueWait},
    tunable::STATS_BIT_NONE,
};

use super::{
    MappedArray, ProbeError,
    load::{map_error, mapped, take},
};
use crate::kernel::{
    btf::Btf,
    cgroupfs::{CgroupTree, Hierarchy, HierarchyId},
};

/// Before 6.11 `QUEUE_FLAG_STATS` was a macro of this value, which BTF does not show.
const QUEUE_FLAG_STATS: u32 = 20;

/// The hierarchy whose cgroups block requests are charged to: the one that the io controller is bound to.
pub(super) fn hierarchy_id() -> HierarchyId {
    // Kernels without cgroup v1 have no such file.
    let text = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("blkio"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    HierarchyId(number.unwrap_or(0))
}

/// Where the cgroups of that hierarchy are seen; `None` where they are not.
pub fn block_tree() -> Option<CgroupTree> {
    let hierarchy = match hierarchy_id() {
        HierarchyId::V2 => Hierarchy::V2,
        _ => Hierarchy::V1 { controller: "blkio".into() },
    };
    CgroupTree::with(&hierarchy).ok()
}

/// 1 if the tracepoints of a request have its queue before it.
pub(super) fn queue_argument(btf: &Btf) -> u32 {
    u32::from(btf.tracepoint_arguments("block_rq_issue").is_some_and(|count| count > 1))
}

/// The bit of a queue that stamps the issue of its requests, with the time of that instant.
pub(super) fn stats_bit(btf: &Btf) -> u32 {
    // Since 6.9 a plug remembers the time, and the block layer takes it from there.
    if btf.member_bits("blk_plug", &["cur_ktime"]).is_ok() {
        return STATS_BIT_NONE;
    }
    btf.unnamed_enumerator("QUEUE_FLAG_STATS").unwrap_or(QUEUE_FLAG_STATS)
}

/// Whether a disk keeps no statistics, so that its requests do not know when they began.
pub(super) fn is_any_disk_without_statistics() -> bool {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten().map(|disk| disk.path());
    // Only those with queues of requests: zram and device mapper have none.
    let queues = disks.filter(|disk| disk.join("mq").exists());
    queues.flat_map(|disk| fs::read_to_string(disk.join("queue/iostats"))).any(|t| t.trim() == "0")
}

/// What is counted per cgroup and device.
pub struct BlockPairs {
    in_kernel: HashMap<MapData, BlockKey, u32>,
    free: Stack<MapData, u32>,
    waits: HashMap<MapData, QueueWait, u64>,
    /// The key of each index.
    keys: MappedArray<BlockKey>,
    known: BTreeMap<u32, BlockKey>,
    /// Counters, at `pair * cpus + cpu`.
    pub counters: MappedArray<PairCounters>,
    /// Distributions, at `pair * lanes + lane`.
    pub latencies: MappedArray<PairLatency>,
}

impl BlockPairs {
    /// Takes the maps; `size` tells how many entries each was made with.
    pub(super) fn new(ebpf: &mut Ebpf, size: impl Fn(&str) -> u32) -> Result<Self, ProbeError> {
        let mut free: Stack<MapData, u32> =
            Stack::try_from(take(ebpf, "BLOCK_FREE")?).map_err(map_error)?;
        // The lowest is taken first, as of slots.
        for index in (PAIR_FIRST..size("BLOCK_KEYS")).rev() {
            free.push(index, 0).map_err(map_error)?;
        }
        Ok(Self {
            in_kernel: HashMap::try_from(take(ebpf, "BLOCK_PAIRS")?).map_err(map_error)?,
            free,
            waits: HashMap::try_from(take(ebpf, "QUEUE_WAITS")?).map_err(map_error)?,
            known: BTreeMap::new(),
            keys: mapped(ebpf, "BLOCK_KEYS", size("BLOCK_KEYS"))?,
            counters: mapped(ebpf, "PAIR_COUNTERS", size("PAIR_COUNTERS"))?,
            latencies: mapped(ebpf, "PAIR_LATENCIES", size("PAIR_LATENCIES"))?,
        })
    }

    /// Notes the indexes taken since the last time.
    pub fn learn(&mut self) {
        for index in PAIR_FIRST..self.keys.len() as u32 {
            let key = self.keys.read(index as usize);
            // Zero when it is free. Half written, the kernel half knows no such key: then it is learned the next time.
            if key != BlockKey::default()
                && !self.known.contains_key(&index)
                && self.in_kernel.get(&key, 0).is_ok_and(|known| known == index)
            {
                self.known.insert(index, key);
            }
        }
    }

    /// Indexes in use, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (u32, BlockKey)> + '_ {
        self.known.iter().map(|(&index, &key)| (index, key))
    }

    /// How long requests waited for those of others, ns. A system call for each two pairs that met.
    pub fn waits(&self) -> impl Iterator<Item = (QueueWait, u64)> + '_ {
        // An entry that vanishes meanwhile was removed by ourselves.
        self.waits.iter().flatten()
    }

    /// Forgets the waits that a pair has part in.
    pub fn forget_waits(&mut self, index: u32) {
        let is_of_it = |wait: &QueueWait| wait.waiter == index || wait.culprit == index;
        let of_it: Vec<_> = self.waits().map(|(wait, _)| wait).filter(is_of_it).collect();
        for wait in of_it {
            // Not there any more is what we want.
            let _ = self.waits.remove(&wait);
        }
    }

    /// Forgets a pair, so that no request finds it any more. What it has counted can now be read for the last time and zeroed; then
    /// comes [`Self::give_back`].
    pub fn forget(&mut self, index: u32) {
        if let Some(key) = self.known.remove(&index) {
            // Not there any more is what we want.
            let _ = self.in_kernel.remove(&key);
        }
    }

    /// Returns a zeroed index to those that can be taken.
    pub fn give_back(&mut self, index: u32) {
        self.keys.write(index as usize, BlockKey::default());
        if let Err(error) = self.free.push(index, 0) {
            tracing::warn!(index, %error, "an index of a pair could not be given back");
        }
    }
}
