//! Series in memory: what the scripts of tests load.

use super::{
    error::Result,
    source::{Selection, Source},
    value::{Labels, Sample, Series},
};

/// A source that holds everything.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    series: Vec<Series>,
}

impl Memory {
    /// Adds samples, the oldest first, to the series of these labels.
    pub fn add(&mut self, labels: Labels, samples: impl IntoIterator<Item = Sample>) {
        let place = match self.series.iter().position(|series| series.labels == labels) {
            Some(place) => place,
            None => {
                self.series.push(Series { labels, samples: vec![] });
                self.series.len() - 1
            }
        };
        let all = &mut self.series[place].samples;
        all.extend(samples);
        // What came first at one instant stays.
        all.sort_by_key(|sample| sample.at_ms);
        all.dedup_by_key(|sample| sample.at_ms);
    }
}

impl Source for Memory {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>> {
        let is_in = |sample: &&Sample| {
            sample.at_ms > selection.after_ms && sample.at_ms <= selection.until_ms
        };
        let met = self.series.iter().filter(|series| selection.condition.is_met(&series.labels));
        let cut = met.map(|series| Series {
            labels: series.labels.clone(),
            samples: series.samples.iter().filter(is_in).copied().collect(),
        });
        Ok(cut.filter(|series| !series.samples.is_empty()).collect())
    }
}
