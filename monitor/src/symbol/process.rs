//! What a process had mapped when it was looked at, kept beyond its death.
//!
//! A snapshot belongs to one program run by one process: an identity made of the start time and
//! the random addresses of the image tells it from the next one with the same number or after exec.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::frame::{Program, Reason};
use super::jit::{JitNames, Room};
use super::maps::{self, MapsLine};
use super::object::{Object, Objects, Place};
use super::python::Interpreter;
use super::vdso::{self, Vdso};
use crate::kernel::ids::Tgid;

/// Snapshots kept. A process with 60 executable mappings takes about 8 kB.
const PROCESSES_MAX: usize = 8192;
/// How long the snapshot of an exited process is kept for samples that still wait.
const KEEP_EXITED: Duration = Duration::from_secs(60);
/// How often a living process is asked whether it is still the same, or has mapped more.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The same for one whose unmapped addresses turned out to be garbage: programs without frame
/// pointers give such addresses all the time.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(64);

/// Snapshots of a number that are kept beside the latest, if it does not stop running new programs.
const OLDER_MAX: usize = 1024;

/// What an address in a mapping means.
#[derive(Clone)]
pub(super) enum Target {
    /// Code of a file.
    Object(Arc<Object>),
    /// Memory without a file.
    Anonymous,
    /// Something of the kernel's without symbols, such as `[vsyscall]`.
    Special,
    /// A file that could not be opened.
    Unreadable,
}

/// One executable mapping.
pub(super) struct Mapping {
    range: (u64, u64),
    file_offset_bytes: u64,
    /// Where its file can be opened again.
    pub place: Place,
    /// What lies there.
    pub target: Target,
}

impl Mapping {
    /// Its first address and its length in bytes.
    pub fn extent(&self) -> (u64, u64) {
        (self.range.0, self.range.1 - self.range.0)
    }

    /// The offset in the file of an address in the mapping.
    pub fn file_offset_bytes(&self, address: u64) -> u64 {
        (address - self.range.0).wrapping_add(self.file_offset_bytes)
    }
}

/// The executable mappings of a process at one moment.
pub(super) struct Snapshot {
    identity: Identity,
    taken: Instant,
    mappings: Vec<Mapping>,
    /// Present if there is executable memory without a file.
    pub jit: Option<Arc<Mutex<JitNames>>>,
    /// The interpreter that the program is, and how far it was moved.
    interpreter: Option<(Arc<Interpreter>, u64)>,
}

impl Snapshot {
    /// The mapping that holds the address.
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let index = self.mappings.partition_point(|m| m.range.0 <= address).checked_sub(1)?;
        self.mappings.get(index).filter(|mapping| address < mapping.range.1)
    }

    fn is_same(&self, other: &Self) -> bool {
        let places = |s: &Self| s.mappings.iter().map(|m| (m.range, m.place.inode)).collect();
        let (mine, theirs): (Vec<_>, Vec<_>) = (places(self), places(other));
        self.identity == other.identity && mine == theirs
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    start_time: u64,
    code_start: u64,
    stack_start: u64,
}

/// What is known about one process.
#[derive(Clone)]
pub(super) struct View {
    /// The latest snapshot.
    current: Arc<Snapshot>,
    /// Those before, the latest last: of the same program one, because samples may be older than the
    /// latest snapshot, and of each program that had the number before it.
    older: Vec<Arc<Snapshot>>,
    taken: Instant,
    /// How long to wait before looking for mappings that are missing.
    patience: Duration,
    checked: Instant,
    exited: Option<Instant>,
    used: Instant,
    /// Which recording it was looked at in, or after which.
    recording: u64,
}

impl View {
    /// Whether all of these lie in what the process of that program had mapped. Callers' addresses may be at the end of it.
    fn holds(&self, program: Program, mut addresses: impl Iterator<Item = u64>) -> bool {
        let Some(latest) = self.snapshots(program).next() else { return false };
        addresses.all(|at| latest.find(at).or_else(|| latest.find(at.saturating_sub(1))).is_some())
    }

    /// The snapshots of a program, the latest first.
    pub fn snapshots(&self, program: Program) -> impl Iterator<Item = &Arc<Snapshot>> {
        let all = std::iter::once(&self.current).chain(self.older.iter().rev());
        // Of a program that cannot be told the one before the latest may be meant, but not those long gone.
        let most = if program == Program::LATEST { 2 } else { usize::MAX };
        let is_of = move |s: &&Arc<Snapshot>| {
            // 0 is what those read who may not see it.
            program == Program::LATEST || [program.0, 0].contains(&s.identity.stack_start)
        };
        all.filter(is_of).take(most)
    }

