//! `/metrics`: the newest tick as OpenMetrics text, which Prometheus and its kin read.
//!
//! Contract: every metric of the tick is there under its descriptor's name, help and unit; processes never are. Times are
//! seconds. Distributions have every second power of two as a bound: 13 bounds instead of 193 keep the number of
//! series small, and the API has them all.

use std::{collections::HashMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabelKey, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder,
        MetricEncoder, NoLabelSet,
    },
    metrics::MetricType,
    registry::Registry,
};

use super::{
    api::in_unit,
    subject::{Names, is_process},
};
use crate::{
    container::Container,
    metric::{
        Descriptor, EXPOSED_BOUNDS, Histogram, Kind, SampleRef, Subject, Tick, Unit, Value,
        exposed_bound_of, exposed_bounds_ns,
    },
};

/// What [`encode`] writes.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A tick as text; without one, no metrics.
pub fn encode(tick: Option<Arc<Tick>>, names: Names) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    if let Some(tick) = tick {
        registry.register_collector(Box::new(Scrape { tick, names }));
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    tick: Arc<Tick>,
    names: Names,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A family's series follow each other, in whatever order they were collected.
        let mut place_of = HashMap::new();
        let mut families: Vec<(&Descriptor, Vec<(SampleRef<'_>, Labels<'_>)>)> = vec![];
        for sample in self.tick.samples() {
            let Some(labels) = Labels::of(sample, &self.names) else { continue };
            let place = *place_of.entry(sample.metric.name).or_insert(families.len());
            match families.get_mut(place) {
                None => families.push((sample.metric, vec![(sample, labels)])),
                Some((_, series)) => series.push((sample, labels)),
            }
        }
        for (metric, series) in families {
            // The encoder adds the suffix of counters itself.
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let mut family =
                encoder.encode_descriptor(name, &help(metric), None, metric_type(metric.kind))?;
            for (sample, labels) in &series {
                encode_value(&mut family.encode_family(labels)?, *sample)?;
            }
        }
        Ok(())
    }
}

fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Distribution => MetricType::Histogram,
    }
}

/// One line, whatever the descriptor says.
fn help(metric: &Descriptor) -> String {
    metric.help.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn encode_value(encoder: &mut MetricEncoder<'_>, sample: SampleRef<'_>) -> fmt::Result {
    let exposed = |value: f64| in_unit(sample.metric.unit, value);
    match sample.value {
        Value::Counter(total) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(&exposed(*total as f64), None)
        }
        Value::Gauge(value) => encoder.encode_gauge(&exposed(*value)),
        Value::Distribution(histogram) => {
            let buckets = reduced(histogram);
            let sum_seconds = in_unit(Unit::Seconds, histogram.sum_ns as f64);
            encoder.encode_histogram::<NoLabelSet>(sum_seconds, histogram.count(), &buckets, None)
        }
    }
}

/// Upper bounds in seconds, each with the values between it and the one before; the last bound is infinite.
pub(super) fn reduced(histogram: &Histogram) -> Vec<(f64, u64)> {
    let mut counts = [0; EXPOSED_BOUNDS];
    for (i, count) in histogram.buckets() {
        counts[exposed_bound_of(i)] += count;
    }
    let seconds = |bound| {
        if bound == u64::MAX { f64::INFINITY } else { in_unit(Unit::Seconds, bound as f64) }
    };
    exposed_bounds_ns().into_iter().map(seconds).zip(counts).collect()
}

/// The labels of one series.
pub(super) struct Labels<'a> {
    container: Option<&'a Container>,
    sample: SampleRef<'a>,
    names: &'a Names,
}

/// The label whose value is the id of a container: its name is shown beside it, as `culprit`.
const CULPRIT_ID: &str = "culprit_id";

impl<'a> Labels<'a> {
    /// `None` for what has no place in the exposition: processes, and what has no name any more.
    pub(super) fn of(sample: SampleRef<'a>, names: &'a Names) -> Option<Self> {
        match sample.subject {
            Subject::Host => Some(Self { container: None, sample, names }),
            Subject::Container(id) if is_process(id) => None,
            Subject::Container(id) => {
                let container = Some(names.get(id)?.as_ref());
                Some(Self { container, sample, names })
            }
        }
    }
}

/// Hands over each label that says which container it is, and its value.
pub(super) fn container_labels(container: &Container, take: &mut impl FnMut(&str, &str)) {
    take("container", &container.name);
    take("container_id", container.id.as_str());
    take("runtime", container.runtime.as_str());
    let pod = container.pod.as_ref();
    let known = [
        ("image", container.image.as_deref()),
        ("pod", pod.and_then(|pod| pod.name.as_deref())),
        ("namespace", pod.and_then(|pod| pod.namespace.as_deref())),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            take(name, value);
        }
    }
}

/// Hands over each label that is the metric's own, and its value.
pub(super) fn own_labels(sample: SampleRef<'_>, names: &Names, take: &mut impl FnMut(&str, &str)) {
    for (name, value) in sample.metric.labels.iter().zip(sample.labels.iter()) {
        if *name == CULPRIT_ID {
            take("culprit", &names.name(value));
        }
        take(name, value);
    }
}

impl Labels<'_> {
    /// Hands over each label and its value.
    pub(super) fn each(&self, take: &mut impl FnMut(&str, &str)) {
        if let Some(container) = self.container {
            container_labels(container, take);
        }
        own_labels(self.sample, self.names, take);
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut outcome = Ok(());
        self.each(&mut |name, value| {
            if outcome.is_ok() {
                outcome = label(encoder, name, value);
            }
        });
        outcome
    }
}

fn label(encoder: &mut LabelSetEncoder<'_>, name: &str, value: &str) -> fmt::Result {
    let mut label = encoder.encode_label();
    let mut key = label.encode_label_key()?;
    EncodeLabelKey::encode(&name, &mut key)?;
    let mut text = key.encode_label_value()?;
    EncodeLabelValue::encode(&value, &mut text)?;
    text.finish()
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
