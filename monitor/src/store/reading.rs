//! Reading the points of series in a range, from pieces and open frames alike.
//!
//! Contract: instants are decoded once, then points come group by group, and of each group stretch by stretch in the order of the
//! segments: whoever adds up needs memory for the twenty series of one group, not for all (14 MB for 100 series of an hour, which the
//! kernel had to clear). Damaged chunks are counted and left out. Points outside of the range may come as well.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use super::{
    chunk::{self, Slots, no_slots},
    database::{self, chunk_id},
    frame::{Cursor, Frame, Instant, read_group},
    id::{GroupId, SeriesId},
    point::Points,
    seal::{Coarser, roll_up},
    snapshot::{Segment, Snapshot},
    tier::STEP_MS,
};

/// A piece, or what is not sealed yet.
struct Stretch<'a> {
    segment: Segment,
    instants: Vec<Instant>,
    from: From<'a>,
}

enum From<'a> {
    /// The number of a piece.
    Piece(i64),
    /// Frames, and for each of them its instant in a coarser tier.
    Open { frames: Vec<&'a Frame>, to: Option<Vec<u32>> },
}

/// What comes of a reading.
#[derive(Debug)]
pub enum Read {
    /// Points of one series.
    Points {
        /// The series.
        id: SeriesId,
        /// Which of [`Reading::stretches`] their instants are of.
        stretch: usize,
        /// They.
        points: Points,
    },
    /// The series that came since the last such mark are complete.
    GroupEnd,
}

/// A range that can be read.
pub struct Reading<'a> {
    snapshot: &'a Snapshot,
    stretches: Vec<Stretch<'a>>,
}

impl Snapshot {
    /// Looks up what lies in segments.
    ///
    /// # Errors
    /// Of the database.
    pub fn reading(&self, segments: &[Segment]) -> rusqlite::Result<Reading<'_>> {
        let mut stretches = vec![];
        for &segment in segments {
            let Segment { tier, from_ms, to_ms } = segment;
            let pieces = match self.connection() {
                Some(connection) => database::pieces(connection, tier, from_ms, to_ms)?,
                None => vec![],
            };
            for piece in pieces {
                let from = From::Piece(piece.id);
                match chunk::decode_instants(&piece.instants) {
                    Ok(instants) => stretches.push(Stretch { segment, instants, from }),
                    Err(_) => self.count_damage(),
                }
            }
            let frames = self.open_frames(segment);
            let finer: Vec<Instant> = frames.iter().map(|frame| frame.instant).collect();
            let (instants, to) = match tier {
                0 => (finer, None),
                _ => {
                    let Coarser { instants, to } = Coarser::of(&finer, STEP_MS[tier]);
                    (instants, Some(to))
                }
            };
            stretches.push(Stretch { segment, instants, from: From::Open { frames, to } });
        }
        Ok(Reading { snapshot: self, stretches })
    }
}

impl Reading<'_> {
    /// The instants of each stretch, and the segment it was looked up for.
    pub fn stretches(&self) -> impl Iterator<Item = (Segment, &[Instant])> {
        self.stretches.iter().map(|stretch| (stretch.segment, &stretch.instants[..]))
    }

    /// Hands the points of series to `take`.
    ///
    /// # Errors
    /// Of the database.
    pub fn read(&self, series: &[SeriesId], take: &mut dyn FnMut(Read)) -> rusqlite::Result<()> {
        let mut groups: BTreeMap<GroupId, u32> = BTreeMap::new();
        for id in series {
            *groups.entry(id.group()).or_default() |= 1 << id.slot();
        }
        let mut cursors: Vec<Vec<Cursor<'_>>> = self
            .stretches
            .iter()
            .map(|stretch| match &stretch.from {
                From::Open { frames, .. } => frames.iter().map(|frame| frame.cursor()).collect(),
                From::Piece(_) => vec![],
            })
            .collect();
        for (group, wanted) in groups {
            for (number, cursors) in cursors.iter_mut().enumerate() {
                let Some(slots) = self.slots(number, cursors, group, wanted)? else { continue };
                for (slot, points) in (0..).zip(slots) {
                    if let Some(points) = points.filter(|_| wanted & 1 << slot != 0) {
                        let id = SeriesId::new(group, slot);
                        take(Read::Points { id, stretch: number, points });
                    }
                }
            }
            take(Read::GroupEnd);
        }
        Ok(())
    }

    /// The points of a group in a stretch.
    fn slots(
        &self,
        number: usize,
        cursors: &mut [Cursor<'_>],
        group: GroupId,
        wanted: u32,
    ) -> rusqlite::Result<Option<Slots>> {
        let (Some(stretch), Some(kind)) = (self.stretches.get(number), group.kind()) else {
            return Ok(None);
        };
        let instants = stretch.instants.len();
        match &stretch.from {
            From::Piece(piece) => {
                let Some(connection) = self.snapshot.connection() else { return Ok(None) };
                let mut find = connection.prepare_cached("SELECT points FROM chunk WHERE id=?1")?;
                let slots = find
                    .query_row([chunk_id(*piece, group)], |row| {
                        Ok(chunk::decode(row.get_ref(0)?.as_blob()?, kind, instants, wanted))
                    })
                    .optional()?;
                let is_damaged = matches!(slots, Some(Err(_)));
                if is_damaged {
                    self.snapshot.count_damage();
                }
                Ok(slots.and_then(Result::ok))
            }
            From::Open { to, .. } => {
                let mut slots = no_slots();
                for (instant, cursor) in cursors.iter_mut().enumerate() {
                    // Frames in memory are as they were made or checked when they were read.
                    if let Ok(Some(bytes)) = cursor.seek(group) {
                        let _ = read_group(bytes, kind, instant as u32, &mut slots);
                    }
                }
                Ok(Some(match to {
                    Some(to) => roll_up(slots, to),
                    None => slots,
                }))
            }
        }
    }
}
