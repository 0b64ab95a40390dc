//! The tables all threads share: strings, functions, frames, stacks, and the files they lie in.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::schema::{Lib, Shared, category};
use crate::profile::document::{Sample, merge_unknown};
use crate::profile::label::{Label, LabelKind};
use crate::symbol::CodePlace;

/// The type of a resource that is a library.
const LIBRARY: u32 = 1;

#[derive(Default)]
pub struct Interner {
    shared: Shared,
    libs: Vec<Lib>,
    strings: HashMap<Arc<str>, usize>,
    resources: HashMap<Arc<str>, usize>,
    functions: HashMap<Label, usize>,
    frames: HashMap<(usize, i64, u32), usize>,
    stacks: HashMap<(Option<usize>, usize), usize>,
}

impl Interner {
    /// The stack of a sample, below its waker if it has one; `None` if there are no frames.
    pub fn stack(&mut self, sample: &Sample, waker: Option<&Label>) -> Option<usize> {
        let mut path: Vec<Label> = sample.frames.iter().map(Label::from).collect();
        // Places are of frames, so they have no part in it once frames were merged.
        let count = path.len();
        merge_unknown(&mut path);
        let places = if path.len() == count { &*sample.places } else { &[] };
        let (mut stack, mut depth) = (None, 0);
        if let Some(state) = sample.state {
            let frame = self.frame(&Label::state(state), None, 0);
            stack = Some(self.push(None, frame));
        }
        if let Some(waker) = waker {
            let frame = self.frame(waker, None, 0);
            stack = Some(self.push(stack, frame));
        }
        for (index, label) in path.iter().enumerate() {
            depth = if label.kind == LabelKind::Inlined { depth + 1 } else { 0 };
            let frame = self.frame(label, places.get(index).and_then(Option::as_ref), depth);
            stack = Some(self.push(stack, frame));
        }
        stack
    }

    /// The stack of what was lost.
    pub fn lost(&mut self, label: &Label) -> usize {
        let frame = self.frame(label, None, 0);
        self.push(None, frame)
    }

    /// The tables.
    pub fn finish(mut self) -> (Vec<Lib>, Shared) {
        let shared = &mut self.shared;
        shared.stack_table.length = shared.stack_table.frame.len();
        shared.frame_table.length = shared.frame_table.func.len();
        shared.func_table.length = shared.func_table.name.len();
        shared.resource_table.length = shared.resource_table.name.len();
        (self.libs, self.shared)
    }

    fn push(&mut self, prefix: Option<usize>, frame: usize) -> usize {
        let table = &mut self.shared.stack_table;
        *self.stacks.entry((prefix, frame)).or_insert_with(|| {
            table.frame.push(frame);
            table.prefix.push(prefix);
            table.frame.len() - 1
        })
    }

    fn frame(&mut self, label: &Label, place: Option<&CodePlace>, depth: u32) -> usize {
        let func = self.function(label, place);
        let address =
            place.and_then(|place| i64::try_from(place.virtual_address).ok()).unwrap_or(-1);
        let key = (func, address, depth);
        if let Some(known) = self.frames.get(&key) {
            return *known;
        }
        let table = &mut self.shared.frame_table;
        table.address.push(address);
        table.inline_depth.push(depth);
        table.category.push(match label.kind {
            LabelKind::User | LabelKind::Inlined => category::USER,
            LabelKind::Kernel => category::KERNEL,
            LabelKind::Jit => category::JIT,
            LabelKind::Unknown | LabelKind::Missing => category::UNKNOWN,
            LabelKind::Lost => category::LOST,
            LabelKind::Thread | LabelKind::State | LabelKind::Waker => category::OTHER,
        });
        table.subcategory.push(0);
        table.func.push(func);
        table.native_symbol.push(None);
        table.inner_window_id.push(None);
        table.line.push(None);
        table.column.push(None);
        let id = table.func.len() - 1;
        self.frames.insert(key, id);
        id
    }

    fn function(&mut self, label: &Label, place: Option<&CodePlace>) -> usize {
        if let Some(known) = self.functions.get(label) {
            return *known;
        }
        let name = self.string(&label.name);
        let module = match label.kind {
            LabelKind::Kernel => Some(Arc::from("[kernel]")),
            _ => label.module.clone(),
        };
        let resource = module.map_or(-1, |module| self.resource(&module, place) as i64);
        let table = &mut self.shared.func_table;
        table.name.push(name);
        table.is_js.push(false);
        table.relevant_for_js.push(false);
        table.resource.push(resource);
        table.source.push(None);
        table.line_number.push(None);
        table.column_number.push(None);
        let id = table.name.len() - 1;
        self.functions.insert(label.clone(), id);
        id
    }

    fn resource(&mut self, path: &Arc<str>, place: Option<&CodePlace>) -> usize {
        if let Some(known) = self.resources.get(path) {
            return *known;
        }
        let file = Path::new(&**path)
            .file_name()
            .map_or_else(|| path.to_string(), |name| name.to_string_lossy().into_owned());
        let build_id = place.and_then(|place| place.mapping.build_id.as_deref());
        let name = self.string(&Arc::from(file.as_str()));
        self.libs.push(Lib {
            arch: std::env::consts::ARCH,
            name: file.clone(),
            path: path.to_string(),
            debug_name: file,
            debug_path: path.to_string(),
            breakpad_id: build_id.map(breakpad_id).unwrap_or_default(),
            code_id: build_id.map(hex),
        });
        let table = &mut self.shared.resource_table;
        table.lib.push(self.libs.len() - 1);
        table.name.push(name);
        table.host.push(None);
        table.r#type.push(LIBRARY);
        let id = table.name.len() - 1;
        self.resources.insert(Arc::clone(path), id);
        id
    }

    fn string(&mut self, text: &Arc<str>) -> usize {
        let table = &mut self.shared.string_array;
        *self.strings.entry(Arc::clone(text)).or_insert_with(|| {
            table.push(text.to_string());
            table.len() - 1
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A build id as breakpad writes it: its first 16 bytes as a little-endian GUID, then the age 0.
fn breakpad_id(build_id: &[u8]) -> String {
    let mut id = [0; 16];
    let length = build_id.len().min(16);
    id[..length].copy_from_slice(&build_id[..length]);
    id[..4].reverse();
    id[4..6].reverse();
    id[6..8].reverse();
    format!("{}0", hex(&id).to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_ids_become_breakpad_ids() {
        let id: Vec<u8> = (1..=20).collect();
        assert_eq!(breakpad_id(&id), "0403020106050807090A0B0C0D0E0F100");
        assert_eq!(breakpad_id(&[1, 2]), "000002010000000000000000000000000");
    }
}
