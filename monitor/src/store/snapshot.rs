//! A consistent look at history: pieces and open frames of one moment, read as if they were one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
};

use rusqlite::{Connection, OptionalExtension};

use super::{
    chunk::{self, no_slots},
    database::{self, Named, SeriesRow, chunk_id},
    frame::{Frame, Instant, read_group},
    id::{GroupId, SeriesId},
    point::Points,
    seal::{Coarser, roll_up},
    shared::Shared,
    tier::{STEP_MS, TIERS},
};

/// Part of a range, and the tier it is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The tier.
    pub tier: usize,
    /// Its first instant, ms.
    pub from_ms: u64,
    /// The end, not in it, ms.
    pub to_ms: u64,
}

/// The piece that points are of.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Another one for each piece of a reading; all series of a piece come one after the other.
    pub number: usize,
    /// Its instants.
    pub instants: &'a [Instant],
}

/// Takes the points of one series in one piece.
pub type Take<'a> = &'a mut dyn FnMut(SeriesId, Piece<'_>, Points);

/// The number of what is not sealed yet.
const OPEN: usize = usize::MAX;

/// History at one moment.
#[derive(Debug)]
pub struct Snapshot {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    frames: Vec<Arc<Frame>>,
    new_series: Vec<SeriesRow>,
}

impl Snapshot {
    /// Now.
    pub fn take(shared: &Arc<Shared>) -> Self {
        let connection = shared.reader();
        let open = shared.open();
        // A deferred transaction begins with its first look at the file, and that must be before the lock goes.
        let connection = connection.filter(|connection| {
            let begun = connection.execute_batch("BEGIN; SELECT count(*) FROM fact;");
            begun.is_ok()
        });
        Self {
            shared: Arc::clone(shared),
            connection,
            frames: open.frames.iter().cloned().collect(),
            new_series: open.new_series.clone(),
        }
    }

    /// Every series of the metric `name`, each once; of all metrics without one.
    ///
    /// # Errors
    /// Of the database.
    pub fn series(&self, name: Option<&str>) -> rusqlite::Result<Vec<SeriesRow>> {
        let mut all = match &self.connection {
            Some(connection) => database::series_of(connection, name)?,
            None => vec![],
        };
        let stored: std::collections::HashSet<SeriesId> = all.iter().map(|row| row.id).collect();
        let new = self.new_series.iter().filter(|row| !stored.contains(&row.id));
        all.extend(new.filter(|row| name.is_none_or(|name| row.metric == name)).cloned());
        Ok(all)
    }

    /// What subjects are called, by id.
    ///
    /// # Errors
    /// Of the database.
    pub fn named(&self) -> rusqlite::Result<HashMap<String, Named>> {
        let named = match &self.connection {
            Some(connection) => database::named(connection)?,
            None => vec![],
        };
        Ok(named.into_iter().map(|named| (named.id.clone(), named)).collect())
    }

    /// Bytes of the sealed points and instants of each tier. It looks at every chunk: for benchmarks.
    ///
    /// # Errors
    /// Of the database.
    pub fn stored_bytes(&self) -> rusqlite::Result<[u64; TIERS]> {
        let mut bytes = [0; TIERS];
        let Some(connection) = &self.connection else { return Ok(bytes) };
        let mut find = connection.prepare(
            "SELECT tier, sum(length(instants) + coalesce((SELECT sum(length(points)) FROM chunk
                 WHERE chunk.id BETWEEN piece.id << 32 AND (piece.id << 32) + 4294967295), 0))
             FROM piece GROUP BY tier",
        )?;
        let rows = find.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        for row in rows {
            let (tier, length) = row?;
            if let Some(bytes) = bytes.get_mut(tier as usize) {
                *bytes = length as u64;
            }
        }
        Ok(bytes)
    }

    /// From which tiers to read a range: `tier` as far back as it goes, and coarser ones before that.
    ///
    /// # Errors
    /// Of the database.
    pub fn segments(
        &self,
        tier: usize,
        from_ms: u64,
        to_ms: u64,
    ) -> rusqlite::Result<Vec<Segment>> {
        let mut segments = vec![];
        let mut end_ms = to_ms;
        for tier in tier..TIERS {
            let begins_ms = self.begin(tier)?;
            let is_last = tier + 1 == TIERS || self.begin(tier + 1)? >= begins_ms;
            // A point of the next tier is wholly on one side.
            let begins_ms = match STEP_MS.get(tier + 1) {
                Some(step_ms) if !is_last => begins_ms.div_ceil(*step_ms) * step_ms,
                _ => 0,
            };
            let start_ms = begins_ms.max(from_ms);
            if start_ms < end_ms {
                segments.push(Segment { tier, from_ms: start_ms, to_ms: end_ms });
                end_ms = start_ms;
            }
            if end_ms <= from_ms || is_last {
                break;
            }
        }
        segments.reverse();
        Ok(segments)
    }

    /// The first instant of a tier, ms.
    fn begin(&self, tier: usize) -> rusqlite::Result<u64> {
        let sealed: Option<i64> = match &self.connection {
            Some(connection) => connection
                .prepare_cached("SELECT min(first_ms) FROM piece WHERE tier=?1")?
                .query_row([tier as i64], |row| row.get(0))?,
            None => None,
        };
        let open = self.frames.iter().map(|frame| frame.instant.at_ms).min();
        Ok(sealed.map_or(u64::MAX, |ms| ms as u64).min(open.unwrap_or(u64::MAX)))
    }

    /// Hands the instants of a segment to `take`, piece by piece. Instants outside may come as well.
    ///
    /// # Errors
    /// Of the database. Damaged ones are left out; whoever reads the points counts them.
    pub fn instants(
        &self,
        segment: Segment,
        take: &mut dyn FnMut(&[Instant]),
    ) -> rusqlite::Result<()> {
        if let Some(connection) = &self.connection {
            let Segment { tier, from_ms, to_ms } = segment;
            for piece in database::pieces(connection, tier, from_ms, to_ms)? {
                if let Ok(instants) = chunk::decode_instants(&piece.instants) {
                    take(&instants);
                }
            }
        }
        let (_, instants, to) = self.open_frames(segment);
        take(&match to {
            Some(coarser) => coarser.instants,
            None => instants,
        });
        Ok(())
    }

    /// The open frames of a segment, their instants, and those of its tier.
    fn open_frames(&self, segment: Segment) -> (Vec<&Arc<Frame>>, Vec<Instant>, Option<Coarser>) {
        // Of a coarser tier the whole point, which may have begun before.
        let step_ms = STEP_MS[segment.tier];
        let from_ms = segment.from_ms / step_ms * step_ms;
        let is_in = |frame: &&Arc<Frame>| (from_ms..segment.to_ms).contains(&frame.instant.at_ms);
        let frames: Vec<&Arc<Frame>> = self.frames.iter().filter(is_in).collect();
        let instants: Vec<Instant> = frames.iter().map(|frame| frame.instant).collect();
        let coarser = (segment.tier > 0).then(|| Coarser::of(&instants, step_ms));
        (frames, instants, coarser)
    }

    /// Hands each wanted series' points in a segment to `take`, piece by piece. Points outside may come as well.
    ///
    /// # Errors
    /// Of the database. Damaged chunks are counted and left out.
    pub fn read(
        &self,
        series: &[SeriesId],
        segment: Segment,
        take: Take<'_>,
    ) -> rusqlite::Result<()> {
        let mut groups: BTreeMap<GroupId, u32> = BTreeMap::new();
        for id in series {
            *groups.entry(id.group()).or_default() |= 1 << id.slot();
        }
        self.read_pieces(&groups, segment, take)?;
        self.read_frames(&groups, segment, take);
        Ok(())
    }

    fn read_pieces(
        &self,
        groups: &BTreeMap<GroupId, u32>,
        segment: Segment,
        take: Take<'_>,
    ) -> rusqlite::Result<()> {
        let Some(connection) = &self.connection else { return Ok(()) };
        let mut find = connection.prepare_cached("SELECT points FROM chunk WHERE id=?1")?;
        let pieces = database::pieces(connection, segment.tier, segment.from_ms, segment.to_ms)?;
        for (number, piece) in pieces.into_iter().enumerate() {
            let Ok(instants) = chunk::decode_instants(&piece.instants) else {
                self.count_damage();
                continue;
            };
            let of = Piece { number, instants: &instants };
            for (&group, &wanted) in groups {
                let Some(kind) = group.kind() else { continue };
                let slots = find
                    .query_row([chunk_id(piece.id, group)], |row| {
                        let points = row.get_ref(0)?.as_blob()?;
                        Ok(chunk::decode(points, kind, instants.len(), wanted))
                    })
                    .optional()?;
                match slots {
                    Some(Ok(slots)) => hand_over(group, wanted, slots, of, take),
                    Some(Err(_)) => self.count_damage(),
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn read_frames(&self, groups: &BTreeMap<GroupId, u32>, segment: Segment, take: Take<'_>) {
        let (frames, instants, coarser) = self.open_frames(segment);
        let mut cursors: Vec<_> = frames.iter().map(|frame| frame.cursor()).collect();
        let (instants, to) = match coarser {
            Some(coarser) => (coarser.instants, Some(coarser.to)),
            None => (instants, None),
        };
        for (&group, &wanted) in groups {
            let Some(kind) = group.kind() else { continue };
            let mut slots = no_slots();
            for (instant, cursor) in cursors.iter_mut().enumerate() {
                // Frames in memory are as they were made or checked when they were read.
                if let Ok(Some(bytes)) = cursor.seek(group) {
                    let _ = read_group(bytes, kind, instant as u32, &mut slots);
                }
            }
            let slots = match &to {
                Some(to) => roll_up(slots, to),
                None => slots,
            };
            hand_over(group, wanted, slots, Piece { number: OPEN, instants: &instants }, take);
        }
    }

    fn count_damage(&self) {
        self.shared.counts.damaged.fetch_add(1, Ordering::Relaxed);
    }
}

fn hand_over(group: GroupId, wanted: u32, slots: chunk::Slots, piece: Piece<'_>, take: Take<'_>) {
    for (slot, points) in (0..).zip(slots) {
        if let Some(points) = points.filter(|_| wanted & 1 << slot != 0) {
            take(SeriesId::new(group, slot), piece, points);
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.execute_batch("ROLLBACK").is_ok()
        {
            self.shared.done(connection);
        }
    }
}
