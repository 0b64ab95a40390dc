//! Disks by number, and what sysfs says of them: their name, and what is in flight.
//!
//! In flight comes from the kernel's own count: one of ours would begin with the requests it has not seen issued.

use std::{borrow::Cow, collections::BTreeMap, fmt, fs};

use monitor_common::block::MINOR_BITS;

use super::descriptor::IN_FLIGHT;
use crate::metric::{Sample, Subject, Value};

/// A whole disk, `major << 20 | minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::collect) struct Device(pub u32);

impl Device {
    /// Of a queue without a disk, and of what found no pair.
    pub const UNKNOWN: Self = Self(0);
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> MINOR_BITS, self.0 & ((1 << MINOR_BITS) - 1))
    }
}

/// The names of disks. A disk that is gone keeps its last.
#[derive(Debug, Default)]
pub(in crate::collect) struct Devices {
    names: BTreeMap<Device, String>,
}

impl Devices {
    /// Looks them up again: a number may have been given to another disk.
    pub fn refresh<'a>(&mut self, devices: impl Iterator<Item = &'a Device>) {
        for &device in devices {
            if let Some(name) = read_name(device) {
                self.names.insert(device, name);
            }
        }
    }

    /// The value of the label `device`: `vda`; `8:0` for a disk that had gone before its name was read.
    pub fn name(&self, device: Device) -> Cow<'static, str> {
        match self.names.get(&device) {
            Some(name) => name.clone().into(),
            None if device == Device::UNKNOWN => "unknown".into(),
            None => device.to_string().into(),
        }
    }

    /// How many requests a disk works on; `None` when it is gone.
    pub fn in_flight(&self, device: Device) -> Option<Sample> {
        let text = fs::read_to_string(format!("/sys/dev/block/{device}/inflight")).ok()?;
        Some(Sample {
            metric: &IN_FLIGHT,
            subject: Subject::Host,
            labels: [self.name(device)].into(),
            value: Value::Gauge(parse_in_flight(&text)? as f64),
        })
    }
}

fn read_name(device: Device) -> Option<String> {
    let target = fs::read_link(format!("/sys/dev/block/{device}")).ok()?;
    // sysfs writes `!` for the `/` in names like cciss/c0d0.
    Some(target.file_name()?.to_str()?.replace('!', "/"))
}

/// Reads and writes.
fn parse_in_flight(text: &str) -> Option<u64> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    Some(numbers.next()?.ok()? + numbers.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_the_kernel_shows_them() {
        assert_eq!(Device(254 << 20).to_string(), "254:0");
        assert_eq!(Device(259 << 20 | 1_048_575).to_string(), "259:1048575");
        assert_eq!(Devices::default().name(Device(7 << 20 | 900_000)), "7:900000");
        assert_eq!(Devices::default().name(Device::UNKNOWN), "unknown");
    }

    #[test]
    fn in_flight_is_reads_and_writes() {
        assert_eq!(parse_in_flight("       3        4\n"), Some(7));
        assert_eq!(parse_in_flight("3\n"), None);
    }

    #[test]
    fn a_disk_of_this_machine_has_its_name() {
        let disk = fs::read_dir("/sys/block").unwrap().flatten().next().expect("a disk");
        let number = fs::read_to_string(disk.path().join("dev")).unwrap();
        let (major, minor) = number.trim().split_once(':').unwrap();
        let device = Device(major.parse::<u32>().unwrap() << 20 | minor.parse::<u32>().unwrap());
        let mut devices = Devices::default();
        devices.refresh([device].iter());
        assert_eq!(devices.name(device), disk.file_name().to_str().unwrap());
    }
}
