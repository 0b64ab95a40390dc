//! One row per container: what it got of the CPUs, and what it waited for.
//!
//! Contract: what was not measured is `None` or left out, never 0; the shares of a row's states sum to 1. The order is
//! by stall time, the worst first.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Change, Series, SubjectWindow, Window};
use crate::metric::{Histogram, Subject};

const STATE_SECONDS: &str = "cgscope_sched_state_seconds_total";
const CPU_SECONDS: &str = "cgscope_sched_cpu_seconds_total";
const RUNQUEUE_LATENCY: &str = "cgscope_sched_runqueue_latency_seconds";

/// The order in which states are shown: from work, over being kept from it, to rest.
const STATE_ORDER: [&str; 13] = [
    "running.user",
    "running.kernel",
    "stolen",
    "runnable",
    "throttled",
    "blocked.disk",
    "blocked.fault",
    "blocked.lock",
    "blocked.network",
    "blocked.pipe",
    "blocked.other",
    "sleeping",
    "unknown",
];

/// What one container did in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Activity {
    /// Its whole id.
    pub id: String,
    /// CPUs it kept busy: CPU time per wall time.
    pub cpu_cores: Option<f64>,
    /// Of the time its threads wanted a CPU, the share (0..=1) they were kept from it by the container's own quota;
    /// `None` when no thread wanted one.
    pub throttled_share: Option<f64>,
    /// How long its threads waited for a CPU each time they became runnable; `None` when none did.
    pub runqueue: Option<Quantiles>,
    /// Threads, as thread time per wall time.
    pub threads: Option<f64>,
    /// Where the time of its threads went, in a fixed order, empty when it was not measured.
    pub states: Vec<StateShare>,
    /// Threads that wanted to go on and could not: time in `stolen`, `runnable`, `throttled` and `blocked.*`
    /// per wall time.
    pub stall: Option<f64>,
}

/// A distribution in two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quantiles {
    /// Values.
    pub count: u64,
    /// Half of them were shorter.
    pub p50_ns: u64,
    /// One in a hundred was longer.
    pub p99_ns: u64,
}

/// One state's part of the thread time of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StateShare {
    /// As in the label `state`.
    pub state: String,
    /// Thread time in it.
    pub time_ns: u64,
    /// Its part (0..=1) of all thread time of the container.
    pub share: f64,
}

/// Every container of a window, the most stalled first.
pub fn overview(window: &Window) -> Vec<Activity> {
    let mut rows: Vec<Activity> = window
        .subjects
        .iter()
        .filter_map(|(subject, part)| match subject {
            Subject::Container(id) => Some(Activity::of(id, part, window.span.as_nanos() as u64)),
            Subject::Host => None,
        })
        .collect();
    rows.sort_by(|a, b| {
        descending(a.stall, b.stall)
            .then_with(|| descending(a.cpu_cores, b.cpu_cores))
            .then_with(|| a.id.cmp(&b.id))
    });
    rows
}

impl Activity {
    /// What one subject did in a window of `span_ns`.
    pub fn of(id: &str, part: &SubjectWindow, span_ns: u64) -> Self {
        let states = states(part);
        let per_wall = |time_ns: u64| (span_ns > 0).then(|| time_ns as f64 / span_ns as f64);
        let time_in = |wanted: &dyn Fn(&str) -> bool| -> u64 {
            states.iter().filter(|s| wanted(&s.state)).map(|s| s.time_ns).sum()
        };
        let measured = !states.is_empty();
        let throttled_ns = time_in(&|state| state == "throttled");
        let wanting_ns =
            time_in(&|s| s.starts_with("running") || s == "runnable" || s == "throttled");
        Self {
            id: id.to_owned(),
            cpu_cores: part.increase(CPU_SECONDS, &[]).and_then(per_wall),
            throttled_share: (wanting_ns > 0).then(|| throttled_ns as f64 / wanting_ns as f64),
            runqueue: part.distribution(RUNQUEUE_LATENCY, &[]).and_then(quantiles),
            threads: measured.then(|| per_wall(time_in(&|_| true))).flatten(),
            stall: measured.then(|| per_wall(time_in(&is_stall))).flatten(),
            states,
        }
    }
}

