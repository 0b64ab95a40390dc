//! What the kernel accounts by itself for the whole machine: CPU time, requests of disks, connections of network namespaces.
//!
//! Contract: each reading is anew and on demand; what is not there is `None` or left out, never 0.

use std::{collections::BTreeMap, fs, path::Path, str::FromStr};

use super::cgroupfs::v1_mount;

/// What is read of a sector, whatever the disk's own sectors are.
const SECTOR_BYTES: u64 = 512;

/// CPU time since the start of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuAccounts {
    /// Of every thread there was, idle ones aside, as the scheduler accounts it; `None` where the controller `cpuacct` is not
    /// mounted.
    pub scheduler_ns: Option<u64>,
    /// Of all that is not idle and was not stolen, as sampled by the tick.
    pub ticks_ns: Option<u64>,
}

/// The number of a disk: major, minor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskNumber(pub u32, pub u32);

impl FromStr for DiskNumber {
    type Err = ();

    /// `254:0`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once(':').ok_or(())?;
        Ok(Self(major.parse().map_err(drop)?, minor.parse().map_err(drop)?))
    }
}

/// Requests that a disk completed, merged ones as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskAccount {
    /// Which disk.
    pub number: DiskNumber,
    /// Reads.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Writes.
    pub writes: u64,
    /// Their bytes.
    pub written_bytes: u64,
    /// Requests that it has not completed yet.
    pub in_flight: u64,
}

/// TCP in one network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpAccount {
    /// Connections that listeners accepted.
    pub accepted: u64,
    /// Segments sent again.
    pub retransmitted: u64,
}

/// Reads CPU time; `clock_ticks_hz` is what `/proc/stat` counts in.
pub fn cpu(root_cpuacct: Option<&Path>, clock_ticks_hz: u64) -> CpuAccounts {
    let scheduler =
        root_cpuacct.and_then(|root| fs::read_to_string(root.join("cpuacct.usage")).ok());
    let stat = fs::read_to_string("/proc/stat").ok();
    CpuAccounts {
        scheduler_ns: scheduler.and_then(|text| text.trim().parse().ok()),
        ticks_ns: stat
            .and_then(|text| busy_ticks(&text))
            .map(|ticks| ticks * (1_000_000_000 / clock_ticks_hz)),
    }
}

/// Where the scheduler's account of the root cgroup is, if the machine has it.
pub fn root_cpuacct() -> Option<std::path::PathBuf> {
    v1_mount("cpuacct")
}

/// `user nice system idle iowait irq softirq steal`: all but idle, I/O wait and steal.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|t| t.parse().ok()).collect();
    let &[user, nice, system, _, _, irq, softirq, ..] = &ticks[..] else { return None };
    Some(user + nice + system + irq + softirq)
}

/// Reads the whole disks that the kernel keeps such an account of by request: not those that hand requests on (device mapper, md).
pub fn disks() -> BTreeMap<String, DiskAccount> {
    let text = fs::read_to_string("/proc/diskstats").unwrap_or_default();
    let mut disks = parse_diskstats(&text);
    disks.retain(|name, _| {
        let directory = Path::new("/sys/block").join(name.replace('/', "!"));
        let accounts = fs::read_to_string(directory.join("queue/iostats"));
        directory.join("mq").is_dir() && accounts.is_ok_and(|text| text.trim() != "0")
    });
    disks
}

/// The most bytes that one request of a disk can have; `None` when it is gone.
pub fn largest_request_bytes(disk: &str) -> Option<u64> {
    let path = Path::new("/sys/block").join(disk.replace('/', "!")).join("queue/max_sectors_kb");
    Some(fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()? * 1024)
}

/// `8 0 sda READS MERGED SECTORS MS WRITES MERGED SECTORS MS IN_FLIGHT ...`, partitions among them.
fn parse_diskstats(text: &str) -> BTreeMap<String, DiskAccount> {
    let of_line = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let number = DiskNumber(columns.next()?.parse().ok()?, columns.next()?.parse().ok()?);
        let name = columns.next()?.to_owned();
        let numbers: Vec<u64> = columns.map_while(|column| column.parse().ok()).collect();
        let &[reads, _, sectors_read, _, writes, _, sectors_written, _, in_flight, ..] =
            &numbers[..]
        else {
            return None;
        };
        let account = DiskAccount {
            number,
            reads,
            read_bytes: sectors_read * SECTOR_BYTES,
            writes,
            written_bytes: sectors_written * SECTOR_BYTES,
            in_flight,
        };
        Some((name, account))
    };
    text.lines().filter_map(of_line).collect()
}

/// The network namespace of a process, by its number, and its account of TCP; `None` when the process is gone.
pub fn tcp_of(process: &str) -> Option<TcpAccount> {
    parse_snmp(&fs::read_to_string(format!("/proc/{process}/net/snmp")).ok()?)
}

/// The number of the network namespace of a process.
pub fn network_namespace(process: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(format!("/proc/{process}/ns/net")).ok().map(|namespace| namespace.ino())
}

/// A line of names, then one of numbers, each beginning with `Tcp:`.
fn parse_snmp(text: &str) -> Option<TcpAccount> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut all = names.split(' ').zip(numbers.split(' '));
    let mut of = |name: &str| all.find(|(known, _)| *known == name)?.1.parse().ok();
    Some(TcpAccount { accepted: of("PassiveOpens")?, retransmitted: of("RetransSegs")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_and_idle_time_is_nobodys() {
        let stat = "cpu  1 2 4 100 200 8 16 1000 0 0\ncpu0 1 2 4 100 200 8 16 1000 0 0\n";
        assert_eq!(busy_ticks(stat), Some(31));
        assert_eq!(busy_ticks("cpu  1 2\n"), None);
    }

    #[test]
    fn disks_in_bytes() {
        let disks = parse_diskstats(" 254 0 vda 7 1 80 3 5 0 16 9 2 1 2 0 0 0 0 4 5\nnonsense\n");
        let vda = DiskAccount {
            number: "254:0".parse().unwrap(),
            reads: 7,
            read_bytes: 40_960,
            writes: 5,
            written_bytes: 8_192,
            in_flight: 2,
        };
        assert_eq!(disks, BTreeMap::from([("vda".to_owned(), vda)]));
    }

    #[test]
    fn counters_of_tcp_by_their_names() {
        let text = "Ip: A B\nIp: 1 2\nTcp: X PassiveOpens Y RetransSegs Z\nTcp: 1 -2 3 4 5\n";
        assert_eq!(parse_snmp(text), None);
        let account = TcpAccount { accepted: 2, retransmitted: 4 };
        assert_eq!(parse_snmp(&text.replace("-2", "2")), Some(account));
    }

    #[test]
    fn this_machine_has_a_namespace_and_its_account() {
        assert_eq!(network_namespace("self"), network_namespace("thread-self"));
        assert!(network_namespace("self").is_some() && tcp_of("self").is_some());
        assert!(cpu(None, 100).ticks_ns > Some(0));
    }
}
