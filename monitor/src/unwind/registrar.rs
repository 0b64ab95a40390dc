//! Which process has which tables where: reads what processes map, and tells the kernel half.
//!
//! Contract: owned by one thread. A slice is written whole before a process leads to it, and its room is used again only when no
//! walk can be in it.

use std::{
    collections::HashMap,
    io,
    path::Path,
    time::{Duration, Instant},
};

use monitor_common::{
    python::PythonLayout,
    unwind::{BY_FRAME_POINTER, MAX_MAPPINGS, Mapping},
};

use super::{
    grace,
    process::{self, Status},
    range::Ranges,
    store::{Found, Store, TableId},
    trampoline::{self, Layout},
};
use crate::{
    kernel::ids::Tgid,
    probe::{UnwindMaps, UnwindMemory},
    symbol::{
        FileKey, Place,
        maps::MapsLine,
        python::{Interpreter, may_be_interpreter},
        vdso_image,
    },
};

/// Processes that had no sample for this long lose their tables when room is wanted.
const IDLE: Duration = Duration::from_secs(10);

/// Files that may be interpreters and are remembered.
const INTERPRETERS_MAX: usize = 1024;

/// A process that the kernel half knows.
struct Known {
    slice: SliceId,
    /// When it last had a sample.
    sampled: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SliceId(u32);

/// The mappings of a program in the array: a fork shares them with its parent.
struct Slice {
    start_stack: u64,
    mappings: Vec<Mapping>,
    /// See [`UnwindMaps::interpreter`].
    interpreter: u64,
    tables: Vec<TableId>,
    users: u32,
}

/// What became of a look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It has what it needs.
    Registered,
    /// It had it already.
    Unchanged,
    /// It is gone, or has nothing to walk.
    Gone,
    /// There was no room.
    NoRoom,
}

/// What is known of all processes.
pub(super) struct Registrar {
    maps: UnwindMaps,
    memory: Option<UnwindMemory>,
    pub store: Store,
    room: Ranges,
    slices: HashMap<SliceId, Slice>,
    known: HashMap<Tgid, Known>,
    vdso: Option<(Found, u64)>,
    /// Slices written so far.
    generation: u64,
    /// Files that may be interpreters, and what they are.
    interpreters: HashMap<FileKey, Option<Interpreter>>,
}

impl Registrar {
    /// `cache` is where tables are kept on disk.
    pub fn new(maps: UnwindMaps, cache: Option<&Path>) -> Self {
        Self {
            store: Store::new(maps.sizes, cache),
            room: Ranges::new(maps.sizes.mappings),
            maps,
            memory: None,
            slices: HashMap::new(),
            known: HashMap::new(),
            vdso: None,
            generation: 0,
            interpreters: HashMap::new(),
        }
    }

    /// Maps the arrays.
    pub fn open(&mut self) -> io::Result<()> {
        let memory = self.maps.open()?;
        if self.vdso.is_none()
            && let Some((file, key, bytes)) = vdso_image()
        {
            self.vdso = Some((self.store.add(key, &file, &memory), bytes));
            // Every process has it, so it is in use for ever.
            if let Some((Found::Table(id), _)) = self.vdso {
                self.store.begin_use(&[id]);
            }
        }
        self.memory = Some(memory);
        Ok(())
    }

    /// Forgets all processes, and unmaps the arrays. The tables stay in the kernel for the next time.
    pub fn close(&mut self) {
        for process in self.maps.processes() {
            self.maps.forget_process(process);
        }
        let known: Vec<_> = self.known.keys().copied().collect();
        known.into_iter().for_each(|process| self.forget(process));
        self.memory = None;
    }

    /// How many processes are known.
    pub fn processes(&self) -> usize {
        self.known.len()
    }

    /// Notes that a process had a sample.
    pub fn sampled(&mut self, process: Tgid, now: Instant) {
        if let Some(known) = self.known.get_mut(&process) {
            known.sampled = Some(now);
        }
    }

    /// Looks at a process, and tells the kernel half what it has mapped. One that is urgent takes the room of those that had no
    /// sample lately.
    pub fn look(&mut self, process: Tgid, is_urgent: bool) -> Look {
        let Some(memory) = self.memory.take() else { return Look::Gone };
        let outcome = self.look_with(process, is_urgent, &memory);
        if outcome == Look::Gone {
            self.forget(process);
        }
        self.memory = Some(memory);
        outcome
    }

