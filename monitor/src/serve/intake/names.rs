//! Descriptors of the metrics that applications name.
//!
//! Contract: a descriptor lives as long as the daemon, like all others, so there are at most [`NAMES_MAX`] of them. Which labels a
//! metric has is said by who posts it first.

use std::collections::HashMap;

use super::measurement::{Measurement, Refusal, Refused, unit_of};
use crate::metric::{Descriptor, Scope};

/// Metrics of all applications.
const NAMES_MAX: usize = 512;

/// The metrics known by now.
#[derive(Debug, Default)]
pub struct Names(HashMap<&'static str, &'static Descriptor>);

impl Names {
    /// The metric that a value is of.
    pub fn descriptor(&mut self, of: &Measurement) -> Result<&'static Descriptor, Refused> {
        if let Some(known) = self.0.get(of.name.as_str()) {
            let labels = of.labels.iter().map(|(name, _)| name.as_str());
            if labels.eq(known.labels.iter().copied()) {
                return Ok(known);
            }
            let what = format!("{} has the labels {:?} already", of.name, known.labels);
            let remedy = "give it these, or another name";
            return Err(Refused::new(Refusal::Conflict, what, remedy));
        }
        if self.0.len() == NAMES_MAX {
            let what = format!("{} would be one metric more than {NAMES_MAX}", of.name);
            let remedy = "tell apart by labels what is the same metric";
            return Err(Refused::new(Refusal::Limit, what, remedy));
        }
        let name: &'static str = of.name.clone().leak();
        let labels = of.labels.iter().map(|(name, _)| &*name.clone().leak());
        let said =
            if of.help.is_empty() { "Posted by an application." } else { of.help.clone().leak() };
        let descriptor = Box::leak(Box::new(Descriptor {
            name,
            help: said,
            title: name,
            unit: unit_of(name),
            kind: of.kind,
            scope: Scope::Container,
            labels: labels.collect::<Vec<_>>().leak(),
            source: "posted by applications",
            kernel_floor: "5.8",
        }));
        self.0.insert(name, descriptor);
        Ok(descriptor)
    }
}
