//! The names of functions of Python that were met in stacks, kept beyond their process.
//!
//! Contract: bounded. A function is looked up once, soon after it was first met; what could not be read then has no name later.

use std::collections::HashSet;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::code;
use super::file::Interpreter;
use crate::kernel::ids::Tgid;
use crate::symbol::cache::{Generations, Names};
use crate::symbol::frame::Program;

/// Functions whose names are kept, some 100 bytes each beside the names themselves.
const FUNCTIONS_MAX: usize = 1 << 17;
/// Processes and functions that wait to be looked at.
const WANTED_MAX: usize = 1 << 14;

/// What became of the look at a function.
pub(in crate::symbol) type Found = Option<Arc<str>>;

type Key = (Tgid, Program, u64);

/// The functions of all processes.
pub(in crate::symbol) struct PythonNames {
    table: Mutex<Table>,
    named: AtomicU64,
    unnamed: AtomicU64,
}

struct Table {
    known: Generations<Key, Found>,
    names: Names,
    wanted: HashSet<Key>,
}

impl PythonNames {
    pub fn new() -> Self {
        let table = Table {
            known: Generations::new(FUNCTIONS_MAX),
            names: Names::new(),
            wanted: HashSet::new(),
        };
        Self { table: Mutex::new(table), named: AtomicU64::new(0), unnamed: AtomicU64::new(0) }
    }

    /// Notes the functions of a stack; whether there are some to be looked up.
    pub fn want(&self, tgid: Tgid, program: Program, words: impl Iterator<Item = u64>) -> bool {
        let mut table = self.table();
        let mut is_new = false;
        for word in words {
            let key = (tgid, program, word);
            if table.known.get(&key).is_none() && table.wanted.len() < WANTED_MAX {
                is_new |= table.wanted.insert(key);
            }
        }
        is_new
    }

    /// Looks up what is wanted of a process. `interpreter` tells which interpreter a program of it is, and how far it was moved.
    pub fn look(
        &self,
        tgid: Tgid,
        interpreter: impl Fn(Program) -> Option<(Arc<Interpreter>, u64)>,
    ) {
        let wanted: Vec<Key> = {
            let mut table = self.table();
            table.wanted.extract_if(|(of, ..)| *of == tgid).collect()
        };
        let memory = File::open(format!("/proc/{tgid}/mem")).ok();
        let mut program = None;
        for key in wanted {
            let (_, of, word) = key;
            // Asked once for each of the programs, of which there is one but for the moment after an exec.
            let found = match &program {
                Some((known, found)) if *known == of => found,
                _ => &program.insert((of, interpreter(of))).1,
            };
            let name = found.as_ref().zip(memory.as_ref()).and_then(|((found, bias), memory)| {
                code::name(memory, &found.version, found.code_type(*bias), word)
            });
            self.insert(key, name);
        }
    }

    fn insert(&self, key: Key, name: Found) {
        let counter = if name.is_some() { &self.named } else { &self.unnamed };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table();
        let name = name.map(|name| table.names.intern(&name));
        table.known.insert(key, name);
    }

    /// The name of a function; `None` if it has none.
    pub fn get(&self, tgid: Tgid, program: Program, word: u64) -> Found {
        self.table().known.get(&(tgid, program, word)).flatten()
    }

    /// Functions that were looked up: those that were named, and those that were gone or made no sense.
    pub fn counts(&self) -> (u64, u64) {
        (self.named.load(Ordering::Relaxed), self.unnamed.load(Ordering::Relaxed))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
