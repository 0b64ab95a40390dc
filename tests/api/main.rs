//! The daemon over HTTP: what each route answers, what is refused and how, the stream, `/metrics`, and the page.

mod browser;
mod devtools;
mod exposition;
mod http;
mod metrics;
mod page;
mod refusals;
mod routes;
mod sources;
mod stream;
