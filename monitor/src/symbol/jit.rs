//! Names of code that a process makes at run time, as its run-time compiler tells them.
//!
//! Contract: what is read belongs to the process, so nothing in it is trusted: what makes no sense is skipped, names are cut, and all
//! names of all processes together are bounded. Where addresses were used again, the later name wins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::jit_dump::JitDump;
use super::object::Place;
use super::perf_map::PerfMap;

/// Kept of all names at one time, by the length of what told them.
pub(super) const TOTAL_BYTES_MAX: u64 = 256 << 20;
/// A longer name is cut.
pub(super) const NAME_BYTES_MAX: usize = 1024;
/// Run-time compilers of one process that write a jitdump.
const DUMPS_MAX: usize = 4;

/// All that one process tells of its code.
pub(super) struct JitNames {
    map: PerfMap,
    dumps: Vec<JitDump>,
    room: Room,
}

impl JitNames {
    /// For the process with that directory in `/proc`; `namespace_pid` is the number by which it knows itself.
    pub fn new(proc_id: u32, namespace_pid: u32, room: Room) -> Self {
        let map = PerfMap::new(proc_id, namespace_pid, room.clone());
        Self { map, dumps: Vec::new(), room }
    }

    /// Notes a jitdump that the process has mapped, and opens it at once: its name may be gone later.
    pub fn add_dump(&mut self, place: &Place) {
        if self.dumps.len() < DUMPS_MAX && !self.dumps.iter().any(|dump| dump.is_at(place)) {
            self.dumps.extend(JitDump::open(place, self.room.clone()));
        }
    }

    /// Looks for what was not there before, while the process lives.
    pub fn look_again(&mut self) {
        self.map.reopen();
    }

    /// The name of what lies at an address, after reading what was added.
    pub fn lookup(&mut self, address: u64) -> Option<Arc<str>> {
        let of_dump = self.dumps.iter_mut().find_map(|dump| dump.lookup(address));
        of_dump.or_else(|| self.map.lookup(address))
    }
}

/// What may still be kept, shared by all processes.
#[derive(Clone, Default)]
pub(super) struct Room(Arc<AtomicU64>);

impl Room {
    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        TOTAL_BYTES_MAX.saturating_sub(self.0.load(Ordering::Relaxed))
    }

    /// Takes some.
    pub fn take(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back what was taken.
    pub fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Names by ranges of addresses that do not overlap.
#[derive(Default)]
pub(super) struct NamedRanges(BTreeMap<u64, (u64, Arc<str>)>);

impl NamedRanges {
    /// The name at an address.
    pub fn get(&self, address: u64) -> Option<Arc<str>> {
        let (_, (end, name)) = self.0.range(..=address).next_back()?;
        (address < *end).then(|| Arc::clone(name))
    }

    /// Adds a range and takes what it covers out of the ranges that were there.
    pub fn insert(&mut self, start: u64, end: u64, name: Arc<str>) {
        self.remove(start, end);
        self.0.insert(start, (end, name));
    }

    /// Takes a range out.
    pub fn remove(&mut self, start: u64, end: u64) {
        if let Some((_, (before_end, before))) = self.0.range_mut(..start).next_back()
            && *before_end > start
        {
            let tail_end = std::mem::replace(before_end, start);
            let before = Arc::clone(before);
            if tail_end > end {
                self.0.insert(end, (tail_end, before));
            }
        }
        while let Some((&at, (at_end, _))) = self.0.range(start..end).next() {
            let at_end = *at_end;
            if let Some((_, covered)) = self.0.remove(&at)
                && at_end > end
            {
                self.0.insert(end, (at_end, covered));
            }
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// A name of at most [`NAME_BYTES_MAX`]; `None` for one that is empty.
pub(super) fn name(bytes: &[u8]) -> Option<Arc<str>> {
    let bytes = bytes.trim_ascii();
    let name = String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_BYTES_MAX)]);
    (!name.is_empty()).then(|| Arc::from(&*name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The later line wins: compared with painting each over an array. Every fourth takes out.
        #[test]
        fn ranges_are_what_painting_gives(lines in proptest::collection::vec((0_u64..64, 1_u64..16), 0..40)) {
            let mut symbols = NamedRanges::default();
            let mut painted = vec![None; 80];
            for (number, (start, size)) in lines.into_iter().enumerate() {
                let name: Option<Arc<str>> = (number % 4 != 3).then(|| number.to_string().into());
                match &name {
                    Some(name) => symbols.insert(start, start + size, Arc::clone(name)),
                    None => symbols.remove(start, start + size),
                }
                for place in start..start + size {
                    painted[place as usize] = name.clone();
                }
            }
            for (address, expected) in painted.iter().enumerate() {
                prop_assert_eq!(&symbols.get(address as u64), expected);
            }
        }
    }
}
