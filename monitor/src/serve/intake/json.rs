//! Posts as JSON: `{"measurements": [{"name": "queue_depth", "value": 3, "labels": {"queue": "mail"}}]}`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::measurement::{Measurement, Refusal, Refused};
use crate::metric::Kind;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Post {
    measurements: Vec<Posted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    name: String,
    value: f64,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// By the name, if it is not given.
    #[serde(rename = "type")]
    kind: Option<PostedKind>,
    #[serde(default)]
    help: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PostedKind {
    Counter,
    Gauge,
}

/// What is in a post.
pub fn parse(body: &[u8]) -> Result<Vec<Measurement>, Refused> {
    let post: Post = serde_json::from_slice(body).map_err(|error| {
        let remedy = r#"post {"measurements": [{"name": "queue_depth", "value": 3, "labels": {"queue": "mail"}}]}"#;
        Refused::new(Refusal::Invalid, format_args!("the JSON cannot be read: {error}"), remedy)
    })?;
    let taken = post.measurements.into_iter().enumerate().map(|(i, posted)| {
        let kind = match posted.kind {
            Some(PostedKind::Counter) => Kind::Counter,
            Some(PostedKind::Gauge) => Kind::Gauge,
            None => super::text::kind_by_name(&posted.name),
        };
        let labels = posted.labels.into_iter().collect();
        let (name, help, value) = (posted.name, posted.help, posted.value);
        let measurement = Measurement { name, kind, help, labels, value };
        measurement.checked().map_err(|refused| refused.at(format_args!("measurement {i}")))
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_is_read() {
        let body = br#"{"measurements": [
            {"name": "queue_depth", "value": 3, "labels": {"queue": "mail"}, "help": "Jobs that wait"},
            {"name": "jobs_total", "value": 17, "type": "counter"}]}"#;
        let read = parse(body).unwrap();
        assert_eq!((read[0].kind, read[0].value), (Kind::Gauge, 3.0));
        assert_eq!(read[0].labels, [("queue".to_owned(), "mail".to_owned())]);
        assert_eq!((read[1].kind, read[1].name.as_str()), (Kind::Counter, "jobs_total"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for body in [
            &b""[..],
            b"[]",
            b"{\"measurements\": [{\"name\": \"a\"}]}",
            b"{\"measurements\": [{\"name\": \"a\", \"value\": \"3\"}]}",
            b"{\"measurements\": [{\"name\": \"a\", \"value\": 3, \"tpye\": \"gauge\"}]}",
            b"{\"measurements\": [{\"name\": \"a\", \"value\": 1e999}]}",
            b"{\"measurements\": [{\"name\": \"\xff\", \"value\": 1}]}",
            b"{\"measurements\": [{\"name\": \"a_total\", \"value\": 1, \"type\": \"gauge\"}]}",
        ] {
            let refused = parse(body).unwrap_err();
            assert_eq!(refused.why, Refusal::Invalid, "{:?}", String::from_utf8_lossy(body));
        }
    }
}
