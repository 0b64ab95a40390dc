//! Slow operations on a tape: as the API lists them, with the functions of the stacks that their threads waited in.

use std::sync::Arc;

use monitor_common::outlier::OutlierKind;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::{
    collect::Outlier,
    serve::{
        backend::Backend,
        outliers::{OutlierRow, distinct},
    },
};

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TapedOutlier {
    #[serde(flatten)]
    row: OutlierRow,
    /// The functions of its stack, from the kernel's entry on; empty if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    functions: Vec<String>,
}

/// As they go on a tape. Addresses mean nothing to another kernel, so functions are named now.
pub fn taped(backend: &dyn Backend, handle: &Handle, outliers: Vec<Outlier>) -> Vec<TapedOutlier> {
    let (places, stacks) = distinct(&outliers);
    let stacks = match stacks.is_empty() {
        true => vec![],
        false => handle.block_on(backend.kernel_functions(stacks)),
    };
    let functions_at = |place: Option<usize>| place.and_then(|at| stacks.get(at)).cloned();
    outliers
        .into_iter()
        .zip(places)
        .map(|(outlier, place)| TapedOutlier {
            row: OutlierRow::of(outlier, None),
            functions: functions_at(place).unwrap_or_default(),
        })
        .collect()
}

/// Those of a tape.
#[derive(Clone, Debug, Default)]
pub struct TapedOutliers {
    /// The slowest first. A stack is its place among [`Self::functions`] instead of addresses.
    pub outliers: Vec<Outlier>,
    /// The functions of each stack.
    pub functions: Vec<Vec<String>>,
}

impl TapedOutliers {
    /// Of the rows of a tape, without those of a kind that this version does not know.
    pub fn of(rows: Vec<Vec<TapedOutlier>>) -> Self {
        let (mut taped, mut names) = (Self::default(), vec![]);
        for TapedOutlier { row, functions } in rows.into_iter().flatten() {
            if let Some(mut outlier) = outlier(row, &mut names) {
                outlier.stack = taped.place(functions).map(|place| Arc::from([place]));
                taped.outliers.push(outlier);
            }
        }
        taped.outliers.sort_by_key(|outlier| std::cmp::Reverse(outlier.latency_ns));
        taped
    }

    fn place(&mut self, functions: Vec<String>) -> Option<u64> {
        if functions.is_empty() {
            return None;
        }
        let known = self.functions.iter().position(|known| *known == functions);
        Some(known.unwrap_or_else(|| {
            self.functions.push(functions);
            self.functions.len() - 1
        }) as u64)
    }
}

/// From a row of a tape; `None` for a kind that this version does not know.
fn outlier(row: OutlierRow, names: &mut Vec<&'static str>) -> Option<Outlier> {
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
        file: row.file.map(Box::from),
        inode: row.inode,
        bytes: row.bytes,
        stack: None,
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
