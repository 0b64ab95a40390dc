//! Reading the ring of stack samples.

use aya::maps::{Map, MapData, RingBuf};
use monitor_common::{offcpu::waited_in, stack::StackHeader, state::ThreadState, unwind::WalkEnd};

use super::{ProbeError, event::record, load::map_error};
use crate::kernel::{
    cgroupfs::CgroupId,
    ids::{CpuId, Tgid, Tid},
};

/// One sample.
#[derive(Clone, Debug)]
pub struct StackRecord {
    /// `CLOCK_MONOTONIC` ns; of a wait its end, or when it was looked at.
    pub at_ns: u64,
    /// What the thread waited in, and whether it did so still; `None` for a sample of the CPU clock.
    pub wait: Option<(ThreadState, bool)>,
    /// The cgroup of the thread.
    pub cgroup: CgroupId,
    /// What the sample stands for, ns.
    pub period_ns: u64,
    /// The process.
    pub tgid: Tgid,
    /// Where the stack of its program began; 0 where not known.
    pub start_stack: u64,
    /// The thread.
    pub tid: Tid,
    /// The CPU.
    pub cpu: CpuId,
    /// Whether it is a thread of the kernel's own.
    pub is_kernel_thread: bool,
    /// The thread's name.
    pub comm: String,
    /// How the walk of the user frames ended.
    pub end: WalkEnd,
    /// Kernel frames, innermost first.
    pub kernel: Vec<u64>,
    /// User frames, innermost first.
    pub user: Vec<u64>,
}

/// The reading end of the stack ring.
pub struct StackReader {
    ring: RingBuf<MapData>,
}

impl StackReader {
    pub(super) fn new(map: Map) -> Result<Self, ProbeError> {
        Ok(Self { ring: RingBuf::try_from(map).map_err(map_error)? })
    }

    /// Hands over all that is there.
    pub fn drain(&mut self, mut take: impl FnMut(StackRecord)) {
        while let Some(item) = self.ring.next() {
            match decode(&item) {
                Some(sample) => take(sample),
                None => tracing::warn!(bytes = item.len(), "a stack sample of unknown form"),
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Option<StackRecord> {
    let header: StackHeader = record(bytes)?;
    let frames = &bytes[size_of::<StackHeader>()..];
    let (kernel_bytes, user_bytes) = (header.kernel_bytes as usize, header.user_bytes as usize);
    let kernel = frames.get(..kernel_bytes)?;
    let user = frames.get(kernel_bytes..kernel_bytes.checked_add(user_bytes)?)?;
    let name_end = header.comm.iter().position(|&b| b == 0).unwrap_or(header.comm.len());
    Some(StackRecord {
        at_ns: header.at_ns,
        wait: waited_in(header.wait),
        cgroup: CgroupId(header.cgroup_id),
        period_ns: header.period_ns,
        tgid: Tgid(header.tgid),
        start_stack: header.start_stack,
        tid: Tid(header.tid),
        cpu: CpuId(header.cpu),
        is_kernel_thread: header.is_kernel_thread != 0,
        comm: String::from_utf8_lossy(&header.comm[..name_end]).into_owned(),
        end: WalkEnd::of(header.walk_end)?,
        kernel: addresses(kernel),
        user: addresses(user),
    })
}

fn addresses(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut bytes = [0; size_of::<StackHeader>() + 16];
        let kernel_bytes_at = std::mem::offset_of!(StackHeader, kernel_bytes);
        bytes[kernel_bytes_at] = 16;
        assert_eq!(decode(&bytes).unwrap().kernel.len(), 2);
        bytes[kernel_bytes_at] = 24;
        assert!(decode(&bytes).is_none());
        assert!(decode(&bytes[..size_of::<StackHeader>() - 1]).is_none());
    }
}
