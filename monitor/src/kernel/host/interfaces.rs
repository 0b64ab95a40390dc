//! `/proc/net/dev`: what each network interface of the host's namespace sent and received.

use std::path::Path;

use super::{
    file::{ProcFile, ReadError},
    metrics::{Label, counter},
    source::Measure,
};
use crate::metric::{Descriptor, Sample, descriptor};

descriptor!(
    pub(super) static BYTES,
    "cgscope_host_interface_bytes_total",
    "traffic",
    Bytes,
    Counter,
    Host,
    &["interface", "direction"],
    "/proc/net/dev",
    "2.6",
    "Bytes that a network interface received and sent, headers included."
);
descriptor!(
    pub(super) static PACKETS,
    "cgscope_host_interface_packets_total",
    "packets",
    Count,
    Counter,
    Host,
    &["interface", "direction"],
    "/proc/net/dev",
    "2.6",
    "Packets that a network interface received and sent."
);
descriptor!(
    pub(super) static ERRORS,
    "cgscope_host_interface_errors_total",
    "interface errors",
    Count,
    Counter,
    Host,
    &["interface", "direction"],
    "/proc/net/dev",
    "2.6",
    "Packets that a network interface could not receive or send for an error."
);
descriptor!(
    pub(super) static DROPS,
    "cgscope_host_interface_drops_total",
    "interface drops",
    Count,
    Counter,
    Host,
    &["interface", "direction"],
    "/proc/net/dev",
    "2.6",
    "Packets that a network interface dropped for want of room, or because nobody wanted them."
);

/// Columns of a direction: bytes, packets, errors, drops, then others; received comes first.
const OF_COLUMN: [&Descriptor; 4] = [&BYTES, &PACKETS, &ERRORS, &DROPS];
/// Columns that were received: the four and fifo, frame, compressed, multicast.
const RECEIVED_COLUMNS: usize = 8;

/// Reads the file.
pub(super) struct Interfaces(ProcFile);

impl Interfaces {
    pub fn new(proc: &Path) -> Self {
        // That of the first process: cgscope itself may have a network of its own.
        Self(ProcFile::new(proc.join("1/net/dev"), "it needs a kernel with networking"))
    }
}

impl Measure for Interfaces {
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError> {
        // Two lines of headings, then `  eth0: 1 2 ...`.
        let lines = self.0.read()?.lines().skip(2);
        let found: Option<Vec<_>> = lines.map(of_line).collect();
        let Some(found) = found else { return Err(self.0.malformed("sixteen numbers in a line")) };
        for (name, numbers) in found {
            for (direction, first) in [("received", 0), ("sent", RECEIVED_COLUMNS)] {
                for (metric, number) in OF_COLUMN.iter().zip(&numbers[first..]) {
                    let labels = [Label::Owned(name.clone()), Label::Borrowed(direction)];
                    samples.push(counter(metric, labels, *number));
                }
            }
        }
        Ok(())
    }
}

fn of_line(line: &str) -> Option<(String, Vec<u64>)> {
    // An alias of an interface has a colon in its name.
    let (name, numbers) = line.rsplit_once(':')?;
    let numbers: Vec<u64> =
        numbers.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
    (numbers.len() >= 2 * RECEIVED_COLUMNS).then(|| (name.trim().to_owned(), numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Value;

    const HEADINGS: &str = "Inter-|   Receive |  Transmit\n face |bytes packets errs drop |bytes\n";

    fn measured(lines: &str) -> Result<Vec<Sample>, ReadError> {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(proc.path().join("1/net")).unwrap();
        std::fs::write(proc.path().join("1/net/dev"), format!("{HEADINGS}{lines}")).unwrap();
        let mut samples = Vec::new();
        Interfaces::new(proc.path()).measure(&mut samples).map(|()| samples)
    }

    #[test]
    fn both_directions_of_each_interface() {
        let lines =
            "    lo: 10 2 0 0 0 0 0 0 11 3 0 0 0 0 0 0\neth0:1: 7 1 5 6 0 0 0 0 8 2 9 4 0 0 0 0\n";
        let samples = measured(lines).unwrap();
        assert_eq!(samples.len(), 2 * 2 * 4);
        let of = |metric: &Descriptor, labels: [&str; 2]| {
            samples.iter().find(|s| s.metric == metric && *s.labels == labels).map(|s| &s.value)
        };
        assert_eq!(of(&BYTES, ["lo", "sent"]), Some(&Value::Counter(11)));
        assert_eq!(of(&DROPS, ["eth0:1", "received"]), Some(&Value::Counter(6)));
        assert_eq!(of(&ERRORS, ["eth0:1", "sent"]), Some(&Value::Counter(9)));
    }

    #[test]
    fn half_a_line_is_no_measurement() {
        assert!(matches!(measured("lo: 1 2 3\n"), Err(ReadError::Malformed { .. })));
    }
}
