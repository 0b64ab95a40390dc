//! The vocabulary of this stage: a stack as the kernel sends it, and a frame as people read it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use monitor_common::{
    python::{code_of, is_python},
    unwind::WalkEnd,
};

use crate::kernel::ids::Tgid;

/// The module of a frame whose name comes from a perf map, a jitdump or an interpreter.
pub const JIT_MODULE: &str = "[jit]";

/// One sampled stack, as addresses. Both halves are innermost first, as the kernel's helpers give them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawStack {
    /// Which of the programs that the process ran.
    pub program: Program,
    /// The process in whose address space `user` lies.
    pub tgid: Tgid,
    /// Kernel addresses; empty if the sample was taken in user mode.
    pub kernel: Vec<u64>,
    /// User addresses; empty for kernel threads. Behind that of an interpreter's own function are the functions that it evaluates, see
    /// [`monitor_common::python`].
    pub user: Vec<u64>,
    /// How the walk of the user addresses ended.
    pub end: WalkEnd,
}

impl RawStack {
    /// Words of the user stack that have frames, with their depth: functions of Python are in the place of what evaluates them.
    pub(super) fn shown(&self) -> impl DoubleEndedIterator<Item = (usize, Word)> {
        let of = |depth: usize| self.user.get(depth).map(|word| Word::of(*word));
        let is_evaluated = move |depth| matches!(of(depth), Some(Word::Function(_)));
        let all = self.user.iter().map(|word| Word::of(*word)).enumerate();
        all.filter(move |(depth, word)| {
            matches!(word, Word::Function(_)) || !is_evaluated(depth + 1)
        })
    }
}

/// What a word of a user stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// An address of code.
    Address(u64),
    /// A function of Python, as [`monitor_common::python`] writes it.
    Function(u64),
}

impl Word {
    pub fn of(word: u64) -> Self {
        if is_python(word) { Self::Function(word) } else { Self::Address(word) }
    }

    pub fn address(self) -> Option<u64> {
        if let Self::Address(at) = self { Some(at) } else { None }
    }

    pub fn function(self) -> Option<u64> {
        if let Self::Function(word) = self { Some(word) } else { None }
    }

    /// Where it lies in the memory of the process.
    pub fn place(self) -> u64 {
        match self {
            Self::Address(at) => at,
            Self::Function(word) => code_of(word),
        }
    }
}

/// Tells the programs apart that one process number has run, by where the stack of each began: it is random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Program(pub u64);

impl Program {
    /// Not known which: the latest that was seen.
    pub const LATEST: Self = Self(0);
}

/// One function of a stack. Cheap to clone: names are shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// A function of the kernel, one of its modules or a BPF program.
    Kernel {
        /// The symbol in `/proc/kallsyms`.
        name: Arc<str>,
    },
    /// A function of a process.
    User {
        /// The demangled symbol.
        name: Arc<str>,
        /// The file it lies in, as the process names it; [`JIT_MODULE`] for code made at run time.
        module: Option<Arc<str>>,
    },
    /// A function the compiler inlined into the frame that is next towards the root.
    Inlined {
        /// The demangled name in the debug information.
        name: Arc<str>,
        /// The file it lies in, as the process names it.
        module: Option<Arc<str>>,
    },
    /// Callers that the walk did not reach: stands where they would.
    Missing {
        /// Why it ended.
        end: WalkEnd,
    },
    /// An address without a name.
    Unresolved {
        /// Why there is no name.
        reason: Reason,
        /// The address as it was sampled.
        address: u64,
        /// The file it lies in, where that much is known.
        module: Option<Arc<str>>,
    },
}

/// Why an address has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The process ended before its memory map was read.
    ProcessGone,
    /// No executable mapping holds the address.
    Unmapped,
    /// The file holds no symbol for the address: it is stripped.
    NoSymbols,
    /// Code made at run time, and neither a perf map nor a jitdump names it.
    AnonymousMemory,
    /// The mapped file could not be opened or is not a sound ELF.
    FileUnreadable,
    /// The kernel shows its addresses to nobody or not to us.
    KernelHidden,
    /// There was more to resolve than time or room for it.
    SymbolizerBehind,
    /// A function of Python that was gone when its name was read.
    FunctionGone,
}

impl Reason {
    /// All reasons, in the order they are declared.
    pub const ALL: [Self; 8] = [
        Self::ProcessGone,
        Self::Unmapped,
        Self::NoSymbols,
        Self::AnonymousMemory,
        Self::FileUnreadable,
        Self::KernelHidden,
        Self::SymbolizerBehind,
        Self::FunctionGone,
    ];

    /// A few words that fit into a frame of a flame graph.
    pub fn label(self) -> &'static str {
        match self {
            Self::ProcessGone => "process gone",
            Self::Unmapped => "unmapped",
            Self::NoSymbols => "no symbols",
            Self::AnonymousMemory => "anonymous memory",
            Self::FileUnreadable => "file unreadable",
            Self::KernelHidden => "kernel hidden",
            Self::SymbolizerBehind => "symbolizer behind",
            Self::FunctionGone => "Python function gone",
        }
    }

    /// A sentence with the remedy, where there is one.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::ProcessGone => "The process ended before its memory map could be read.",
            Self::Unmapped => {
                "No executable mapping holds this address: the stack walk went astray, often for \
                 want of frame pointers."
            }
            Self::NoSymbols => {
                "The file is stripped: install its debug symbols, or keep the symbol table."
            }
            Self::AnonymousMemory => {
                "Code made at run time without a perf map or a jitdump: start the runtime with one \
                 (node --perf-basic-prof, java -XX:+DumpPerfMapAtExit, PYTHONPERFSUPPORT=1)."
            }
            Self::FileUnreadable => "The mapped file could not be opened, or is not a sound ELF.",
            Self::KernelHidden => {
                "The kernel hides its addresses: set kernel.kptr_restrict to 0 or 1 and run with \
                 CAP_SYSLOG."
            }
            Self::SymbolizerBehind => {
                "The symbolizer had more to do than time for it; names follow in a later profile."
            }
            Self::FunctionGone => {
                "A function of Python could not be read, or was gone when its name was: the process ended, or let go of it at once."
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
