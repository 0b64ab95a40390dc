//! The terminal: the command line, its tables, histograms and live view. Only here is the terminal.
//!
//! Every command asks the API, of the daemon if one runs and of an engine of its own if not ([`client`]), so it shows
//! API types only. [`main`] is the whole program; the engine is handed in.

mod arguments;
mod bar;
mod client;
mod containers;
mod destination;
mod diff;
mod diff_arguments;
mod doctor;
mod engine_arguments;
mod failure;
mod flamegraph;
mod flight_arguments;
mod histogram;
mod history_arguments;
mod intake_arguments;
mod latency;
mod number;
mod outliers;
mod output;
mod program;
mod progress;
mod push_arguments;
mod record;
mod replay;
mod run;
mod selftest;
mod signal;
mod states;
mod table;
mod tape_arguments;
mod text;
mod top;
mod top_columns;
mod top_view;

pub use program::{Engine, main};
