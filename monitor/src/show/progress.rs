//! How far a recording is.

use std::{
    io::{self, IsTerminal, Write},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A line on the terminal while it records; without a terminal, nothing. It goes away when dropped.
pub struct Progress {
    end: Option<mpsc::Sender<()>>,
    drawer: Option<thread::JoinHandle<()>>,
}

impl Progress {
    /// Draws it until dropped. `what` says what is recorded, if there are several.
    pub fn start(what: &str, duration: Duration) -> Self {
        if !io::stderr().is_terminal() {
            return Self { end: None, drawer: None };
        }
        let (end, ended) = mpsc::channel::<()>();
        let started = Instant::now();
        let what = what.to_owned();
        let draw = move || {
            loop {
                let elapsed = started.elapsed().min(duration);
                let line = progress_line(&what, elapsed, duration);
                // With stderr gone there is nobody to tell.
                let _ = write!(io::stderr(), "\r{line}\u{1b}[K");
                let waited = ended.recv_timeout(Duration::from_millis(100));
                if !matches!(waited, Err(mpsc::RecvTimeoutError::Timeout)) {
                    let _ = write!(io::stderr(), "\r\u{1b}[K");
                    return;
                }
            }
        };
        let drawer = thread::Builder::new().name("progress".to_owned()).spawn(draw).ok();
        Self { end: Some(end), drawer }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(drawer) = self.drawer.take() {
            // A line that could not be drawn is no reason to fail.
            let _ = drawer.join();
        }
    }
}

fn progress_line(subject: &str, elapsed: Duration, duration: Duration) -> String {
    const CELLS: usize = 30;
    let share = elapsed.as_secs_f64() / duration.as_secs_f64().max(f64::MIN_POSITIVE);
    let filled = ((share * CELLS as f64) as usize).min(CELLS);
    let what = if elapsed >= duration { "drawing" } else { "recording" };
    format!(
        "{what}{}{subject} {}{} {:.1}/{:.1}s",
        if subject.is_empty() { "" } else { " " },
        "█".repeat(filled),
        "░".repeat(CELLS - filled),
        elapsed.as_secs_f64(),
        duration.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress() {
        let second = Duration::from_secs(1);
        assert!(progress_line("", second, second * 2).contains(&"█".repeat(15)));
        assert!(progress_line("", second * 2, second * 2).starts_with("drawing"));
    }
}
