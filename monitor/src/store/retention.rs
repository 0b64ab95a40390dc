//! What is let go: by age, tier by tier, and by total size, the oldest of the finest first. And small pieces become large.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    chunk::{self, Slots, no_slots},
    database::{chunk_id, pieces},
    frame::Instant,
    id::GroupId,
    point::Points,
    seal::{Coarser, LATE_MS, add_chunk, add_piece, roll_up},
    tier::{MERGED_MS, STEP_MS, TIERS},
};

/// Free pages that are kept for what comes next: giving them back only to take them again is writing twice.
const KEPT_FREE_PAGES: i64 = 256;

/// Bytes of the database that hold something.
pub fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.query_row(name, [], |row| row.get::<_, i64>(0));
    let pages = pragma("PRAGMA page_count")? - pragma("PRAGMA freelist_count")?;
    Ok((pages * pragma("PRAGMA page_size")?) as u64)
}

/// Deletes pieces that ended before `ends_ms` of their tier.
///
/// # Errors
/// Of the database.
pub fn by_age(connection: &mut Connection, ends_ms: [u64; TIERS]) -> rusqlite::Result<()> {
    for (tier, end_ms) in ends_ms.into_iter().enumerate() {
        // A few at a time: a transaction is short, and its log small.
        loop {
            let transaction = connection.transaction()?;
            let old = oldest(&transaction, tier, Some(end_ms))?;
            let Some(piece) = old else { break };
            delete(&transaction, piece)?;
            transaction.commit()?;
        }
    }
    Ok(())
}

/// Deletes the oldest pieces of the finest tier, then of the next, until what is used fits. Returns whether it does.
///
/// # Errors
/// Of the database.
pub fn by_size(connection: &mut Connection, limit_bytes: u64) -> rusqlite::Result<bool> {
    for tier in 0..TIERS {
        while used_bytes(connection)? > limit_bytes {
            let transaction = connection.transaction()?;
            let Some(piece) = oldest(&transaction, tier, None)? else { break };
            delete(&transaction, piece)?;
            transaction.commit()?;
        }
    }
    Ok(used_bytes(connection)? <= limit_bytes)
}

/// Gives free pages back to the file system.
///
/// # Errors
/// Of the database.
pub fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
    if free > 2 * KEPT_FREE_PAGES {
        let pages = free - KEPT_FREE_PAGES;
        let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}

/// Deletes series of which nothing is stored any more, and names of those without series. Returns how many series are gone and left.
///
/// # Errors
/// Of the database.
pub fn forget_series(connection: &mut Connection) -> rusqlite::Result<(usize, usize)> {
    let mut gone = 0;
    let transaction = connection.transaction()?;
    let first: Option<i64> =
        transaction.query_row("SELECT min(first_ms) FROM piece", [], |row| row.get(0))?;
    if let Some(first_ms) = first {
        let before_ms = first_ms - LATE_MS as i64;
        gone = transaction.execute("DELETE FROM series WHERE last_ms < ?1", [before_ms])?;
        if gone > 0 {
            transaction
                .execute("DELETE FROM subject WHERE id NOT IN (SELECT subject FROM series)", [])?;
        }
    }
    let left: i64 = transaction.query_row("SELECT count(*) FROM series", [], |row| row.get(0))?;
    transaction.commit()?;
    Ok((gone, left as usize))
}

fn oldest(
    transaction: &Transaction<'_>,
    tier: usize,
    before_ms: Option<u64>,
) -> rusqlite::Result<Option<i64>> {
    let before_ms = before_ms.map_or(i64::MAX, |ms| ms as i64);
    transaction
        .prepare_cached(
            "SELECT id FROM piece WHERE tier=?1 AND last_ms<?2 ORDER BY first_ms, id LIMIT 1",
        )?
        .query_row(params![tier as i64, before_ms], |row| row.get(0))
        .optional()
}

fn delete(transaction: &Transaction<'_>, piece: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM chunk WHERE id BETWEEN ?1 AND ?2")?
        .execute(params![chunk_id(piece, GroupId(0)), chunk_id(piece, GroupId(u32::MAX))])?;
    transaction.prepare_cached("DELETE FROM piece WHERE id=?1")?.execute([piece])?;
    Ok(())
}

