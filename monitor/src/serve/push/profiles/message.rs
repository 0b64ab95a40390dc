//! The messages in which Pyroscope and Parca take pprof files.
//!
//! Schemas: `push.v1.PushRequest` of Pyroscope and `parca.profilestore.v1alpha1.WriteRawRequest` of Parca. Pyroscope takes its own
//! as a plain POST (the Connect protocol), Parca in gRPC-Web, which is gRPC without HTTP/2.

use prost::Message;

use super::super::message::Label;

/// `push.v1.PushRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct PyroscopeRequest {
    /// The series.
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<PyroscopeSeries>,
}

/// `push.v1.RawProfileSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct PyroscopeSeries {
    /// Whose.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Its files.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<File>,
}

/// `parca.profilestore.v1alpha1.WriteRawRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct ParcaRequest {
    /// The series.
    #[prost(message, repeated, tag = "2")]
    pub series: Vec<ParcaSeries>,
}

/// `parca.profilestore.v1alpha1.RawProfileSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct ParcaSeries {
    /// Whose.
    #[prost(message, optional, tag = "1")]
    pub labels: Option<LabelSet>,
    /// Its files.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<File>,
}

/// `parca.profilestore.v1alpha1.LabelSet`.
#[derive(Clone, PartialEq, Message)]
pub struct LabelSet {
    /// The labels.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
}

/// `RawSample` of both.
#[derive(Clone, PartialEq, Message)]
pub struct File {
    /// pprof in gzip.
    #[prost(bytes = "vec", tag = "1")]
    pub raw_profile: Vec<u8>,
}

/// A series, before it is put in the words of either.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Whose, sorted by name.
    pub labels: Vec<Label>,
    /// pprof in gzip.
    pub file: Vec<u8>,
    /// Stack samples in it.
    pub samples: u64,
}

/// What Pyroscope takes.
pub fn pyroscope(series: Vec<Series>) -> Vec<u8> {
    let one = |Series { labels, file, .. }| PyroscopeSeries {
        labels,
        samples: vec![File { raw_profile: file }],
    };
    PyroscopeRequest { series: series.into_iter().map(one).collect() }.encode_to_vec()
}

/// What Parca takes: one message of gRPC, with its frame.
pub fn parca(series: Vec<Series>) -> Vec<u8> {
    let one = |Series { labels, file, .. }| ParcaSeries {
        labels: Some(LabelSet { labels }),
        samples: vec![File { raw_profile: file }],
    };
    let message = ParcaRequest { series: series.into_iter().map(one).collect() }.encode_to_vec();
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}
