//! Interrupt lines: which there are, and whose they are, by sysfs.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use monitor_common::irq::LINES;

const DIRECTORY: &str = "/sys/kernel/irq";
/// How often we look for new lines, and whether a number was given to another device.
const INTERVAL: Duration = Duration::from_secs(10);

/// The lines of this machine.
#[derive(Debug, Default)]
pub(super) struct Lines {
    looked_at: Option<Instant>,
    /// One more than the highest number of a line.
    end: u32,
    /// Of those that were asked for since the last look.
    devices: HashMap<u32, String>,
}

impl Lines {
    /// The numbers that lines may have now. Where sysfs does not show them (no `CONFIG_SPARSE_IRQ`), all.
    pub fn up_to_highest(&mut self, now: Instant) -> std::ops::Range<u32> {
        if self.looked_at.is_none_or(|at| now.duration_since(at) >= INTERVAL) {
            self.looked_at = Some(now);
            self.devices.clear();
            let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
            let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            self.end = numbers.max().map_or(LINES, |highest: u32| (highest + 1).min(LINES));
        }
        0..self.end
    }

    /// The values of the labels `irq` and `device`; what the record of all higher lines holds is `other`.
    pub fn labels(&mut self, line: u32) -> (Cow<'static, str>, Cow<'static, str>) {
        if line >= LINES {
            return ("other".into(), "".into());
        }
        let device = self.devices.entry(line).or_insert_with(|| device(line));
        (line.to_string().into(), device.clone().into())
    }
}

/// Who asked for a line, several by commas; empty where nobody does any more, or the kernel does not say.
fn device(line: u32) -> String {
    let actions = fs::read_to_string(format!("{DIRECTORY}/{line}/actions")).unwrap_or_default();
    actions.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_as_in_proc() {
        let mut lines = Lines::default();
        let numbers = lines.up_to_highest(Instant::now());
        let table = fs::read_to_string("/proc/interrupts").unwrap();
        let (number, rest) = table
            .lines()
            .find_map(|line| {
                let (number, rest) = line.split_once(':')?;
                Some((number.trim().parse::<u32>().ok()?, rest))
            })
            .expect("a machine with interrupt lines");
        assert!(numbers.contains(&number));
        let (label, device) = lines.labels(number);
        assert_eq!(label, number.to_string());
        assert!(!device.is_empty() && rest.ends_with(&*device), "{device:?} in {rest}");
        assert_eq!(lines.labels(LINES).0, "other");
    }
}
