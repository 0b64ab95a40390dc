//! Flags and environment of history.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use crate::{
    serve::{options::ProfilesOptions, runtime_file::DEFAULT_DIRECTORY},
    store::{HistoryOptions, profiles::ArchiveOptions, tier::TIERS},
};

/// Where history is, unless the state directory is set as well.
const DEFAULT_HISTORY: &str = "/var/lib/cgscope";

/// How history is kept.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "History")]
pub struct HistoryArguments {
    /// Keep no history on disk
    #[arg(long, env = "CGSCOPE_NO_HISTORY",
          conflicts_with_all = ["history_dir", "history_size", "retention"])]
    pub no_history: bool,

    /// Where to keep it [default: /var/lib/cgscope, or `history` in the state directory if that is set]
    #[arg(long, value_name = "DIR", env = "CGSCOPE_HISTORY_DIR")]
    pub history_dir: Option<PathBuf>,

    /// The most it may take; the oldest of the finest goes first [default: 2G]
    #[arg(long, value_name = "SIZE", env = "CGSCOPE_HISTORY_SIZE", value_parser = size)]
    pub history_size: Option<u64>,

    /// How long points of 1 s, 10 s, 1 min and 10 min are kept [default: 6h,3d,30d,1y]
    #[arg(long, value_name = "TIMES", env = "CGSCOPE_RETENTION", value_parser = retention)]
    pub retention: Option<Retention>,

    /// Take so many stack samples per second and CPU all the time and keep them, so that any past time can be drawn, like 19;
    /// 0 keeps none
    #[arg(long, value_name = "HZ", default_value = "0", env = "CGSCOPE_KEEP_PROFILES",
          value_parser = clap::value_parser!(u32).range(0..=99))]
    pub keep_profiles: u32,

    /// The most that profiles may take; the oldest go first [default: 1G]
    #[arg(long, value_name = "SIZE", env = "CGSCOPE_PROFILES_SIZE", value_parser = size)]
    pub profiles_size: Option<u64>,

    /// How long profiles are kept [default: 7d]
    #[arg(long, value_name = "TIME", env = "CGSCOPE_PROFILES_RETENTION", value_parser = profiles_retention)]
    pub profiles_retention: Option<Duration>,
}

/// How long each tier is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention([Duration; TIERS]);

impl HistoryArguments {
    /// As the engine takes them; `None` keeps no history.
    pub fn options(&self, state_directory: &Path) -> Option<HistoryOptions> {
        if self.no_history {
            return None;
        }
        let usual = HistoryOptions::in_directory(self.directory(state_directory));
        Some(HistoryOptions {
            keep: self.retention.map_or(usual.keep, |retention| retention.0),
            max_bytes: self.history_size.unwrap_or(usual.max_bytes),
            ..usual
        })
    }

    /// As the engine takes them; `None` keeps no profiles.
    pub fn profiles(&self, state_directory: &Path) -> Option<ProfilesOptions> {
        if self.no_history || self.keep_profiles == 0 {
            return None;
        }
        let archive = ArchiveOptions {
            directory: self.directory(state_directory).join("profiles"),
            max_bytes: self.profiles_size.unwrap_or(ArchiveOptions::DEFAULT_MAX_BYTES),
            keep: self.profiles_retention.unwrap_or(ArchiveOptions::DEFAULT_KEEP),
        };
        Some(ProfilesOptions { archive, frequency_hz: self.keep_profiles, push: None })
    }

    /// Where it is, or would be.
    pub fn directory(&self, state_directory: &Path) -> PathBuf {
        self.history_dir.clone().unwrap_or_else(|| {
            if state_directory == Path::new(DEFAULT_DIRECTORY) {
                PathBuf::from(DEFAULT_HISTORY)
            } else {
                state_directory.join("history")
            }
        })
    }
}

fn size(text: &str) -> Result<u64, String> {
    let least = HistoryOptions::LEAST_MAX_BYTES;
    bytes(text)
        .filter(|bytes| (least..=1 << 46).contains(bytes))
        .ok_or_else(|| format!("give a size from {}M up, like 500M or 2G", least >> 20))
}

/// A number of bytes, of which `k`, `M` and `G` make 1,024 times as many each.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift))
}

fn retention(text: &str) -> Result<Retention, String> {
    let wrong = || "give four times, each at least as long as the one before, like 6h,3d,30d,1y";
    let times: Result<Vec<Duration>, ()> = text.split(',').map(time).collect();
    let times: [Duration; TIERS] =
        times.ok().and_then(|times| times.try_into().ok()).ok_or_else(wrong)?;
    if times.is_sorted() && times[0] >= Duration::from_secs(600) {
        Ok(Retention(times))
    } else {
        Err(format!("{}; the first at least 10m", wrong()))
    }
}

fn profiles_retention(text: &str) -> Result<Duration, String> {
    let time = time(text).ok().filter(|time| *time >= Duration::from_secs(600));
    time.ok_or_else(|| "give a time from 10m up, like 12h or 7d".to_owned())
}

/// Days and more, which lengths of measurements do not have.
fn time(text: &str) -> Result<Duration, ()> {
    let (at, unit) = text.char_indices().last().ok_or(())?;
    let unit_s: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        'y' => 365 * 86_400,
        _ => return Err(()),
    };
    let number: u64 = text[..at].parse().map_err(drop)?;
    // A century is enough, and no product of it overflows.
    number.checked_mul(unit_s).filter(|s| *s <= 36_500 * 86_400).map(Duration::from_secs).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        assert_eq!(size("500M"), Ok(500 << 20));
        assert_eq!(size("2G"), Ok(2 << 30));
        for wrong in ["", "M", "1M", "3T", "-1G", "99999999999999999999", "9999999999G", "4é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        let days = |d: u64| Duration::from_secs(d * 86_400);
        let hours = Duration::from_secs(6 * 3_600);
        assert_eq!(retention("6h,3d,30d,1y"), Ok(Retention([hours, days(3), days(30), days(365)])));
        for wrong in
            ["", "6h", "6h,3d,30d", "6h,3d,30d,1y,1y", "6h,3d,2d,1y", "1s,1h,1d,1y", "1é,1h,1d,1y"]
        {
            assert!(retention(wrong).is_err(), "{wrong}");
        }
    }
}
