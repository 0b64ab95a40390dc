//! Which function of which file an address lies in, by the file's own unwind information as `readelf` prints it: no symbols, which
//! two tools may read differently, and which distributions strip.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cgscope_tests::run_captured;

/// A function: its file, and the address the linker gave it. 0 is what a file says nothing about.
pub type Function = (String, u64);

/// Files, and what is known of each.
#[derive(Default)]
pub struct Code {
    files: HashMap<String, File>,
}

struct File {
    /// End by beginning.
    functions: BTreeMap<u64, u64>,
    /// Offset in the file, address, length of what is loaded.
    segments: Vec<(u64, u64, u64)>,
}

impl Code {
    /// The function at an offset in a file.
    pub fn at_offset(&mut self, path: &str, offset: u64) -> Result<Function> {
        if !path.starts_with('/') {
            return Ok((path.to_owned(), 0));
        }
        let file = self.file(path)?;
        let holds = |(at, _, bytes): &&(u64, u64, u64)| (*at..at + bytes).contains(&offset);
        let (at, loaded_at, _) =
            file.segments.iter().find(holds).with_context(|| format!("{offset:#x} of {path}"))?;
        Ok((path.to_owned(), file.function(offset - at + loaded_at)))
    }

    /// The function at an address the linker gave.
    pub fn in_file(&mut self, path: &str, address: u64) -> Result<Function> {
        if !path.starts_with('/') {
            return Ok((path.to_owned(), 0));
        }
        let start = self.file(path)?.function(address);
        Ok((path.to_owned(), start))
    }

    fn file(&mut self, path: &str) -> Result<&File> {
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), File::read(path)?);
        }
        self.files.get(path).context("just put there")
    }
}

impl File {
    fn read(path: &str) -> Result<Self> {
        let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
        let frames = run_captured(Command::new("readelf").args(["--debug-dump=frames", path]))?;
        let ranges =
            frames.stdout.lines().filter_map(|line| line.split_once(" pc=")?.1.split_once(".."));
        let functions = ranges.filter_map(|(start, end)| Some((hex(start).ok()?, hex(end).ok()?)));
        let headers = run_captured(Command::new("readelf").args(["-lW", path]))?;
        let loads = headers.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let loads = loads.filter(|words| words.first() == Some(&"LOAD") && words.len() > 5);
        let segments = loads.map(|words| Ok((hex(words[1])?, hex(words[2])?, hex(words[4])?)));
        let file =
            Self { functions: functions.collect(), segments: segments.collect::<Result<_>>()? };
        ensure!(
            !file.functions.is_empty() && !file.segments.is_empty(),
            "readelf says nothing of {path}"
        );
        Ok(file)
    }

    fn function(&self, address: u64) -> u64 {
        let before = self.functions.range(..=address).next_back();
        before.filter(|(_, end)| address < **end).map_or(0, |(start, _)| *start)
    }
}
