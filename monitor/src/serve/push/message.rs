//! The message of Prometheus remote write 1.0: protobuf in snappy's block format.
//!
//! Schema: <https://prometheus.io/docs/specs/prw/remote_write_spec/>. Labels are sorted by name, as it demands.

use prost::Message;

/// Prometheus' marker of a series that has ended: a NaN of its own.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// The series.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Its labels, its name among them.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Its samples.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Point>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Point {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// When, ms since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

impl WriteRequest {
    /// As it is sent; `None` for what is too large for snappy, which is 4 GB.
    pub fn packed(&self) -> Option<Vec<u8>> {
        snap::raw::Encoder::new().compress_vec(&self.encode_to_vec()).ok()
    }
}
