//! Stacks to frames: which mapping, which file, which name.
//!
//! Owned by the symbol thread. Contract: each address gives at least one frame, and nothing that a
//! process or file holds can make it panic.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::blaze::{Blaze, Failures};
use super::cache::{Generations, Names};
use super::frame::{Frame, JIT_MODULE, Program, RawStack, Reason, Word};
use super::kallsyms::Kallsyms;
use super::object::{Object, Objects, Place};
use super::process::{Processes, Snapshot, Target, View};
use super::python::PythonNames;
use crate::kernel::{ids::Tgid, memory};
use monitor_common::unwind::WalkEnd;

/// Addresses whose frames are kept; about 150 bytes each, so 20 MB when full.
const FRAMES_MAX: usize = 1 << 17;
/// What nobody asks for is kept for so long at least, and for twice that at most.
const UNUSED_KEPT: Duration = Duration::from_secs(120);
/// With more memory of its own than this the daemon lets go of all it has parsed, which is the most of it then: 127,052 KiB became 178,888 in
/// 13 minutes of recordings of a host where programs come and go, most of it debug information. Names that were found are kept without it.
const OWN_BYTES_MAX: u64 = 96 << 20;
/// Not more often than this, should it be something else.
const START_OVER_EVERY: Duration = Duration::from_secs(60);

/// What all threads of this stage share.
pub(super) struct Shared {
    pub objects: Objects,
    pub processes: Processes,
    pub python: PythonNames,
}

type Found = Result<Arc<[Frame]>, Reason>;

/// Counters of one resolver.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub hits: u64,
    pub misses: u64,
    pub frames: usize,
    pub frames_evicted: u64,
    pub parsed: usize,
    pub parsed_evicted: u64,
    pub failures: Failures,
}

/// The owner of blazesym and of the caches.
pub(super) struct Resolver {
    shared: Arc<Shared>,
    blaze: Blaze,
    kernel: Kallsyms,
    frames: Generations<(u64, u64), Found>,
    names: Names,
    jit_module: Arc<str>,
    counters: Counters,
    aged: Instant,
}

impl Resolver {
    pub fn new(shared: Arc<Shared>, parsed_max: usize) -> Self {
        Self {
            shared,
            blaze: Blaze::new(parsed_max),
            kernel: Kallsyms::new(Path::new("/proc/kallsyms")),
            frames: Generations::new(FRAMES_MAX),
            names: Names::new(),
            jit_module: JIT_MODULE.into(),
            counters: Counters::default(),
            aged: Instant::now(),
        }
    }

