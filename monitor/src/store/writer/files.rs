//! Opening the files: to write, to read at least, or anew beside broken ones that are moved aside.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::Connection;

use super::{Files, Writer};
use crate::{
    metric::WallTimeNs,
    store::{
        database::{self, StoreError},
        dictionary::Dictionary,
        frame::Frame,
        journal::Journal,
        seal::SEALED,
        shared::Refusal,
    },
};

impl Writer {
    /// Opens or makes the files, to write.
    ///
    /// # Errors
    /// [`StoreError`]; what is open in memory stays.
    pub(super) fn open_files(&mut self) -> Result<(), StoreError> {
        // Closed before: within a process SQLite shares its index of the log, read-only if it was opened so.
        let was_read = self.files.take().is_some();
        self.shared.forget_readers();
        let opened = self.open_to_write(was_read);
        if opened.is_err() && was_read && self.files.is_none() {
            let connection = database::open_to_read(&self.shared.database).ok();
            self.files = connection.map(|connection| Files { connection, journal: None });
        }
        opened
    }

    fn open_to_write(&mut self, was_read: bool) -> Result<(), StoreError> {
        let directory = self.options.directory.clone();
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File { path, source }
        };
        make_directory(&directory).map_err(file(&directory))?;
        let path = journal_path(&directory);
        // First, since it is what keeps two daemons apart.
        let (journal, frames) = Journal::open(&path).map_err(file(&path))?;
        let connection = match database::open(&self.shared.database) {
            Err(error) if error.is_corruption() => {
                tracing::warn!("{error}; it is moved aside, and history begins anew");
                drop(journal);
                self.move_aside();
                return self.open_files_anew();
            }
            opened => opened?,
        };
        self.take_files(connection, journal, frames, was_read)
    }

    fn open_files_anew(&mut self) -> Result<(), StoreError> {
        let path = journal_path(&self.options.directory);
        let (journal, frames) =
            Journal::open(&path).map_err(|source| StoreError::File { path, source })?;
        let connection = database::open(&self.shared.database)?;
        self.take_files(connection, journal, frames, false)
    }

    /// Goes on where the files end. What is open in memory is kept if its series are those of the files.
    fn take_files(
        &mut self,
        connection: Connection,
        journal: Journal,
        frames: Vec<Frame>,
        was_read: bool,
    ) -> Result<(), StoreError> {
        let path = self.shared.database.clone();
        let failed = |source| StoreError::Database { path, source };
        let sealed = self.load(&connection, was_read).map_err(failed)?;
        self.files = Some(Files { connection, journal: Some(journal) });
        if !was_read {
            self.take_frames(frames, sealed);
        }
        self.shared.forget_readers();
        Ok(())
    }

    /// Without a way to write, what is stored can still be read, and series get the numbers they have there.
    pub(super) fn open_to_read(&mut self) {
        let Ok(connection) = database::open_to_read(&self.shared.database) else { return };
        if let Ok(sealed) = self.load(&connection, false) {
            let frames = Journal::read(&journal_path(&self.options.directory));
            self.files = Some(Files { connection, journal: None });
            self.take_frames(frames, sealed);
        }
    }

    /// The last sealed frame; the dictionary goes on behind the stored series, unless it does already.
    fn load(&mut self, connection: &Connection, was_read: bool) -> rusqlite::Result<u64> {
        let sealed = database::fact(connection, SEALED)?.unwrap_or(0) as u64;
        if !was_read {
            let stored = database::last_series(connection)?;
            let known = connection
                .query_row("SELECT count(*) FROM series", [], |row| row.get::<_, i64>(0))?;
            self.dictionary = Dictionary::new(self.options.max_series, &stored, known as usize);
        }
        Ok(sealed)
    }

    /// Makes the frames of a journal that are not sealed the open ones.
    fn take_frames(&mut self, frames: Vec<Frame>, sealed: u64) {
        let last = frames.iter().map(|frame| frame.sequence).max().unwrap_or(0);
        self.sequence = last.max(sealed);
        let frames = frames.into_iter().filter(|frame| frame.sequence > sealed).map(Arc::new);
        let mut open = self.shared.open_mut();
        self.shared.counts.refuse(Refusal::NotWritten, std::mem::take(&mut self.unsaved_samples));
        open.new_series.clear();
        open.frames = frames.collect();
        self.saved = open.frames.len();
    }

    /// Keeps broken files under other names, and forgets what depends on them.
    pub(super) fn move_aside(&mut self) {
        self.files = None;
        self.shared.forget_readers();
        let stamp = WallTimeNs::now().0 / 1_000_000;
        let database = &self.shared.database;
        let mut paths = vec![database.clone(), journal_path(&self.options.directory)];
        paths.extend(["-wal", "-shm"].map(|end| {
            let mut name = database.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        }));
        for path in paths {
            let mut aside = path.clone().into_os_string();
            aside.push(format!(".damaged-{stamp}"));
            // What is not there needs not be moved; what cannot be moved is met again at the next attempt.
            let _ = fs::rename(&path, aside);
        }
        let mut open = self.shared.open_mut();
        open.frames.clear();
        open.new_series.clear();
        self.saved = 0;
        self.shared.counts.refuse(Refusal::NotWritten, std::mem::take(&mut self.unsaved_samples));
        self.dictionary = Dictionary::new(self.options.max_series, &[], 0);
        self.named.clear();
    }
}

/// Only its owner may read it: it tells what runs here.
fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Where the database is.
pub fn database_path(directory: &Path) -> PathBuf {
    directory.join("history.db")
}

/// Where the journal is.
pub fn journal_path(directory: &Path) -> PathBuf {
    directory.join("history.journal")
}
