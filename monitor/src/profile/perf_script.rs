//! The text `perf script` prints, read.
//!
//! ```text
//! nginx  4242/4243 [001]  123.456789:   10101010 cpu-clock:pppH:
//!         ffffffff81000000 do_syscall_64+0x5b ([kernel.kallsyms])
//!             55d0c0ffee00 ngx_worker+0x1a (/usr/sbin/nginx)
//! ```
//!
//! Contract: one sample is one event, whatever its period, as in stackcollapse-perf. Samples of the first
//! event that is seen count; those of other events are told apart in `skipped`, since a sum of cycles and
//! page faults means nothing. Any text gives samples or an error with its line, and never a panic.

use std::path::Path;

use thiserror::Error;

use super::label::{Label, LabelKind};
use crate::symbol::{Frame, Reason};

/// How much of a line an error shows.
const SHOWN_CHARS: usize = 60;

/// Why text is not what `perf script` prints.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PerfScriptError {
    /// A line outside a stack that begins no event.
    #[error(
        "line {line} begins no event: perf script prints `COMM PID [CPU] TIME: EVENT:`, this is {text:?}"
    )]
    NoEvent {
        /// Counted from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// A line inside a stack that is no frame.
    #[error(
        "line {line} is no frame: perf script prints `ADDRESS SYMBOL (FILE)`, this is {text:?}; print it \
         with no other fields than comm,pid,tid,cpu,time,event,ip,sym,dso"
    )]
    NoFrame {
        /// Counted from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PerfScript {
    /// The stacks, root first, the thread's name before it; one for each sample.
    pub stacks: Vec<Vec<Label>>,
    /// The event of the samples; empty if the text names none.
    pub event: String,
    /// Samples of other events, which were left out.
    pub skipped: u64,
}

/// Reads text.
pub fn read(text: &str) -> Result<PerfScript, PerfScriptError> {
    let mut done = PerfScript::default();
    let mut open: Option<Sample> = None;
    let mut is_first = true;
    for (place, line) in text.lines().enumerate() {
        let number = place + 1;
        if line.trim().is_empty() {
            done.close(open.take(), &mut is_first);
            continue;
        }
        if line.starts_with('#') && open.is_none() {
            continue;
        }
        let is_indented = line.starts_with([' ', '\t']);
        let within = open.as_mut().filter(|_| is_indented && !has_time(line));
        if let Some(sample) = within {
            match frame(line) {
                Some(label) => sample.frames.push(label),
                None if !sample.frames.is_empty() && is_source_line(line) => {}
                None => {
                    return Err(PerfScriptError::NoFrame { line: number, text: shown(line) });
                }
            }
            continue;
        }
        done.close(open.take(), &mut is_first);
        let begun = header(line)
            .ok_or_else(|| PerfScriptError::NoEvent { line: number, text: shown(line) })?;
        open = Some(begun);
    }
    done.close(open, &mut is_first);
    Ok(done)
}

impl PerfScript {
    fn close(&mut self, sample: Option<Sample>, is_first: &mut bool) {
        let Some(mut sample) = sample else { return };
        if std::mem::take(is_first) {
            self.event = sample.event;
        } else if sample.event != self.event {
            self.skipped += 1;
            return;
        }
        sample.frames.push(Label::thread(&sample.comm.as_str().into()));
        sample.frames.reverse();
        self.stacks.push(sample.frames);
    }
}

/// A sample that is being read; frames leaf first.
struct Sample {
    comm: String,
    event: String,
    frames: Vec<Label>,
}

/// The line that begins a sample. Names of threads may hold spaces and numbers, so the process is the
/// last number before the CPU or the time.
fn header(line: &str) -> Option<Sample> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let follows = words.iter().position(|word| is_cpu(word) || is_time(word));
    let ids = match follows {
        Some(at) => (1..at).rev().find(|at| is_ids(words[*at]))?,
        None => (1..words.len()).find(|at| is_ids(words[*at]))?,
    };
    // The name as it stands, with its spaces.
    let comm_end = words[ids].as_ptr() as usize - line.as_ptr() as usize;
    let comm = line[..comm_end].trim().to_owned();
    let rest = &words[ids + 1..];
    let rest = rest.strip_prefix_while(|word| is_cpu(word) || is_time(word));
    let rest = rest.strip_prefix_while(is_number);
    let (event, rest) = match rest.split_first() {
        Some((event, rest)) if event.ends_with(':') => {
            (event.trim_end_matches(':').to_owned(), rest)
        }
        _ => (String::new(), rest),
    };
    // Without call chains the only frame stands on the same line.
    let frames = rest.first().and_then(|first| {
        let at = first.as_ptr() as usize - line.as_ptr() as usize;
        frame(&line[at..])
    });
    Some(Sample { comm, event, frames: frames.into_iter().collect() })
}