    /// The frames of each stack, root first: user frames, then kernel frames. What is not done by
    /// `deadline` is marked [`Reason::SymbolizerBehind`].
    pub fn resolve(&mut self, stacks: &[RawStack], deadline: Instant) -> Vec<Vec<Frame>> {
        let mut views: HashMap<(Tgid, Program), Result<View, Reason>> = HashMap::new();
        let stacks = stacks.iter().map(|stack| self.stack(stack, &mut views, deadline)).collect();
        let (parsed, parsed_evicted) = self.blaze.count();
        self.counters.frames = self.frames.len();
        self.counters.frames_evicted = self.frames.evicted();
        self.counters.parsed = parsed;
        self.counters.parsed_evicted = parsed_evicted;
        self.counters.failures = self.blaze.failures();
        stacks
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Lets go of parsed files that were not looked into for so long: a large one takes as much memory as the rest of the daemon, and
    /// names that were found are kept without it. And of names and files that nobody asks for any more.
    pub fn let_go(&mut self, idle: Duration) {
        let mut is_less = self.blaze.let_go(idle);
        let own_bytes = memory::resident().map_or(0, |resident| resident.anonymous_bytes);
        if own_bytes > OWN_BYTES_MAX && self.blaze.age() >= START_OVER_EVERY {
            self.blaze.start_over();
            is_less = true;
        }
        if self.aged.elapsed() >= UNUSED_KEPT {
            self.aged = Instant::now();
            self.frames.age();
            self.names.sweep();
            self.shared.objects.age();
            is_less = true;
        }
        if is_less {
            memory::give_memory_back();
        }
    }

    fn stack(
        &mut self,
        stack: &RawStack,
        views: &mut HashMap<(Tgid, Program), Result<View, Reason>>,
        deadline: Instant,
    ) -> Vec<Frame> {
        if Instant::now() >= deadline {
            return behind(stack);
        }
        let mut frames = Vec::with_capacity(stack.user.len() + stack.kernel.len());
        if stack.end != WalkEnd::Complete {
            frames.push(Frame::Missing { end: stack.end });
        }
        if !stack.user.is_empty() {
            let (tgid, program) = (stack.tgid, stack.program);
            let view = views
                .entry((tgid, program))
                .or_insert_with(|| self.shared.processes.view(tgid, program, &self.shared.objects));
            let of = (tgid, program);
            for (depth, word) in stack.shown().rev() {
                match word {
                    Word::Function(word) => frames.push(self.function(of, word)),
                    Word::Address(at) => {
                        self.user(of, view, at, depth > 0, deadline, &mut frames);
                    }
                }
            }
        }
        for (depth, &address) in stack.kernel.iter().enumerate().rev() {
            frames.push(match self.kernel.lookup(of_call(address, depth > 0)) {
                Ok(name) => Frame::Kernel { name },
                Err(reason) => Frame::Unresolved { reason, address, module: None },
            });
        }
        frames
    }

    /// A function of Python.
    fn function(&mut self, (tgid, program): (Tgid, Program), word: u64) -> Frame {
        match self.shared.python.get(tgid, program, word) {
            Some(name) => Frame::User { name, module: Some(Arc::clone(&self.jit_module)) },
            None => Frame::Unresolved {
                reason: Reason::FunctionGone,
                address: Word::Function(word).place(),
                module: None,
            },
        }
    }

    fn user(
        &mut self,
        (tgid, program): (Tgid, Program),
        view: &mut Result<View, Reason>,
        address: u64,
        is_caller: bool,
        deadline: Instant,
        frames: &mut Vec<Frame>,
    ) {
        let unresolved = |reason, module| Frame::Unresolved { reason, address, module };
        let at = of_call(address, is_caller);
        let known = match view {
            Ok(view) => view,
            Err(reason) => return frames.push(unresolved(*reason, None)),
        };
        let shared = Arc::clone(&self.shared);
        if known.snapshots(program).next().is_none_or(|latest| latest.find(at).is_none())
            && let Some(newer) = shared.processes.newer(tgid, known, &shared.objects)
        {
            *known = newer;
        }
        let found = known.snapshots(program).find_map(|s| Some((s, s.find(at)?)));
        let Some((snapshot, mapping)) = found else {
            return frames.push(unresolved(Reason::Unmapped, None));
        };
        let module = (!mapping.place.path.is_empty()).then(|| Arc::clone(&mapping.place.path));
        match &mapping.target {
            Target::Object(object) => {
                let offset_bytes = mapping.file_offset_bytes(at);
                match self.object(object, &mapping.place, offset_bytes, deadline) {
                    Ok(found) => frames.extend(found.iter().cloned()),
                    Err(reason) => frames.push(unresolved(reason, module)),
                }
            }
            Target::Anonymous => frames.push(match jit_name(snapshot, at) {
                Some(name) => {
                    let name = self.names.intern(&name);
                    Frame::User { name, module: Some(Arc::clone(&self.jit_module)) }
                }
                None => unresolved(Reason::AnonymousMemory, module),
            }),
            Target::Special => frames.push(unresolved(Reason::NoSymbols, module)),
            Target::Unreadable => frames.push(unresolved(Reason::FileUnreadable, module)),
        }
    }

    fn object(
        &mut self,
        object: &Arc<Object>,
        place: &Place,
        file_offset_bytes: u64,
        deadline: Instant,
    ) -> Found {
        let key = (object.id, file_offset_bytes);
        if let Some(found) = self.frames.get(&key) {
            self.counters.hits += 1;
            return found;
        }
        self.counters.misses += 1;
        if Instant::now() >= deadline {
            return Err(Reason::SymbolizerBehind);
        }
        let Some(virtual_address) = object.shape.virtual_address(file_offset_bytes) else {
            return Err(Reason::NoSymbols);
        };
        let was_damaged = object.is_damaged();
        let shared = Arc::clone(&self.shared);
        let files = || shared.objects.files(object, place);
        let found = self.blaze.lookup(object, files, virtual_address);
        if object.is_damaged() && !was_damaged {
            // What was read before may already have been read from damaged pages.
            self.frames.retain(|(id, _)| *id != object.id);
        }
        let found: Found = found.map(|names| {
            // The cache of an object is shared, so the file has the name its first process gave it.
            let module = Some(self.names.intern(&object.path));
            let frame = |name: &super::blaze::Name, names: &mut Names| {
                let (text, module) = (names.intern(&name.text), module.clone());
                if name.inlined {
                    Frame::Inlined { name: text, module }
                } else {
                    Frame::User { name: text, module }
                }
            };
            names.iter().rev().map(|name| frame(name, &mut self.names)).collect()
        });
        // A file that could not be opened through this process may be through another.
        if !matches!(found, Err(Reason::FileUnreadable)) || object.is_damaged() {
            self.frames.insert(key, found.clone());
        }
        found
    }
}

/// A caller's address is the one after its call, which may already belong to the next function.
pub(super) fn of_call(address: u64, is_caller: bool) -> u64 {
    address.saturating_sub(u64::from(is_caller))
}

fn jit_name(snapshot: &Snapshot, address: u64) -> Option<Arc<str>> {
    let names = snapshot.jit.as_ref()?;
    names.lock().unwrap_or_else(PoisonError::into_inner).lookup(address)
}

/// The stack with every address marked as not looked at.
pub(super) fn behind(stack: &RawStack) -> Vec<Frame> {
    let user = stack.shown().map(|(_, word)| word.place()).rev();
    let addresses = user.chain(stack.kernel.iter().rev().copied());
    let missing = (stack.end != WalkEnd::Complete).then_some(Frame::Missing { end: stack.end });
    let frame = |address: u64| Frame::Unresolved {
        reason: Reason::SymbolizerBehind,
        address,
        module: None,
    };
    missing.into_iter().chain(addresses.map(frame)).collect()
}
