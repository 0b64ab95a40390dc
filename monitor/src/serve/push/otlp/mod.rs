//! OTLP over HTTP: a tick each interval, to an OpenTelemetry collector and what else takes OTLP.

pub(super) mod message;
pub(super) mod resource;

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use prost::Message;

use self::{
    message::{ExportRequest, ExportResponse, ResourceMetrics},
    resource::{points, resources_of},
};
use super::{
    own,
    queue::{Queue, Request},
    sender::{self, Answers, Destination},
    ticks,
};
use crate::{container::Registry, metric::Sample, store::Live};

/// Points of one request, unless one resource alone has more.
const POINTS_PER_REQUEST: usize = 2_000;
/// What the protocol demands of each request.
pub(super) const HEADERS: &[(&str, &str)] =
    &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")];
/// Where a collector takes metrics, unless its address says otherwise.
const PATH: &str = "/v1/metrics";
/// What it is called in the metrics of pushing.
const PROTOCOL: &str = "otlp";

/// Where to push, how often, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpOptions {
    /// The receiver.
    pub url: String,
    /// Time between two ticks that are pushed.
    pub interval: Duration,
    /// Attributes of each resource.
    pub attributes: Vec<(String, String)>,
    /// Headers of each request.
    pub headers: Vec<(String, String)>,
}

/// Pushes until it is dropped.
#[derive(Debug)]
pub struct OtlpPush {
    queue: Arc<Queue>,
}

impl OtlpPush {
    /// Starts its threads.
    ///
    /// # Errors
    /// That they cannot be started.
    pub fn start(options: OtlpOptions, live: &Live, registry: Arc<Registry>) -> io::Result<Self> {
        let OtlpOptions { url, interval, attributes, headers } = options;
        let queue = Arc::new(Queue::default());
        // From here on whatever fails ends the threads.
        let pusher = Self { queue: Arc::clone(&queue) };
        let destination = Destination::new(with_path(&url), HEADERS, headers);
        let destination = Destination { answers: Answers::Otlp(refused), ..destination };
        sender::start(destination, Arc::clone(&queue))?;
        ticks::start(live, registry, interval, queue, move |tick, names| {
            requests(resources_of(tick, names, &attributes))
        })?;
        Ok(pusher)
    }

    /// Appends what it did and lost.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        own::collect(PROTOCOL, &self.queue.counts, samples);
    }
}

impl Drop for OtlpPush {
    fn drop(&mut self) {
        // The threads end by themselves.
        own::tell_unsent(PROTOCOL, self.queue.end());
    }
}

/// An address without a path is a collector's.
fn with_path(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.split_once('/') {
        None | Some((_, "")) => url.trim_end_matches('/').to_owned() + PATH,
        Some(_) => url.to_owned(),
    }
}

fn requests(resources: Vec<ResourceMetrics>) -> Vec<Request> {
    let (mut all, mut part, mut count) = (vec![], vec![], 0);
    for resource in resources {
        let more = points(&resource);
        if count > 0 && count + more > POINTS_PER_REQUEST {
            all.extend(request(std::mem::take(&mut part), count));
            count = 0;
        }
        count += more;
        part.push(resource);
    }
    all.extend(request(part, count));
    all
}

fn request(resource_metrics: Vec<ResourceMetrics>, points: usize) -> Option<Request> {
    let body = compressed(&ExportRequest { resource_metrics })?;
    Some(Request { body, samples: points as u64 })
}

/// A message as [`HEADERS`] say it comes.
pub(super) fn compressed(message: &impl Message) -> Option<Vec<u8>> {
    let mut gzip = GzEncoder::new(vec![], Compression::fast());
    // In memory it does not fail.
    gzip.write_all(&message.encode_to_vec()).ok()?;
    gzip.finish().ok()
}

/// How many points or profiles an answer says it did not take, and why.
pub(super) fn refused(answer: &[u8]) -> Option<(u64, String)> {
    let partial = ExportResponse::decode(answer).ok()?.partial_success?;
    let count = u64::try_from(partial.rejected).ok().filter(|count| *count > 0)?;
    Some((count, partial.error_message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::{
        subject::Names,
        tests::{registry, tick},
    };

    #[test]
    fn paths() {
        for (given, posted) in [
            ("http://collector:4318", "http://collector:4318/v1/metrics"),
            ("http://collector:4318/", "http://collector:4318/v1/metrics"),
            ("https://a/otlp/v1/metrics", "https://a/otlp/v1/metrics"),
        ] {
            assert_eq!(with_path(given), posted);
        }
    }

    #[test]
    fn what_an_answer_does_not_take() {
        let partial = |count| {
            let partial =
                message::PartialSuccess { rejected: count, error_message: "too old".to_owned() };
            ExportResponse { partial_success: Some(partial) }.encode_to_vec()
        };
        assert_eq!(refused(&partial(3)), Some((3, "too old".to_owned())));
        for nothing in [&partial(0)[..], b"", b"<html>"] {
            assert_eq!(refused(nothing), None);
        }
    }

    #[test]
    fn requests_are_of_a_size_and_leave_nothing_out() {
        let directory = tempfile::tempdir().unwrap();
        let names = Names::of(&registry(&directory));
        let one = resources_of(&tick(4), &names, &[]);
        let points_of_one: usize = one.iter().map(points).sum();
        assert!(points_of_one > 0);
        let many: Vec<_> = (0..500).flat_map(|_| one.clone()).collect();
        let made = requests(many);
        assert!(made.len() > 1);
        assert!(made.iter().all(|request| request.samples <= POINTS_PER_REQUEST as u64));
        let all: u64 = made.iter().map(|request| request.samples).sum();
        assert_eq!(all, 500 * points_of_one as u64);
    }
}