    /// The snapshots when another one is the latest.
    fn older_with_current(
        mut self,
        is_same_program: impl Fn(&Snapshot) -> bool,
    ) -> Vec<Arc<Snapshot>> {
        if is_same_program(&self.current) {
            self.older.retain(|snapshot| !is_same_program(snapshot));
        }
        let now = Instant::now();
        self.older.retain(|snapshot| now - snapshot.taken < KEEP_EXITED);
        self.older.push(self.current);
        let excess = self.older.len().saturating_sub(OLDER_MAX);
        self.older.drain(..excess);
        self.older
    }
}

/// All processes.
pub(super) struct Processes {
    table: Mutex<Table>,
    vdso: Option<Vdso>,
    jit_room: Room,
}

#[derive(Default)]
struct Table {
    known: HashMap<Tgid, View>,
    pending: HashSet<Tgid>,
    swept: Option<Instant>,
    evicted: u64,
    /// Recordings that have begun.
    recordings: u64,
    /// Looks that samples outside of all that was known gave rise to.
    renewed: u64,
}

impl Processes {
    pub fn new(objects: &Objects) -> Self {
        Self { table: Mutex::default(), vdso: Vdso::load(objects), jit_room: Room::default() }
    }

    /// Notes that a recording begins: what was known before may be old.
    pub fn begin(&self) {
        self.table().recordings += 1;
    }

    /// Whether the process has to be looked at; true only once until [`Self::look`] was called. It has to at the first sample of
    /// each recording, since it may end before its names are wanted.
    pub fn wants_look(&self, tgid: Tgid) -> bool {
        let mut table = self.table();
        let Table { known, recordings, .. } = &*table;
        let is_known = known
            .get(&tgid)
            .is_some_and(|view| view.exited.is_none() && view.recording == *recordings);
        !is_known && table.pending.insert(tgid)
    }

    /// Whether the process has to be looked at for a sample with these addresses: it runs code that it did not have when it was looked at,
    /// and that is not a moment ago.
    pub fn wants_look_for(
        &self,
        tgid: Tgid,
        program: Program,
        addresses: impl Iterator<Item = u64>,
    ) -> bool {
        let mut table = self.table();
        let is_old = |view: &&View| view.exited.is_none() && view.taken.elapsed() > view.patience;
        let Some(view) = table.known.get(&tgid).filter(is_old) else { return false };
        let is_wanted = !view.holds(program, addresses) && table.pending.insert(tgid);
        table.renewed += u64::from(is_wanted);
        is_wanted
    }

    /// Whether a look at the process has to be put on the list: it is not on it yet.
    pub fn wants_another_look(&self, tgid: Tgid) -> bool {
        self.table().pending.insert(tgid)
    }

    /// Lets a child have the view of its parent; whether it has one now.
    pub fn inherit(&self, child: Tgid, parent: Tgid) -> bool {
        let mut table = self.table();
        let now = Instant::now();
        // News of a birth come late: somebody may have looked at the child itself already.
        if table.known.get(&child).is_some_and(|view| view.exited.is_none()) {
            return true;
        }
        let of_parent = table.known.get(&parent).filter(|view| view.exited.is_none()).cloned();
        let Some(view) = of_parent else { return false };
        // What is known under the child's number is of others, which ended before it began.
        let older = table.known.remove(&child).map(|view| view.older_with_current(|_| false));
        let older = older.unwrap_or_default();
        table.known.insert(child, View { older, checked: now, exited: None, used: now, ..view });
        table.sweep();
        true
    }

    /// Takes back what [`Self::wants_look`] promised.
    pub fn give_up(&self, tgid: Tgid) {
        self.table().pending.remove(&tgid);
    }

    /// Notes that the process has exited.
    pub fn exited(&self, tgid: Tgid) {
        let mut table = self.table();
        if let Some(view) = table.known.get_mut(&tgid) {
            view.exited.get_or_insert_with(Instant::now);
        }
        table.sweep();
    }

