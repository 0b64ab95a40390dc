//! The page cache: a file read cold and warm, by calls of several sizes, and one that is written.
//!
//! The truth of what was missed is `read_bytes` of `/proc/PID/io`, and not what the file's size says: this machine may take pages
//! out of the cache on its own.

use anyhow::Result;
use cgscope_tests::{ContainerOptions, Daemon, Scrape};

use crate::ALONE;
use crate::file::written;
use crate::user::{User, number, read_until};

const FILE_BYTES: u64 = 64 << 20;
const PAGE_BYTES: u64 = 4096;
const PAGES: u64 = FILE_BYTES / PAGE_BYTES;
const PASSES: u64 = 4;

#[derive(Debug)]
struct Seen {
    accesses: u64,
    misses: u64,
    mapped: u64,
}

fn seen(user: &User, scrape: &Scrape, before: &Scrape) -> Seen {
    let rise = |name: &str, labels: &[(&str, &str)]| {
        user.count(scrape, name, labels) - user.count(before, name, labels)
    };
    Seen {
        accesses: rise("cache_accesses_total", &[("access", "read")]),
        misses: rise("cache_misses_total", &[("access", "read")]),
        mapped: rise("cache_misses_total", &[("access", "mapped")]),
    }
}

fn cold_then_warm(chunk: &str, flags: &[&str]) -> Result<()> {
    let daemon = Daemon::start(&[&ALONE, flags].concat())?;
    let files = written(FILE_BYTES as usize)?;
    let options = || ContainerOptions::new().bind(files.path(), "/files");
    let passes = PASSES.to_string();
    let reads = ["--file", "/files/data", "--passes", &passes, "--bytes", chunk];
    let reader = User::start(options(), "reader", &reads)?;
    let writer = User::start(options(), "writer", &["--file", "/files/new", "--write-mb", "64"])?;
    // What both did before they came to their gates has been read.
    let (before, _) = daemon.next_tick()?;
    let fetched_before = reader.kernel_fetched_bytes()?;
    let wrote = writer.run()?;
    let truth = reader.run()?;
    assert_eq!(number(&truth, "read_bytes")?, PASSES * FILE_BYTES);
    assert_eq!(number(&wrote, "written_bytes")?, FILE_BYTES);
    let fetched = number(&truth, "fetched_bytes")? / PAGE_BYTES;
    assert!(fetched >= PAGES / 100 * 99, "only {fetched} pages were not in the cache");
    let scrape =
        read_until(&daemon, |scrape| seen(&reader, scrape, &before).accesses >= PASSES * PAGES)?;
    let of_reader = seen(&reader, &scrape, &before);
    eprintln!("{of_reader:?}, {fetched} pages fetched");
    // Pages of the program itself, which may have been taken out meanwhile too.
    let of_program = (reader.kernel_fetched_bytes()? - fetched_before) / PAGE_BYTES - fetched;
    assert!(of_reader.mapped <= of_program, "{of_reader:?}, {of_program} of the program");
    assert_eq!((of_reader.accesses, of_reader.misses), (PASSES * PAGES, fetched));
    let of_writer = seen(&writer, &scrape, &before);
    assert_eq!((of_writer.accesses, of_writer.misses), (0, 0), "who writes misses nothing");
    let ratios: Vec<f64> = scrape
        .iter()
        .filter(|series| series.name == "cgscope_memory_cache_hit_ratio")
        .map(|series| series.value)
        .collect();
    assert!(!ratios.is_empty() && ratios.iter().all(|ratio| (0.0..=1.0).contains(ratio)));
    Ok(())
}

#[test]
fn misses_are_the_pages_that_were_fetched_in_calls_of_64_kib() -> Result<()> {
    cold_then_warm("65536", &["--hook", "tp_btf"])
}

/// The kernel tells of each such call in parts.
#[test]
fn misses_are_the_pages_that_were_fetched_in_calls_of_1_mib() -> Result<()> {
    cold_then_warm("1048576", &[])
}

#[test]
fn misses_are_the_pages_that_were_fetched_by_raw_tp() -> Result<()> {
    cold_then_warm("4096", &["--hook", "raw_tp"])
}
