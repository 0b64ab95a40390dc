//! When a source is read, and how it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::file::ReadError;
use crate::metric::{KtimeNs, Sample};

/// How a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It was read, or has not been due yet.
    Ok,
    /// The last reading failed.
    Failing,
    /// Nobody wants it.
    Disabled,
    /// This kernel does not have it.
    Absent,
}

/// A source as `doctor` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Least time between two readings, ns; 0 for every tick.
    pub interval_ns: u64,
    /// Sources are read in the order of this number, so that the values of the first are closest to the instant of their tick.
    pub priority: u8,
    /// Whether it is wanted.
    pub is_enabled: bool,
    /// How it is.
    pub health: Health,
    /// When it was last read successfully.
    pub last_read: Option<KtimeNs>,
    /// What the last reading that failed said, with the remedy; `None` once one succeeds.
    pub last_error: Option<String>,
}

/// What a source reads.
pub(super) trait Measure: Send {
    /// Appends what is measured now. On an error, what was appended is thrown away.
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError>;
}

/// One source.
pub(super) struct Source {
    name: &'static str,
    interval: Duration,
    priority: u8,
    is_enabled: bool,
    health: Health,
    measure: Box<dyn Measure>,
    /// When the last reading was due, which is not when its tick came.
    last_turn: Option<KtimeNs>,
    last_read: Option<KtimeNs>,
    last_error: Option<String>,
    values: Vec<Sample>,
}

impl Source {
    pub fn new(
        name: &'static str,
        interval: Duration,
        priority: u8,
        measure: impl Measure + 'static,
    ) -> Self {
        Self {
            name,
            interval,
            priority,
            is_enabled: true,
            health: Health::Ok,
            measure: Box::new(measure),
            last_turn: None,
            last_read: None,
            last_error: None,
            values: Vec::new(),
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn priority(&self) -> u8 {
        self.priority
    }

    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    pub fn enable(&mut self, is_enabled: bool) {
        self.is_enabled = is_enabled;
        self.values.clear();
        self.last_turn = None;
        self.health = if is_enabled { Health::Ok } else { Health::Disabled };
    }

    /// Reads if it is due, and appends what it last read.
    pub fn collect(&mut self, now: KtimeNs, samples: &mut Vec<Sample>) {
        if self.is_due(now) {
            self.read(now);
        }
        samples.extend_from_slice(&self.values);
    }

    /// A tick comes a little early or late: a twentieth early is in time, or every other tick would be missed.
    fn is_due(&self, now: KtimeNs) -> bool {
        let early = self.interval / 20;
        self.is_enabled
            && self.last_turn.is_none_or(|turn| now.since(turn) + early >= self.interval)
    }

    /// Turns are whole intervals apart. Counted from when the last tick came, one that was 60 ms late on a busy machine made
    /// the next, on time again, too early: that tick repeated its counters, and its rates were 0.
    fn turn(&self, now: KtimeNs) -> KtimeNs {
        let interval_ns = self.interval.as_nanos() as u64;
        let passed = |turn| (now.since(turn).as_nanos() as u64).checked_div(interval_ns);
        match self.last_turn.and_then(|turn| Some((turn, passed(turn)?))) {
            Some((turn, passed)) => KtimeNs(turn.0 + passed.max(1) * interval_ns),
            None => now,
        }
    }

    fn read(&mut self, now: KtimeNs) {
        self.last_turn = Some(self.turn(now));
        self.values.clear();
        let outcome = self.measure.measure(&mut self.values);
        self.health = match &outcome {
            Ok(()) => Health::Ok,
            Err(ReadError::Absent { .. }) => Health::Absent,
            Err(_) => Health::Failing,
        };
        match outcome {
            Ok(()) => {
                self.last_read = Some(now);
                self.last_error = None;
            }
            Err(error) => {
                self.values.clear();
                let error = error.to_string();
                // Once, not at each tick: the state is in the status.
                if self.last_error.as_ref() != Some(&error) {
                    tracing::warn!(source = self.name, error, "a source of the host gives nothing");
                }
                self.last_error = Some(error);
            }
        }
    }

    pub fn status(&self) -> SourceStatus {
        SourceStatus {
            name: self.name.to_owned(),
            interval_ns: self.interval.as_nanos() as u64,
            priority: self.priority,
            is_enabled: self.is_enabled,
            health: self.health,
            last_read: self.last_read,
            last_error: self.last_error.clone(),
        }
    }
}
