//! A host that can be computed: ticks whose every increase is known, for the tests of history.

use std::sync::Arc;

use super::{HistoryOptions, Named, Names, Writer};
use crate::metric::{
    Descriptor, Histogram, Kind, KtimeNs, Sample, Scope, Subject, Tick, Unit, Value, WallTimeNs,
};

const fn descriptor(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    labels: &'static [&'static str],
) -> Descriptor {
    Descriptor {
        name,
        help: "",
        title: "",
        unit,
        kind,
        scope: Scope::Container,
        labels,
        source: "",
        kernel_floor: "",
    }
}

pub static EVENTS: Descriptor =
    descriptor("cgscope_test_events_total", Kind::Counter, Unit::Count, &["kind"]);
pub static LEVEL: Descriptor =
    descriptor("cgscope_test_level_bytes", Kind::Gauge, Unit::Bytes, &[]);
pub static LATENCY: Descriptor =
    descriptor("cgscope_test_latency_seconds", Kind::Distribution, Unit::Seconds, &[]);

/// What one container did in one tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Did {
    pub events: u64,
    pub level: u32,
    pub latencies_ns: Vec<u64>,
}

/// Containers and their totals.
#[derive(Debug)]
pub struct Host {
    pub containers: Vec<(Arc<str>, u64, Arc<Histogram>)>,
    pub taken_ms: u64,
}

impl Host {
    pub fn new(containers: usize) -> Self {
        let mut host = Self { containers: vec![], taken_ms: 1_000_000 };
        (0..containers).for_each(|_| host.add());
        host
    }

    pub fn add(&mut self) {
        let id = format!("{:064x}", self.containers.len());
        self.containers.push((id.into(), 0, Arc::default()));
    }

    /// A tick in which each container did `did` since the one before.
    pub fn tick(&mut self, at_ms: u64, after_ms: u64, did: &[Did]) -> Tick {
        self.taken_ms += after_ms;
        let mut samples = vec![];
        for ((_, events, latencies), did) in self.containers.iter_mut().zip(did) {
            *events += did.events;
            if !did.latencies_ns.is_empty() {
                let latencies = Arc::make_mut(latencies);
                did.latencies_ns.iter().for_each(|ns| latencies.record(*ns));
            }
        }
        let mut push = |metric: &'static Descriptor, of: &dyn Fn(usize) -> Value| {
            for (i, (id, ..)) in self.containers.iter().enumerate() {
                let labels: Arc<[_]> =
                    if std::ptr::eq(metric, &EVENTS) { ["x".into()].into() } else { [].into() };
                let subject = Subject::Container(Arc::clone(id));
                samples.push(Sample { metric, subject, labels, value: of(i) });
            }
        };
        push(&EVENTS, &|i| Value::Counter(self.containers[i].1));
        push(&LEVEL, &|i| Value::Gauge(f64::from(did.get(i).map_or(0, |did| did.level))));
        push(&LATENCY, &|i| Value::Distribution(Arc::clone(&self.containers[i].2)));
        let taken = KtimeNs(self.taken_ms * 1_000_000);
        Tick::new(WallTimeNs(at_ms * 1_000_000), taken, samples)
    }

    /// The totals of a kernel half that was loaded anew.
    pub fn restart(&mut self) {
        for (_, events, latencies) in &mut self.containers {
            *events = 0;
            *latencies = Arc::default();
        }
    }
}

/// Nothing has a name.
pub fn no_names() -> Names {
    Box::new(Vec::new)
}

/// `web-0`, `web-1` and so on.
pub fn web_names(count: usize) -> Names {
    Box::new(move || {
        let named = |i| Named {
            id: format!("{i:064x}"),
            name: format!("web-{i}"),
            runtime: "podman".into(),
            ..Named::default()
        };
        (0..count).map(named).collect()
    })
}

/// A writer in `directory`.
pub fn writer(directory: &std::path::Path) -> Writer {
    Writer::open(HistoryOptions::in_directory(directory.to_owned()), no_names())
}
