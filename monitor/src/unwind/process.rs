//! What a process has mapped, as procfs says.

use std::{fs, io};

use crate::{kernel::ids::Tgid, symbol::maps};

/// Set for threads of the kernel's own.
const PF_KTHREAD: u64 = 0x0020_0000;

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Whether a thread of it is on a CPU or wants to be.
    pub is_running: bool,
    /// CPU time so far, in ticks.
    pub cpu_ticks: u64,
    /// Where the stack of its program began; 0 for kernel threads, and for those who may not see it.
    pub start_stack: u64,
}

impl Status {
    /// Reads it; `None` if there is no such process.
    pub fn read(process: Tgid) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Numbered from 3 in proc(5).
        let number = |of: usize| fields.get(of - 3)?.parse::<u64>().ok();
        let is_kernel_thread = number(9)? & PF_KTHREAD != 0;
        Some(Self {
            is_running: *fields.first()? == "R",
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            start_stack: if is_kernel_thread { 0 } else { number(28)? },
        })
    }
}

/// Its executable mappings, by address.
pub(super) fn mappings(process: Tgid) -> io::Result<Vec<maps::MapsLine>> {
    maps::of_process(process.0)
}

/// All processes that are not the kernel's own: first those that run, then those that ran most.
pub(super) fn all() -> Vec<Tgid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let with_status = |number| {
        let process = Tgid(number);
        Some((Status::read(process)?, process))
    };
    let mut found: Vec<_> =
        numbers.filter_map(with_status).filter(|(status, _)| status.start_stack != 0).collect();
    found.sort_by_key(|(status, _)| std::cmp::Reverse((status.is_running, status.cpu_ticks)));
    found.into_iter().map(|(_, process)| process).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_is_no_field() {
        let text = "12 (a) R 1) R 1 12 12 0 -1 4194560 1 0 0 0 5 7 0 0 20 0 1 0 99 10 2 \
                    18446744073709551615 1 2 3735928559 4 5 0 0 0 0 0 0 0 17 0 0 0 0 0 0";
        let status = Status { is_running: true, cpu_ticks: 12, start_stack: 0xdead_beef };
        assert_eq!(Status::parse(text), Some(status));
        assert_eq!(Status::parse("1 (x) S 1"), None);
    }

    #[test]
    fn we_are_among_all() {
        assert!(all().contains(&Tgid(std::process::id())));
        let lines = mappings(Tgid(std::process::id())).unwrap();
        assert!(lines.iter().any(|line| line.path == "[vdso]"));
    }
}
