//! Flags and environment of the engine.

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};

use crate::kernel::{calls::SingleCalls, host::SOURCE_NAMES};
use crate::serve::{
    EngineOptions, MAX_FREQUENCY_HZ,
    duration::Span,
    options::{Hook, IdentityChoice, KernelLog, ring_bytes, table_bytes},
};

/// Older figures are of no use to anybody.
const MOST_SOURCE_INTERVAL: Duration = Duration::from_secs(3_600);

const HEADING: &str = "Engine (of this command when no daemon runs)";

/// How the engine is to run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = HEADING)]
pub struct EngineArguments {
    /// Time between two measurements, 100ms to 1m
    #[arg(long, value_name = "TIME", default_value = "1s", env = "CGSCOPE_INTERVAL", value_parser = interval)]
    pub interval: Span,

    /// Cgroups that are measured one by one; the rest count as `unattributed`
    #[arg(long, value_name = "N", default_value_t = 1024, env = "CGSCOPE_MAX_CGROUPS", hide_short_help = true,
          value_parser = value_parser!(u32).range(16..=65_536))]
    pub max_cgroups: u32,

    /// Entries of the thread table; `auto` takes it from /proc/sys/kernel/pid_max
    #[arg(long, value_name = "N|auto", default_value = "auto", env = "CGSCOPE_MAX_THREADS", hide_short_help = true,
          value_parser = threads)]
    pub max_threads: AutoNumber,

    /// Ring of cgroup and process events, a power of two
    #[arg(long, value_name = "SIZE", default_value = "512K", env = "CGSCOPE_EVENT_RING_SIZE", hide_short_help = true,
          value_parser = ring_bytes)]
    pub event_ring_size: u32,

    /// Ring of stack samples, a power of two; by itself 128K for each CPU, from 1M to 64M
    #[arg(long, value_name = "SIZE", default_value = "auto", env = "CGSCOPE_STACK_RING_SIZE", hide_short_help = true,
          value_parser = auto_ring_bytes)]
    pub stack_ring_size: AutoNumber,

    /// Memory for unwind tables, by which stacks without frame pointers are walked
    #[arg(long, value_name = "SIZE", default_value = "16M", env = "CGSCOPE_UNWIND_TABLE_SIZE", hide_short_help = true,
          value_parser = table_bytes)]
    pub unwind_table_size: u32,

    /// BTF of the running kernel [default: /sys/kernel/btf/vmlinux]
    #[arg(long, value_name = "PATH", env = "CGSCOPE_BTF", hide_short_help = true)]
    pub btf: Option<PathBuf>,

    /// How to attach to the scheduler: auto, tp_btf or raw_tp
    #[arg(
        long,
        value_name = "HOOK",
        default_value = "auto",
        env = "CGSCOPE_HOOK",
        hide_short_help = true
    )]
    pub hook: Hook,

    /// Which cgroup hierarchy names a task: auto, v2 or v1:CONTROLLER
    #[arg(
        long,
        value_name = "WHICH",
        default_value = "auto",
        env = "CGSCOPE_IDENTITY",
        hide_short_help = true
    )]
    pub identity: IdentityChoice,

    /// Messages of the kernel half: off, error, warn, info or debug
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "off",
        env = "CGSCOPE_KERNEL_LOG",
        hide_short_help = true
    )]
    pub kernel_log: KernelLog,

    /// Families of kernel programs that stay off, separated by commas
    #[arg(
        long,
        value_name = "FAMILY",
        env = "CGSCOPE_DISABLE",
        hide_short_help = true,
        value_delimiter = ','
    )]
    pub disable: Vec<String>,

    /// Families of kernel programs that are on besides the usual ones, separated by commas: syscall, files, irq
    #[arg(
        long,
        value_name = "FAMILY",
        env = "CGSCOPE_ENABLE",
        hide_short_help = true,
        value_delimiter = ','
    )]
    pub enable: Vec<String>,

    /// System calls that are shown one by one as well, at most 8, such as openat,futex; with them the family syscall is on
    #[arg(long, value_name = "CALL,...", env = "CGSCOPE_SYSCALLS", hide_short_help = true)]
    pub syscalls: Option<SingleCalls>,

    /// How often one source of the host is read at most, such as disks=10s; 0 for each measurement. `cgscope doctor` lists them
    #[arg(
        long,
        value_name = "SOURCE=TIME",
        env = "CGSCOPE_SOURCE_INTERVAL",
        hide_short_help = true,
        value_delimiter = ',',
        value_parser = source_interval
    )]
    pub source_interval: Vec<(String, Duration)>,
}

