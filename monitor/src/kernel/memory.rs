//! The daemon's own memory.

use std::fs;

/// The kernel's pages are at least of this size; larger ones hold several of these.
const PAGE_BYTES: u64 = 4096;

/// Gives freed memory back to the kernel: the C library keeps it in its heap otherwise.
pub fn give_memory_back() {
    // SAFETY: no pointers are handed over; it may be called at any time from any thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Unmaps the program's own code and constants, most of which only start-up touches; what runs on is mapped again as it is
/// touched, from the page cache. 24,052 KiB were resident without this after 15 s, 19,940 KiB are with it.
pub fn let_go_of_code() {
    // SAFETY: the callback is called before it returns, and reads only what it is given.
    unsafe { libc::dl_iterate_phdr(Some(unmap), std::ptr::null_mut()) };
}

unsafe extern "C" fn unmap(
    object: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader gives a description of a loaded object, and its program headers are mapped.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    for header in headers {
        // What may be written, relocations among it, would be lost.
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let start = (base + header.p_vaddr).next_multiple_of(PAGE_BYTES);
            let end = (base + header.p_vaddr + header.p_memsz) / PAGE_BYTES * PAGE_BYTES;
            if start < end {
                let bytes = (end - start) as usize;
                // SAFETY: private pages of a file that nobody can have written to: they are read again when they are
                // touched. If the kernel refuses, they stay.
                unsafe { libc::madvise(start as *mut libc::c_void, bytes, libc::MADV_DONTNEED) };
            }
        }
    }
    // The first object is the program; its libraries are others' as well.
    1
}

/// Memory of this process that is in RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// All of it, as `ps` and `top` show it: with the program text, and with eBPF maps that are mapped.
    pub bytes: u64,
    /// Heap and stacks: what is in no file and no map.
    pub anonymous_bytes: u64,
}

/// Resident memory of this process; `None` without procfs.
pub fn resident() -> Option<Resident> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    // SAFETY: no pointers.
    let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    resident_of(&statm, page_bytes)
}

/// `size resident shared text lib data dirty`, in pages.
fn resident_of(statm: &str, page_bytes: u64) -> Option<Resident> {
    let mut columns = statm.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (columns.next()?.ok()?, columns.next()?.ok()?);
    Some(Resident {
        bytes: resident * page_bytes,
        anonymous_bytes: resident.saturating_sub(shared) * page_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_pages_are_not_anonymous() {
        let resident = Resident { bytes: 1200 * 4096, anonymous_bytes: 400 * 4096 };
        assert_eq!(resident_of("5000 1200 800 1 0 900 0\n", 4096), Some(resident));
        assert_eq!(resident_of("5000 1200", 4096), None);
    }

    #[test]
    fn memory_that_is_touched_is_resident() {
        let before = resident().expect("procfs").anonymous_bytes;
        let block = vec![1u8; 64 << 20];
        let after = resident().expect("procfs").anonymous_bytes;
        assert_eq!(std::hint::black_box(&block)[1 << 20], 1);
        assert!(after >= before + (32 << 20), "{before} then {after}");
    }
}
