//! blazesym, bounded and guarded.
//!
//! blazesym keeps what it parsed until told to evict it. Here at most `parsed_max` objects of at most
//! [`PARSED_BYTES_MAX`] file bytes together stay parsed, the least recently used go first, and
//! the whole symbolizer is made anew now and then, because debug files it found by itself cannot be
//! named to evict them. A panic costs the object that caused it, not the daemon.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Builder, Input, Symbolized, Symbolizer, evict};

use super::fault;
use super::frame::Reason;
use super::object::{Files, Object};
use super::open;

/// Bytes of the files that are parsed at one time. They are mapped, not read; what is private is
/// the index of symbols, 8 bytes each, and the parsed debug information that was looked at.
const PARSED_BYTES_MAX: u64 = 4 << 30;
/// Larger files are not looked into: the index of a file that is all symbol table takes a third of
/// its size.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Larger files are looked up by their symbol table only: debug information is parsed unit by unit
/// into private memory.
const DEBUG_FILE_BYTES_MAX: u64 = 512 << 20;

/// A name at an address, innermost first.
pub(super) struct Name {
    /// Demangled.
    pub text: String,
    /// Whether the compiler inlined it into the next one.
    pub inlined: bool,
}

/// What went wrong and how often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    /// Panics inside blazesym.
    pub panics: u64,
    /// Objects that shrank while they were mapped.
    pub truncated: u64,
}

struct Parsed {
    /// Kept open as long as blazesym knows their descriptors by number.
    _files: Files,
    sources: Vec<Candidate>,
    size_bytes: u64,
    used: u64,
    used_at: Instant,
}

struct Candidate {
    path: std::path::PathBuf,
    /// With debug information, for what was inlined; absent if it cannot be read.
    debug: Option<Source<'static>>,
    /// The symbol table alone, whose names are whole: debug information made with line tables only
    /// calls `crate::module::function` just `function`.
    table: Source<'static>,
    /// An unknown address is worth a look into the next candidate.
    goes_on: bool,
}

/// The only owner of a blazesym symbolizer; stays on one thread.
pub(super) struct Blaze {
    symbolizer: Symbolizer,
    parsed: HashMap<u64, Parsed>,
    parsed_max: usize,
    clock: u64,
    evictions: u64,
    /// Evictions when the symbolizer was made.
    made_at: u64,
    made: Instant,
    failures: Failures,
}

impl Blaze {
    /// Keeps at most `parsed_max` objects parsed.
    pub fn new(parsed_max: usize) -> Self {
        Self {
            symbolizer: new_symbolizer(),
            parsed: HashMap::new(),
            parsed_max: parsed_max.max(1),
            clock: 0,
            evictions: 0,
            made_at: 0,
            made: Instant::now(),
            failures: Failures::default(),
        }
    }

    /// The names at a virtual address of the object, innermost first and never empty.
    pub fn lookup(
        &mut self,
        object: &Object,
        files: impl FnOnce() -> Option<Files>,
        virtual_address: u64,
    ) -> Result<Vec<Name>, Reason> {
        if object.is_damaged() {
            return Err(Reason::FileUnreadable);
        }
        self.clock += 1;
        if !self.parsed.contains_key(&object.id) {
            let files = files().ok_or(Reason::FileUnreadable)?;
            self.make_room(object.size_bytes());
            self.parsed.insert(object.id, Parsed::new(files));
        }
        let Some(parsed) = self.parsed.get_mut(&object.id) else {
            return Err(Reason::FileUnreadable);
        };
        (parsed.used, parsed.used_at) = (self.clock, Instant::now());
        let repaired = fault::repaired_pages();
        let symbolizer = &self.symbolizer;
        let found = catch_unwind(AssertUnwindSafe(|| parsed.lookup(symbolizer, virtual_address)));
        let truncated = fault::repaired_pages() != repaired;
        if let (Ok(answer), false) = (found, truncated) {
            return answer;
        }
        object.mark_damaged();
        self.failures.truncated += u64::from(truncated);
        self.failures.panics += u64::from(!truncated);
        // Its caches may be half written, or made of pages that are gone: none is used again.
        self.start_over();
        Err(Reason::FileUnreadable)
    }

    /// Objects parsed now, and how many were evicted so far.
    pub fn count(&self) -> (usize, u64) {
        (self.parsed.len(), self.evictions)
    }

    /// What went wrong so far.
    pub fn failures(&self) -> Failures {
        self.failures
    }

    /// Lets go of what was not asked for so long. Returns whether there was anything.
    pub fn let_go(&mut self, idle: Duration) -> bool {
        let is_idle = |parsed: &Parsed| parsed.used_at.elapsed() >= idle;
        let parsed = self.parsed.iter();
        let old: Vec<u64> = parsed.filter(|(_, p)| is_idle(p)).map(|(id, _)| *id).collect();
        for id in &old {
            self.evict(*id);
        }
        !old.is_empty()
    }

