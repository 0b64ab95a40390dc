//! `/proc/meminfo`: memory by kind.

use std::path::Path;

use super::{
    file::{ProcFile, ReadError},
    metrics::{Label, MEMORY, gauge},
    source::Measure,
};
use crate::metric::Sample;

/// Lines and the kinds they are.
const KINDS: [(&str, &str); 8] = [
    ("MemTotal", "total"),
    ("MemAvailable", "available"),
    ("MemFree", "free"),
    ("Cached", "cached"),
    ("Buffers", "buffers"),
    ("SwapTotal", "swap_total"),
    ("SwapFree", "swap_free"),
    ("Dirty", "dirty"),
];

/// Reads the file.
pub(super) struct Meminfo(ProcFile);

impl Meminfo {
    pub fn new(proc: &Path) -> Self {
        Self(ProcFile::new(proc.join("meminfo"), "mount procfs at /proc"))
    }
}

impl Measure for Meminfo {
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError> {
        let before = samples.len();
        for (kind, bytes) in self.0.read()?.lines().filter_map(parse) {
            samples.push(gauge(&MEMORY, [Label::Borrowed(kind)], bytes as f64));
        }
        if samples.len() == before {
            return Err(self.0.malformed("line such as `MemTotal: 1024 kB`"));
        }
        Ok(())
    }
}

/// `MemFree:        19112092 kB` to the kind and bytes; `None` for lines that are not shown.
fn parse(line: &str) -> Option<(&'static str, u64)> {
    let (name, rest) = line.split_once(':')?;
    let &(_, kind) = KINDS.iter().find(|(line, _)| *line == name)?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kind, kilobytes.checked_mul(1024)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_recorded_file() {
        assert_eq!(parse("MemTotal:       24684084 kB"), Some(("total", 25_276_502_016)));
        assert_eq!(parse("SwapFree:              0 kB"), Some(("swap_free", 0)));
        // No prefix is enough, no other unit is guessed.
        assert_eq!(parse("SwapCached:            7 kB"), None);
        assert_eq!(parse("HugePages_Total:       0"), None);
        assert_eq!(parse("MemTotal:       12 MB"), None);
    }
}
