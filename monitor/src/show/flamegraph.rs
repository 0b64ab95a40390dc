//! `cgscope flamegraph`: records stacks and writes the drawing.
//!
//! Contract: that the output can be written is known before the recording; it is whole or not there.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{
    arguments::FlamegraphArguments,
    client::{Client, path},
    failure::{Failure, RUNTIME, USAGE},
    number,
    output::print,
    program::Engine,
};
use crate::serve::EngineOptions;

pub fn flamegraph(engine: Engine, arguments: &FlamegraphArguments) -> Result<(), Failure> {
    let format = format_of(&arguments.output)?;
    let target = Target::check(&arguments.output)?;
    let default_hz = EngineOptions::default().frequency_hz;
    let options = arguments.engine.options(arguments.frequency.unwrap_or(default_hz));
    let client = Client::connect(&arguments.connect, engine, options)?;
    let mut query = arguments.target.query();
    query.push(("duration", arguments.duration.to_string()));
    query.push(("format", format.to_owned()));
    query.extend(arguments.frequency.map(|hz| ("frequency", hz.to_string())));
    let drawing = {
        let _progress = Progress::start(arguments.duration.0);
        client.bytes(&path(&["flamegraph"], &query), arguments.duration.0)?
    };
    target.write(&drawing)?;
    if let Target::File(file) | Target::Special(file) = &target
        && io::stderr().is_terminal()
    {
        let size = number::bytes(drawing.len() as f64);
        // With stderr gone there is nobody to tell.
        let _ = writeln!(io::stderr(), "wrote {} ({size})", file.display());
    }
    Ok(())
}

/// The format an ending stands for.
fn format_of(output: &Path) -> Result<&'static str, Failure> {
    if output == Path::new("-") {
        return Ok("folded");
    }
    let ending = output.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    match ending.as_deref() {
        Some("svg") => Ok("svg"),
        Some("folded" | "txt") => Ok("folded"),
        Some("json") => Ok("json"),
        _ if is_special(output) => Ok("svg"),
        _ => Err(Failure::new(
            USAGE,
            format!("{} says no format", output.display()),
            "end it in .svg, .folded, .txt or .json",
        )),
    }
}

/// Whether it is there and no regular file: a device, a pipe. It is written, not replaced.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Where the drawing goes.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    /// A regular file, which is replaced.
    File(PathBuf),
    /// What is no regular file.
    Special(PathBuf),
}

impl Target {
    fn check(output: &Path) -> Result<Self, Failure> {
        if output == Path::new("-") {
            return Ok(Self::Stdout);
        }
        if is_special(output) {
            OpenOptions::new().write(true).open(output).map_err(|e| unwritable(output, &e))?;
            return Ok(Self::Special(output.to_owned()));
        }
        if output.is_dir() {
            return Err(unwritable(output, &io::Error::from(io::ErrorKind::IsADirectory)));
        }
        // A link keeps being one: what it leads to is replaced.
        let file = fs::canonicalize(output).unwrap_or_else(|_| output.to_owned());
        let temporary = temporary_of(&file);
        create(&temporary).map_err(|error| unwritable(output, &error))?;
        fs::remove_file(&temporary).map_err(|error| unwritable(output, &error))?;
        Ok(Self::File(file))
    }

    fn write(&self, content: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => print(&String::from_utf8_lossy(content)),
            Self::Special(path) => {
                let written = OpenOptions::new()
                    .write(true)
                    .open(path)
                    .and_then(|mut file| file.write_all(content));
                written.map_err(|error| unwritable(path, &error))
            }
            Self::File(path) => {
                let temporary = temporary_of(path);
                let written = create(&temporary)
                    .and_then(|mut file| {
                        file.write_all(content)?;
                        // A full disk may tell only now.
                        file.sync_all()
                    })
                    .and_then(|()| fs::rename(&temporary, path));
                written.map_err(|error| {
                    // What could not be written whole is not left behind.
                    let _ = fs::remove_file(&temporary);
                    unwritable(path, &error)
                })
            }
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Beside the file, so that it can be renamed to it.
fn temporary_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    file.with_file_name(name)
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or choose another -o"
        }
        io::ErrorKind::NotFound => "make its directory, or choose another -o",
        _ => "choose another -o",
    };
    Failure::new(RUNTIME, format!("cannot write {}: {error}", path.display()), remedy)
}

/// A line on the terminal while it records; without a terminal, nothing. It goes away when dropped.
struct Progress {
    end: Option<mpsc::Sender<()>>,
    drawer: Option<thread::JoinHandle<()>>,
}

impl Progress {
    fn start(duration: Duration) -> Self {
        if !io::stderr().is_terminal() {
            return Self { end: None, drawer: None };
        }
        let (end, ended) = mpsc::channel::<()>();
        let started = Instant::now();
        let draw = move || {
            loop {
                let elapsed = started.elapsed().min(duration);
                let line = progress_line(elapsed, duration);
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

fn progress_line(elapsed: Duration, duration: Duration) -> String {
    const CELLS: usize = 30;
    let share = elapsed.as_secs_f64() / duration.as_secs_f64().max(f64::MIN_POSITIVE);
    let filled = ((share * CELLS as f64) as usize).min(CELLS);
    let what = if elapsed >= duration { "drawing" } else { "recording" };
    format!(
        "{what} {}{} {:.1}/{:.1}s",
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
    fn endings() {
        for (output, format) in [
            ("a.svg", "svg"),
            ("a.SVG", "svg"),
            ("a.folded", "folded"),
            ("a.txt", "folded"),
            ("b/a.json", "json"),
            ("-", "folded"),
        ] {
            assert_eq!(format_of(Path::new(output)).unwrap(), format, "{output}");
        }
        for output in ["a", "a.png", "svg", "/tmp"] {
            assert!(format_of(Path::new(output)).is_err(), "{output}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_known_before() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/a.svg");
        let error = Target::check(&missing).unwrap_err().to_string();
        assert!(error.contains("missing/a.svg") && error.contains("make its directory"), "{error}");
        let folder = directory.path().join("folder.svg");
        fs::create_dir(&folder).unwrap();
        assert!(Target::check(&folder).is_err());
    }

    #[test]
    fn written_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.svg");
        fs::write(&file, "before").unwrap();
        let target = Target::check(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "before");
        target.write(b"after").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_full_device_is_told() {
        let full = Path::new("/dev/full");
        let target = Target::check(full).unwrap();
        let error = target.write(b"drawing").unwrap_err().to_string();
        assert!(error.contains("/dev/full") && error.contains("free some space"), "{error}");
    }

    #[test]
    fn progress() {
        let second = Duration::from_secs(1);
        assert!(progress_line(second, second * 2).contains(&"█".repeat(15)));
        assert!(progress_line(second * 2, second * 2).starts_with("drawing"));
    }
}
