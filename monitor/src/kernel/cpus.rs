//! Which CPUs there are: `possible` ones bound the size of per-CPU records, `online` ones are sampled.

use std::{fs, io};

/// CPUs that can ever be online: one more than the highest number.
pub fn possible() -> io::Result<u32> {
    Ok(read("/sys/devices/system/cpu/possible")?.last().map_or(1, |cpu| cpu + 1))
}

/// CPUs that are online now.
pub fn online() -> io::Result<Vec<u32>> {
    read("/sys/devices/system/cpu/online")
}

fn read(path: &str) -> io::Result<Vec<u32>> {
    let text = fs::read_to_string(path)?;
    parse_list(text.trim())
        .ok_or_else(|| io::Error::other(format!("{path}: not a CPU list: {text:?}")))
}

/// `0-3,8` to the numbers it names.
pub(super) fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse_list("0"), Some(vec![0]));
        assert_eq!(parse_list("0-1,4,6-7"), Some(vec![0, 1, 4, 6, 7]));
        assert_eq!(parse_list("0-x"), None);
    }

    #[test]
    fn this_machine_runs_on_a_cpu_that_exists() {
        assert!(online().unwrap().iter().all(|&cpu| cpu < possible().unwrap()));
    }
}