    fn look_with(&mut self, process: Tgid, is_urgent: bool, memory: &UnwindMemory) -> Look {
        let Some(before) = Status::read(process) else { return Look::Gone };
        let Ok(lines) = process::mappings(process) else { return Look::Gone };
        // A program that was replaced meanwhile will be looked at again.
        let is_same =
            Status::read(process).is_some_and(|now| now.start_stack == before.start_stack);
        if before.start_stack == 0 || lines.is_empty() || !is_same {
            return Look::Gone;
        }
        let mut tables = Vec::new();
        let mut mappings = Vec::with_capacity(lines.len());
        let lines = trampoline::apart(process, lines);
        // Functions that run through trampolines are in the native stack already, by name.
        let has_trampolines = lines.iter().any(|(_, layout)| layout.is_some());
        let walked_by = (!has_trampolines)
            .then(|| lines.iter().find_map(|(line, _)| self.walked_by(process, line)))
            .flatten();
        let interpreter = walked_by.map_or(0, |walked_by| self.maps.interpreter(walked_by));
        for (line, layout) in lines.into_iter().take(MAX_MAPPINGS) {
            let mut found = self.found(process, &line, layout, memory);
            if matches!(found, Some(Found::NoRoom(_))) {
                if !is_urgent {
                    self.store.end_use(&tables);
                    return Look::NoRoom;
                }
                if self.drop_idle(process, memory) {
                    found = self.found(process, &line, layout, memory);
                }
            }
            let MapsLine { start, end, file_offset_bytes, .. } = line;
            mappings.push(match found {
                Some(found) => self.store.mapping(found, start, end, file_offset_bytes),
                None => Mapping { start, end, pages: BY_FRAME_POINTER, ..Mapping::default() },
            });
            if let Some(Found::Table(id)) = found {
                // In use from here on: the room for the next one must not be taken from it.
                self.store.begin_use(&[id]);
                tables.push(id);
            }
        }
        if let Some(known) = self.known.get(&process)
            && let Some(slice) = self.slices.get(&known.slice)
            && slice.start_stack == before.start_stack
            && slice.mappings == mappings
            && slice.interpreter == interpreter
        {
            self.store.end_use(&tables);
            return Look::Unchanged;
        }
        let Some(head) = self.slice(process, mappings.len() as u32 + 1, memory) else {
            self.store.end_use(&tables);
            return Look::NoRoom;
        };
        self.generation += 1;
        let generation = self.generation;
        memory.write_slice(head, before.start_stack, generation, interpreter, &mappings);
        if self.lead(process, Some(head), memory).is_err() {
            self.store.end_use(&tables);
            self.room.give_back(head..head + mappings.len() as u32 + 1);
            return Look::NoRoom;
        }
        let id = SliceId(head);
        let start_stack = before.start_stack;
        let slice = Slice { start_stack, mappings, interpreter, tables, users: 1 };
        self.slices.insert(id, slice);
        let old = self.known.remove(&process);
        let sampled = old.as_ref().and_then(|old| old.sampled);
        self.known.insert(process, Known { slice: id, sampled });
        if let Some(old) = old {
            self.release(old.slice, memory);
        }
        Look::Registered
    }

    /// How the interpreter is walked that a mapped file is, if it is one.
    fn walked_by(&mut self, process: Tgid, line: &MapsLine) -> Option<(PythonLayout, u64)> {
        // The thread pointer of other machines is not what their threads are known by.
        if cfg!(not(target_arch = "x86_64")) || line.inode == 0 || !may_be_interpreter(&line.path) {
            return None;
        }
        let place = place(process, line);
        let key = place.key().or_else(|| Some(place.open().ok()?.1))?;
        if self.interpreters.len() >= INTERPRETERS_MAX {
            self.interpreters.clear();
        }
        let look = || Interpreter::read(&place.open().ok()?.0);
        let interpreter = self.interpreters.entry(key).or_insert_with(look).as_ref()?;
        let bias = interpreter.bias(line.start, line.file_offset_bytes)?;
        Some(interpreter.walked_by(bias))
    }

