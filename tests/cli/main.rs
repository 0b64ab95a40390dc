//! The program as its users run it: exit codes, errors, files, signals, and what stays in the kernel after it.

mod arguments;
mod asking;
mod diff;
mod doctor;
mod ending;
mod hostile;
mod lookup;
mod output_file;
mod pprof;
mod running;
mod selftest;
mod taken;
mod types;
mod unprivileged;

use cgscope_tests::Output;

/// What a failure has to look like: its exit code, one clear line that holds each of `words`, no panic, no backtrace.
#[track_caller]
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status, Some(code), "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is not in {:?}", output.stderr);
    }
    for trace in ["panicked", "backtrace", "RUST_", "src/"] {
        assert!(!output.stderr.contains(trace), "{trace:?} is in {:?}", output.stderr);
    }
    let told = output.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(told, 1, "one line says it: {:?}", output.stderr);
}
