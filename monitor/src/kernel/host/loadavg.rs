//! `/proc/loadavg`: the load and the number of threads.

use std::path::Path;

use super::{
    file::{ProcFile, ReadError},
    metrics::{LOAD, Label, THREADS, gauge},
    source::Measure,
};
use crate::metric::Sample;

/// Reads the file.
pub(super) struct Loadavg(ProcFile);

impl Loadavg {
    pub fn new(proc: &Path) -> Self {
        Self(ProcFile::new(proc.join("loadavg"), "mount procfs at /proc"))
    }
}

impl Measure for Loadavg {
    fn measure(&mut self, samples: &mut Vec<Sample>) -> Result<(), ReadError> {
        let Some((loads, threads)) = parse(self.0.read()?) else {
            return Err(self.0.malformed("three loads and `running/total`"));
        };
        for (period, load) in ["1m", "5m", "15m"].into_iter().zip(loads) {
            samples.push(gauge(&LOAD, [Label::Borrowed(period)], load));
        }
        samples.push(gauge(&THREADS, [], threads as f64));
        Ok(())
    }
}

/// `0.24 1.14 1.42 2/84 25866`: three loads, threads that run and all threads, the newest id.
fn parse(text: &str) -> Option<([f64; 3], u64)> {
    let mut columns = text.split_ascii_whitespace();
    let mut loads = [0.0; 3];
    for load in &mut loads {
        *load = columns.next()?.parse().ok().filter(|load: &f64| load.is_finite())?;
    }
    let (_, threads) = columns.next()?.split_once('/')?;
    Some((loads, threads.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_and_cut() {
        assert_eq!(parse("0.24 1.14 1.42 2/84 25866\n"), Some(([0.24, 1.14, 1.42], 84)));
        for cut in ["", "0.24 1.14", "0.24 1.14 1.42 2 25866", "0.24 x 1.42 2/84 1", "nan 1 1 1/1"]
        {
            assert_eq!(parse(cut), None, "{cut}");
        }
    }
}
