//! One ELF file, shared by all processes that map it, and the table of all of them.
//!
//! A file is opened once, when it is first seen, and the open file is what gets symbolized: the name
//! may be deleted, the mount namespace gone and the process dead by then. The number of open files is
//! bounded: the least recently used are closed, and opened again while a process still maps them. A file
//! that no process of the last minutes maps is forgotten: one that is deleted takes its disk's space till then.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::elf::Shape;
use super::open::{self, FileKey};
use super::python::{Interpreter, may_be_interpreter};

/// Files remembered, open or not, about 300 bytes each.
const OBJECTS_MAX: usize = 8192;
/// Where distributions put separate debug files.
const DEBUG_DIRECTORY: &str = "/usr/lib/debug/.build-id";

/// Where a mapped file can be opened.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The directory in `/proc` of a task that maps it.
    pub proc_id: u32,
    /// The mapping, first address and first address after it.
    pub range: (u64, u64),
    /// The inode the kernel shows for the mapping.
    pub inode: u64,
    /// The path in `/proc/PID/maps`.
    pub path: Arc<str>,
}

impl Place {
    fn map_files(&self) -> PathBuf {
        let Self { proc_id, range: (start, end), .. } = self;
        PathBuf::from(format!("/proc/{proc_id}/map_files/{start:x}-{end:x}"))
    }

    /// The key of the file, without opening it; `None` where only its path may be looked at.
    pub fn key(&self) -> Option<FileKey> {
        FileKey::of(&std::fs::metadata(self.map_files()).ok()?).ok()
    }

    /// Opens the mapped file itself.
    ///
    /// # Errors
    /// When it has been replaced, or its process is gone.
    pub fn open(&self) -> io::Result<(File, FileKey)> {
        // The link in map_files is the mapped file itself, deleted or replaced as its name may be,
        // but it needs CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN.
        if let Ok(opened) = open::regular(&self.map_files()) {
            return Ok(opened);
        }
        // The path is as its process sees it, or as we do if it lies under our root too.
        let path = Path::new(&*self.path);
        let is_it = |opened: &(File, FileKey)| opened.1.inode == self.inode;
        let inside = open::in_root(self.proc_id, path).ok().filter(is_it);
        // The program itself can be had without its name.
        let program = PathBuf::from(format!("/proc/{}/exe", self.proc_id));
        let outside = || [path, &program].iter().find_map(|p| open::regular(p).ok().filter(is_it));
        let opened = inside.or_else(outside);
        opened.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the file was replaced"))
    }
}

/// The open files of an object.
#[derive(Clone)]
pub(super) struct Files {
    /// What the process maps.
    pub mapped: Arc<File>,
    /// The separate debug file with the same build id, if one was found.
    pub debug: Option<Arc<File>>,
}

/// One ELF file.
pub(super) struct Object {
    /// Never used for another object.
    pub id: u64,
    /// The path as the first process that mapped it sees it.
    pub path: Arc<str>,
    /// Where its code lies.
    pub shape: Shape,
    key: FileKey,
    files: Mutex<Option<Files>>,
    used: AtomicU64,
    damaged: AtomicBool,
    interpreter: OnceLock<Option<Arc<Interpreter>>>,
}

impl Object {
    /// Its size when it was opened.
    pub fn size_bytes(&self) -> u64 {
        self.key.size_bytes
    }

