//! `PROCMAP_QUERY` of `/proc/PID/maps` (Linux 6.11): the kernel walks from one executable mapping to the next, and formats nothing.
//!
//! Contract: the same mappings that the text has, but for `[vsyscall]`, which is the same in all processes and holds nothing that
//! could be sampled.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering},
};

use super::maps::MapsLine;

/// `struct procmap_query`.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    vma_start: u64,
    vma_end: u64,
    vma_flags: u64,
    vma_page_size: u64,
    vma_offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    vma_name_size: u32,
    build_id_size: u32,
    vma_name_addr: u64,
    build_id_addr: u64,
}

const _: () = assert!(size_of::<Query>() == 104);

/// `_IOWR('f', 17, struct procmap_query)`.
const PROCMAP_QUERY: libc::c_ulong = 3 << 30 | 104 << 16 | 0x66 << 8 | 17;
const VMA_EXECUTABLE: u64 = 0x04;
const COVERING_OR_NEXT_VMA: u64 = 0x10;
/// The longest path the kernel shows.
const NAME_BYTES: usize = 4096;

/// Cleared when this kernel turns out not to know the question.
static IS_KNOWN: AtomicBool = AtomicBool::new(true);

/// The executable mappings behind an open maps file, by address; `None` where the kernel has to be asked for the text.
pub(super) fn executable(maps: &File) -> Option<io::Result<Vec<MapsLine>>> {
    if !IS_KNOWN.load(Ordering::Relaxed) {
        return None;
    }
    let mut lines = Vec::new();
    let mut name = [0_u8; NAME_BYTES];
    let mut query_addr = 0;
    loop {
        let mut query = Query {
            size: size_of::<Query>() as u64,
            query_flags: VMA_EXECUTABLE | COVERING_OR_NEXT_VMA,
            query_addr,
            vma_name_size: NAME_BYTES as u32,
            vma_name_addr: name.as_mut_ptr() as u64,
            ..Query::default()
        };
        // SAFETY: the structure and the name outlive the call, and say how large they are.
        let outcome = unsafe { libc::ioctl(maps.as_raw_fd(), PROCMAP_QUERY, &raw mut query) };
        if outcome != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // No more of them, or no memory any more: then the text is empty.
                Some(libc::ENOENT | libc::ESRCH) => Some(Ok(lines)),
                Some(libc::ENOTTY) => {
                    IS_KNOWN.store(false, Ordering::Relaxed);
                    None
                }
                // Names that do not fit, and what else the text may do better.
                _ => None,
            };
        }
        lines.push(line(&query, &name));
        // An end that is not beyond what was asked for would be asked for without end.
        if query.vma_end <= query_addr {
            return None;
        }
        query_addr = query.vma_end;
    }
}

fn line(query: &Query, name: &[u8]) -> MapsLine {
    // With its end mark.
    let name = &name[..(query.vma_name_size as usize).saturating_sub(1).min(name.len())];
    let path = String::from_utf8_lossy(name);
    MapsLine {
        start: query.vma_start,
        end: query.vma_end,
        file_offset_bytes: query.vma_offset,
        inode: query.inode,
        path: path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, time::Instant};

    use super::*;
    use crate::symbol::maps;

    fn text() -> Vec<MapsLine> {
        let mut text = Vec::new();
        File::open("/proc/self/maps").unwrap().read_to_end(&mut text).unwrap();
        let mut lines = maps::parse(&text);
        lines.retain(|line| line.path != "[vsyscall]");
        lines
    }

    #[test]
    fn the_answers_are_what_the_text_says() {
        // Other tests of this process map libraries meanwhile, so the text is read before and after.
        let mut asked = None;
        for _ in 0..100 {
            let before = text();
            asked = executable(&File::open("/proc/self/maps").unwrap()).map(Result::unwrap);
            if asked.as_ref().is_none_or(|asked| *asked == before && *asked == text()) {
                break;
            }
        }
        let Some(asked) = asked else {
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
            let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
            let version = (numbers.next().unwrap(), numbers.next().unwrap_or(0));
            assert!(version < (6, 11), "{release} has the question");
            return;
        };
        assert!(asked.iter().any(|line| line.path == "[vdso]"), "{asked:?}");
        assert_eq!(asked, text());
        let timed = |what: &dyn Fn()| {
            let begin = Instant::now();
            (0..100).for_each(|_| what());
            begin.elapsed() / 100
        };
        let by_text = timed(&|| drop(text()));
        let by_query = timed(&|| drop(executable(&File::open("/proc/self/maps").unwrap())));
        eprintln!("{} mappings: text {by_text:?}, queries {by_query:?}", asked.len());
    }
}
