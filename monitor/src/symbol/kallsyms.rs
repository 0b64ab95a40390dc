//! The kernel's own symbols, from `/proc/kallsyms`.
//!
//! Read by ourselves and not through blazesym: its table of the kernel can be neither dropped nor
//! read again, while modules and BPF programs (our own among them) come and go; and it gives the
//! last symbol for any address beyond it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame::Reason;

/// How old the table may be before an address outside the core kernel makes it read again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);
/// Further from its symbol, an address outside the core kernel belongs to something else.
const MODULE_FUNCTION_BYTES_MAX: u64 = 1 << 20;

/// The table, read at the first look-up.
pub(super) struct Kallsyms {
    path: PathBuf,
    loaded: Option<(Instant, Table)>,
    names: HashMap<usize, Arc<str>>,
}

#[derive(Default)]
struct Table {
    /// Sorted by address: address, place and length of the name in `text`.
    symbols: Vec<(u64, u32, u16)>,
    text: String,
    core_end: u64,
    core_start: u64,
}

impl Kallsyms {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), loaded: None, names: HashMap::new() }
    }

    /// The function at `address`.
    pub fn lookup(&mut self, address: u64) -> Result<Arc<str>, Reason> {
        let stale = self.loaded.as_ref().is_none_or(|(read, table)| {
            read.elapsed() > RELOAD_INTERVAL && !table.is_core(address)
        });
        if stale {
            self.loaded = Some((Instant::now(), Table::read(&self.path)));
            self.names.clear();
        }
        let Some((_, table)) = &self.loaded else { return Err(Reason::KernelHidden) };
        if table.symbols.is_empty() {
            return Err(Reason::KernelHidden);
        }
        let index = table.find(address).ok_or(Reason::Unmapped)?;
        let name = self.names.entry(index).or_insert_with(|| table.name(index).into());
        Ok(Arc::clone(name))
    }
}

impl Table {
    fn read(path: &Path) -> Self {
        let mut table = Self::default();
        let Ok(file) = File::open(path) else { return table };
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            table.add(&String::from_utf8_lossy(&line));
            line.clear();
        }
        // Of several names for one address the first stays, as in perf.
        table.symbols.sort_by_key(|symbol| symbol.0);
        table.symbols.dedup_by_key(|symbol| symbol.0);
        table.symbols.shrink_to_fit();
        table.text.shrink_to_fit();
        table
    }

    fn add(&mut self, line: &str) {
        let mut fields = line.split_ascii_whitespace();
        let (Some(address), Some(kind), Some(name)) = (fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        let Ok(address) = u64::from_str_radix(address, 16) else { return };
        // With kptr_restrict every address reads as zero.
        if address == 0 || !matches!(kind, "t" | "T" | "w" | "W") {
            return;
        }
        match name {
            "_text" | "_stext" => self.core_start = address,
            // The end of the core kernel's code, and no function.
            "_etext" => return self.core_end = address,
            _ => {}
        }
        let (Ok(at), Ok(length)) = (u32::try_from(self.text.len()), u16::try_from(name.len()))
        else {
            return;
        };
        self.text.push_str(name);
        self.symbols.push((address, at, length));
    }

    fn is_core(&self, address: u64) -> bool {
        (self.core_start..self.core_end).contains(&address)
    }

    fn find(&self, address: u64) -> Option<usize> {
        let index = self.symbols.partition_point(|symbol| symbol.0 <= address).checked_sub(1)?;
        let start = self.symbols[index].0;
        let known = self.core_end > 0;
        let fits = if known && (self.is_core(address) || self.is_core(start)) {
            self.is_core(address) && self.is_core(start)
        } else {
            address - start < MODULE_FUNCTION_BYTES_MAX
        };
        fits.then_some(index)
    }

    fn name(&self, index: usize) -> &str {
        let (_, at, length) = self.symbols[index];
        &self.text[at as usize..at as usize + usize::from(length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Kallsyms {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut kallsyms = Kallsyms::new(file.path());
        kallsyms.lookup(1).ok();
        kallsyms
    }

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let mut kallsyms = table(
            "ffffffff81000000 T _text\nffffffff81000040 t f\nffffffff81000040 t alias\n\
             ffffffff81000080 D data\nffffffff81000100 T _etext\n\
             ffffffffc0000000 t g\t[module]\ngarbage\n",
        );
        let mut name = |address| kallsyms.lookup(address).map(|name| name.to_string());
        assert_eq!(name(0xffff_ffff_8100_0041), Ok("f".into()));
        assert_eq!(name(0xffff_ffff_8100_0090), Ok("f".into()));
        assert_eq!(name(0xffff_ffff_c000_0010), Ok("g".into()));
        assert_eq!(name(0xffff_ffff_8100_0200), Err(Reason::Unmapped));
        assert_eq!(name(0xffff_ffff_d000_0000), Err(Reason::Unmapped));
        assert_eq!(name(0x1000), Err(Reason::Unmapped));
    }

    #[test]
    fn addresses_of_zero_are_hidden_ones() {
        let mut kallsyms = table("0000000000000000 T _text\n0000000000000000 T f\n");
        assert_eq!(kallsyms.lookup(0xffff_ffff_8100_0041), Err(Reason::KernelHidden));
    }
}
