//! Files made by somebody who means harm: the parsers of ELF and of `.eh_frame` under mutations of a corpus, and cases that were
//! thought of.
//!
//! Contract: the same inputs in each run. For a longer one: `CGSCOPE_FUZZ_SECONDS=600 CGSCOPE_FUZZ_SEED=7 cargo test --release -p
//! cgscope hostile`. An input that breaks something is written to the temporary directory, and named; those worth keeping go to
//! `corpus/`.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    panic::catch_unwind,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    compile,
    elf::{Arch, ElfError, Image},
    table::Table,
};

/// How long the run of each test command takes.
const SECONDS: u64 = 2;
/// Far beyond what any input of the size of these takes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Code of the machine beside the corpus: larger, and made by other compilers.
const OTHERS: [&str; 2] = ["/bin/true", "/lib64/ld-linux-x86-64.so.2"];

/// The generator of Marsaglia: as good as any for this, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Numbers at which parsers break.
    fn number(&mut self) -> u64 {
        const ODD: [u64; 12] =
            [0, 1, 4, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 63, !0];
        if self.next() & 1 == 0 { ODD[self.below(ODD.len())] } else { self.next() }
    }

    /// Where to change something: in the head as often as in the rest, since so little of it matters so much.
    fn place(&mut self, bytes: &[u8]) -> usize {
        let limit = if self.next() & 3 == 0 { bytes.len().min(1024) } else { bytes.len() };
        self.below(limit)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.place(bytes);
        match self.below(7) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.next() as u8,
            2 => {
                let width = 1 << self.below(4);
                let number = self.number().to_le_bytes();
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            3 => {
                let cut = at.max(1);
                bytes.truncate(cut);
            }
            4 => {
                let end = (at + self.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let (from, len) = (self.place(bytes), self.below(64));
                let piece = bytes[from..(from + len).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let (from, len) = (self.place(bytes), self.below(256));
                let piece = bytes[from..(from + len).min(bytes.len())].to_vec();
                let end = (at + piece.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&piece[..end - at]);
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

/// What a file becomes; every promise about it is checked.
fn check(file: &File, bytes: &[u8], random: &mut Random) -> Result<Table, ElfError> {
    file.set_len(0).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    let begin = Instant::now();
    let image = Image::read_any(file)?;
    assert!(image.frame.len() <= bytes.len(), "more than the file has");
    let table = compile::table(&image)?;
    // A row takes an instruction at least, and each function ends with one of its own.
    assert!(table.rows.len() <= 2 * image.frame.len() + 4, "{} rows", table.rows.len());
    let index: Vec<_> = table.index(7).collect();
    assert_eq!(index.len(), table.pages());
    for rows in &index {
        assert!(rows.first <= rows.end && rows.end as usize <= table.rows.len() + 7);
    }
    assert!(index.windows(2).all(|pair| pair[0].end == pair[1].first));
    for _ in 0..8 {
        let address = table.base.wrapping_add(random.next() % (table.pages() as u64 * 4096 + 8192));
        let is_inside = address.wrapping_sub(table.base) >> 12 < table.pages() as u64;
        assert_eq!(table.find(address).is_some(), is_inside);
    }
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    Ok(table)
}

fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/unwind/corpus");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "elf"));
    files.sort();
    let others = OTHERS.iter().map(|path| Path::new(path).to_owned());
    files.extend(others.filter(|path| path.exists()));
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn no_mutation_of_a_file_does_harm() {
    let seeds = corpus();
    let mut random = Random(setting("CGSCOPE_FUZZ_SEED", 0x5eed) | 1);
    let file = tempfile::tempfile().unwrap();
    let end = Instant::now() + Duration::from_secs(setting("CGSCOPE_FUZZ_SECONDS", SECONDS));
    let (mut cases, mut tables) = (0_u64, 0_u64);
    while Instant::now() < end {
        let mut bytes = seeds[cases as usize % seeds.len()].clone();
        for _ in 0..=random.below(6) {
            random.mutate(&mut bytes);
        }
        let mut places = Random(random.next() | 1);
        let outcome = catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&file, &bytes, &mut places).is_ok()
        }));
        match outcome {
            Ok(is_table) => tables += u64::from(is_table),
            Err(_) => {
                let (mut kept, path) = tempfile::NamedTempFile::with_prefix("cgscope-hostile-")
                    .unwrap()
                    .keep()
                    .unwrap();
                kept.write_all(&bytes).unwrap();
                panic!("case {cases}: the input is in {}", path.display());
            }
        }
        cases += 1;
    }
    eprintln!("{cases} inputs, {tables} of them tables");
    // If none got through, the mutations would test nothing but the head of the file.
    assert!(cases >= 50 && tables * 20 >= cases, "{tables} tables of {cases} inputs");
}

#[test]
fn the_corpus_itself_has_tables() {
    let file = tempfile::tempfile().unwrap();
    for bytes in corpus() {
        check(&file, &bytes, &mut Random(1)).unwrap();
    }
}

/// One common part that is long, and thousands of functions that begin with it.
#[test]
fn functions_that_share_a_long_beginning_take_no_longer_than_the_file_is() {
    const NOPS: usize = 1 << 20;
    let mut frame = Vec::new();
    let entry = |frame: &mut Vec<u8>, body: &[u8]| {
        frame.extend((body.len() as u32).to_le_bytes());
        frame.extend(body);
    };
    // Version 1, no augmentation, factors 1 and -8, return address in 16, then the CFA: stack pointer + 8, return address there.
    let mut cie = vec![0, 0, 0, 0, 1, 0, 1, 0x78, 16, 12, 7, 8, 0x80 | 16, 1];
    cie.resize(cie.len() + NOPS, 0);
    entry(&mut frame, &cie);
    for function in 0..20_000_u64 {
        let mut body = (frame.len() as u32 + 4).to_le_bytes().to_vec();
        body.extend((0x1000 + function * 16).to_le_bytes());
        body.extend(16_u64.to_le_bytes());
        entry(&mut frame, &body);
    }
    let code = vec![super::elf::Segment { offset: 0, address: 0x1000, bytes: 1 << 20 }];
    let image = Image { arch: Arch::X86_64, code, entry: 0, frame_address: 0x100_0000, frame };
    let begin = Instant::now();
    // Nothing that an honest compiler makes: no table, or one without these functions.
    let _ = compile::table(&image);
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
}
