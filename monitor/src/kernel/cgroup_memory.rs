//! What cgroupfs says of one cgroup's memory, in the words of v2 whichever version the controller is of.
//!
//! Contract: reading is on demand. What this kernel or this version does not have is `None`, never 0; a limit that is not set
//! is `None` too. The pressure is of v2 and may be there while the controller is on v1.

use std::path::{Path, PathBuf};

use super::cgroup_file::{Controller, below_root, field, read, read_number, v2_mount};

/// v1 shows "no limit" as the largest multiple of a page.
const V1_NO_LIMIT: u64 = 1 << 62;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct MemoryFiles {
    controller: Option<Controller>,
    /// The v2 mount.
    pressure: Option<PathBuf>,
}

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupMemory {
    /// Bytes in use, page cache included.
    pub use_bytes: Option<u64>,
    /// The most it may use.
    pub limit_bytes: Option<u64>,
    /// Above this it is slowed down; v2 only.
    pub high_bytes: Option<u64>,
    /// The part that is the programs' own, not backed by files.
    pub anonymous_bytes: Option<u64>,
    /// The part that is page cache.
    pub file_bytes: Option<u64>,
    /// The page cache that nobody has used for a while: it would go first.
    pub inactive_file_bytes: Option<u64>,
    /// Bytes swapped out.
    pub swap_bytes: Option<u64>,
    /// The most it may swap out; on v1 memory and swap together.
    pub swap_limit_bytes: Option<u64>,
    /// How often each thing happened, by [`EVENTS`].
    pub events: [Option<u64>; EVENTS.len()],
    /// Time in which some, and in which all of its threads waited for memory, ns.
    pub pressure_ns: [Option<u64>; 2],
}

/// What `memory.events` counts. v1 has `max` (as `memory.failcnt`) and `oom_kill`.
pub const EVENTS: [&str; 5] = ["low", "high", "max", "oom", "oom_kill"];

impl MemoryFiles {
    /// Finds them on this machine.
    pub fn find() -> Self {
        Self { controller: Controller::find("memory"), pressure: v2_mount() }
    }

    /// Whether the controller is mounted.
    pub fn are_there(&self) -> bool {
        self.controller.is_some()
    }

    /// Reads the files of a cgroup path; `None` when it is gone, or is the root, which has no such files.
    pub fn read(&self, cgroup: &str) -> Option<CgroupMemory> {
        let relative = below_root(cgroup)?;
        let mut memory = match self.controller.as_ref()? {
            Controller::V1(root) => read_v1(&root.join(relative)),
            Controller::V2(root) => read_v2(&root.join(relative)),
        };
        memory.use_bytes?;
        if let Some(root) = &self.pressure {
            let text = read(&root.join(relative), "memory.pressure");
            memory.pressure_ns = ["some", "full"].map(|kind| pressure_ns(text.as_deref()?, kind));
        }
        Some(memory)
    }
}

fn read_v2(directory: &Path) -> CgroupMemory {
    let bytes = |name| read_number(directory, name);
    let events = read(directory, "memory.events").unwrap_or_default();
    let stat = read(directory, "memory.stat").unwrap_or_default();
    CgroupMemory {
        use_bytes: bytes("memory.current"),
        limit_bytes: bytes("memory.max"),
        high_bytes: bytes("memory.high"),
        anonymous_bytes: field(&stat, "anon"),
        file_bytes: field(&stat, "file"),
        inactive_file_bytes: field(&stat, "inactive_file"),
        swap_bytes: bytes("memory.swap.current"),
        swap_limit_bytes: bytes("memory.swap.max"),
        events: EVENTS.map(|name| field(&events, name)),
        pressure_ns: [None; 2],
    }
}

fn read_v1(directory: &Path) -> CgroupMemory {
    let bytes = |name| read_number(directory, name);
    let limit = |name| bytes(name).filter(|&limit| limit < V1_NO_LIMIT);
    let control = read(directory, "memory.oom_control").unwrap_or_default();
    let stat = read(directory, "memory.stat").unwrap_or_default();
    CgroupMemory {
        use_bytes: bytes("memory.usage_in_bytes"),
        limit_bytes: limit("memory.limit_in_bytes"),
        high_bytes: None,
        anonymous_bytes: field(&stat, "total_rss"),
        file_bytes: field(&stat, "total_cache"),
        inactive_file_bytes: field(&stat, "total_inactive_file"),
        swap_bytes: field(&stat, "total_swap"),
        swap_limit_bytes: limit("memory.memsw.limit_in_bytes"),
        events: [None, None, bytes("memory.failcnt"), None, field(&control, "oom_kill")],
        pressure_ns: [None; 2],
    }
}

/// `some avg10=0.00 ... total=US`.
fn pressure_ns(text: &str, kind: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
    let total = line.split(' ').find_map(|field| field.strip_prefix("total="))?;
    Some(total.parse::<u64>().ok()? * 1_000)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files(content: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in content {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn v2_in_its_own_words() {
        let directory = files(&[
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.high", "8192\n"),
            ("memory.events", "low 0\nhigh 7\nmax 0\noom 1\noom_kill 1\noom_group_kill 0\n"),
            ("memory.stat", "anon 1\nfile 20\ninactive_file 5\npgfault 12\npgmajfault 3\n"),
        ]);
        let memory = read_v2(directory.path());
        assert_eq!((memory.use_bytes, memory.limit_bytes), (Some(4096), None));
        assert_eq!((memory.high_bytes, memory.swap_bytes), (Some(8192), None));
        assert_eq!((memory.anonymous_bytes, memory.file_bytes), (Some(1), Some(20)));
        assert_eq!(memory.inactive_file_bytes, Some(5));
        assert_eq!(memory.events, [Some(0), Some(7), Some(0), Some(1), Some(1)]);
    }

    #[test]
    fn v1_in_the_words_of_v2() {
        let directory = files(&[
            ("memory.usage_in_bytes", "4096\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.memsw.limit_in_bytes", "65536\n"),
            ("memory.failcnt", "9\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            (
                "memory.stat",
                "cache 1\ntotal_cache 20\ntotal_rss 1\ntotal_inactive_file 5\ntotal_swap 512\ntotal_pgfault 12\ntotal_pgmajfault 3\n",
            ),
        ]);
        let memory = read_v1(directory.path());
        assert_eq!((memory.use_bytes, memory.limit_bytes), (Some(4096), None));
        assert_eq!((memory.swap_bytes, memory.swap_limit_bytes), (Some(512), Some(65_536)));
        assert_eq!((memory.anonymous_bytes, memory.file_bytes), (Some(1), Some(20)));
        assert_eq!(memory.inactive_file_bytes, Some(5));
        assert_eq!(memory.events, [None, None, Some(9), None, Some(2)]);
    }

    #[test]
    fn what_is_gone_is_unknown() {
        assert_eq!(read_v2(Path::new("/no/such/cgroup")), CgroupMemory::default());
        let files = MemoryFiles { controller: Some(Controller::V2("/".into())), pressure: None };
        assert_eq!(files.read("/"), None);
        assert_eq!(files.read("/../etc"), None);
    }

    #[test]
    fn pressure_is_in_microseconds() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=17\nfull avg10=0.00 total=3\n";
        assert_eq!(pressure_ns(text, "some"), Some(17_000));
        assert_eq!(pressure_ns(text, "full"), Some(3_000));
        assert_eq!(pressure_ns("", "full"), None);
    }
}