/// All subjects of a window taken together that `wanted` names: counters add up, distributions merge. Gauges are left
/// out, as a sum of them need not mean anything.
pub fn together(window: &Window, wanted: impl Fn(&str) -> bool) -> SubjectWindow {
    let mut place_of = HashMap::new();
    let mut series: Vec<Series> = vec![];
    let parts = window.subjects.iter().filter_map(|(subject, part)| match subject {
        Subject::Container(id) => wanted(id).then_some(part),
        Subject::Host => None,
    });
    for one in parts.flat_map(|part| &part.series) {
        if matches!(one.change, Change::Gauge(_)) {
            continue;
        }
        let place = *place_of.entry((one.metric.name, &one.labels)).or_insert(series.len());
        match series.get_mut(place) {
            None => series.push(one.clone()),
            Some(sum) => add(&mut sum.change, &one.change),
        }
    }
    SubjectWindow { series }
}

fn add(sum: &mut Change, one: &Change) {
    match (sum, one) {
        (
            Change::Counter { total, increase },
            Change::Counter { total: more_total, increase: more },
        ) => {
            *total += more_total;
            *increase += more;
        }
        (Change::Distribution(sum), Change::Distribution(more)) => {
            Arc::make_mut(sum).merge(more);
        }
        // One metric has one kind, and gauges do not come here.
        _ => {}
    }
}

/// Whether a thread in this state wants to go on and cannot.
fn is_stall(state: &str) -> bool {
    matches!(state, "stolen" | "runnable" | "throttled") || state.starts_with("blocked.")
}

fn states(part: &SubjectWindow) -> Vec<StateShare> {
    let mut states: Vec<StateShare> = part
        .series
        .iter()
        .filter(|series| series.metric.name == STATE_SECONDS)
        .filter_map(|series| {
            let Change::Counter { increase, .. } = series.change else { return None };
            let state = series.labels.first()?.clone().into_owned();
            Some(StateShare { state, time_ns: increase, share: 0.0 })
        })
        .collect();
    let whole_ns: u64 = states.iter().map(|s| s.time_ns).sum();
    if whole_ns == 0 {
        return vec![];
    }
    states.iter_mut().for_each(|s| s.share = s.time_ns as f64 / whole_ns as f64);
    states.sort_by_key(|s| place(&s.state));
    states
}

/// States this file does not know come last, in the order they were collected.
fn place(state: &str) -> usize {
    STATE_ORDER.iter().position(|&known| known == state).unwrap_or(STATE_ORDER.len())
}

fn quantiles(histogram: &Histogram) -> Option<Quantiles> {
    Some(Quantiles {
        count: histogram.count(),
        p50_ns: histogram.quantile_ns(0.5)?,
        p99_ns: histogram.quantile_ns(0.99)?,
    })
}

