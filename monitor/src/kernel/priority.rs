//! The place of a thread of ours among those that want a CPU.

/// Of 40 steps between most and least favoured, the usual one is 0.
const NICE: i32 = -10;

/// Lets the calling thread run soon after it wakes, however busy the machine is: for work of well under a millisecond that is only
/// of use at once, as looking at a process that lives for 50 ms. Without the right to it (CAP_SYS_NICE) nothing changes.
pub fn favour_this_thread() {
    // SAFETY: takes integers only; 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_is_favoured() {
        // SAFETY: takes integers only.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let favoured = std::thread::spawn(move || {
            favour_this_thread();
            nice()
        });
        assert_eq!(favoured.join().unwrap(), NICE, "root, as for all tests of this stage");
        assert_eq!(nice(), before);
    }
}