    /// What is known of a mapped file; `None` for memory without one.
    fn found(
        &mut self,
        process: Tgid,
        line: &MapsLine,
        layout: Option<Layout>,
        memory: &UnwindMemory,
    ) -> Option<Found> {
        if let Some(layout) = layout {
            return Some(self.store.add_trampolines(layout, memory));
        }
        if line.inode == 0 {
            return match (line.path.as_str(), self.vdso) {
                ("[vdso]", Some((found, bytes))) if bytes == line.end - line.start => Some(found),
                ("[vdso]" | "[vsyscall]", _) => Some(Found::Nothing),
                _ => None,
            };
        }
        let place = place(process, line);
        if let Some(known) = place.key().and_then(|key| self.store.known(&key)) {
            return Some(known);
        }
        let Ok((file, key)) = place.open() else { return Some(Found::Nothing) };
        let known = self.store.known(&key);
        Some(known.unwrap_or_else(|| self.store.add(key, &file, memory)))
    }

    /// Room for a slice.
    fn slice(&mut self, process: Tgid, len: u32, memory: &UnwindMemory) -> Option<u32> {
        loop {
            if let Some(range) = self.room.take(len) {
                return Some(range.start);
            }
            if !self.room.has_resting() && !self.drop_idle(process, memory) {
                return None;
            }
            grace::wait_for_walks();
            self.room.wake();
        }
    }

    /// Takes out those that had no sample lately, `but` one, so that their tables can make room; false if there are none.
    fn drop_idle(&mut self, but: Tgid, memory: &UnwindMemory) -> bool {
        let now = Instant::now();
        let is_idle = |known: &Known| known.sampled.is_none_or(|at| now - at > IDLE);
        let idle = self.known.iter().filter(|(process, known)| **process != but && is_idle(known));
        let idle: Vec<_> = idle.map(|(process, _)| *process).collect();
        idle.iter().for_each(|process| self.drop_process(*process, memory));
        !idle.is_empty()
    }

    /// Notes that a process ended, unless another one has its number already: news of an end come late.
    pub fn exited(&mut self, process: Tgid) {
        let slice = self.known.get(&process).and_then(|known| self.slices.get(&known.slice));
        let is_of = |slice: &Slice| {
            Status::read(process).is_some_and(|now| now.start_stack == slice.start_stack)
        };
        // A fork has the stack of its parent: whose number it is shows by its mappings being the same, which are as good.
        if !slice.is_some_and(is_of) {
            self.forget(process);
        }
    }

    /// Takes a process out.
    pub fn forget(&mut self, process: Tgid) {
        if let Some(memory) = self.memory.take() {
            self.drop_process(process, &memory);
            self.memory = Some(memory);
        }
    }

    /// Lets walks of a process go by another slice, or by none. That it went by an earlier one may be remembered.
    fn lead(&mut self, process: Tgid, head: Option<u32>, memory: &UnwindMemory) -> io::Result<()> {
        let before = self.maps.head_of(process);
        match head {
            Some(head) => self.maps.set_process(process, head)?,
            None => self.maps.forget_process(process),
        }
        // What a child was given by the kernel half may be gone, and its room another's.
        if let Some(before) = before.filter(|before| self.slices.contains_key(&SliceId(*before))) {
            memory.stamp_slice(before);
        }
        Ok(())
    }

    fn drop_process(&mut self, process: Tgid, memory: &UnwindMemory) {
        // Not there is as good.
        let _ = self.lead(process, None, memory);
        if let Some(known) = self.known.remove(&process) {
            self.release(known.slice, memory);
        }
    }

    fn release(&mut self, id: SliceId, memory: &UnwindMemory) {
        let Some(slice) = self.slices.get_mut(&id) else { return };
        slice.users -= 1;
        if slice.users > 0 {
            return;
        }
        if let Some(slice) = self.slices.remove(&id) {
            memory.clear_slice(id.0);
            self.room.give_back(id.0..id.0 + slice.mappings.len() as u32 + 1);
            self.store.end_use(&slice.tables);
        }
    }

    /// Notes a child; whether it is known now. The kernel half has let it go by the slice of its parent already.
    pub fn forked(&mut self, child: Tgid, parent: Tgid) -> bool {
        if self.is_known(child) {
            return true;
        }
        let slice = self.known.get(&parent).map(|known| known.slice);
        let Some(slice) = slice else { return false };
        let Some(shared) = self.slices.get_mut(&slice) else { return false };
        shared.users += 1;
        self.known.insert(child, Known { slice, sampled: None });
        true
    }

    /// Whether a process can be walked by tables.
    pub fn is_known(&self, process: Tgid) -> bool {
        self.known.contains_key(&process)
    }
}

fn place(process: Tgid, line: &MapsLine) -> Place {
    Place {
        proc_id: process.0,
        range: (line.start, line.end),
        inode: line.inode,
        path: line.path.as_str().into(),
    }
}
