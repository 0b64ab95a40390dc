//! A tick in the words of OpenTelemetry: a resource for each container and one for the host.
//!
//! Contract: values and bounds are those of `/metrics`. What says whose a value is, is the resource's; what is left are the metric's own
//! labels. Nothing is said about when counting began: for some it is the kernel's start, for others a container's or the daemon's.

use std::collections::{BTreeMap, HashMap};

use super::message::{
    CUMULATIVE, Data, Gauge, Histogram, HistogramPoint, KeyValue, Metric, NumberPoint, Resource,
    ResourceMetrics, Scope, ScopeMetrics, Sum,
};
use crate::{
    container::Container,
    metric::{Descriptor, SampleRef, Subject, Tick, Unit, Value},
    serve::{
        api::in_unit,
        exposition::{own_labels, reduced},
        subject::{Names, is_process},
    },
};

/// What OpenTelemetry has names for: <https://opentelemetry.io/docs/specs/semconv/system/container-metrics/>.
const SEMANTIC_NAMES: &[(&str, &str)] = &[
    ("cgscope_sched_cpu_seconds_total", "container.cpu.time"),
    ("cgscope_memory_use_bytes", "container.memory.usage"),
    ("cgscope_memory_working_set_bytes", "container.memory.working_set"),
];

/// What is measured, by resource. `added` are attributes of all of them; containers add their id to `service.instance.id`.
pub fn resources_of(
    tick: &Tick,
    names: &Names,
    added: &[(String, String)],
) -> Vec<ResourceMetrics> {
    let mut subjects: Vec<(&Subject, Vec<SampleRef<'_>>)> = vec![];
    let mut places: HashMap<&Subject, usize> = HashMap::new();
    for sample in tick.samples() {
        let place = *places.entry(sample.subject).or_insert(subjects.len());
        match subjects.get_mut(place) {
            None => subjects.push((sample.subject, vec![sample])),
            Some((_, samples)) => samples.push(sample),
        }
    }
    let resource = |(subject, samples): (&Subject, Vec<SampleRef<'_>>)| {
        let container = match subject {
            Subject::Host => None,
            Subject::Container(id) if is_process(id) => return None,
            Subject::Container(id) => Some(names.get(id)?.as_ref()),
        };
        Some(ResourceMetrics {
            resource: Some(Resource { attributes: attributes(container, added) }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(Scope {
                    name: "cgscope".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                }),
                metrics: metrics(&samples, names, tick.at.0),
            }],
        })
    };
    subjects.into_iter().filter_map(resource).collect()
}

/// Points of a resource.
pub fn points(of: &ResourceMetrics) -> usize {
    let metrics = of.scope_metrics.iter().flat_map(|scope| &scope.metrics);
    let count = |metric: &Metric| match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        None => 0,
    };
    metrics.map(count).sum()
}

fn attributes(container: Option<&Container>, added: &[(String, String)]) -> Vec<KeyValue> {
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    all.insert("service.name", "cgscope".to_owned());
    all.insert("service.version", env!("CARGO_PKG_VERSION").to_owned());
    for (name, value) in container.into_iter().flat_map(of_container) {
        all.insert(name, value);
    }
    for (name, value) in added {
        all.insert(name, value.clone());
    }
    // Receivers with labels instead of resources make `instance` of it and leave the rest out: without it all
    // containers would be one series.
    let given = all.remove("service.instance.id").or_else(|| all.get("host.name").cloned());
    let host = given.unwrap_or_default();
    let instance = container.map_or(host.clone(), |container| format!("{host}/{}", container.id));
    all.insert("service.instance.id", instance);
    all.into_iter().map(|(name, value)| KeyValue::new(name, &value)).collect()
}

/// What a container is known by.
pub fn of_container(container: &Container) -> impl Iterator<Item = (&'static str, String)> {
    let pod = container.pod.as_ref();
    // A pod of podman has no namespace.
    let namespace = pod.and_then(|pod| pod.namespace.clone());
    let of_kubernetes = pod.filter(|_| namespace.is_some());
    let all = [
        ("container.id", Some(container.id.as_str().to_owned())),
        ("container.name", Some(container.name.clone())),
        ("container.runtime", Some(container.runtime.as_str().to_owned())),
        ("container.image.name", container.image.clone()),
        ("k8s.namespace.name", namespace.clone()),
        ("k8s.pod.name", of_kubernetes.and_then(|pod| pod.name.clone())),
        ("k8s.pod.uid", of_kubernetes.and_then(|pod| pod.uid.clone())),
        ("k8s.container.name", of_kubernetes.map(|_| container.name.clone())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?)))
}

fn metrics(samples: &[SampleRef<'_>], names: &Names, time_unix_nano: u64) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = vec![];
    let mut places: HashMap<&str, usize> = HashMap::new();
    for &sample in samples {
        let place = *places.entry(sample.metric.name).or_insert(metrics.len());
        if place == metrics.len() {
            metrics.push(Metric {
                name: name(sample.metric).to_owned(),
                description: sample.metric.help.to_owned(),
                unit: unit(sample.metric.unit).to_owned(),
                data: None,
            });
        }
        add(&mut metrics[place].data, sample, names, time_unix_nano);
    }
    metrics
}

fn add(data: &mut Option<Data>, sample: SampleRef<'_>, names: &Names, time_unix_nano: u64) {
    let mut attributes = vec![];
    own_labels(sample, names, &mut |name, value| attributes.push(KeyValue::new(name, value)));
    let number = |value: f64| in_unit(sample.metric.unit, value);
    match sample.value {
        Value::Counter(total) => {
            let as_double = Some(number(*total as f64));
            let empty = Sum {
                data_points: vec![],
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
            };
            if let Data::Sum(sum) = data.get_or_insert(Data::Sum(empty)) {
                sum.data_points.push(NumberPoint { time_unix_nano, as_double, attributes });
            }
        }
        Value::Gauge(value) => {
            let as_double = Some(number(*value));
            if let Data::Gauge(gauge) = data.get_or_insert(Data::Gauge(Gauge::default())) {
                gauge.data_points.push(NumberPoint { time_unix_nano, as_double, attributes });
            }
        }
        Value::Distribution(histogram) => {
            let (bounds, bucket_counts): (Vec<f64>, Vec<u64>) =
                reduced(histogram).into_iter().unzip();
            let point = HistogramPoint {
                time_unix_nano,
                count: histogram.count(),
                sum: Some(in_unit(Unit::Seconds, histogram.sum_ns as f64)),
                bucket_counts,
                // The last has none.
                explicit_bounds: bounds.into_iter().filter(|bound| bound.is_finite()).collect(),
                attributes,
            };
            let empty = Histogram { data_points: vec![], aggregation_temporality: CUMULATIVE };
            if let Data::Histogram(all) = data.get_or_insert(Data::Histogram(empty)) {
                all.data_points.push(point);
            }
        }
    }
}

fn name(metric: &Descriptor) -> &'static str {
    let found = SEMANTIC_NAMES.iter().find(|(ours, _)| *ours == metric.name);
    found.map_or(metric.name, |(_, semantic)| semantic)
}

/// By UCUM. Counts have none: a unit of 1 says that it is a share.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "s",
        Unit::Bytes => "By",
        Unit::Ratio => "1",
        Unit::Count => "",
    }
}
