//! What is sent to others: metrics by Prometheus remote write, to Prometheus, Mimir, VictoriaMetrics, Thanos and what else takes it;
//! the same by OTLP, to OpenTelemetry collectors; profiles to Pyroscope, Parca and OpenTelemetry collectors.
//!
//! Contract: nothing here holds up the collector. What the receiver cannot take now waits in a bounded queue and is sent again; what
//! is given up is counted by reason.

mod message;
mod otlp;
mod own;
mod profiles;
mod queue;
mod remote_write;
mod sender;
mod series;
mod ticks;

pub use otlp::{OtlpOptions, OtlpPush};
pub use own::DESCRIPTORS;
pub use profiles::{ProfilePush, ProfilePushOptions, ProfileReceiver};
pub use remote_write::{PushOptions, RemoteWrite};
