//! Reading the ring of stack samples.

use aya::maps::{Map, MapData, RingBuf};
use monitor_common::{
    offcpu::waited_in,
    python::is_python,
    stack::StackHeader,
    state::ThreadState,
    unwind::WalkEnd,
    wakeup::{self, woken_from},
    weight::{WeightDetail, WeightKind, weighed_in},
};

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
    /// What the thread waited in, and whether it did so still; `None` for what is no wait.
    pub wait: Option<(ThreadState, bool)>,
    /// What an event with a weight was, and whether it stands for others too.
    pub weighed: Option<(WeightKind, WeightDetail, bool)>,
    /// Whom the thread woke; then `wait` is what that one waited in. `None` for what is no wake-up.
    pub woken: Option<Woken>,
    /// The cgroup of the thread; of bytes that of the bio or the socket.
    pub cgroup: CgroupId,
    /// What the sample stands for, ns or the unit of its kind.
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

/// Who was woken.
#[derive(Clone, Debug)]
pub struct Woken {
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// Its process.
    pub tgid: Tgid,
    /// The thread.
    pub tid: Tid,
    /// Whether it is a thread of the kernel's own.
    pub is_kernel_thread: bool,
    /// Its name.
    pub comm: String,
    /// Whether the sample stands for others too.
    pub is_drawn: bool,
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
    let mut frames = &bytes[size_of::<StackHeader>()..];
    let mut woken = None;
    if let Some((_, is_drawn)) = woken_from(header.wait) {
        let lead: wakeup::Woken = record(frames)?;
        frames = frames.get(size_of::<wakeup::Woken>()..)?;
        woken = Some(Woken {
            cgroup: CgroupId(lead.cgroup_id),
            tgid: Tgid(lead.tgid),
            tid: Tid(lead.tid),
            is_kernel_thread: lead.is_kernel_thread != 0,
            comm: name(&lead.comm),
            is_drawn,
        });
    }
    let end = WalkEnd::of(header.walk_end)?;
    let (kernel_bytes, user_bytes) = (header.kernel_bytes as usize, header.user_bytes as usize);
    let kernel = frames.get(..kernel_bytes)?;
    let user = frames.get(kernel_bytes..kernel_bytes.checked_add(user_bytes)?)?;
    Some(StackRecord {
        at_ns: header.at_ns,
        wait: waited_in(header.wait),
        weighed: weighed_in(header.wait),
        woken,
        cgroup: CgroupId(header.cgroup_id),
        period_ns: header.period_ns,
        tgid: Tgid(header.tgid),
        start_stack: header.start_stack,
        tid: Tid(header.tid),
        cpu: CpuId(header.cpu),
        is_kernel_thread: header.is_kernel_thread != 0,
        comm: name(&header.comm),
        end,
        kernel: addresses(kernel),
        user: user_words(addresses(user), end),
    })
}

/// A user stack. By frame pointers the kernel takes whatever it finds where a caller should be, and what looks like a function of Python's is
/// none: it stays in the stack, as an address that nothing is at.
fn user_words(mut words: Vec<u64>, end: WalkEnd) -> Vec<u64> {
    if end.is_by_frame_pointers() {
        words.iter_mut().filter(|word| is_python(**word)).for_each(|word| *word = 0);
    }
    words
}

fn name(comm: &[u8; 16]) -> String {
    let end = comm.iter().position(|&b| b == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

fn addresses(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_walk_finds_functions_of_python() {
        let function = monitor_common::python::word(0x7f00_0000_1000, 3, 0x7f00_0000_2000);
        let words = || vec![0x40_0000, function];
        assert_eq!(user_words(words(), WalkEnd::Complete), words());
        assert_eq!(user_words(words(), WalkEnd::UnknownProcess), [0x40_0000, 0]);
    }

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