    /// Marks a file that made the symbolizer fail: it is not tried again.
    pub fn mark_damaged(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    /// Whether the file made the symbolizer fail before.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    fn files(&self) -> MutexGuard<'_, Option<Files>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All objects.
pub(super) struct Objects {
    table: Mutex<Table>,
    open_max: usize,
    closed: AtomicU64,
}

#[derive(Default)]
struct Table {
    /// `None`: looked at, and not an ELF.
    by_key: HashMap<FileKey, Option<Arc<Object>>>,
    ids: u64,
    clock: u64,
    /// The clock when it was last looked for files to forget.
    aged: u64,
}

impl Objects {
    /// A table that keeps at most `open_max` objects open.
    pub fn new(open_max: usize) -> Self {
        Self { table: Mutex::default(), open_max, closed: AtomicU64::new(0) }
    }

    /// The object mapped there; `Ok(None)` if the file is not an ELF.
    pub fn find(&self, place: &Place) -> io::Result<Option<Arc<Object>>> {
        if let Some(key) = place.key()
            && let Some(known) = self.table().by_key.get(&key)
        {
            return Ok(known.clone());
        }
        let (file, key) = place.open()?;
        if let Some(known) = self.table().by_key.get(&key) {
            return Ok(known.clone());
        }
        Ok(self.add(file, key, Arc::clone(&place.path), Some(place.proc_id)))
    }

    /// Adds a file that no process has to be asked for again.
    pub fn add(
        &self,
        file: File,
        key: FileKey,
        path: Arc<str>,
        proc_id: Option<u32>,
    ) -> Option<Arc<Object>> {
        // Reading happens outside the lock: a slow file system must not hold up the others.
        let shape = Shape::read(&file);
        let files = shape.as_ref().map(|shape| with_debug(file, shape, proc_id));
        let mut table = self.table();
        table.ids += 1;
        table.clock += 1;
        let object = shape.map(|shape| {
            Arc::new(Object {
                id: table.ids,
                path,
                shape,
                key,
                files: Mutex::new(files),
                used: AtomicU64::new(table.clock),
                damaged: AtomicBool::new(false),
                interpreter: OnceLock::new(),
            })
        });
        let kept = table.by_key.entry(key).or_insert(object).clone();
        self.keep_bounds(&mut table);
        kept
    }

    /// The open files of the object, opened again from `place` if they had been closed.
    pub fn files(&self, object: &Arc<Object>, place: &Place) -> Option<Files> {
        let clock = {
            let mut table = self.table();
            table.clock += 1;
            table.clock
        };
        object.used.store(clock, Ordering::Relaxed);
        if let Some(files) = &*object.files() {
            return Some(files.clone());
        }
        let (file, key) = place.open().ok()?;
        if key != object.key {
            return None;
        }
        let files = with_debug(file, &object.shape, Some(place.proc_id));
        *object.files() = Some(files.clone());
        self.keep_bounds(&mut self.table());
        Some(files)
    }

    /// The interpreter that the object is, if it is one. `path` is where the process has it.
    pub fn interpreter(&self, object: &Arc<Object>, place: &Place) -> Option<Arc<Interpreter>> {
        if !may_be_interpreter(&place.path) {
            return None;
        }
        let look = || Interpreter::read(&self.files(object, place)?.mapped).map(Arc::new);
        object.interpreter.get_or_init(look).clone()
    }

    /// How many objects are known, and how many of them are open.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table();
        let open = table.by_key.values().flatten().filter(|o| o.files().is_some()).count();
        (table.by_key.len(), open)
    }

    /// How often an object was closed to stay within bounds.
    pub fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Forgets files that no snapshot of a process has, if they were not looked into since the last time either.
    pub fn age(&self) {
        let mut table = self.table();
        let Table { aged, clock, .. } = &mut *table;
        let since = std::mem::replace(aged, *clock);
        let is_used = |object: &Arc<Object>| {
            Arc::strong_count(object) > 1 || object.used.load(Ordering::Relaxed) > since
        };
        table.by_key.retain(|_, object| object.as_ref().is_some_and(is_used));
    }

    fn keep_bounds(&self, table: &mut Table) {
        if table.by_key.len() > OBJECTS_MAX {
            table.by_key.retain(|_, object| {
                object.as_ref().is_some_and(|object| Arc::strong_count(object) > 1)
            });
        }
        let mut open: Vec<_> =
            table.by_key.values().flatten().filter(|o| o.files().is_some()).collect();
        if open.len() <= self.open_max {
            return;
        }
        // An eighth at once, so that a host at the bound does not sort at every new file.
        open.sort_by_key(|object| object.used.load(Ordering::Relaxed));
        let excess = open.len() - self.open_max + self.open_max / 8;
        for object in &open[..excess.min(open.len())] {
            *object.files() = None;
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_debug(file: File, shape: &Shape, proc_id: Option<u32>) -> Files {
    let debug = shape.build_id.as_deref().and_then(|id| debug_file(id, proc_id)).map(Arc::new);
    Files { mapped: Arc::new(file), debug }
}

/// The separate debug file: the host's first, whose content no container chose.
fn debug_file(build_id: &[u8], proc_id: Option<u32>) -> Option<File> {
    let hex: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let (head, tail) = hex.split_at_checked(2)?;
    let path = PathBuf::from(format!("{DEBUG_DIRECTORY}/{head}/{tail}.debug"));
    let inside = || proc_id.and_then(|id| open::in_root(id, &path).ok());
    let (file, _) = open::regular(&path).ok().or_else(inside)?;
    let found = blazesym::helper::read_elf_build_id(&open::fd_path(&file)).ok().flatten()?;
    (*found == *build_id).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nobody_has_is_forgotten_and_closed() {
        let objects = Objects::new(8);
        let add = |path: &str| {
            let (file, key) = open::regular(Path::new(path)).expect("a file");
            objects.add(file, key, path.into(), None).expect("an ELF")
        };
        let kept = add("/usr/bin/env");
        drop(add("/usr/bin/true"));
        objects.age();
        assert_eq!(objects.count(), (2, 2), "new since the last time");
        objects.age();
        assert_eq!(objects.count(), (1, 1));
        drop(kept);
        objects.age();
        assert_eq!(objects.count(), (0, 0));
    }
}
