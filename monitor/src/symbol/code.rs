//! Where the code of a frame lies in its file: what other tools merge and symbolize by.
//!
//! Contract: addresses are those the linker gave, not those of a process, so the same function has one
//! address in all processes and nobody learns where a process or the kernel put its code. A
//! frame whose place cannot be told for certain has none.

use std::collections::HashMap;
use std::sync::Arc;

use super::frame::{Frame, Program, RawStack, Reason};
use super::object::Objects;
use super::process::{Mapping, Processes, Target, View};
use super::resolver::of_call;
use crate::kernel::ids::Tgid;

/// The executable part of a file that a process maps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeMapping {
    /// The file, as the first process that mapped it names it.
    pub path: Arc<str>,
    /// Its build id, if the linker wrote one.
    pub build_id: Option<Arc<[u8]>>,
    /// The address the linker gave to its first byte.
    pub virtual_start: u64,
    /// The first address after it.
    pub virtual_end: u64,
    /// Where its first byte lies in the file.
    pub file_offset_bytes: u64,
}

/// Where the code of a frame lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodePlace {
    /// What holds it.
    pub mapping: Arc<CodeMapping>,
    /// The address the linker gave it; of a caller, one within its call instruction.
    pub virtual_address: u64,
}

/// The place of each frame, aligned with the frames the resolver gave for the same stacks.
pub(super) fn places(
    processes: &Processes,
    objects: &Objects,
    stacks: &[RawStack],
    frames: &[Vec<Frame>],
) -> Vec<Vec<Option<CodePlace>>> {
    let mut finder = Finder { processes, objects, views: HashMap::new(), mappings: HashMap::new() };
    let mut of_stack = |(stack, frames): (&RawStack, &Vec<Frame>)| {
        let mut user = stack.shown();
        let mut user = || {
            let (depth, word) = user.next()?;
            finder.find((stack.tgid, stack.program), word.address()?, depth > 0)
        };
        let mut current = None;
        let mut places: Vec<_> = Vec::with_capacity(frames.len());
        // From the leaf on: an inlined frame shares the address of the one it was inlined into.
        let mut is_within = false;
        for frame in frames.iter().rev() {
            if matches!(frame, Frame::Kernel { .. } | Frame::Missing { .. }) || is_kernel(frame) {
                places.push(None);
                continue;
            }
            if !is_within {
                current = user();
            }
            is_within = matches!(frame, Frame::Inlined { .. });
            places.push(current.clone().filter(|place| is_of(frame, place)));
        }
        places.reverse();
        places
    };
    stacks.iter().zip(frames).map(&mut of_stack).collect()
}

fn is_kernel(frame: &Frame) -> bool {
    // The upper half of the addresses belongs to the kernel on all machines of ours.
    matches!(frame, Frame::Unresolved { reason, address, .. }
        if *reason == Reason::KernelHidden || *address >= 1 << 63)
}

/// Whether the frame may lie there: should frames and addresses fall out of step, a frame gets no
/// place instead of a wrong one.
fn is_of(frame: &Frame, place: &CodePlace) -> bool {
    match frame {
        Frame::User { module, .. } | Frame::Inlined { module, .. } => {
            module.as_deref() == Some(&*place.mapping.path)
        }
        Frame::Unresolved { module, .. } => module.is_some(),
        Frame::Kernel { .. } | Frame::Missing { .. } => false,
    }
}

struct Finder<'a> {
    processes: &'a Processes,
    objects: &'a Objects,
    views: HashMap<(Tgid, Program), Option<View>>,
    /// By object and first address.
    mappings: HashMap<(u64, u64), Arc<CodeMapping>>,
}

impl Finder<'_> {
    fn find(&mut self, of: (Tgid, Program), address: u64, is_caller: bool) -> Option<CodePlace> {
        let view = self
            .views
            .entry(of)
            .or_insert_with(|| self.processes.view(of.0, of.1, self.objects).ok())
            .as_ref()?;
        let at = of_call(address, is_caller);
        let mapping = view.snapshots(of.1).find_map(|snapshot| snapshot.find(at))?;
        let Target::Object(object) = &mapping.target else { return None };
        let offset_bytes = mapping.file_offset_bytes(at);
        let virtual_address = object.shape.virtual_address(offset_bytes)?;
        let (start, length_bytes) = mapping.extent();
        let virtual_start = virtual_address.wrapping_sub(at - start);
        let known = self.mappings.entry((object.id, virtual_start));
        let mapping = known.or_insert_with(|| {
            Arc::new(CodeMapping {
                path: Arc::clone(&object.path),
                build_id: object.shape.build_id.as_deref().map(Arc::from),
                virtual_start,
                virtual_end: virtual_start.saturating_add(length_bytes),
                file_offset_bytes: Mapping::file_offset_bytes(mapping, start),
            })
        });
        Some(CodePlace { mapping: Arc::clone(mapping), virtual_address })
    }
}
