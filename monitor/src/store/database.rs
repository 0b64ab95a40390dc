//! The SQLite file: its schema, how it is opened, and what is read and written one by one.
//!
//! Contract: whatever was committed survives the end of the process and of the machine (write-ahead log, synced at each commit).
//! A file of a later version is left alone.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, params};

use super::{
    bytes::Damaged,
    id::{GroupId, SeriesId, code, kind_of},
};
use crate::metric::{Kind, Unit};

/// What this version writes.
const VERSION: i64 = 1;
/// "cgsc": tells our files from others.
const APPLICATION: i64 = 0x6367_7363;

const SCHEMA: &str = "
CREATE TABLE fact(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE metric(id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind INTEGER NOT NULL, unit TEXT NOT NULL,
    labels TEXT NOT NULL, UNIQUE(name, kind, unit, labels));
CREATE TABLE subject(id TEXT PRIMARY KEY, name TEXT NOT NULL, runtime TEXT NOT NULL, image TEXT, pod TEXT, namespace TEXT)
    WITHOUT ROWID;
CREATE INDEX subject_name ON subject(name);
CREATE TABLE series(id INTEGER PRIMARY KEY, metric INTEGER NOT NULL, subject TEXT NOT NULL, labels TEXT NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, UNIQUE(metric, subject, labels));
CREATE TABLE piece(id INTEGER PRIMARY KEY, tier INTEGER NOT NULL, is_merged INTEGER NOT NULL, first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL, instants BLOB NOT NULL);
CREATE INDEX piece_time ON piece(tier, first_ms);
CREATE TABLE chunk(id INTEGER PRIMARY KEY, points BLOB NOT NULL);
";

/// Why history cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database says no.
    #[error("{path}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file system says no.
    #[error("{path}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A later version of cgscope wrote it.
    #[error(
        "{path} was written by a later version of cgscope (format {version}, this one knows {VERSION})"
    )]
    Later {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: i64,
    },
    /// What is stored is not what was written.
    #[error("{path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether the file itself is broken, so that trying again cannot help.
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ),
            Self::Damaged { .. } => true,
            Self::File { .. } | Self::Later { .. } => false,
        }
    }
}

impl From<Damaged> for rusqlite::Error {
    fn from(damaged: Damaged) -> Self {
        Self::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(damaged))
    }
}

/// A series as it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRow {
    /// Its number.
    pub id: SeriesId,
    /// The metric's name.
    pub metric: String,
    /// What its numbers mean.
    pub unit: Unit,
    /// Names of the metric's labels.
    pub label_names: Vec<String>,
    /// Whom it is about; empty for the host.
    pub subject: String,
    /// Values of its labels.
    pub labels: Vec<String>,
}

impl SeriesRow {
    /// How it behaves; what was never given counts as a gauge.
    pub fn kind(&self) -> Kind {
        self.id.group().kind().unwrap_or(Kind::Gauge)
    }
}

/// What a subject is called, so that it can be asked for when it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The subject's id.
    pub id: String,
    /// The name users gave it.
    pub name: String,
    /// Who made it.
    pub runtime: String,
    /// Its image, if known.
    pub image: Option<String>,
    /// Its pod's name, if known.
    pub pod: Option<String>,
    /// Its pod's namespace, if known.
    pub namespace: Option<String>,
}

/// A piece of time of one tier, without its chunks.
#[derive(Clone, Debug)]
pub struct PieceRow {
    /// Its number.
    pub id: i64,
    /// The instants, encoded.
    pub instants: Vec<u8>,
}

/// Opens the file to write, and makes it if it is not there.
///
/// # Errors
/// [`StoreError`].
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Database { path: path.to_owned(), source };
    let connection = Connection::open(path).map_err(failed)?;
    // Of the file, and only before it has tables.
    connection
        .execute_batch("PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL;")
        .map_err(failed)?;
    prepare(&connection).map_err(failed)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000;
             PRAGMA journal_size_limit=4194304;",
        )
        .map_err(failed)?;
    let version: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    match version {
        VERSION => {}
        0 => {
            let make = format!(
                "BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; COMMIT;"
            );
            connection.execute_batch(&make).map_err(failed)?;
        }
        version => return Err(StoreError::Later { path: path.to_owned(), version }),
    }
    Ok(connection)
}

/// Opens the file to read only; also where nothing can be written, as long as nobody else writes.
///
/// # Errors
/// Of the database.
pub fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let checked = |connection: Connection| {
        prepare(&connection)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    Connection::open_with_flags(path, flags).and_then(checked).or_else(|error| {
        // A log beside a database needs a shared index beside it, which a read-only directory does not take.
        let name =
            path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let name = format!("file:{name}?immutable=1");
        let flags = flags | OpenFlags::SQLITE_OPEN_URI;
        match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
                Connection::open_with_flags(name, flags).and_then(checked)
            }
            _ => Err(error),
        }
    })
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(32);
    // 1 MiB a connection: blobs are read once, so a larger cache holds nothing that is asked for again.
    connection.execute_batch("PRAGMA cache_size=-1024; PRAGMA temp_store=MEMORY;")
}

/// A number kept under a name.
pub fn fact(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    let mut find = connection.prepare_cached("SELECT value FROM fact WHERE key=?1")?;
    find.query_row([key], |row| row.get(0)).optional()
}

/// Keeps a number under a name.
pub fn set_fact(transaction: &Transaction<'_>, key: &str, value: i64) -> rusqlite::Result<()> {
    let mut set = transaction.prepare_cached("INSERT OR REPLACE INTO fact VALUES(?1, ?2)")?;
    set.execute(params![key, value]).map(drop)
}

