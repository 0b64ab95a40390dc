//! Prometheus remote write: a tick each interval, sent until the receiver has it.

use std::{collections::HashSet, io, sync::Arc, time::Duration};

use super::{
    message::{Label, Point, STALE_BITS, TimeSeries, WriteRequest},
    own,
    queue::{Queue, Request},
    sender::{self, Destination},
    series::series_of,
    ticks,
};
use crate::{
    container::Registry,
    metric::{Sample, Tick},
    serve::subject::Names,
    store::Live,
};

/// Series of one request: receivers limit what they take, and what is refused is refused whole.
const SERIES_PER_REQUEST: usize = 2_000;
/// What the protocol demands of each request.
const HEADERS: &[(&str, &str)] = &[
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];
/// What it is called in the metrics of pushing.
const PROTOCOL: &str = "remote_write";

/// Where to push, how often, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushOptions {
    /// The receiver.
    pub url: String,
    /// Time between two ticks that are pushed.
    pub interval: Duration,
    /// Labels that each series gets unless it has them.
    pub labels: Vec<(String, String)>,
    /// Headers of each request.
    pub headers: Vec<(String, String)>,
}

impl PushOptions {
    /// As often as Prometheus scrapes unless it is told otherwise.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
}

/// Pushes until it is dropped.
#[derive(Debug)]
pub struct RemoteWrite {
    queue: Arc<Queue>,
}

impl RemoteWrite {
    /// Starts its threads.
    ///
    /// # Errors
    /// That they cannot be started.
    pub fn start(options: PushOptions, live: &Live, registry: Arc<Registry>) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        // From here on whatever fails ends the threads.
        let pusher = Self { queue: Arc::clone(&queue) };
        let (interval, labels) = (options.interval, options.labels.clone());
        sender::start(Destination::new(options.url, HEADERS, options.headers), Arc::clone(&queue))?;
        let mut last = Last::default();
        ticks::start(live, registry, interval, queue, move |tick, names| {
            last.requests(tick, names, &labels)
        })?;
        Ok(pusher)
    }

    /// Appends what it did and lost.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        own::collect(PROTOCOL, &self.queue.counts, samples);
    }
}

impl Drop for RemoteWrite {
    fn drop(&mut self) {
        // The threads end by themselves.
        own::tell_unsent(PROTOCOL, self.queue.end());
    }
}

/// What was pushed last.
#[derive(Default)]
struct Last {
    series: HashSet<Vec<Label>>,
}

impl Last {
    /// The requests of a tick. Series that have ended get the marker that says so.
    fn requests(&mut self, tick: &Tick, names: &Names, added: &[(String, String)]) -> Vec<Request> {
        let mut series = series_of(tick, names, added);
        let now: HashSet<Vec<Label>> = series.iter().map(|s| s.labels.clone()).collect();
        let timestamp = (tick.at.0 / 1_000_000) as i64;
        let stale = Point { value: f64::from_bits(STALE_BITS), timestamp };
        let ended = self.series.difference(&now).cloned();
        series.extend(ended.map(|labels| TimeSeries { labels, samples: vec![stale] }));
        self.series = now;
        let part = |part: &[TimeSeries]| {
            let request = WriteRequest { timeseries: part.to_vec() };
            Some(Request { samples: part.len() as u64, body: request.packed()? })
        };
        series.chunks(SERIES_PER_REQUEST).filter_map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metric::SampleRef,
        serve::tests::{registry, tick},
    };

    fn decoded(request: &Request) -> WriteRequest {
        let bytes = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        prost::Message::decode(bytes.as_slice()).unwrap()
    }

    #[test]
    fn a_tick_is_pushed_once_and_what_ended_is_marked() {
        let directory = tempfile::tempdir().unwrap();
        let names = Names::of(&registry(&directory));
        let mut last = Last::default();
        let [first] = &last.requests(&tick(4), &names, &[])[..] else { panic!("one request") };
        let all = tick(5);
        let stays = all.samples().filter(|sample| !sample.metric.name.contains("cpu"));
        let fewer = Tick::new(all.at, all.taken, stays.map(SampleRef::to_sample).collect());
        assert!(fewer.len() < all.len());
        let [second] = &last.requests(&fewer, &names, &[])[..] else { panic!("one request") };
        let (first, second) = (decoded(first), decoded(second));
        assert_eq!(first.timeseries.len(), second.timeseries.len());
        let is_stale = |s: &&TimeSeries| s.samples[0].value.to_bits() == STALE_BITS;
        assert_eq!(first.timeseries.iter().filter(is_stale).count(), 0);
        let stale: Vec<_> = second.timeseries.iter().filter(is_stale).collect();
        assert!(!stale.is_empty());
        for series in stale {
            assert!(series.labels.iter().any(|label| label.value.contains("cpu")), "{series:?}");
        }
    }
}
