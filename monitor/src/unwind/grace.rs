//! Waiting until every walk that is under way has ended.

use std::{thread, time::Duration};

const MEMBARRIER_CMD_GLOBAL: i32 = 1;
/// A walk takes some 30 us and cannot be interrupted, but a virtual CPU can.
const REST: Duration = Duration::from_millis(50);

/// Returns when no walk is in what was unlinked before. `MEMBARRIER_CMD_GLOBAL` waits for the kernel's RCU readers, among which
/// are all eBPF programs; it is refused on kernels with `nohz_full`.
pub(super) fn wait_for_walks() {
    // SAFETY: takes integers only.
    let outcome = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0) };
    if outcome != 0 {
        thread::sleep(REST);
    }
}
