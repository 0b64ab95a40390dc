//! Slow operations on a tape: as the API lists them.

use std::sync::Arc;

use monitor_common::outlier::OutlierKind;

use crate::{collect::Outlier, serve::outliers::OutlierRow};

/// From a row of a tape; `None` for a kind that this version does not know.
pub fn outlier(row: OutlierRow, names: &mut Vec<&'static str>) -> Option<Outlier> {
    let kind = OutlierKind::ALL.into_iter().find(|kind| kind.name() == row.kind)?;
    let thread = match (row.pid, row.tid, row.thread) {
        (Some(pid), Some(tid), Some(name)) => Some((pid, tid, name)),
        _ => None,
    };
    Some(Outlier {
        kind,
        operation: operation(row.operation, names)?,
        at: row.at,
        latency_ns: row.latency_ns,
        queue_ns: row.queue_ns,
        service_ns: row.service_ns,
        container: row.container,
        name: row.name,
        device: row.device.map(Arc::from),
        sector: row.sector,
        bytes: row.bytes,
        thread,
    })
}

/// Names live as long as the program: a handful of them, whatever a file says.
fn operation(name: String, names: &mut Vec<&'static str>) -> Option<&'static str> {
    const MAX_NAMES: usize = 64;
    if let Some(known) = names.iter().find(|known| **known == name) {
        return Some(known);
    }
    if names.len() >= MAX_NAMES {
        return None;
    }
    names.push(name.leak());
    names.last().copied()
}