trait StripWhile {
    fn strip_prefix_while(&self, is_in: impl Fn(&str) -> bool) -> &Self;
}

impl StripWhile for [&str] {
    fn strip_prefix_while(&self, is_in: impl Fn(&str) -> bool) -> &Self {
        let count = self.iter().take_while(|word| is_in(word)).count();
        &self[count..]
    }
}

/// `ADDRESS SYMBOL+OFFSET (FILE)`, the file or the offset missing at times.
fn frame(line: &str) -> Option<Label> {
    let line = line.trim();
    let (address, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let digits = address.strip_prefix("0x").unwrap_or(address);
    let address = u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
    let rest = rest.trim();
    let (symbol, module) = match file_of(rest) {
        Some((symbol, file)) => (symbol.trim_end(), Some(file)),
        None => (rest, None),
    };
    let name = without_offset(symbol);
    let is_inlined = module == Some("inlined");
    let module = module.filter(|file| !is_inlined && *file != "[unknown]");
    let is_kernel = address >= 1 << 63;
    if name.is_empty() || name == "[unknown]" {
        let reason = match module {
            _ if is_kernel => Reason::KernelHidden,
            Some(file) if is_anonymous(file) => Reason::AnonymousMemory,
            Some(_) => Reason::NoSymbols,
            None => Reason::Unmapped,
        };
        let module = module.filter(|file| !is_kernel && !is_anonymous(file)).map(Into::into);
        return Some(Label::from(&Frame::Unresolved { reason, address, module }));
    }
    let kind = if is_kernel {
        LabelKind::Kernel
    } else if is_inlined {
        LabelKind::Inlined
    } else if module.is_some_and(is_perf_map) {
        LabelKind::Jit
    } else {
        LabelKind::User
    };
    let module = module.filter(|_| kind == LabelKind::User).map(Into::into);
    Some(Label { name: name.into(), kind, module })
}

/// What stands before the file, and the file. Both may hold parentheses: the file begins where an offset
/// or `[unknown]` ends, else at the last parenthesis that is not that of `(deleted)`.
fn file_of(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_suffix(')')?;
    let is_offset = |at: usize| {
        let digits = inner[..at].rsplit_once("+0x").map(|(_, digits)| digits);
        inner[..at] == *"[unknown]"
            || digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if let Some((at, _)) = inner.match_indices(" (").find(|(at, _)| is_offset(*at)) {
        return Some((&inner[..at], &inner[at + 2..]));
    }
    let search = inner.strip_suffix(" (deleted)").unwrap_or(inner);
    let at = search.rfind('(')?;
    // A symbol may end in parentheses, a file follows a space.
    let is_apart = at == 0 || text[..at].ends_with(' ');
    is_apart.then(|| (&text[..at], &inner[at + 1..]))
}

fn without_offset(symbol: &str) -> &str {
    match symbol.rsplit_once("+0x") {
        Some((name, offset)) if offset.bytes().all(|b| b.is_ascii_hexdigit()) => name,
        _ => symbol,
    }
}

fn is_anonymous(file: &str) -> bool {
    file == "//anon" || file.starts_with("[anon") || file.starts_with("[heap") || is_perf_map(file)
}

fn is_perf_map(file: &str) -> bool {
    let name = Path::new(file).file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with("perf-") && name.ends_with(".map"))
        || file.ends_with("[jit]")
}

/// `file.c:12`, which perf prints below a frame on demand, or `file[ADDRESS]` where it knows no more.
fn is_source_line(line: &str) -> bool {
    let line = line.trim();
    let is_hex = |text: &str| u64::from_str_radix(text, 16).is_ok();
    let place = line.strip_suffix(']').and_then(|line| line.rsplit_once('['));
    line.rsplit_once(':').is_some_and(|(file, line)| !file.is_empty() && is_number(line))
        || place.is_some_and(|(file, at)| !file.is_empty() && is_hex(at))
}

fn has_time(line: &str) -> bool {
    line.split_whitespace().any(is_time)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// `PID`, `PID/TID`, or -1 for what perf no longer knew.
fn is_ids(word: &str) -> bool {
    let id = |id: &str| is_number(id) || id == "-1";
    word.split_once('/').map_or_else(|| id(word), |(pid, tid)| id(pid) && id(tid))
}

fn is_cpu(word: &str) -> bool {
    word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).is_some_and(is_number)
}

fn is_time(word: &str) -> bool {
    let parts = word.strip_suffix(':').and_then(|word| word.split_once('.'));
    parts.is_some_and(|(seconds, part)| is_number(seconds) && is_number(part))
}

fn shown(line: &str) -> String {
    line.trim().chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
#[path = "perf_script_tests.rs"]
pub mod tests;