    /// Takes a snapshot now.
    pub fn look(&self, tgid: Tgid, objects: &Objects) -> Result<View, Reason> {
        let known = self.table().known.get(&tgid).cloned();
        let taken = self.take(tgid, objects, known.as_ref().map(|view| &*view.current));
        let mut table = self.table();
        table.pending.remove(&tgid);
        let now = Instant::now();
        let recording = table.recordings;
        let Ok(snapshot) = taken else {
            if let Some(view) = table.known.get_mut(&tgid) {
                view.exited.get_or_insert(now);
            }
            return Err(Reason::ProcessGone);
        };
        let (older, patience) = match known {
            Some(view) if view.current.is_same(&snapshot) => {
                (view.older, (view.patience * 2).min(LOOK_INTERVAL_MAX))
            }
            Some(view) => {
                let is_same_program = |other: &Snapshot| other.identity == snapshot.identity;
                (view.older_with_current(is_same_program), LOOK_INTERVAL)
            }
            None => (Vec::new(), LOOK_INTERVAL),
        };
        let view = View {
            current: Arc::new(snapshot),
            older,
            taken: now,
            patience,
            checked: now,
            exited: None,
            used: now,
            recording,
        };
        table.known.insert(tgid, view.clone());
        table.sweep();
        Ok(view)
    }

    /// What is known about the process while it ran a program.
    pub fn view(&self, tgid: Tgid, program: Program, objects: &Objects) -> Result<View, Reason> {
        let has_it = |view: &View| view.snapshots(program).next().is_some();
        let view = self.checked(tgid, objects)?;
        if has_it(&view) {
            return Ok(view);
        }
        // It may run it only since a moment ago.
        let newer = if view.exited.is_none() { self.look(tgid, objects)? } else { view };
        if has_it(&newer) { Ok(newer) } else { Err(Reason::ProcessGone) }
    }

    /// The interpreter that a program of the process is known to be, and how far it was moved.
    pub fn interpreter(
        &self,
        tgid: Tgid,
        program: Program,
        objects: &Objects,
    ) -> Option<(Arc<Interpreter>, u64)> {
        let of = |view: View| view.snapshots(program).find_map(|s| s.interpreter.clone());
        let known = self.view(tgid, program, objects).ok().and_then(of);
        // It may have been mapped since.
        known.or_else(|| self.look(tgid, objects).ok().and_then(of))
    }

    /// What is known about the process, after making sure that it is still the same.
    fn checked(&self, tgid: Tgid, objects: &Objects) -> Result<View, Reason> {
        let now = Instant::now();
        let view = {
            let mut table = self.table();
            table.known.get_mut(&tgid).map(|view| {
                view.used = now;
                if now - view.taken > KEEP_EXITED {
                    view.older.clear();
                }
                let due = view.exited.is_none() && now - view.checked > LOOK_INTERVAL;
                if due {
                    view.checked = now;
                }
                (view.clone(), due)
            })
        };
        match view {
            None => self.look(tgid, objects),
            Some((view, false)) => Ok(view),
            Some((view, true)) => match identity(tgid.0) {
                Some((found, _)) if found == view.current.identity => Ok(view),
                Some(_) => Ok(self.look(tgid, objects).unwrap_or(view)),
                None => {
                    self.exited(tgid);
                    Ok(view)
                }
            },
        }
    }

    /// A newer view for an address that `view` does not hold, if it is time to look again.
    pub fn newer(&self, tgid: Tgid, view: &View, objects: &Objects) -> Option<View> {
        (view.exited.is_none() && view.taken.elapsed() > view.patience)
            .then(|| self.look(tgid, objects).ok())?
    }

    /// Processes known, how many were evicted so far, and how many looks were for code that was not known.
    pub fn count(&self) -> (usize, u64, u64) {
        let table = self.table();
        (table.known.len(), table.evicted, table.renewed)
    }

