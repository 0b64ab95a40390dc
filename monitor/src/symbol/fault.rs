//! Surviving a file that shrinks while it is mapped.
//!
//! blazesym maps ELF files. Whoever owns such a file, a container included, can truncate it, and the
//! next read of the lost part raises SIGBUS, which would end the daemon. On a thread that called
//! [`guard_this_thread`] the handler puts a page of zeroes there instead and counts it, so that the
//! reader sees damaged data, which it must survive anyway. Everywhere else SIGBUS does what it did.

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static REPAIRED: Cell<u64> = const { Cell::new(0) };
}

static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
static PAGE_SIZE_BYTES: OnceLock<usize> = OnceLock::new();

/// Makes the calling thread survive SIGBUS on mapped files; installs the handler at the first call.
pub(super) fn guard_this_thread() -> io::Result<()> {
    install()?;
    GUARDED.set(true);
    Ok(())
}

/// Pages replaced on this thread so far.
pub(super) fn repaired_pages() -> u64 {
    REPAIRED.get()
}

fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Option<i32>> = OnceLock::new();
    let failure = INSTALLED.get_or_init(|| {
        // SAFETY: sysconf has no preconditions.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        PAGE_SIZE_BYTES.get_or_init(|| usize::try_from(page).unwrap_or(4096));
        // SAFETY: `sigaction` is plain data for which all zeroes is a valid value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_sigbus as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: as above.
        let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: both structures are valid, and the handler keeps to what a handler may do.
        if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, &raw mut previous) } != 0 {
            return Some(io::Error::last_os_error().raw_os_error().unwrap_or(0));
        }
        PREVIOUS.get_or_init(|| previous);
        None
    });
    failure.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
}

/// Runs in signal context: only `mmap`, `sigaction` and thread-local cells without destructors.
extern "C" fn on_sigbus(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel hands a valid siginfo to a handler installed with SA_SIGINFO.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if GUARDED.get() && code == libc::BUS_ADRERR && replace_page(address) {
        REPAIRED.set(REPAIRED.get() + 1);
        return;
    }
    // Not ours: with the former disposition back, the same access faults again and meets it.
    // SAFETY: a zeroed structure is the default disposition, and the pointers are valid.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        let previous = PREVIOUS.get().unwrap_or(&default);
        libc::sigaction(libc::SIGBUS, std::ptr::from_ref(previous), std::ptr::null_mut());
    }
}

fn replace_page(address: usize) -> bool {
    let Some(page_size) = PAGE_SIZE_BYTES.get() else { return false };
    let page = address & !(page_size - 1);
    // SAFETY: the kernel reported a failed access to a file mapping on this page, so the page
    // belongs to a mapping and holds nothing that could still be read.
    let got = unsafe {
        libc::mmap(
            page as *mut libc::c_void,
            *page_size,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    got != libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_truncated_mapping_reads_as_zeroes() {
        guard_this_thread().unwrap();
        let before = repaired_pages();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        // SAFETY: a fresh private mapping of a file of that length.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                8192,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(map, libc::MAP_FAILED);
        // SAFETY: inside the mapping.
        let byte_at = |at: usize| unsafe { map.cast::<u8>().add(at).read_volatile() };
        assert_eq!(byte_at(5000), 7);
        file.set_len(10).unwrap();
        assert_eq!(byte_at(5000), 0);
        assert_eq!(repaired_pages(), before + 1);
        // SAFETY: the mapping made above, used no more.
        unsafe { libc::munmap(map, 8192) };
    }
}
