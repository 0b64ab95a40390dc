//! What makes no sense is refused with exit code 2 before anything is loaded, and says what would make sense.

use std::time::{Duration, Instant};

use anyhow::Result;
use cgscope_tests::cli;

use crate::assert_refused;

#[test]
fn senseless_values_name_what_would_be_right() -> Result<()> {
    for (line, word) in [
        ("run --event-ring-size 3000", "a power of two"),
        ("run --stack-ring-size 0", "a power of two"),
        ("run --max-threads 5", "1024"),
        ("run --interval 1ms", "100ms"),
        ("run --identity v3", "v1:CONTROLLER"),
        ("run --hook kprobe", "tp_btf"),
        ("run --listen nowhere", "--listen"),
        ("states --duration 0", "more than 0"),
        ("states --duration=-1s", "10s"),
        ("latency --duration 11m", "at most 10m"),
        ("latency --pid 0", "--pid"),
        ("latency --pid 1 --container web", "cannot be used with"),
        ("flamegraph --frequency 1000000", "1 to 10000"),
        ("flamegraph -o drawing.png", ".speedscope.json"),
        ("flamegraph --format png", "pprof"),
        ("diff a.folded", "<B>"),
        ("record --duration 1s", "--output"),
        ("record -o a --duration 25h", "at most 24h"),
        ("record -o a --before 3m", "at most 2m"),
        ("replay", "<FILE>"),
        ("diff pid:none host", "./pid:none"),
        ("diff host host -o diff.pb.gz", "format of a difference"),
        ("top --once --columns name,nonsense", "nonsense"),
        ("states --disable nonsense", "sched, cgroup, process"),
        ("nonsense", "nonsense"),
    ] {
        let started = Instant::now();
        let output = cli(&line.split(' ').collect::<Vec<_>>())?;
        assert_refused(&output, 2, &[word]);
        assert!(output.stdout.is_empty(), "{line}: {output:?}");
        assert!(started.elapsed() < Duration::from_secs(2), "{line} took {:?}", started.elapsed());
    }
    Ok(())
}

#[test]
fn no_command_shows_the_help_and_is_an_error() -> Result<()> {
    let output = cli(&[])?;
    assert_eq!(output.status, Some(2));
    assert!(output.stderr.contains("Usage: cgscope"), "{output:?}");
    Ok(())
}

#[test]
fn every_command_has_help_with_an_example() -> Result<()> {
    let asking = ["top", "latency", "states", "flamegraph", "diff", "outliers", "containers"];
    for command in asking.into_iter().chain(["run", "record", "replay", "doctor"]) {
        let output = cli(&[command, "--help"])?;
        assert_eq!(output.status, Some(0), "{output:?}");
        let examples = output.stdout.split_once("Example").map_or("", |(_, examples)| examples);
        assert!(examples.contains(&format!("cgscope {command}")), "{}", output.stdout);
    }
    Ok(())
}