/// The larger first, the unknown last.
fn descending(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metric::{Descriptor, Kind, LabelValues, Scope, Unit, WallTimeNs};

    static STATE: Descriptor = descriptor(STATE_SECONDS, Kind::Counter, &["state"]);
    static CPU: Descriptor = descriptor(CPU_SECONDS, Kind::Counter, &[]);
    static RUNQUEUE: Descriptor = descriptor(RUNQUEUE_LATENCY, Kind::Distribution, &[]);

    const fn descriptor(
        name: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
    ) -> Descriptor {
        Descriptor {
            name,
            help: "",
            title: "",
            unit: Unit::Seconds,
            kind,
            scope: Scope::Container,
            labels,
            source: "",
            kernel_floor: "",
        }
    }

    fn counter(metric: &'static Descriptor, labels: &[&'static str], increase: u64) -> Series {
        let labels = labels.iter().map(|&l| l.into()).collect();
        Series { metric, labels, change: Change::Counter { total: increase + 7, increase } }
    }

    fn window(subjects: Vec<(&str, Vec<Series>)>) -> Window {
        let subjects = subjects
            .into_iter()
            .map(|(id, series)| (Subject::Container(id.into()), SubjectWindow { series }));
        Window {
            at: WallTimeNs(0),
            span: Duration::from_nanos(1_000),
            subjects: subjects.collect(),
        }
    }

    fn states_of(times: &[(&'static str, u64)]) -> Vec<Series> {
        times.iter().map(|&(state, ns)| counter(&STATE, &[state], ns)).collect()
    }

    #[test]
    fn stall_is_what_wanted_to_go_on_and_could_not() {
        let rows = overview(&window(vec![(
            "a",
            states_of(&[
                ("sleeping", 1_000),
                ("runnable", 500),
                ("running.user", 700),
                ("running.kernel", 300),
                ("blocked.disk", 400),
                ("throttled", 100),
                ("unknown", 1_000),
            ]),
        )]));
        let row = &rows[0];
        assert_eq!(row.stall, Some(1.0), "500 + 400 + 100 of 1,000 ns of wall time");
        assert_eq!(row.threads, Some(4.0));
        assert_eq!(row.throttled_share, Some(100.0 / 1_600.0));
        let shares: f64 = row.states.iter().map(|s| s.share).sum();
        assert!((shares - 1.0).abs() < 1e-9);
        let order: Vec<&str> = row.states.iter().map(|s| s.state.as_str()).collect();
        assert_eq!(order[..3], ["running.user", "running.kernel", "runnable"]);
        assert_eq!(order[5..], ["sleeping", "unknown"]);
    }

    #[test]
    fn the_most_stalled_comes_first_and_the_unmeasured_last() {
        let rows = overview(&window(vec![
            ("calm", states_of(&[("sleeping", 1_000), ("runnable", 1)])),
            ("nothing", vec![]),
            ("stalled", states_of(&[("blocked.lock", 900)])),
        ]));
        let ids: Vec<&str> = rows.iter().map(|r| r.id.as_str()).collect();
        assert_eq!(ids, ["stalled", "calm", "nothing"]);
        assert_eq!((rows[2].stall, rows[2].cpu_cores, rows[2].threads), (None, None, None));
    }

    #[test]
    fn the_host_is_no_container() {
        let mut window = window(vec![]);
        window.subjects.insert(Subject::Host, SubjectWindow::default());
        assert!(overview(&window).is_empty());
    }

    #[test]
    fn all_together_add_up_without_those_not_wanted() {
        let distribution = |ns| {
            let mut waits = Histogram::default();
            waits.record(ns);
            Series {
                metric: &RUNQUEUE,
                labels: LabelValues::default(),
                change: Change::Distribution(Arc::new(waits)),
            }
        };
        let window = window(vec![
            ("a", vec![counter(&CPU, &[], 5), distribution(2_000)]),
            ("b", vec![counter(&CPU, &[], 6), distribution(9_000)]),
            ("process:1", vec![counter(&CPU, &[], 100)]),
        ]);
        let sum = together(&window, |id| !id.starts_with("process:"));
        assert_eq!(sum.increase(CPU_SECONDS, &[]), Some(11));
        let waits = sum.distribution(RUNQUEUE_LATENCY, &[]).unwrap();
        assert_eq!((waits.count(), waits.sum_ns), (2, 11_000));
    }

    #[test]
    fn cpu_and_runqueue() {
        let mut waits = Histogram::default();
        (0..98).for_each(|_| waits.record(2_000));
        (0..2).for_each(|_| waits.record(1_000_000));
        let series = vec![
            counter(&CPU, &[], 1_500),
            Series {
                metric: &RUNQUEUE,
                labels: LabelValues::default(),
                change: Change::Distribution(Arc::new(waits)),
            },
        ];
        let rows = overview(&window(vec![("a", series)]));
        assert_eq!(rows[0].cpu_cores, Some(1.5));
        let runqueue = rows[0].runqueue.unwrap();
        assert_eq!(runqueue.count, 100);
        assert!((1_900..2_300).contains(&runqueue.p50_ns), "{runqueue:?}");
        assert!(runqueue.p99_ns > 900_000, "{runqueue:?}");
        assert_eq!(rows[0].throttled_share, None);
    }
}
