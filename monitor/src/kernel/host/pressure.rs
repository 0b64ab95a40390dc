//! `/proc/pressure`: how long threads stalled for want of a resource.

use std::path::Path;

use super::{
    file::{ProcFile, ReadError},
    metrics::{Label, PRESSURE, counter},
    source::Measure,
};
use crate::metric::Sample;

const REMEDY: &str =
    "it needs kernel >= 4.20 with CONFIG_PSI, booted with psi=1 where that is not the default";

/// `irq` came with 6.1 and needs CONFIG_IRQ_TIME_ACCOUNTING.
const RESOURCES: [&str; 4] = ["cpu", "memory", "io", "irq"];

/// Reads the files.
pub(super) struct Pressure(Vec<(&'static str, ProcFile)>);

impl Pressure {
    pub fn new(proc: &Path) -> Self {
        let files = RESOURCES.map(|resource| {
            (resource, ProcFile::new(proc.join("pressure").join(resource), REMEDY))
        });
        Self(files.into())
    }
}

impl Measure for Pressure {
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError> {
        let mut absent = None;
        let before = samples.len();
        for (resource, file) in &mut self.0 {
            let text = match file.read() {
                Ok(text) => text,
                Err(error @ ReadError::Absent { .. }) => {
                    absent.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let stalls = text.lines().filter_map(parse);
            // For the host, all threads stalled for a CPU cannot be: the kernel writes 0 there for old readers.
            let stalls = stalls.filter(|(kind, _)| (*resource, *kind) != ("cpu", "full"));
            let from = samples.len();
            samples.extend(stalls.map(|(kind, ns)| {
                counter(&PRESSURE, [Label::Borrowed(resource), Label::Borrowed(kind)], ns)
            }));
            if samples.len() == from {
                return Err(file.malformed("line such as `some avg10=0.00 total=0`"));
            }
        }
        match absent {
            Some(error) if samples.len() == before => Err(error),
            _ => Ok(()),
        }
    }
}

/// `some avg10=0.02 avg60=1.29 avg300=15.54 total=450619371`, the total in microseconds.
fn parse(line: &str) -> Option<(&'static str, u64)> {
    let mut columns = line.split_ascii_whitespace();
    let kind = match columns.next()? {
        "some" => "some",
        "full" => "full",
        _ => return None,
    };
    let total_us: u64 = columns.find_map(|column| column.strip_prefix("total="))?.parse().ok()?;
    Some((kind, total_us.checked_mul(1_000)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_and_cut() {
        let line = "some avg10=0.02 avg60=1.29 avg300=15.54 total=450619371";
        assert_eq!(parse(line), Some(("some", 450_619_371_000)));
        for cut in ["", "some", "none total=1", "full avg10=0.00", "full total=-1"] {
            assert_eq!(parse(cut), None, "{cut}");
        }
    }
}
