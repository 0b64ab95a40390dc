//! How often a tracepoint was passed, counted by the kernel's perf events.
//!
//! Contract: all CPUs, from [`TracepointCount::open`] on.

use std::fs;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// `PERF_TYPE_TRACEPOINT`.
const TYPE_TRACEPOINT: u32 = 2;

/// The first version of `struct perf_event_attr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

/// A running count.
pub struct TracepointCount {
    counters: Vec<fs::File>,
}

impl TracepointCount {
    /// Counts `event`, as `group/name`.
    pub fn open(event: &str) -> Result<Self> {
        let path = Path::new("/sys/kernel/tracing/events").join(event).join("id");
        let id = fs::read_to_string(&path)
            .with_context(|| format!("{}: mount tracefs at /sys/kernel/tracing", path.display()))?;
        let attributes = Attributes {
            kind: TYPE_TRACEPOINT,
            size: size_of::<Attributes>() as u32,
            config: id.trim().parse()?,
            ..Attributes::default()
        };
        let cpus = std::thread::available_parallelism()?.get();
        let open = |cpu: usize| {
            // SAFETY: the attributes are of the size they say; all processes, one CPU, no group, no flags.
            let fd = unsafe {
                libc::syscall(libc::SYS_perf_event_open, &raw const attributes, -1, cpu, -1, 0)
            };
            ensure!(fd >= 0, "{event}: {}", std::io::Error::last_os_error());
            // SAFETY: a descriptor that was just made for us.
            Ok(unsafe { fs::File::from_raw_fd(fd as i32) })
        };
        Ok(Self { counters: (0..cpus).map(open).collect::<Result<_>>()? })
    }

    /// So far.
    pub fn read(&self) -> Result<u64> {
        let read = |mut counter: &fs::File| {
            let mut bytes = [0; 8];
            counter.read_exact(&mut bytes)?;
            Ok(u64::from_ne_bytes(bytes))
        };
        self.counters.iter().map(read).sum()
    }
}
