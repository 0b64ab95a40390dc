//! Flags and environment of the flight recorder.

use std::path::{Path, PathBuf};

use clap::Args;

use super::history_arguments::{HistoryArguments, bytes};

/// Less holds a few seconds of a small machine.
const LEAST: u64 = 1 << 20;
/// More is no memory to fly with.
const MOST: u64 = 1 << 30;

/// What is remembered for the case that something goes wrong.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Flight recorder")]
pub struct FlightArguments {
    /// Keep everything of the last minutes in so much memory, each measurement and 19 stack samples a second and CPU, like 32M.
    /// `cgscope record --flight` gets it, and SIGUSR1 writes it to --flight-dir
    #[arg(long, value_name = "SIZE", env = "CGSCOPE_FLIGHT_RECORDER", value_parser = size)]
    pub flight_recorder: Option<u64>,

    /// Where SIGUSR1 writes it to; the newest eight files are kept [default: `flights` beside history]
    #[arg(long, value_name = "DIR", env = "CGSCOPE_FLIGHT_DIR", requires = "flight_recorder")]
    pub flight_dir: Option<PathBuf>,
}

impl FlightArguments {
    /// Where to write to.
    pub fn directory(&self, history: &HistoryArguments, state_directory: &Path) -> PathBuf {
        let beside = || history.directory(state_directory).join("flights");
        self.flight_dir.clone().unwrap_or_else(beside)
    }
}

fn size(text: &str) -> Result<u64, String> {
    let size = bytes(text).filter(|bytes| (LEAST..=MOST).contains(bytes));
    size.ok_or_else(|| "give a size from 1M to 1G, like 32M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_limits() {
        assert_eq!((size("1M"), size("1G")), (Ok(LEAST), Ok(MOST)));
        for wrong in ["", "0", "1023k", "2G", "32MB", "-1M"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
