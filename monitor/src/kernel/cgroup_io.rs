//! What cgroupfs says that one cgroup, and all inside it, read from disks and wrote to them.
//!
//! Contract: reading is on demand. A disk that the cgroup did nothing on, or for which this kernel keeps no such account, is left out,
//! never 0: on v1 it is kept since somebody set a limit for the disk (Linux 6.10), before that always. Bytes are counted as they are
//! asked for: what a disk still works on is in them.

use std::{collections::BTreeMap, fs};

use super::{
    accounts::DiskNumber,
    cgroup_file::{Controller, below_root},
};

/// The v1 file.
const V1: &str = "blkio.throttle.io_service_bytes_recursive";

/// Where the files are.
#[derive(Clone, Debug)]
pub struct IoFiles(Option<Controller>);

/// Bytes on one disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoAccount {
    /// Read.
    pub read_bytes: u64,
    /// Written.
    pub written_bytes: u64,
}

impl IoFiles {
    /// Finds them on this machine.
    pub fn find() -> Self {
        Self(Controller::find("blkio"))
    }

    /// By disk; `None` when the cgroup is gone, has no such account, or is the root.
    pub fn account(&self, cgroup: &str) -> Option<BTreeMap<DiskNumber, IoAccount>> {
        let relative = below_root(cgroup)?;
        let read = |name| fs::read_to_string(name).ok();
        Some(match self.0.as_ref()? {
            Controller::V1(root) => parse_v1(&read(root.join(relative).join(V1))?),
            Controller::V2(root) => parse_v2(&read(root.join(relative).join("io.stat"))?),
        })
    }
}

/// `254:0 rbytes=4096 wbytes=0 rios=1 ...`.
fn parse_v2(text: &str) -> BTreeMap<DiskNumber, IoAccount> {
    let of_line = |line: &str| {
        let (number, rest) = line.split_once(' ')?;
        let of = |key: &str| rest.split(' ').find_map(|pair| pair.strip_prefix(key)?.parse().ok());
        let account = IoAccount { read_bytes: of("rbytes=")?, written_bytes: of("wbytes=")? };
        Some((number.parse().ok()?, account))
    };
    text.lines().filter_map(of_line).collect()
}

/// `254:0 Read 4096`, and the same of writes and of their sums.
fn parse_v1(text: &str) -> BTreeMap<DiskNumber, IoAccount> {
    let mut disks: BTreeMap<DiskNumber, IoAccount> = BTreeMap::new();
    for line in text.lines() {
        let columns: Vec<&str> = line.split(' ').collect();
        let &[number, what, bytes] = &columns[..] else { continue };
        let (Ok(number), Ok(bytes)) = (number.parse(), bytes.parse()) else { continue };
        let account = disks.entry(number).or_default();
        match what {
            "Read" => account.read_bytes = bytes,
            "Write" => account.written_bytes = bytes,
            _ => {}
        }
    }
    disks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_by_disk() {
        let text = "254:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=7 dios=1\n7:1 \nnonsense\n";
        let account = IoAccount { read_bytes: 4_096, written_bytes: 512 };
        assert_eq!(parse_v2(text), BTreeMap::from([(DiskNumber(254, 0), account)]));
    }

    #[test]
    fn v1_by_disk_and_without_its_sums() {
        let text = "254:0 Read 4096\n254:0 Write 512\n254:0 Sync 4608\n254:0 Async 0\n\
                    254:0 Discard 0\n254:0 Total 4608\nTotal 4608\n";
        let account = IoAccount { read_bytes: 4_096, written_bytes: 512 };
        assert_eq!(parse_v1(text), BTreeMap::from([(DiskNumber(254, 0), account)]));
        assert!(parse_v1("Total 0\n").is_empty(), "no account is kept");
    }

    #[test]
    fn what_is_gone_has_no_account() {
        let files = IoFiles(Some(Controller::V2("/no/such/mount".into())));
        assert_eq!((files.account("/a"), files.account("/")), (None, None));
    }
}
