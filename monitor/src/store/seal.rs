//! Sealing: the open ticks become one piece of each tier, in one transaction.
//!
//! Contract: a tier's points are merged from those of the tier below, so each equals what the ticks themselves would give. A
//! group is read, rolled up and compressed by itself: memory is that of 20 series, not of all.

use std::{collections::BTreeSet, sync::Arc};

use rusqlite::{Connection, Transaction, params};

use super::{
    chunk::{self, Slots, no_slots},
    database::{chunk_id, set_fact},
    frame::{Cursor, Frame, Instant, read_group},
    id::{GroupId, SeriesId},
    tier::STEP_MS,
};

/// The last frame that is sealed: those up to it in the journal are history already.
pub const SEALED: &str = "sealed_sequence";

/// When a series was there last is noted so late, ms: at each seal it would be 60 MB a day for 2,000 series.
pub const LATE_MS: u64 = 3_600_000;

/// Instants of one tier, and to which of them each instant of the tier below belongs.
#[derive(Debug)]
pub struct Coarser {
    /// The instants.
    pub instants: Vec<Instant>,
    /// Of each instant of the tier below.
    pub to: Vec<u32>,
}

impl Coarser {
    /// Whole multiples of `step_ms`, in the order of time.
    pub fn of(finer: &[Instant], step_ms: u64) -> Self {
        let start = |instant: &Instant| instant.at_ms / step_ms * step_ms;
        let starts: BTreeSet<u64> = finer.iter().map(start).collect();
        let starts: Vec<u64> = starts.into_iter().collect();
        let mut instants: Vec<Instant> =
            starts.iter().map(|&at_ms| Instant { at_ms, covered_ms: 0 }).collect();
        let mut to = Vec::with_capacity(finer.len());
        for instant in finer {
            let at = starts.partition_point(|&s| s < start(instant));
            instants[at].covered_ms += instant.covered_ms;
            to.push(at as u32);
        }
        Self { instants, to }
    }
}

/// Writes `frames` as a piece of each tier. When the transaction is committed, the journal may be emptied.
///
/// # Errors
/// Of the database, which then is as before.
pub fn seal<'a>(
    connection: &'a mut Connection,
    frames: &[Arc<Frame>],
) -> rusqlite::Result<Transaction<'a>> {
    let sequence = frames.iter().map(|frame| frame.sequence).max().unwrap_or(0);
    let instants: Vec<Instant> = frames.iter().map(|frame| frame.instant).collect();
    let mut tiers: Vec<Coarser> = vec![];
    for step_ms in &STEP_MS[1..] {
        let finer = tiers.last().map_or(&instants, |tier| &tier.instants);
        tiers.push(Coarser::of(finer, *step_ms));
    }
    let transaction = connection.transaction()?;
    let mut pieces = vec![add_piece(&transaction, 0, &instants)?];
    for (i, tier) in tiers.iter().enumerate() {
        pieces.push(add_piece(&transaction, i + 1, &tier.instants)?);
    }
    let last_ms = instants.iter().map(|instant| instant.at_ms).max().unwrap_or(0);
    let mut cursors: Vec<Cursor<'_>> = frames.iter().map(|frame| frame.cursor()).collect();
    while let Some(group) = next_group(&cursors)? {
        let mut slots = slots_of(&mut cursors, group)?;
        touch(&transaction, group, &slots, last_ms)?;
        for (tier, &piece) in pieces.iter().enumerate() {
            let here = match tier {
                0 => &instants,
                tier => {
                    let Coarser { instants, to } = &tiers[tier - 1];
                    slots = roll_up(slots, to);
                    instants
                }
            };
            let points = chunk::encode(&slots, here.len(), tier > 0);
            add_chunk(&transaction, piece, group, &points)?;
        }
    }
    set_fact(&transaction, SEALED, sequence as i64)?;
    Ok(transaction)
}

/// Writes a piece without its chunks and returns its number.
pub fn add_piece(
    transaction: &Transaction<'_>,
    tier: usize,
    instants: &[Instant],
) -> rusqlite::Result<i64> {
    let times = || instants.iter().map(|instant| instant.at_ms as i64);
    transaction
        .prepare_cached("INSERT INTO piece(tier, is_merged, first_ms, last_ms, instants) VALUES(?1, 0, ?2, ?3, ?4)")?
        .execute(params![
            tier as i64,
            times().min().unwrap_or(0),
            times().max().unwrap_or(0),
            chunk::encode_instants(instants)
        ])?;
    Ok(transaction.last_insert_rowid())
}

/// Writes a group of a piece.
pub fn add_chunk(
    transaction: &Transaction<'_>,
    piece: i64,
    group: GroupId,
    points: &[u8],
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO chunk VALUES(?1, ?2)")?
        .execute(params![chunk_id(piece, group), points])
        .map(drop)
}

/// Each slot's points at the instants `to`.
pub fn roll_up(slots: Slots, to: &[u32]) -> Slots {
    let at = |i: u32| to.get(i as usize).copied().unwrap_or(i);
    slots.into_iter().map(|points| points.map(|points| points.regroup(at))).collect()
}

fn next_group(cursors: &[Cursor<'_>]) -> rusqlite::Result<Option<GroupId>> {
    let mut least = None;
    for mut cursor in cursors.iter().copied() {
        if let Some((group, _)) = cursor.next()? {
            least = Some(least.map_or(group, |least: GroupId| least.min(group)));
        }
    }
    Ok(least)
}

/// The measurements of one group in all frames.
fn slots_of(cursors: &mut [Cursor<'_>], group: GroupId) -> rusqlite::Result<Slots> {
    let mut slots = no_slots();
    let Some(kind) = group.kind() else { return Ok(slots) };
    for (instant, cursor) in cursors.iter_mut().enumerate() {
        if let Some(bytes) = cursor.seek(group)? {
            read_group(bytes, kind, instant as u32, &mut slots)?;
        }
    }
    Ok(slots)
}

/// Notes that the series were there, so that they outlive what is stored of them.
fn touch(
    transaction: &Transaction<'_>,
    group: GroupId,
    slots: &Slots,
    last_ms: u64,
) -> rusqlite::Result<()> {
    let mut touch = transaction
        .prepare_cached("UPDATE series SET last_ms=?2 WHERE id=?1 AND last_ms < ?2 - ?3")?;
    for slot in (0..).zip(slots).filter(|(_, points)| points.is_some()).map(|(slot, _)| slot) {
        touch.execute(params![SeriesId::new(group, slot).0, last_ms as i64, LATE_MS as i64])?;
    }
    Ok(())
}
