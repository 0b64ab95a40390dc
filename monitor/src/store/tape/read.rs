//! Reads a tape: what is whole of it, and what was lost.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::{
    describe::{MetricRow, Metrics},
    section::{Found, SectionKind, VERSION, scan, unpack},
    ticks::{self, BlockSpan},
};
use crate::{
    metric::{Descriptor, KtimeNs, Tick},
    profile::{Kept, ProfileKind},
    store::{
        bytes::{Damaged, Reader},
        live::OlderTicks,
        profiles::decode_kept,
    },
};

/// A tape is read into memory: a day of a busy host has a tenth of it.
const MAX_BYTES: u64 = 4 << 30;

/// Why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// The file system says no.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing in it is of a recording.
    #[error("{path} is no recording of `cgscope record`")]
    NoTape {
        /// The file.
        path: PathBuf,
    },
    /// A later version of cgscope wrote it.
    #[error(
        "{path} was recorded by a later version of cgscope (format {version}, this one knows {VERSION})"
    )]
    Later {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// It is a recording, of which no measurement is whole.
    #[error("{path} holds no whole measurement: {lost}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was lost.
        lost: String,
    },
}

/// What a tape lacks of what was recorded, and what the recording lacks of what was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Losses {
    /// Whether it was cut off: whatever came behind is not known.
    pub is_cut: bool,
    /// Measurements that are known to have been in it.
    pub ticks: u64,
    /// Measurements that came faster than they could be written.
    pub missed_ticks: u64,
    /// Windows of stack samples that came faster than they could be written.
    pub missed_windows: u64,
    /// Sections that are damaged, by what is in them.
    pub damaged: BTreeMap<String, u64>,
    /// Sections that are not there.
    pub missing_sections: u64,
    /// Bytes that belong to nothing.
    pub skipped_bytes: u64,
    /// Sections that a later version of cgscope has added.
    pub unknown_sections: u64,
    /// Samples of metrics whose description was lost.
    pub undescribed_samples: u64,
}

