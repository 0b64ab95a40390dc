//! The maps of the `files` family, and which calls do what with files on the architecture this was built for.

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use libc as c;
use monitor_common::files::{
    FileCalls, FileOperation, LayerKey, LayerOpens, SlotFiles, SlotFilesLatency,
};

use super::{
    MappedArray, ProbeError,
    load::{map_error, mapped, take},
    syscall_class::class_of_each,
};

/// What is counted of files.
pub struct FilesMaps {
    /// Counters, at `slot * cpus + cpu`.
    pub counters: MappedArray<SlotFiles>,
    /// Distributions, at `slot * block_lanes + lane`.
    pub latencies: MappedArray<SlotFilesLatency>,
    layers: HashMap<MapData, LayerKey, LayerOpens>,
}

impl FilesMaps {
    /// Takes the maps; `size` tells how many entries each was made with.
    pub(super) fn new(ebpf: &mut Ebpf, size: impl Fn(&str) -> u32) -> Result<Self, ProbeError> {
        Ok(Self {
            counters: mapped(ebpf, "SLOT_FILES", size("SLOT_FILES"))?,
            latencies: mapped(ebpf, "SLOT_FILES_LATENCY", size("SLOT_FILES_LATENCY"))?,
            layers: HashMap::try_from(take(ebpf, "FILE_LAYERS")?).map_err(map_error)?,
        })
    }

    /// What layers served so far. A system call for each that served anything.
    pub fn layers(&self) -> impl Iterator<Item = (LayerKey, LayerOpens)> + '_ {
        // An entry that vanishes meanwhile was removed by ourselves.
        self.layers.iter().flatten()
    }

    /// Forgets the layers of a slot.
    pub fn forget_layers(&mut self, slot: u32) {
        let of_slot: Vec<_> =
            self.layers().map(|(key, _)| key).filter(|key| key.slot == slot).collect();
        for key in of_slot {
            // Not there any more is what we want.
            let _ = self.layers.remove(&key);
        }
    }
}

const OPENAT2: c::c_long = 437;

const OPEN: &[c::c_long] = &[
    c::SYS_openat,
    OPENAT2,
    #[cfg(target_arch = "x86_64")]
    c::SYS_open,
    #[cfg(target_arch = "x86_64")]
    c::SYS_creat,
];

const READ: &[c::c_long] =
    &[c::SYS_read, c::SYS_readv, c::SYS_pread64, c::SYS_preadv, c::SYS_preadv2];

const WRITE: &[c::c_long] =
    &[c::SYS_write, c::SYS_writev, c::SYS_pwrite64, c::SYS_pwritev, c::SYS_pwritev2];

const SYNC: &[c::c_long] = &[c::SYS_fsync, c::SYS_fdatasync, c::SYS_sync_file_range];

/// The table the kernel half is loaded with.
pub(super) fn table() -> FileCalls {
    class_of_each(
        0,
        [
            (OPEN, FileOperation::Open.code()),
            (READ, FileOperation::Read.code()),
            (WRITE, FileOperation::Write.code()),
            (SYNC, FileOperation::Sync.code()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_does_two_things() {
        let named: usize = [OPEN, READ, WRITE, SYNC].iter().map(|calls| calls.len()).sum();
        assert_eq!(table().iter().filter(|&&code| code != 0).count(), named);
    }
}
