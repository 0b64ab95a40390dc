//! Keeps profiles on disk, and lets go of the oldest.
//!
//! Contract: nothing here fails. What cannot be written stays in memory for a while, can be asked for there, and is written when that
//! is possible again; what is lost in the end is counted.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, File, OpenOptions, TryLockError},
    io,
    ops::Range,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::broadcast;

use super::{
    piece::{Appender, Piece, seal},
    read::{self, Activity, Past},
};
use crate::{
    metric::{Sample, WallTimeNs},
    profile::{Kept, KeptThread, ProfileKind},
};

/// Windows of so long share a file.
const SEAL_MS: u64 = 600_000;
/// Windows kept in memory while nothing can be written: ten minutes.
const MAX_UNSAVED: usize = 60;

/// Windows as they are kept; who is too slow is told how many it missed.
pub type KeptWindows = broadcast::Receiver<(ProfileKind, Arc<Kept>)>;

/// Windows that may wait for a follower: five minutes.
const FOLLOWED: usize = 32;

/// How profiles are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Where; made if it is not there.
    pub directory: PathBuf,
    /// The most its files may take.
    pub max_bytes: u64,
    /// For how long.
    pub keep: Duration,
}

impl ArchiveOptions {
    /// The most its files take unless it is set.
    pub const DEFAULT_MAX_BYTES: u64 = 1 << 30;
    /// How long they are kept unless it is set.
    pub const DEFAULT_KEEP: Duration = Duration::from_secs(7 * 86_400);

    fn nowhere() -> Self {
        Self { directory: PathBuf::new(), max_bytes: 0, keep: Self::DEFAULT_KEEP }
    }
}

/// Profiles of the past.
#[derive(Debug)]
pub struct Archive {
    options: ArchiveOptions,
    writing: Mutex<Writing>,
    /// What the files take.
    bytes: AtomicU64,
    windows: AtomicU64,
    lost_windows: AtomicU64,
    followers: broadcast::Sender<(ProfileKind, Arc<Kept>)>,
    /// Whether windows stay here, and are not only handed to followers.
    keeps: bool,
}

#[derive(Debug, Default)]
struct Writing {
    /// Keeps two daemons apart.
    lock: Option<File>,
    appenders: BTreeMap<&'static str, Appender>,
    unsaved: VecDeque<(ProfileKind, Arc<Kept>)>,
    /// Why nothing is written.
    trouble: Option<String>,
}

impl Archive {
    /// Goes on in a directory.
    pub fn new(options: ArchiveOptions) -> Self {
        Self {
            options,
            writing: Mutex::default(),
            bytes: AtomicU64::new(0),
            windows: AtomicU64::new(0),
            lost_windows: AtomicU64::new(0),
            followers: broadcast::channel(FOLLOWED).0,
            keeps: true,
        }
    }

    /// One that keeps nothing: windows go to those who follow it.
    pub fn passing() -> Self {
        Self { keeps: false, ..Self::new(ArchiveOptions::nowhere()) }
    }

    /// Of windows that are in memory, and of no others.
    pub fn of(windows: impl IntoIterator<Item = (ProfileKind, Kept)>) -> Self {
        let archive = Self::new(ArchiveOptions::nowhere());
        let windows = windows.into_iter().map(|(kind, kept)| (kind, Arc::new(kept)));
        archive.writing().unsaved.extend(windows);
        archive
    }

    /// Every window from now on.
    pub fn follow(&self) -> KeptWindows {
        self.followers.subscribe()
    }