impl Losses {
    /// Whether nothing was lost.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// For people; empty if nothing was lost.
    pub fn text(&self) -> String {
        let mut parts = vec![];
        if self.is_cut {
            parts.push("it was cut off before its end".to_owned());
        }
        let counts = [
            (self.ticks, "measurements are lost"),
            (self.missed_ticks, "measurements were missed while it was recorded"),
            (self.missed_windows, "windows of stacks were missed while it was recorded"),
            (self.missing_sections, "sections are missing"),
            (self.skipped_bytes, "bytes are damaged beyond recognition"),
            (self.unknown_sections, "sections are of a later version of cgscope"),
            (self.undescribed_samples, "samples are of metrics whose description is lost"),
        ];
        parts.extend(counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        let damaged =
            self.damaged.iter().map(|(kind, n)| format!("{n} sections of {kind} damaged"));
        parts.extend(damaged);
        parts.join(", ")
    }
}

/// A tape in memory.
#[derive(Debug)]
pub struct Tape {
    path: PathBuf,
    bytes: Vec<u8>,
    found: Vec<Found>,
    metrics: Metrics,
    /// Blocks of ticks, in the order of time.
    blocks: Vec<(BlockSpan, Found)>,
    lost: Losses,
}

impl Tape {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TapeError`], unless something of it can be shown.
    pub fn open(path: &Path) -> Result<Self, TapeError> {
        let failed = |source| TapeError::File { path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(failed)?;
        let mut bytes = vec![];
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_BYTES {
            let large = format!("more than {} GiB", MAX_BYTES >> 30);
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, large)));
        }
        Self::parse(path, bytes)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, TapeError> {
        let scan = scan(&bytes);
        let path = path.to_owned();
        match scan.version {
            Some(version) if version > VERSION => return Err(TapeError::Later { path, version }),
            // The head is damaged: sections tell whether it is a tape.
            None if scan.found.is_empty() => return Err(TapeError::NoTape { path }),
            Some(_) | None => {}
        }
        let mut lost = Losses {
            missing_sections: scan.missing,
            skipped_bytes: scan.skipped_bytes + if scan.version.is_none() { 16 } else { 0 },
            unknown_sections: scan.found.iter().filter(|found| found.kind.is_none()).count() as u64,
            ..Losses::default()
        };
        for (kind, count) in scan.damaged {
            *lost.damaged.entry(kind.to_owned()).or_default() += count;
        }
        lost.is_cut = scan.is_torn || !scan.found.iter().any(|f| f.kind == Some(SectionKind::End));
        let mut tape = Self {
            path,
            bytes,
            found: scan.found,
            metrics: Metrics::default(),
            blocks: vec![],
            lost,
        };
        for rows in tape.read::<Vec<MetricRow>>(SectionKind::Metrics) {
            tape.metrics.add(rows);
        }
        tape.index();
        if tape.blocks.is_empty() {
            return Err(TapeError::Empty { path: tape.path, lost: tape.lost.text() });
        }
        Ok(tape)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What was lost.
    pub fn lost(&self) -> &Losses {
        &self.lost
    }

    /// The same, to add what the recording itself tells.
    pub fn lost_mut(&mut self) -> &mut Losses {
        &mut self.lost
    }

    /// Every metric it describes.
    pub fn metrics(&self) -> Vec<&'static Descriptor> {
        self.metrics.all()
    }

    /// What is in the sections of a kind that are JSON, in their order. What is not understood counts as damaged.
    pub fn read<T: DeserializeOwned>(&mut self, kind: SectionKind) -> Vec<T> {
        let bodies: Vec<_> = self.sections(kind).cloned().collect();
        let mut all = vec![];
        for found in bodies {
            let text = self.body(&found).and_then(unpack);
            match text.ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                Some(one) => all.push(one),
                None => self.damaged(kind),
            }
        }
        all
    }

    /// Hands over all ticks in the order of time; before the first, `first` were written that are not meant to be there.
    pub fn each_tick(&mut self, first: u64, mut take: impl FnMut(Tick)) {
        let mut next = first;
        let blocks = self.blocks.clone();
        for (_, found) in &blocks {
            let Ok(block) = self.body(found).and_then(|body| ticks::decode(body, &self.metrics))
            else {
                self.damaged(SectionKind::Ticks);
                continue;
            };
            self.lost.ticks += block.first.saturating_sub(next);
            self.lost.undescribed_samples += block.undescribed;
            next = block.first.saturating_add(block.ticks.len() as u64);
            block.ticks.into_iter().for_each(&mut take);
        }
    }

    /// The windows of stack samples.
    pub fn profiles(&mut self) -> Vec<(ProfileKind, Kept)> {
        let bodies: Vec<_> = self.sections(SectionKind::Profiles).cloned().collect();
        let mut all = vec![];
        for found in bodies {
            match self.body(&found).and_then(profile) {
                Ok(Some(window)) => all.push(window),
                Ok(None) => self.lost.unknown_sections += 1,
                Err(Damaged) => self.damaged(SectionKind::Profiles),
            }
        }
        all
    }

    fn sections(&self, kind: SectionKind) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(move |found| found.kind == Some(kind))
    }

    fn body(&self, found: &Found) -> Result<&[u8], Damaged> {
        self.bytes.get(found.body.clone()).ok_or(Damaged)
    }

    fn damaged(&mut self, kind: SectionKind) {
        *self.lost.damaged.entry(kind.name().to_owned()).or_default() += 1;
    }

    /// Notes where which ticks are.
    fn index(&mut self) {
        let found: Vec<_> = self.sections(SectionKind::Ticks).cloned().collect();
        for found in found {
            match self.body(&found).and_then(ticks::span) {
                Ok(span) if span.count > 0 => self.blocks.push((span, found)),
                Ok(_) => {}
                Err(Damaged) => self.damaged(SectionKind::Ticks),
            }
        }
        self.blocks.sort_by_key(|(span, _)| span.first);
    }
}

fn profile(body: &[u8]) -> Result<Option<(ProfileKind, Kept)>, Damaged> {
    let mut reader = Reader(body);
    let name = std::str::from_utf8(reader.bytes()?).map_err(|_| Damaged)?;
    let Some(kind) = ProfileKind::named(name) else { return Ok(None) };
    Ok(Some((kind, decode_kept(reader.0)?)))
}

impl OlderTicks for Tape {
    fn at(&self, taken: KtimeNs) -> Option<Arc<Tick>> {
        let after = self.blocks.partition_point(|(span, _)| span.begins <= taken);
        // Before the first, and where a block is damaged, the next best.
        let before = self.blocks[..after].iter().rev();
        let mut blocks = before.chain(&self.blocks[after..]);
        let ticks = blocks.find_map(|(_, found)| {
            let body = self.body(found).ok()?;
            let block = ticks::decode(body, &self.metrics).ok()?;
            (!block.ticks.is_empty()).then_some(block.ticks)
        })?;
        let at = ticks.partition_point(|tick| tick.taken <= taken).saturating_sub(1);
        ticks.into_iter().nth(at).map(Arc::new)
    }
}
