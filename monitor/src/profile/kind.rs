//! What a profile is of: the types of `--type`, what their widths count, and what the formats call them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the samples stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileKind {
    /// Running on a CPU.
    OnCpu,
    /// Blocked or waiting.
    OffCpu,
    /// Ending the wait of another.
    Wakeup,
    /// Bytes of block I/O, where they are asked for.
    Block,
    /// Page faults.
    Fault,
    /// Growth of resident memory.
    Memory,
    /// Waiting for locks, of the kernel and of processes.
    Lock,
    /// Bytes sent.
    Network,
}

/// What the widths of a profile count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProfileUnit)]
pub enum Unit {
    /// Samples.
    Samples,
    /// Nanoseconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// Things that happened.
    Events,
}

impl Unit {
    /// Behind a number.
    pub fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
            Self::Events => "events",
        }
    }

    /// A number of them, for people.
    pub fn shown(self, value: u64) -> String {
        match self {
            Self::Samples | Self::Events => format!("{value} {}", self.name()),
            Self::Nanoseconds => format!("{:.3} s", value as f64 / 1e9),
            Self::Bytes => shown_bytes(value),
        }
    }
}

fn shown_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 10 << 10 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut place = 0;
    while value >= 1024.0 && place + 1 < UNITS.len() {
        value /= 1024.0;
        place += 1;
    }
    format!("{value:.1} {}", UNITS[place])
}

impl ProfileKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OnCpu,
        Self::OffCpu,
        Self::Wakeup,
        Self::Block,
        Self::Fault,
        Self::Memory,
        Self::Lock,
        Self::Network,
    ];

    /// What widths count: samples taken at a frequency, or what was measured.
    pub fn unit(self) -> Unit {
        match self {
            Self::OnCpu => Unit::Samples,
            Self::OffCpu | Self::Wakeup | Self::Lock => Unit::Nanoseconds,
            Self::Block | Self::Memory | Self::Network => Unit::Bytes,
            Self::Fault => Unit::Events,
        }
    }

    /// The name in titles.
    pub fn title(self) -> &'static str {
        match self {
            Self::OnCpu => "On-CPU",
            Self::OffCpu => "Off-CPU",
            Self::Wakeup => "Wake-up",
            Self::Block => "Block I/O",
            Self::Fault => "Page-fault",
            Self::Memory => "Memory-growth",
            Self::Lock => "Lock",
            Self::Network => "Network-send",
        }
    }

    /// The name in `--type` and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnCpu => "cpu",
            Self::OffCpu => "offcpu",
            Self::Wakeup => "wakeup",
            Self::Block => "block",
            Self::Fault => "fault",
            Self::Memory => "memory",
            Self::Lock => "lock",
            Self::Network => "network",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it can be of some states only.
    pub fn has_states(self) -> bool {
        matches!(self, Self::OffCpu | Self::Wakeup)
    }

    /// What its samples are, in sentences.
    pub fn things(self) -> &'static str {
        match self {
            Self::OnCpu => "samples",
            Self::OffCpu | Self::Wakeup | Self::Lock => "waits",
            Self::Fault => "faults",
            Self::Block | Self::Memory | Self::Network => "bytes",
        }
    }

    /// What it means that there is none.
    pub fn nothing(self) -> &'static str {
        match self {
            Self::OnCpu => "No sample arrived: nothing in this scope ran, or sampling is off.",
            Self::OffCpu => {
                "No wait was seen: nothing in this scope waited for anything but a CPU."
            }
            Self::Wakeup => {
                "No wake-up was seen: nothing in this scope waited for anything but a CPU, or it waits still."
            }
            Self::Block => {
                "No block I/O was seen: nothing in this scope asked a disk for anything."
            }
            Self::Fault => "No page fault was seen in this scope.",
            Self::Memory => "No growth was seen: nothing in this scope took memory.",
            Self::Lock => "No wait for a lock was seen in this scope.",
            Self::Network => "Nothing was sent by TCP or UDP in this scope.",
        }
    }

    /// The names of its values in pprof, and the unit of the second.
    pub(super) fn in_pprof(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::OnCpu => ("samples", "cpu", "nanoseconds"),
            Self::OffCpu => ("events", "off_cpu", "nanoseconds"),
            Self::Wakeup => ("events", "wakeup", "nanoseconds"),
            Self::Block => ("events", "block_io", "bytes"),
            Self::Fault => ("events", "page_faults", "count"),
            Self::Memory => ("events", "rss_growth", "bytes"),
            Self::Lock => ("events", "lock", "nanoseconds"),
            Self::Network => ("events", "sent", "bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_name() {
        for kind in ProfileKind::ALL {
            assert_eq!(ProfileKind::named(kind.name()), Some(kind));
        }
        assert_eq!(ProfileKind::named("wall"), None);
    }

    #[test]
    fn amounts_for_people() {
        assert_eq!(Unit::Bytes.shown(9_000), "9000 bytes");
        assert_eq!(Unit::Bytes.shown(3 << 20), "3.0 MiB");
        assert_eq!(Unit::Nanoseconds.shown(1_500_000_000), "1.500 s");
        assert_eq!(Unit::Events.shown(7), "7 events");
    }
}
