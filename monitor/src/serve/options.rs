//! How the engine is to run: what `cgscope run` and its environment set.

use std::{path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    intake::IntakeOptions,
    push::{OtlpOptions, ProfilePushOptions, PushOptions},
};
use crate::kernel::calls::SingleCalls;
use crate::store::{HistoryOptions, profiles::ArchiveOptions};

/// Settings of the engine, checked by whoever parsed them except where the kernel has the last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Time between two ticks.
    pub interval: Duration,
    /// Cgroups that get counters of their own; the rest count as `unattributed`.
    pub max_cgroups: u32,
    /// Entries of the thread table; `None` takes it from `/proc/sys/kernel/pid_max`.
    pub max_threads: Option<u32>,
    /// Stack samples per second and CPU of profiles that do not say.
    pub frequency_hz: u32,
    /// Ring of cgroup and process events.
    pub event_ring_bytes: u32,
    /// Ring of stack samples; `None` takes it from the number of CPUs.
    pub stack_ring_bytes: Option<u32>,
    /// Rows of unwind tables; a multiple of 8.
    pub unwind_table_bytes: u32,
    /// Where unwind tables are kept on disk; `None` keeps none there.
    pub unwind_cache: Option<PathBuf>,
    /// BTF of the kernel; `None` is `/sys/kernel/btf/vmlinux`.
    pub btf: Option<PathBuf>,
    /// How to attach to scheduler events.
    pub hook: Hook,
    /// Which hierarchy gives a task its identity.
    pub identity: IdentityChoice,
    /// Messages of the kernel half.
    pub kernel_log: KernelLog,
    /// Families of programs that stay off.
    pub disabled: Vec<String>,
    /// Families of programs that are on besides those that are by themselves.
    pub enabled: Vec<String>,
    /// System calls that are counted one by one, with the family `syscall`.
    pub single_calls: SingleCalls,
    /// Least time between two readings of a source of the host, for sources that shall not be read as they are by themselves.
    pub source_intervals: Vec<(String, Duration)>,
    /// How history is kept; `None` keeps none.
    pub history: Option<HistoryOptions>,
    /// How profiles are kept; `None` keeps none.
    pub profiles: Option<ProfilesOptions>,
    /// Where metrics are pushed to; `None` pushes none.
    pub push: Option<PushOptions>,
    /// Where metrics are pushed to by OTLP; `None` pushes none.
    pub otlp: Option<OtlpOptions>,
    /// Where applications post their own measurements; `None` takes none.
    pub intake: Option<IntakeOptions>,
    /// How many bytes a flight recorder has; `None` for none.
    pub flight_bytes: Option<usize>,
}

/// How profiles are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfilesOptions {
    /// Where, how many, how long.
    pub archive: ArchiveOptions,
    /// Stack samples per second and CPU, always.
    pub frequency_hz: u32,
    /// Where they are pushed to; `None` pushes none.
    pub push: Option<ProfilePushOptions>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            max_cgroups: 1024,
            max_threads: None,
            frequency_hz: 99,
            event_ring_bytes: 512 << 10,
            stack_ring_bytes: None,
            unwind_table_bytes: 16 << 20,
            unwind_cache: None,
            btf: None,
            hook: Hook::Auto,
            identity: IdentityChoice::Auto,
            kernel_log: KernelLog::Off,
            disabled: vec![],
            enabled: vec![],
            single_calls: SingleCalls::default(),
            source_intervals: vec![],
            history: None,
            profiles: None,
            push: None,
            otlp: None,
            intake: None,
            flight_bytes: None,
        }
    }
}

/// How to attach to scheduler events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// The best this kernel takes.
    #[default]
    Auto,
    /// BTF tracepoints only.
    TpBtf,
    /// Raw tracepoints only.
    RawTp,
}

/// Which hierarchy gives a task its identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IdentityChoice {
    /// Decided at start by where the containers are.
    #[default]
    Auto,
    /// cgroup v2.
    V2,
    /// The v1 hierarchy of this controller.
    V1(String),
}

/// Messages of the kernel half, from this level up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelLog {
    /// None.
    #[default]
    Off,
    /// Errors.
    Error,
    /// And warnings.
    Warn,
    /// And what is done.
    Info,
    /// And details.
    Debug,
}

/// Why a text names no choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is none of {choices}")]
pub struct ChoiceError {
    given: String,
    choices: &'static str,
}

impl FromStr for Hook {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "tp_btf" => Ok(Self::TpBtf),
            "raw_tp" => Ok(Self::RawTp),
            _ => Err(ChoiceError { given: text.to_owned(), choices: "auto, tp_btf, raw_tp" }),
        }
    }
}

impl FromStr for IdentityChoice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "v2" => Ok(Self::V2),
            Some(("v1", controller)) if !controller.is_empty() => {
                Ok(Self::V1(controller.to_owned()))
            }
            _ => Err(ChoiceError {
                given: text.to_owned(),
                choices: "auto, v2, v1:CONTROLLER (v1:cpu)",
            }),
        }
    }
}

impl FromStr for KernelLog {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(ChoiceError {
                given: text.to_owned(),
                choices: "off, error, warn, info, debug",
            }),
        }
    }
}

/// A size in bytes that the kernel takes for a ring: a power of two of at least a page, `256K`, `4M`, `65536`.
///
/// # Errors
/// A text for the user.
pub fn ring_bytes(text: &str) -> Result<u32, String> {
    match bytes(text) {
        Some(bytes @ 4096..=0x4000_0000) if bytes.is_power_of_two() => Ok(bytes as u32),
        _ => Err("a ring is a power of two from 4K to 1024M, like 256K or 4M".to_owned()),
    }
}

/// A size in bytes of what holds unwind tables: `16M`, `512K`.
///
/// # Errors
/// A text for the user.
pub fn table_bytes(text: &str) -> Result<u32, String> {
    match bytes(text) {
        Some(bytes @ 0x4_0000..=0x4000_0000) => Ok(bytes as u32 & !7),
        _ => Err("give 256K to 1024M, like 16M".to_owned()),
    }
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1u64 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_bytes("4M"), Ok(4 << 20));
        assert_eq!(ring_bytes("256k"), Ok(256 << 10));
        assert_eq!(ring_bytes("65536"), Ok(65_536));
        for wrong in ["", "M", "3M", "1K", "2048M", "99999999999999999999M", "-4M", "4G", "4é"] {
            assert!(ring_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn table_sizes() {
        assert_eq!(table_bytes("16M"), Ok(16 << 20));
        assert_eq!(table_bytes("262145"), Ok(262_144));
        for wrong in ["", "255K", "2G", "1025M", "-1M"] {
            assert!(table_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn choices() {
        assert_eq!("v1:cpu".parse(), Ok(IdentityChoice::V1("cpu".to_owned())));
        assert_eq!("v2".parse(), Ok(IdentityChoice::V2));
        assert!("v1:".parse::<IdentityChoice>().is_err());
        assert!("v3".parse::<IdentityChoice>().is_err());
        assert_eq!("raw_tp".parse(), Ok(Hook::RawTp));
        let error = "kprobe".parse::<Hook>().unwrap_err().to_string();
        assert!(error.contains("tp_btf"), "{error}");
    }
}
