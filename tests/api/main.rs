//! The daemon over HTTP: what each route answers, what is refused and how, the stream, `/metrics`, and the files of the dashboard.

mod exposition;
mod http;
mod intake;
mod metrics;
mod page;
mod refusals;
mod routes;
mod sources;
mod stream;
