//! The signals that ask a process to end, or the daemon to write down what it remembers.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves at SIGTERM, SIGINT or SIGHUP. Call it inside a runtime; the signals are caught from the call on.
///
/// # Errors
/// What the kernel says.
pub fn asked_to_end() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

/// Gives each SIGUSR1. Call it inside a runtime; the signal is caught from the call on.
///
/// # Errors
/// What the kernel says.
pub fn asked_to_write() -> io::Result<Signal> {
    signal(SignalKind::user_defined1())
}

/// A flag that is set at SIGTERM, SIGINT or SIGHUP, for a loop without a runtime.
///
/// # Errors
/// What the kernel says.
pub fn end_flag() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let asked = runtime.block_on(async { asked_to_end() })?;
    let set = Arc::clone(&flag);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(asked);
        set.store(true, Ordering::Relaxed);
    })?;
    Ok(flag)
}