/// Merges the pieces of each tier's oldest full window that has several. Returns whether there was one.
///
/// # Errors
/// Of the database, which then is as before.
pub fn merge(connection: &mut Connection, now_ms: u64) -> rusqlite::Result<bool> {
    let mut has_merged = false;
    for (tier, window_ms) in MERGED_MS.iter().enumerate() {
        let Some(window_ms) = window_ms else { continue };
        let window: Option<i64> = connection
            .prepare_cached(
                "SELECT first_ms / ?2 AS w FROM piece WHERE tier=?1 AND is_merged=0 AND first_ms<?3
                 GROUP BY w HAVING count(*)>1 ORDER BY w LIMIT 1",
            )?
            .query_row(
                params![tier as i64, *window_ms as i64, (now_ms / window_ms * window_ms) as i64],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(window) = window {
            merge_window(connection, tier, window as u64 * window_ms, *window_ms)?;
            has_merged = true;
        }
    }
    Ok(has_merged)
}

/// A piece that is merged, and where its instants went.
struct Part {
    id: i64,
    instants: usize,
    to: Vec<u32>,
}

fn merge_window(
    connection: &mut Connection,
    tier: usize,
    from_ms: u64,
    window_ms: u64,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut all: Vec<Instant> = vec![];
    let mut lengths = vec![];
    for piece in pieces(&transaction, tier, from_ms, from_ms + window_ms)? {
        // A damaged piece stays what it is: readers count it.
        let Ok(instants) = chunk::decode_instants(&piece.instants) else { continue };
        // One that only reaches into the window belongs to another.
        if instants.iter().map(|i| i.at_ms).min().is_some_and(|first| first >= from_ms) {
            lengths.push((piece.id, instants.len()));
            all.extend(instants);
        }
    }
    let Coarser { instants, to } = Coarser::of(&all, STEP_MS[tier]);
    let mut rest = to.as_slice();
    let mut parts = vec![];
    for (id, length) in lengths {
        let (to, after) = rest.split_at(length);
        parts.push(Part { id, instants: length, to: to.to_vec() });
        rest = after;
    }
    let merged = add_piece(&transaction, tier, &instants)?;
    transaction.execute("UPDATE piece SET is_merged=1 WHERE id=?1", [merged])?;
    let mut after = None;
    while let Some(group) = next_group(&transaction, &parts, after)? {
        let mut slots = no_slots();
        for part in &parts {
            read_part(&transaction, part, group, &mut slots)?;
        }
        let slots = slots.into_iter().map(|p: Option<Points>| p.map(|p| p.regroup(|at| at)));
        let points = chunk::encode(&slots.collect::<Slots>(), instants.len(), true);
        add_chunk(&transaction, merged, group, &points)?;
        after = Some(group);
    }
    for part in &parts {
        delete(&transaction, part.id)?;
    }
    transaction.commit()
}

fn next_group(
    transaction: &Transaction<'_>,
    parts: &[Part],
    after: Option<GroupId>,
) -> rusqlite::Result<Option<GroupId>> {
    let mut find =
        transaction.prepare_cached("SELECT min(id) FROM chunk WHERE id BETWEEN ?1 AND ?2")?;
    let mut least: Option<GroupId> = None;
    for part in parts {
        let from = after.map_or(chunk_id(part.id, GroupId(0)), |g| chunk_id(part.id, g) + 1);
        let to = chunk_id(part.id, GroupId(u32::MAX));
        let id: Option<i64> = find.query_row([from, to], |row| row.get(0))?;
        if let Some(id) = id {
            let group = GroupId(id as u32);
            least = Some(least.map_or(group, |least| least.min(group)));
        }
    }
    Ok(least)
}

fn read_part(
    transaction: &Transaction<'_>,
    part: &Part,
    group: GroupId,
    slots: &mut Slots,
) -> rusqlite::Result<()> {
    let Some(kind) = group.kind() else { return Ok(()) };
    let mut find = transaction.prepare_cached("SELECT points FROM chunk WHERE id=?1")?;
    let points: Option<Vec<u8>> =
        find.query_row([chunk_id(part.id, group)], |row| row.get(0)).optional()?;
    let Some(points) = points else { return Ok(()) };
    // What is damaged cannot be merged; readers have counted it, if there were any.
    let Ok(read) = chunk::decode(&points, kind, part.instants, u32::MAX) else { return Ok(()) };
    for (slot, points) in slots.iter_mut().zip(roll_up(read, &part.to)) {
        match (slot, points) {
            (Some(into), Some(points)) => into.append(points),
            (slot @ None, points) => *slot = points,
            (Some(_), None) => {}
        }
    }
    Ok(())
}
