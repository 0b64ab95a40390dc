//! What the metrics of a tape mean, as the daemon that recorded them declared it: names, units and labels of another version
//! are kept as they were.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    metric::{Descriptor, Kind, Scope, Unit},
    store::{
        database::{unit_name, unit_of},
        id::{code, kind_of},
    },
};

/// Descriptors live as long as the program: no file can make it leak more than this many.
const MAX_METRICS: usize = 20_000;

/// A metric as a tape declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Its number in the ticks of this tape.
    id: u32,
    name: String,
    help: String,
    title: String,
    unit: String,
    kind: u32,
    scope: String,
    labels: Vec<String>,
    source: String,
    kernel_floor: String,
}

/// Numbers of metrics while a tape is written.
#[derive(Debug, Default)]
pub struct Numbers {
    /// By where the descriptor is: there is one of each.
    by_address: HashMap<usize, u32>,
    all: Vec<&'static Descriptor>,
}

impl Numbers {
    /// The number of a metric.
    pub fn of(&mut self, metric: &'static Descriptor) -> u32 {
        *self.by_address.entry(std::ptr::from_ref(metric).addr()).or_insert_with(|| {
            self.all.push(metric);
            self.all.len() as u32 - 1
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Declarations from the `first`th on.
    pub fn rows(&self, first: usize) -> Vec<MetricRow> {
        let rows = (0u32..).zip(&self.all).skip(first);
        rows.map(|(id, metric)| MetricRow::of(id, metric)).collect()
    }
}

impl MetricRow {
    fn of(id: u32, metric: &Descriptor) -> Self {
        let scope = match metric.scope {
            Scope::Container => "container",
            Scope::Host => "host",
            Scope::Own => "own",
        };
        Self {
            id,
            name: metric.name.to_owned(),
            help: metric.help.to_owned(),
            title: metric.title.to_owned(),
            unit: unit_name(metric.unit).to_owned(),
            kind: code(metric.kind),
            scope: scope.to_owned(),
            labels: metric.labels.iter().map(|label| (*label).to_owned()).collect(),
            source: metric.source.to_owned(),
            kernel_floor: metric.kernel_floor.to_owned(),
        }
    }

    /// `None` for a kind that this version does not know.
    fn descriptor(self) -> Option<&'static Descriptor> {
        let kind: Kind = kind_of(self.kind)?;
        let unit: Unit = unit_of(&self.unit);
        let scope = match self.scope.as_str() {
            "container" => Scope::Container,
            "own" => Scope::Own,
            _ => Scope::Host,
        };
        let labels: Vec<&'static str> =
            self.labels.into_iter().map(|label| &*label.leak()).collect();
        Some(Box::leak(Box::new(Descriptor {
            name: self.name.leak(),
            help: self.help.leak(),
            title: self.title.leak(),
            unit,
            kind,
            scope,
            labels: labels.leak(),
            source: self.source.leak(),
            kernel_floor: self.kernel_floor.leak(),
        })))
    }
}

/// Metrics by their numbers while a tape is read.
#[derive(Debug, Default)]
pub struct Metrics(HashMap<u32, &'static Descriptor>);

impl Metrics {
    /// Adds declarations; those that are there stay.
    pub fn add(&mut self, rows: Vec<MetricRow>) {
        for row in rows {
            if self.0.len() < MAX_METRICS && !self.0.contains_key(&row.id) {
                let id = row.id;
                self.0.extend(row.descriptor().map(|descriptor| (id, descriptor)));
            }
        }
    }

    /// The metric of a number.
    pub fn get(&self, id: u32) -> Option<&'static Descriptor> {
        self.0.get(&id).copied()
    }

    /// All of them, in the order of their numbers.
    pub fn all(&self) -> Vec<&'static Descriptor> {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(id, _)| **id);
        all.into_iter().map(|(_, metric)| *metric).collect()
    }
}