/// The series of a metric, a subject and label values, if it was ever stored.
pub fn find_series(
    connection: &Connection,
    (name, kind, unit, label_names): (&str, Kind, Unit, &str),
    subject: &str,
    labels: &str,
) -> rusqlite::Result<Option<SeriesId>> {
    let mut find = connection.prepare_cached(
        "SELECT series.id FROM metric JOIN series ON series.metric = metric.id
         WHERE metric.name=?1 AND metric.kind=?2 AND metric.unit=?3 AND metric.labels=?4
           AND series.subject=?5 AND series.labels=?6",
    )?;
    let parameters = params![name, code(kind), unit_name(unit), label_names, subject, labels];
    find.query_row(parameters, |row| Ok(SeriesId(row.get(0)?))).optional()
}

/// Stores a series that is new.
pub fn add_series(
    transaction: &Transaction<'_>,
    row: &SeriesRow,
    at_ms: u64,
) -> rusqlite::Result<()> {
    let parameters =
        params![row.metric, code(row.kind()), unit_name(row.unit), json(&row.label_names)];
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO metric(name, kind, unit, labels) VALUES(?1, ?2, ?3, ?4)",
        )?
        .execute(parameters)?;
    let metric: i64 = transaction
        .prepare_cached(
            "SELECT id FROM metric WHERE name=?1 AND kind=?2 AND unit=?3 AND labels=?4",
        )?
        .query_row(parameters, |row| row.get(0))?;
    let labels = json(&row.labels);
    transaction
        .prepare_cached("INSERT INTO series VALUES(?1, ?2, ?3, ?4, ?5, ?5)")?
        .execute(params![row.id.0, metric, row.subject, labels, at_ms as i64])
        .map(drop)
}

/// Every stored series of the metric `name`; of all metrics without one.
pub fn series_of(connection: &Connection, name: Option<&str>) -> rusqlite::Result<Vec<SeriesRow>> {
    let mut find = connection.prepare_cached(
        "SELECT series.id, metric.name, metric.unit, metric.labels, series.subject, series.labels
         FROM metric JOIN series ON series.metric = metric.id WHERE ?1 IS NULL OR metric.name = ?1",
    )?;
    let rows = find.query_map([name], |row| {
        Ok(SeriesRow {
            id: SeriesId(row.get(0)?),
            metric: row.get(1)?,
            unit: unit_of(&row.get::<_, String>(2)?),
            label_names: of_json(&row.get::<_, String>(3)?),
            subject: row.get(4)?,
            labels: of_json(&row.get::<_, String>(5)?),
        })
    })?;
    rows.collect()
}

/// Stores what a subject is called.
pub fn set_named(transaction: &Transaction<'_>, named: &Named) -> rusqlite::Result<()> {
    let Named { id, name, runtime, image, pod, namespace } = named;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO subject VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![id, name, runtime, image, pod, namespace])
        .map(drop)
}

/// What all subjects are called.
pub fn named(connection: &Connection) -> rusqlite::Result<Vec<Named>> {
    let mut find = connection
        .prepare_cached("SELECT id, name, runtime, image, pod, namespace FROM subject")?;
    let rows = find.query_map([], |row| {
        Ok(Named {
            id: row.get(0)?,
            name: row.get(1)?,
            runtime: row.get(2)?,
            image: row.get(3)?,
            pod: row.get(4)?,
            namespace: row.get(5)?,
        })
    })?;
    rows.collect()
}

/// Pieces of a tier with an instant in `from_ms..to_ms`, in the order of time.
pub fn pieces(
    connection: &Connection,
    tier: usize,
    from_ms: u64,
    to_ms: u64,
) -> rusqlite::Result<Vec<PieceRow>> {
    let mut find = connection.prepare_cached(
        "SELECT id, instants FROM piece WHERE tier=?1 AND first_ms<?3 AND last_ms>=?2 ORDER BY first_ms, id",
    )?;
    let parameters = params![tier as i64, clamped(from_ms), clamped(to_ms)];
    let rows =
        find.query_map(parameters, |row| Ok(PieceRow { id: row.get(0)?, instants: row.get(1)? }))?;
    rows.collect()
}

/// Times beyond what the file can hold are its last one.
fn clamped(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// The number of a chunk.
pub fn chunk_id(piece: i64, group: GroupId) -> i64 {
    piece << 32 | i64::from(group.0)
}

/// A unit's name as it is stored.
pub fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::Ratio => "ratio",
        Unit::Count => "count",
    }
}

/// The unit of a stored name.
pub fn unit_of(name: &str) -> Unit {
    let units = [Unit::Seconds, Unit::Bytes, Unit::Ratio, Unit::Count];
    units.into_iter().find(|unit| unit_name(*unit) == name).unwrap_or(Unit::Count)
}

/// The highest ordinal of a group and, for each kind, the last series that was stored.
pub fn last_series(connection: &Connection) -> rusqlite::Result<Vec<SeriesId>> {
    // One series for each group: the highest.
    let mut find =
        connection.prepare_cached("SELECT max(id) FROM series GROUP BY id >> 5 ORDER BY 1")?;
    let rows = find.query_map([], |row| Ok(SeriesId(row.get(0)?)))?;
    rows.filter(|row| row.as_ref().is_ok_and(|id| kind_of(id.group().0 & 3).is_some())).collect()
}

/// A list of texts as text.
pub fn json<T: AsRef<str>>(list: &[T]) -> String {
    let list: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
    // A list of texts always is JSON.
    serde_json::to_string(&list).unwrap_or_default()
}

fn of_json(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}