    /// Keeps a window.
    pub fn record(&self, kind: ProfileKind, kept: Kept) {
        let kept = Arc::new(kept);
        // No receiver is no error: nobody follows.
        let _ = self.followers.send((kind, Arc::clone(&kept)));
        if !self.keeps {
            return;
        }
        let mut writing = self.writing();
        writing.unsaved.push_back((kind, kept));
        let outcome = self.save(&mut writing);
        if let Err(error) = &outcome
            && writing.trouble.is_none()
        {
            tracing::warn!("profiles are kept in memory only: {error}");
        }
        writing.trouble = outcome.err().map(|error| error.to_string());
        while writing.unsaved.len() > MAX_UNSAVED {
            writing.unsaved.pop_front();
            self.lost_windows.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was sampled in a range of ms since 1970, of those threads for which `keep` is true, given with the
    /// names of their containers.
    ///
    /// # Errors
    /// Of the file system.
    pub fn past(
        &self,
        kind: ProfileKind,
        range: &Range<u64>,
        keep: impl Fn(&KeptThread, Option<&str>) -> bool,
    ) -> io::Result<Past> {
        let unsaved = self.unsaved(kind);
        read::past(&self.options.directory, kind, &unsaved, range, keep)
    }

    /// The windows of a range of ms since 1970, as they are kept; the first and the last may reach out of it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn kept_windows(&self, kind: ProfileKind, range: &Range<u64>) -> io::Result<Vec<Kept>> {
        read::windows(&self.options.directory, kind, &self.unsaved(kind), range)
    }

    /// How much ran in each step of a range, of those threads for which `keep` is true, given with the
    /// names of their containers.
    ///
    /// # Errors
    /// Of the file system.
    pub fn activity(
        &self,
        kind: ProfileKind,
        range: &Range<u64>,
        step_ms: u64,
        keep: impl Fn(&KeptThread, Option<&str>) -> bool,
    ) -> io::Result<Activity> {
        let unsaved = self.unsaved(kind);
        read::activity(&self.options.directory, kind, &unsaved, range, step_ms, keep)
    }

    /// Why nothing is written, if so.
    pub fn trouble(&self) -> Option<String> {
        self.writing().trouble.clone()
    }

    /// Where it is.
    pub fn options(&self) -> &ArchiveOptions {
        &self.options
    }

    /// What the files take.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Windows that the disk has, since the start.
    pub fn windows(&self) -> u64 {
        self.windows.load(Ordering::Relaxed)
    }

    /// Windows that could not be written for so long that memory had no more room, since the start.
    pub fn lost_windows(&self) -> u64 {
        self.lost_windows.load(Ordering::Relaxed)
    }

    /// Appends what they take and how many were lost.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        crate::store::own::collect_profiles(self, samples);
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsaved(&self, kind: ProfileKind) -> Vec<Arc<Kept>> {
        let writing = self.writing();
        let of_kind = writing.unsaved.iter().filter(|(of, _)| *of == kind);
        of_kind.map(|(_, kept)| Arc::clone(kept)).collect()
    }

    /// Writes what is not written, in order.
    fn save(&self, writing: &mut Writing) -> io::Result<()> {
        if writing.lock.is_none() {
            writing.lock = Some(self.begin()?);
        }
        while let Some((kind, kept)) = writing.unsaved.front() {
            let first_ms = kept.windows.first().map_or(0, |window| window.started_ms);
            let is_other = |open: &Appender| open.first_ms / SEAL_MS != first_ms / SEAL_MS;
            if writing.appenders.get(kind.name()).is_some_and(is_other) {
                writing.appenders.remove(kind.name());
            }
            let appender = match writing.appenders.entry(kind.name()) {
                std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let opened = Appender::open(&self.options.directory, *kind, first_ms)?;
                    self.tidy(opened.first_ms)?;
                    entry.insert(opened)
                }
            };
            appender.append(&[kept])?;
            writing.unsaved.pop_front();
            self.windows.fetch_add(1, Ordering::Relaxed);
        }
        let pieces = Piece::list(&self.options.directory)?;
        let bytes: u64 = pieces.iter().map(length).sum();
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the directory and takes the right to write there, which ends with the process.
    fn begin(&self) -> io::Result<File> {
        let directory = &self.options.directory;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::ResourceBusy, "another daemon writes there"))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Seals what is open but for the piece that begins now, and lets go of what is too old or too much.
    fn tidy(&self, begun_ms: u64) -> io::Result<()> {
        let directory = &self.options.directory;
        for piece in Piece::list(directory)? {
            let is_current = piece.first_ms / SEAL_MS == begun_ms / SEAL_MS;
            if piece.last_ms.is_none() && !is_current {
                seal(directory, &piece)?;
            }
        }
        let mut pieces = Piece::list(directory)?;
        let mut bytes: u64 = pieces.iter().map(length).sum();
        let now_ms = WallTimeNs::now().0 / 1_000_000;
        let oldest_ms = now_ms.saturating_sub(self.options.keep.as_millis() as u64);
        // The last one is being written.
        pieces.pop();
        for piece in pieces {
            let is_old = piece.last_ms.is_some_and(|last_ms| last_ms < oldest_ms);
            if is_old || bytes > self.options.max_bytes {
                bytes -= length(&piece).min(bytes);
                fs::remove_file(&piece.path)?;
            }
        }
        Ok(())
    }
}