    fn take(
        &self,
        tgid: Tgid,
        objects: &Objects,
        before: Option<&Snapshot>,
    ) -> Result<Snapshot, Reason> {
        let mut proc_id = tgid.0;
        let (identity, zombie) = identity(proc_id).ok_or(Reason::ProcessGone)?;
        let mut lines = read_maps(proc_id)?;
        if zombie && lines.is_empty() {
            // The first thread ended; the others still have the memory.
            (proc_id, lines) = other_thread(tgid).ok_or(Reason::ProcessGone)?;
        }
        let mappings: Vec<Mapping> =
            lines.into_iter().map(|line| self.mapping(proc_id, line, objects)).collect();
        let has_anonymous = mappings.iter().any(|m| matches!(m.target, Target::Anonymous));
        let kept = before.filter(|before| before.identity == identity);
        let jit = kept.and_then(|before| before.jit.clone()).or_else(|| {
            let pid = has_anonymous.then(|| namespace_pid(proc_id))??;
            let names = JitNames::new(proc_id, pid, self.jit_room.clone());
            Some(Arc::new(Mutex::new(names)))
        });
        if let Some(jit) = &jit {
            let mut names = jit.lock().unwrap_or_else(PoisonError::into_inner);
            names.look_again();
            let dumps = mappings.iter().filter(|mapping| is_jit_dump(&mapping.place.path));
            dumps.for_each(|dump| names.add_dump(&dump.place));
        }
        let interpreter = mappings.iter().find_map(|mapping| {
            let Target::Object(object) = &mapping.target else { return None };
            let found = objects.interpreter(object, &mapping.place)?;
            let bias = found.bias(mapping.range.0, mapping.file_offset_bytes)?;
            Some((found, bias))
        });
        Ok(Snapshot { identity, taken: Instant::now(), mappings, jit, interpreter })
    }

    fn mapping(&self, proc_id: u32, line: MapsLine, objects: &Objects) -> Mapping {
        let MapsLine { start, end, file_offset_bytes, inode, path } = line;
        let place = Place { proc_id, range: (start, end), inode, path: path.into() };
        let target = if inode == 0 {
            match &*place.path {
                vdso::NAME => match self.vdso.as_ref().and_then(|v| v.object(end - start)) {
                    Some(object) => Target::Object(object),
                    None => Target::Special,
                },
                "" | "[heap]" | "[stack]" => Target::Anonymous,
                // Memory that the process gave a name to.
                named if named.starts_with("[anon") => Target::Anonymous,
                _ => Target::Special,
            }
        } else {
            match objects.find(&place) {
                Ok(Some(object)) => Target::Object(object),
                // Shared memory without a file of its own, where some runtimes put their code.
                Ok(None) if is_memory(&place.path) => Target::Anonymous,
                Ok(None) | Err(_) => Target::Unreadable,
            }
        };
        Mapping { range: (start, end), file_offset_bytes, place, target }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn sweep(&mut self) {
        let now = Instant::now();
        let crowded = self.known.len() > PROCESSES_MAX;
        if !crowded && self.swept.is_some_and(|at| now - at < LOOK_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        let before = self.known.len();
        self.known
            .retain(|_, view| view.exited.is_none_or(|at| now - at.max(view.used) < KEEP_EXITED));
        if self.known.len() > PROCESSES_MAX {
            // An eighth at once, so that a crowded host does not sort at every new process.
            let mut by_use: Vec<_> = self.known.iter().map(|(id, view)| (view.used, *id)).collect();
            by_use.sort();
            for (_, tgid) in &by_use[..PROCESSES_MAX / 8] {
                self.known.remove(tgid);
            }
        }
        self.evicted += (before - self.known.len()) as u64;
    }
}

fn is_memory(path: &str) -> bool {
    ["/memfd:", "/dev/zero", "/dev/shm/", "/SYSV"].iter().any(|start| path.starts_with(start))
}

/// Run-time compilers map a page of their jitdump as code, for a profiler to find it: `jit-PID.dump`.
fn is_jit_dump(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.strip_prefix("jit-").and_then(|rest| rest.strip_suffix(".dump")).is_some()
}

fn read_maps(proc_id: u32) -> Result<Vec<MapsLine>, Reason> {
    maps::of_process(proc_id).map_err(|_| Reason::ProcessGone)
}

fn other_thread(tgid: Tgid) -> Option<(u32, Vec<MapsLine>)> {
    std::fs::read_dir(format!("/proc/{tgid}/task")).ok()?.flatten().find_map(|task| {
        let tid: u32 = task.file_name().to_str()?.parse().ok()?;
        let lines = read_maps(tid).ok()?;
        (!lines.is_empty()).then_some((tid, lines))
    })
}

/// The identity of the running program, and whether the first thread is a zombie.
fn identity(proc_id: u32) -> Option<(Identity, bool)> {
    let stat = std::fs::read(format!("/proc/{proc_id}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses too.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let text = std::str::from_utf8(&stat[after_name..]).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse().ok();
    let identity =
        Identity { start_time: number(19)?, code_start: number(23)?, stack_start: number(25)? };
    Some((identity, matches!(fields.first(), Some(&("Z" | "X")))))
}

/// The number by which the process knows itself: the last of `NSpid`.
fn namespace_pid(proc_id: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{proc_id}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}
