//! Throughput and memory of the symbolizer on this machine, printed and not judged:
//! `cargo test --release -p cgscope symbol::measure -- --ignored --nocapture --test-threads 1`.

use std::time::Instant;

use super::fixture::{self, Mapped};
use super::{RawStack, Symbols};
use crate::kernel::ids::Tgid;

const FILES: [&str; 4] = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib/llvm-22/lib/libLLVM.so.1",
    "/usr/lib/jvm/default-java/lib/server/libjvm.so",
    "/usr/bin/perf",
];

fn status_kb(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

fn resident_kb() -> u64 {
    status_kb("RssAnon:")
}

fn report(symbols: &Symbols, what: &str, stacks: &[RawStack]) {
    let addresses: usize = stacks.iter().map(|stack| stack.user.len() + stack.kernel.len()).sum();
    for temperature in ["cold", "warm"] {
        let before = resident_kb();
        let stacks = stacks.to_vec();
        let start = Instant::now();
        let frames = symbols.resolve_blocking(stacks);
        let seconds = start.elapsed().as_secs_f64();
        let named = frames.iter().flatten().filter(|frame| !fixture::is_unresolved(frame)).count();
        eprintln!(
            "{what}: {temperature} {:.0} addresses/s ({addresses} in {:.1} ms, {named} frames), \
             private memory {:+} kB",
            addresses as f64 / seconds,
            seconds * 1e3,
            resident_kb() as i64 - before as i64,
        );
    }
}

#[test]
#[ignore = "a measurement, not a test"]
fn throughput_and_memory() {
    let symbols = Symbols::start().unwrap();
    let tgid = Tgid(std::process::id());
    let stacks = |addresses: &[u64]| -> Vec<RawStack> {
        let stack = |user: &[u64]| RawStack {
            program: crate::symbol::Program::LATEST,
            tgid,
            kernel: vec![],
            user: user.to_vec(),
            end: crate::symbol::WalkEnd::Complete,
        };
        addresses.chunks(30).map(stack).collect()
    };
    eprintln!("private memory at first: {} kB", resident_kb());
    let files = FILES.into_iter().filter(|path| std::path::Path::new(path).exists());
    let own = std::env::current_exe().unwrap();
    let mapped: Vec<_> = files
        .map(std::path::PathBuf::from)
        .chain([own])
        .map(|path| (Mapped::open(&path), path))
        .collect();
    for (file, path) in &mapped {
        let offsets = fixture::function_offsets(path, 20_000);
        let addresses: Vec<u64> = offsets.iter().map(|offset| file.start + offset + 1).collect();
        report(&symbols, &path.display().to_string(), &stacks(&addresses));
    }
    let kallsyms = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let kernel: Vec<u64> = kallsyms
        .lines()
        .filter(|line| line.contains(" t ") || line.contains(" T "))
        .filter_map(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok())
        .take(20_000)
        .collect();
    let kernel: Vec<_> = kernel
        .chunks(30)
        .map(|k| RawStack {
            program: crate::symbol::Program::LATEST,
            tgid,
            kernel: k.to_vec(),
            user: vec![],
            end: crate::symbol::WalkEnd::Complete,
        })
        .collect();
    report(&symbols, "kernel", &kernel);
    eprintln!(
        "at last: private {} kB, files mapped {} kB, {:?}",
        resident_kb(),
        status_kb("RssFile:"),
        symbols.stats()
    );
}
