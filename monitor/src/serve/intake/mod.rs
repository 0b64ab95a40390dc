//! What applications post of themselves: each value becomes a series of the container that it came from.
//!
//! Contract: who posts is told by the kernel (the peer of a Unix socket), never by what is posted. A post is taken whole or refused whole, with the reason.
//! Names, series, bytes and connections are bounded, and what was refused is counted. A value stands until the next one of its
//! series, five minutes at most.

mod connection;
mod json;
mod measurement;
mod names;
mod own;
mod socket;
mod table;
mod text;

use std::{
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

pub use own::DESCRIPTORS;
pub use socket::{IntakeSocket, serve_intake};

use self::{
    measurement::{Measurement, Refusal},
    table::Table,
};
use crate::{container::ContainerId, metric::Sample};

/// Where posts come in, and how many series may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeOptions {
    /// The Unix socket.
    pub socket: PathBuf,
    /// Series of all containers together; one of them may have a quarter of it.
    pub max_series: usize,
}

/// What was posted, between those who post and the tick.
#[derive(Debug)]
pub struct Intake {
    table: Mutex<Table>,
    taken: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl Intake {
    /// For at most `max_series` series.
    pub fn new(max_series: usize) -> Self {
        Self {
            table: Mutex::new(Table::new(max_series)),
            taken: AtomicU64::new(0),
            refused: Default::default(),
        }
    }

    /// Takes what a container posted.
    fn post(
        &self,
        container: &ContainerId,
        measurements: &[Measurement],
        now: Instant,
    ) -> Result<(), measurement::Refused> {
        self.table().post(container, measurements, now)?;
        self.taken.fetch_add(measurements.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a post that was not taken.
    fn refuse(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Appends what stands, and what was counted of taking it.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        let series = self.table().collect(Instant::now(), samples);
        let refused = Refusal::ALL
            .map(|why| (why.name(), self.refused[why as usize].load(Ordering::Relaxed)));
        own::collect(series, self.taken.load(Ordering::Relaxed), &refused, samples);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
