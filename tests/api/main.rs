//! The daemon over HTTP: what each route answers, what is refused and how, the stream, `/metrics`, the document that describes them, and the files of the dashboard.

mod described;
mod exposition;
mod http;
mod intake;
mod judge;
mod metrics;
mod page;
mod refusals;
mod routes;
mod sources;
mod stream;