    fn make_room(&mut self, size_bytes: u64) {
        let bytes =
            |parsed: &HashMap<u64, Parsed>| parsed.values().map(|p| p.size_bytes).sum::<u64>();
        while !self.parsed.is_empty()
            && (self.parsed.len() >= self.parsed_max
                || bytes(&self.parsed) + size_bytes > PARSED_BYTES_MAX)
        {
            let oldest = self.parsed.iter().min_by_key(|(_, p)| p.used).map(|(id, _)| *id);
            let Some(oldest) = oldest else { break };
            self.evict(oldest);
        }
    }

    fn evict(&mut self, id: u64) {
        let Some(parsed) = self.parsed.remove(&id) else { return };
        self.evictions += 1;
        let symbolizer = &mut self.symbolizer;
        let done = catch_unwind(AssertUnwindSafe(|| {
            parsed.sources.iter().all(|candidate| {
                symbolizer.evict(&evict::Elf::new(&*candidate.path).into()).is_ok()
            })
        }));
        if !matches!(done, Ok(true)) || self.evictions - self.made_at > self.parsed_max as u64 * 4 {
            self.start_over();
        }
    }

    /// How long ago it began with nothing parsed.
    pub fn age(&self) -> Duration {
        self.made.elapsed()
    }

    /// Begins with nothing parsed.
    pub fn start_over(&mut self) {
        self.evictions += self.parsed.len() as u64;
        (self.made_at, self.made) = (self.evictions, Instant::now());
        self.symbolizer = new_symbolizer();
        self.parsed.clear();
    }
}

impl Parsed {
    fn new(files: Files) -> Self {
        let mut sources = Vec::new();
        let mut add = |path: std::path::PathBuf, size_bytes, goes_on| {
            let source = |debug_syms| {
                let mut elf = Elf::new(&*path);
                elf.debug_syms = debug_syms;
                Source::Elf(elf)
            };
            let debug = (size_bytes <= DEBUG_FILE_BYTES_MAX).then(|| source(true));
            let table = source(false);
            sources.push(Candidate { path, debug, table, goes_on });
        };
        let mut total_bytes = 0;
        let debug = files.debug.iter().map(|file| (file, true));
        for (file, goes_on) in debug.chain([(&files.mapped, false)]) {
            // Asked again: it may have grown since it was opened.
            let size_bytes = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
            if size_bytes <= FILE_BYTES_MAX {
                total_bytes += size_bytes;
                add(open::fd_path(file), size_bytes, goes_on);
            }
        }
        Self { _files: files, sources, size_bytes: total_bytes, used: 0, used_at: Instant::now() }
    }

    fn lookup(&mut self, symbolizer: &Symbolizer, address: u64) -> Result<Vec<Name>, Reason> {
        let mut answer = Err(Reason::FileUnreadable);
        for candidate in &mut self.sources {
            match candidate.lookup(symbolizer, address) {
                Err(reason) if candidate.goes_on || reason == Reason::FileUnreadable => {
                    answer = Err(reason);
                }
                found => return found,
            }
        }
        answer
    }
}

impl Candidate {
    fn lookup(&mut self, symbolizer: &Symbolizer, address: u64) -> Result<Vec<Name>, Reason> {
        let input = Input::VirtOffset(address);
        let outer = symbolizer.symbolize_single(&self.table, input);
        let debug = self.debug.as_ref().map(|debug| symbolizer.symbolize_single(debug, input));
        if matches!(debug, Some(Err(_))) {
            // It will not be readable at the next address either.
            self.debug = None;
        }
        let debug = debug.and_then(Result::ok).and_then(Symbolized::into_sym);
        let (inlined, debug_name) = match debug {
            Some(sym) => (sym.inlined, Some(sym.name)),
            None => (Box::default(), None),
        };
        let name = match outer {
            // A symbol without a size is a label in assembly, and may lie inside a function.
            Ok(Symbolized::Sym(sym)) if sym.size.is_some() || debug_name.is_none() => {
                Some(sym.name)
            }
            Ok(Symbolized::Unknown(_)) if debug_name.is_none() => return Err(Reason::NoSymbols),
            Ok(_) | Err(_) => debug_name,
        };
        let name = name.ok_or(Reason::FileUnreadable)?.into_owned();
        let inlined = inlined.iter().rev();
        let mut names: Vec<Name> =
            inlined.map(|f| Name { text: f.name.to_string(), inlined: true }).collect();
        names.push(Name { text: name, inlined: false });
        Ok(names)
    }
}

fn new_symbolizer() -> Symbolizer {
    // No reloading: a path of ours is an open file, and that never becomes another one.
    Builder::default().enable_auto_reload(false).enable_code_info(true).build()
}
