//! A tick as the series that a scrape of `/metrics` would give.
//!
//! Contract: names, labels, values and bounds are those of the exposition; what it leaves out is left out here.

use super::message::{Label, Point, TimeSeries};
use crate::{
    metric::{EXPOSED_BOUNDS, Tick, Unit, Value, exposed_bounds_ns},
    serve::{
        api::in_unit,
        exposition::{Labels, reduced},
        subject::Names,
    },
};

/// Every series of a tick, with `added` to the labels of each that has none of that name.
pub fn series_of(tick: &Tick, names: &Names, added: &[(String, String)]) -> Vec<TimeSeries> {
    let timestamp = (tick.at.0 / 1_000_000) as i64;
    let bounds = bounds();
    let mut all = vec![];
    for sample in tick.samples() {
        let Some(of_sample) = Labels::of(sample, names) else { continue };
        let mut labels = vec![];
        of_sample.each(&mut |name, value| labels.push((name.to_owned(), value.to_owned())));
        for (name, value) in added {
            if !labels.iter().any(|(other, _)| other == name) {
                labels.push((name.clone(), value.clone()));
            }
        }
        let mut push = |name: String, bound: Option<&str>, value: f64| {
            let le = bound.map(|bound| ("le".to_owned(), bound.to_owned()));
            let named = labels.iter().cloned().chain(le).chain([("__name__".to_owned(), name)]);
            let mut labels: Vec<Label> = named.map(|(name, value)| Label { name, value }).collect();
            labels.sort_unstable();
            all.push(TimeSeries { labels, samples: vec![Point { value, timestamp }] });
        };
        let (name, unit) = (sample.metric.name, sample.metric.unit);
        match sample.value {
            Value::Counter(total) => push(name.to_owned(), None, in_unit(unit, *total as f64)),
            Value::Gauge(value) => push(name.to_owned(), None, in_unit(unit, *value)),
            Value::Distribution(histogram) => {
                let mut count = 0;
                for ((_, within), bound) in reduced(histogram).into_iter().zip(&bounds) {
                    count += within;
                    push(format!("{name}_bucket"), Some(bound), count as f64);
                }
                let sum = in_unit(Unit::Seconds, histogram.sum_ns as f64);
                push(format!("{name}_sum"), None, sum);
                push(format!("{name}_count"), None, histogram.count() as f64);
            }
        }
    }
    all
}

/// The values of `le`, written as the exposition writes them.
fn bounds() -> [String; EXPOSED_BOUNDS] {
    exposed_bounds_ns().map(|bound_ns| match bound_ns {
        u64::MAX => "+Inf".to_owned(),
        bound_ns => {
            let seconds = in_unit(Unit::Seconds, bound_ns as f64);
            dtoa::Buffer::new().format(seconds).to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::serve::{
        exposition,
        tests::{registry, tick},
    };

    /// `name{a="b",c="d"} value` with labels in the order of their names.
    fn line(series: &TimeSeries) -> String {
        let name = series.labels.iter().find(|label| label.name == "__name__").unwrap();
        let others = series.labels.iter().filter(|label| label.name != "__name__");
        let labels: Vec<String> =
            others.map(|label| format!("{}={:?}", label.name, label.value)).collect();
        format!("{}{{{}}} {}", name.value, labels.join(","), series.samples[0].value)
    }

    fn sorted(exposed: &str) -> String {
        let (head, value) = exposed.rsplit_once(' ').unwrap();
        let (name, labels) = head.trim_end_matches('}').split_once('{').unwrap_or((head, ""));
        let mut labels: Vec<&str> = labels.split(',').filter(|label| !label.is_empty()).collect();
        labels.sort_unstable();
        format!("{name}{{{}}} {}", labels.join(","), value.parse::<f64>().unwrap())
    }

    #[test]
    fn what_is_pushed_is_what_is_scraped() {
        let directory = tempfile::tempdir().unwrap();
        let names = Names::of(&registry(&directory));
        let pushed: BTreeSet<String> = series_of(&tick(4), &names, &[]).iter().map(line).collect();
        let text = exposition::encode(Some(tick(4).into()), names).unwrap();
        let scraped: BTreeSet<String> =
            text.lines().filter(|line| !line.starts_with('#')).map(sorted).collect();
        assert_eq!(pushed, scraped);
        assert!(scraped.iter().any(|line| line.contains("_bucket")), "{scraped:?}");
    }

    #[test]
    fn labels_are_added_and_never_overwrite() {
        let directory = tempfile::tempdir().unwrap();
        let names = Names::of(&registry(&directory));
        let added = [("instance", "host-1"), ("container", "mine")];
        let added = added.map(|(name, value)| (name.to_owned(), value.to_owned()));
        for series in series_of(&tick(4), &names, &added) {
            let of = |name: &str| {
                let mut all = series.labels.iter().filter(move |label| label.name == name);
                (all.next().map(|label| label.value.clone()), all.count())
            };
            assert_eq!(of("instance"), (Some("host-1".to_owned()), 0));
            assert_eq!(of("container").1, 0, "twice: {series:?}");
            let is_of_container = of("container_id").0.is_some();
            assert_eq!(of("container").0.as_deref() == Some("mine"), !is_of_container);
            assert!(series.labels.is_sorted());
        }
    }
}
