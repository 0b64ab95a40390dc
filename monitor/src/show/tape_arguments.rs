//! Flags of recording to a file and of serving from it.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{arguments::ConnectArguments, engine_arguments::EngineArguments};
use crate::serve::{
    duration::Span,
    tape::{DEFAULT_RECORD, MAX_BEFORE, MAX_RECORD},
};

#[derive(Args, Debug)]
pub struct RecordArguments {
    /// The file; - is stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// For how long, at most a day
    #[arg(long, value_name = "TIME", default_value_t = Span(DEFAULT_RECORD), value_parser = record_duration)]
    pub duration: Span,

    /// With so much of the time before from the memory of a running daemon, at most two minutes
    #[arg(long, value_name = "TIME", value_parser = before)]
    pub before: Option<Span>,

    /// What the flight recorder of a running daemon holds instead, at once
    #[arg(long, conflicts_with_all = ["duration", "before", "standalone"])]
    pub flight: bool,

    #[command(flatten)]
    pub connect: ConnectArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

#[derive(Args, Debug)]
pub struct ReplayArguments {
    /// A file of `cgscope record`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Where to serve; port 0 takes a free one
    #[arg(
        long,
        value_name = "IP:PORT",
        default_value = "127.0.0.1:7071",
        env = "CGSCOPE_REPLAY_LISTEN"
    )]
    pub listen: SocketAddr,

    /// Directory to write daemon.json to, so that commands with the same --state-dir find it without --address
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

fn before(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    let is_there = span.0 <= MAX_BEFORE;
    if is_there { Ok(span) } else { Err(format!("give at most {}", Span(MAX_BEFORE))) }
}

fn record_duration(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    if span.0.is_zero() || span.0 > MAX_RECORD {
        return Err(format!("give more than 0 and at most {}", Span(MAX_RECORD)));
    }
    Ok(span)
}
