//! What is pushed, as real receivers have it, Prometheus and VictoriaMetrics, and as the public schemas read it.

mod http;
mod otlp;
mod otlp_profiles;
mod profiles;
mod receiver;
mod same;
