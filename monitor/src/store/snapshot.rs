//! A consistent look at history: pieces and open frames of one moment, read as if they were one.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use rusqlite::Connection;

use super::{
    database::{self, Named, SeriesRow},
    frame::Frame,
    id::SeriesId,
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

/// History at one moment.
#[derive(Debug)]
pub struct Snapshot {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    frames: Vec<Arc<Frame>>,
    new_series: Vec<SeriesRow>,
    named: Arc<[Named]>,
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
            named: Arc::clone(&open.named),
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
            None => self.named.to_vec(),
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

    /// From which tiers to read a range: `tier` as far back as it goes, and coarser ones before that. Each instant is in one of
    /// them: a finer tier takes over where a point of the coarser one ends.
    ///
    /// # Errors
    /// Of the database.
    pub fn segments(
        &self,
        tier: usize,
        from_ms: u64,
        to_ms: u64,
    ) -> rusqlite::Result<Vec<Segment>> {
        // Tiers and where each takes over, the coarsest first.
        let mut cover: Vec<(usize, u64)> = vec![];
        for finer in (tier..TIERS).rev() {
            let begins_ms = self.begin(finer)?;
            if begins_ms == u64::MAX {
                continue;
            }
            let takes_over_ms = loop {
                let Some(&(coarser, since_ms)) = cover.last() else {
                    break begins_ms / STEP_MS[finer] * STEP_MS[finer];
                };
                let step_ms = STEP_MS[coarser];
                if begins_ms / step_ms * step_ms > since_ms {
                    break begins_ms.div_ceil(step_ms) * step_ms;
                }
                // No whole point of it lies before the finer one.
                cover.pop();
            };
            cover.push((finer, takes_over_ms));
        }
        if let Some((_, since_ms)) = cover.first_mut() {
            *since_ms = 0;
        }
        let ends_ms = cover.iter().skip(1).map(|(_, since_ms)| *since_ms).chain([u64::MAX]);
        let segments = cover.iter().zip(ends_ms).map(|(&(tier, since_ms), end_ms)| Segment {
            tier,
            from_ms: since_ms.max(from_ms),
            to_ms: end_ms.min(to_ms),
        });
        Ok(segments.filter(|segment| segment.from_ms < segment.to_ms).collect())
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

    /// The open frames of a segment.
    pub(super) fn open_frames(&self, segment: Segment) -> Vec<&Frame> {
        // Of a coarser tier the whole point, which may have begun before.
        let step_ms = STEP_MS[segment.tier];
        let from_ms = segment.from_ms / step_ms * step_ms;
        let is_in = |frame: &&Frame| (from_ms..segment.to_ms).contains(&frame.instant.at_ms);
        self.frames.iter().map(|frame| &**frame).filter(is_in).collect()
    }

    /// The files, if they can be read.
    pub(super) fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// Counts a stored chunk that is not what was written.
    pub(super) fn count_damage(&self) {
        self.shared.counts.damaged.fetch_add(1, Ordering::Relaxed);
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
