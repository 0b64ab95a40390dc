//! `/proc/diskstats`: what each disk did, by the kernel's own account. It is there with the family `block` off, and for disks that hand
//! their requests on to others.

use std::path::{Path, PathBuf};

use super::{
    file::{ProcFile, ReadError},
    metrics::{Label, counter},
    source::Measure,
};
use crate::metric::{Sample, descriptor};

descriptor!(
    pub(super) static OPERATIONS,
    "cgscope_host_disk_operations_total",
    "disk operations",
    Count,
    Counter,
    Host,
    &["device", "operation"],
    "/proc/diskstats",
    "2.6",
    "Requests that a disk completed, merged ones as one."
);
descriptor!(
    pub(super) static BYTES,
    "cgscope_host_disk_bytes_total",
    "disk traffic",
    Bytes,
    Counter,
    Host,
    &["device", "operation"],
    "/proc/diskstats",
    "2.6",
    "Bytes that a disk read and wrote."
);
descriptor!(
    pub(super) static WAITS,
    "cgscope_host_disk_wait_seconds_total",
    "disk waits",
    Seconds,
    Counter,
    Host,
    &["device", "operation"],
    "/proc/diskstats",
    "2.6",
    "How long all requests of a disk took together, in the queue and in service; its rate is how many there were at a time."
);
descriptor!(
    pub(super) static BUSY,
    "cgscope_host_disk_busy_seconds_total",
    "disk busy",
    Seconds,
    Counter,
    Host,
    &["device"],
    "/proc/diskstats",
    "2.6",
    "Time in which a disk had at least one request: its utilisation, which for one that works on many at once says little."
);

/// What a sector is there, whatever the disk's own sectors are.
const SECTOR_BYTES: u64 = 512;
const MILLISECOND_NS: u64 = 1_000_000;

/// Reads the file.
pub(super) struct Disks {
    file: ProcFile,
    /// Whole disks, a directory each.
    disks: PathBuf,
}

impl Disks {
    pub fn new(proc: &Path, disks: PathBuf) -> Self {
        let file = ProcFile::new(proc.join("diskstats"), "it needs a kernel with block devices");
        Self { file, disks }
    }
}

/// Of a disk.
struct Numbers {
    name: String,
    /// Reads and writes, each: operations, merged, sectors, ms.
    of: [[u64; 4]; 2],
    busy_ms: u64,
}

impl Measure for Disks {
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError> {
        let found: Option<Vec<_>> = self.file.read()?.lines().map(of_line).collect();
        let Some(found) = found else {
            return Err(self.file.malformed("name and eleven numbers in a line"));
        };
        for Numbers { name, of, busy_ms } in found {
            // One that never did anything is a loop device nobody uses.
            let has_worked = of.iter().any(|[operations, ..]| *operations > 0);
            if !has_worked || !self.disks.join(name.replace('/', "!")).exists() {
                continue;
            }
            for (operation, [operations, _, sectors, ms]) in ["read", "write"].into_iter().zip(of) {
                for (metric, total) in [
                    (&OPERATIONS, operations),
                    (&BYTES, sectors * SECTOR_BYTES),
                    (&WAITS, ms * MILLISECOND_NS),
                ] {
                    let labels = [Label::Owned(name.clone()), Label::Borrowed(operation)];
                    samples.push(counter(metric, labels, total));
                }
            }
            samples.push(counter(&BUSY, [Label::Owned(name)], busy_ms * MILLISECOND_NS));
        }
        Ok(())
    }
}

/// `254 0 vda 7 1 80 3 5 0 16 9 0 1 2 ...`
fn of_line(line: &str) -> Option<Numbers> {
    let mut columns = line.split_ascii_whitespace().skip(2);
    let name = columns.next()?.to_owned();
    let numbers: Vec<u64> = columns.map_while(|column| column.parse().ok()).collect();
    let &[a, b, c, d, e, f, g, h, _, busy_ms, ..] = &numbers[..] else { return None };
    Some(Numbers { name, of: [[a, b, c, d], [e, f, g, h]], busy_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Descriptor, Value};

    #[test]
    fn whole_disks_that_ever_worked() {
        let directory = tempfile::tempdir().unwrap();
        let disks = directory.path().join("block");
        std::fs::create_dir_all(disks.join("vda")).unwrap();
        std::fs::create_dir_all(disks.join("loop0")).unwrap();
        let text = " 254 0 vda 7 1 80 3 5 0 16 9 0 4 12 0 0 0 0 4 5\n\
                     254 1 vda1 7 1 80 3 5 0 16 9 0 4 12\n\
                     7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n";
        std::fs::write(directory.path().join("diskstats"), text).unwrap();
        let mut samples = Vec::new();
        Disks::new(directory.path(), disks).measure(&mut samples).unwrap();
        assert_eq!(samples.len(), 2 * 3 + 1, "{samples:?}");
        let of = |metric: &Descriptor, operation: &str| {
            let found = samples.iter().find(|s| s.metric == metric && s.labels[1] == operation);
            found.map(|sample| &sample.value)
        };
        assert_eq!(of(&BYTES, "read"), Some(&Value::Counter(40_960)));
        assert_eq!(of(&OPERATIONS, "write"), Some(&Value::Counter(5)));
        assert_eq!(of(&WAITS, "write"), Some(&Value::Counter(9_000_000)));
        assert_eq!(samples.last().map(|s| &s.value), Some(&Value::Counter(4_000_000)));
    }
}