impl EngineArguments {
    /// As the engine takes them.
    pub fn options(&self, frequency_hz: u32) -> EngineOptions {
        let mut enabled = self.enable.clone();
        if self.syscalls.is_some() {
            enabled.push("syscall".to_owned());
        }
        EngineOptions {
            interval: self.interval.0,
            max_cgroups: self.max_cgroups,
            max_threads: self.max_threads.0,
            frequency_hz,
            event_ring_bytes: self.event_ring_size,
            stack_ring_bytes: self.stack_ring_size.0,
            unwind_table_bytes: self.unwind_table_size,
            unwind_cache: None,
            btf: self.btf.clone(),
            hook: self.hook,
            identity: self.identity.clone(),
            kernel_log: self.kernel_log,
            disabled: self.disable.clone(),
            enabled,
            single_calls: self.syscalls.clone().unwrap_or_default(),
            source_intervals: self.source_interval.clone(),
            history: None,
            profiles: None,
            push: None,
            otlp: None,
            intake: None,
            flight_bytes: None,
        }
    }
}

/// A number, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoNumber(pub Option<u32>);

fn threads(text: &str) -> Result<AutoNumber, String> {
    match text.parse() {
        _ if text == "auto" => Ok(AutoNumber(None)),
        Ok(number @ 1024..=4_194_304) => Ok(AutoNumber(Some(number))),
        _ => Err("give auto or a number from 1024 to 4194304".to_owned()),
    }
}

fn auto_ring_bytes(text: &str) -> Result<AutoNumber, String> {
    if text == "auto" {
        return Ok(AutoNumber(None));
    }
    ring_bytes(text).map(|bytes| AutoNumber(Some(bytes)))
}

fn interval(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    if (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&span.0) {
        Ok(span)
    } else {
        Err("give 100ms to 1m".to_owned())
    }
}

/// `disks=10s`.
fn source_interval(text: &str) -> Result<(String, Duration), String> {
    let (name, time) = text.split_once('=').ok_or("give SOURCE=TIME, such as disks=10s")?;
    if !SOURCE_NAMES.contains(&name) {
        return Err(format!(
            "there is no source {name:?}; name one of {}",
            SOURCE_NAMES.join(", ")
        ));
    }
    let time = if time == "0" {
        Duration::ZERO
    } else {
        time.parse::<Span>().map_err(|e| format!("{e}"))?.0
    };
    if time > MOST_SOURCE_INTERVAL {
        return Err(format!("give at most {}", Span(MOST_SOURCE_INTERVAL)));
    }
    Ok((name.to_owned(), time))
}

/// A length of time that can be measured: more than 0, at most 10 minutes.
pub fn duration(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    let limit = crate::serve::MAX_DURATION;
    if span.0.is_zero() || span.0 > limit {
        return Err(format!("give more than 0 and at most {}", Span(limit)));
    }
    Ok(span)
}

/// Samples per second and CPU.
pub fn frequency(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(hz @ 1..=MAX_FREQUENCY_HZ) => Ok(hz),
        _ => Err(format!("give 1 to {MAX_FREQUENCY_HZ}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_and_how_often_it_is_read() {
        assert_eq!(source_interval("disks=10s"), Ok(("disks".to_owned(), Duration::from_secs(10))));
        assert_eq!(source_interval("stat=0"), Ok(("stat".to_owned(), Duration::ZERO)));
        for wrong in ["disks", "disks=", "disks=2h", "nothing=1s"] {
            assert!(source_interval(wrong).is_err(), "{wrong}");
        }
    }
}