fn length(piece: &Piece) -> u64 {
    fs::metadata(&piece.path).map_or(0, |file| file.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Sample as StackSample, kept_window};
    use crate::symbol::Frame;

    const CPU: ProfileKind = ProfileKind::OnCpu;
    const START_MS: u64 = 1_700_000_400_000;

    fn options(directory: PathBuf) -> ArchiveOptions {
        // The windows of these tests are years old.
        let keep = Duration::from_secs(100 * 365 * 86_400);
        ArchiveOptions { directory, keep, max_bytes: ArchiveOptions::DEFAULT_MAX_BYTES }
    }

    fn total(samples: &[StackSample], name: &str) -> u64 {
        let is_of = |sample: &&StackSample| matches!(sample.frames.last(), Some(Frame::Kernel { name: leaf }) if **leaf == *name);
        samples.iter().filter(is_of).map(|sample| sample.weight.count).sum()
    }

    /// 90 windows of 10 s: more than a file holds.
    fn fill(archive: &Archive) {
        for i in 0..90 {
            let names: Vec<&str> = (0..10).map(|s| if s < 6 { "hot" } else { "cold" }).collect();
            let container = if i % 2 == 0 { "web" } else { "db" };
            archive.record(CPU, kept_window(START_MS + i * 10_000, container, &names));
        }
    }

    #[test]
    fn any_part_of_the_past_across_files_and_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles");
        fill(&Archive::new(options(path.clone())));
        let archive = Archive::new(options(path.clone()));
        let all = archive.past(CPU, &(0..u64::MAX), |_, _| true).unwrap();
        assert_eq!((total(&all.samples, "hot"), total(&all.samples, "cold")), (540, 360));
        assert_eq!((all.started_ms, all.covered_ms), (START_MS, 900_000));
        let web = |thread: &KeptThread, _: Option<&str>| thread.container.as_deref() == Some("web");
        let range = START_MS + 595_000..START_MS + 615_000;
        let part = archive.past(CPU, &range, web).unwrap();
        // 600 to 610 s is web's; 595 to 600 and 610 to 615 s are not.
        assert_eq!((total(&part.samples, "hot"), total(&part.samples, "cold")), (6, 4));
        assert_eq!((part.started_ms, part.covered_ms), (range.start, 20_000));
        assert!(
            archive
                .past(ProfileKind::OffCpu, &(0..u64::MAX), |_, _| true)
                .unwrap()
                .samples
                .is_empty()
        );
        let windows = archive.kept_windows(CPU, &range).unwrap();
        let begins = windows.iter().flat_map(|kept| &kept.windows).map(|w| w.started_ms - START_MS);
        assert_eq!(begins.collect::<Vec<_>>(), [590_000, 600_000, 610_000]);
        // Ten windows more, by another writer of the same files.
        archive.record(CPU, kept_window(START_MS + 900_000, "web", &["late"]));
        let after = archive.past(CPU, &(0..u64::MAX), |_, _| true).unwrap();
        assert_eq!((total(&after.samples, "hot"), total(&after.samples, "late")), (540, 1));
    }

    #[test]
    fn activity_has_gaps_where_nobody_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let archive = Archive::new(options(directory.path().to_owned()));
        archive.record(CPU, kept_window(START_MS, "web", &["a", "a"]));
        archive.record(CPU, kept_window(START_MS + 3_000, "web", &["a"]));
        let range = START_MS - 500..START_MS + 4_500;
        let seen = archive.activity(CPU, &range, 500, |_, _| true).unwrap();
        let expected = [
            None,
            Some(2.0),
            Some(0.0),
            Some(2.0),
            Some(0.0),
            None,
            None,
            Some(2.0),
            Some(0.0),
            None,
        ];
        assert_eq!(seen.steps, expected);
    }

    #[test]
    fn the_oldest_go_first_when_there_is_too_much() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path().to_owned());
        options.max_bytes = 4_000;
        let archive = Archive::new(options);
        for i in 0..40 {
            let names: Vec<String> = (0..200).map(|n| format!("function_{i}_{n}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            archive.record(CPU, kept_window(START_MS + i * SEAL_MS, "web", &names));
        }
        let all = archive.past(CPU, &(0..u64::MAX), |_, _| true).unwrap();
        assert!(all.started_ms > START_MS + 30 * SEAL_MS, "{}", all.started_ms);
        assert!(all.covered_ms >= 200_000, "the last one stays");
        assert!(archive.bytes() < 12_000, "{}", archive.bytes());
    }

    #[test]
    fn what_cannot_be_written_is_kept_in_memory_and_written_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles");
        fs::write(&path, "in the way").unwrap();
        let archive = Archive::new(options(path.clone()));
        for i in 0..70 {
            archive.record(CPU, kept_window(START_MS + i * 1_000, "web", &["a"]));
        }
        assert!(archive.trouble().is_some());
        assert_eq!(archive.lost_windows(), 10);
        let unsaved = archive.past(CPU, &(0..u64::MAX), |_, _| true).unwrap();
        assert_eq!((total(&unsaved.samples, "a"), archive.windows()), (60, 0));
        fs::remove_file(&path).unwrap();
        archive.record(CPU, kept_window(START_MS + 70_000, "web", &["a"]));
        assert_eq!((archive.trouble(), archive.windows()), (None, 61));
        let all = archive.past(CPU, &(0..u64::MAX), |_, _| true).unwrap();
        assert_eq!(total(&all.samples, "a"), 61);
    }

    #[test]
    fn two_daemons_do_not_write_to_one_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = Archive::new(options(directory.path().to_owned()));
        first.record(CPU, kept_window(START_MS, "web", &["a"]));
        let second = Archive::new(options(directory.path().to_owned()));
        second.record(CPU, kept_window(START_MS + 1_000, "web", &["b"]));
        assert!(second.trouble().is_some_and(|why| why.contains("another daemon")));
    }
}
