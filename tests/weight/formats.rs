//! Each type in each format, and what is refused.

use anyhow::{Context, Result};
use cgscope_tests::{ContainerOptions, Pprof};

use crate::daemon;
use crate::recording::Worker;

#[test]
fn each_format_says_what_it_counts() -> Result<()> {
    let daemon = daemon()?;
    let load = ["--what", "fault", "--turns", "1000000", "--pause-us", "200"];
    let worker = Worker::start(ContainerOptions::new(), "faults", &load)?;
    worker.begin()?;
    let of = |format: &str| {
        format!("/api/v1/flamegraph?type=memory&{}&duration=1s&format={format}", worker.target())
    };
    let svg = daemon.text(&of("svg"))?;
    assert!(
        svg.contains("Memory-growth flame graph") && svg.contains("[memory.anonymous]"),
        "{svg}"
    );
    let firefox: serde_json::Value = serde_json::from_str(&daemon.text(&of("firefox"))?)?;
    assert_eq!(firefox["threads"][0]["samples"]["weightType"], "bytes");
    let speedscope: serde_json::Value = serde_json::from_str(&daemon.text(&of("speedscope"))?)?;
    assert_eq!(speedscope["profiles"][0]["unit"], "bytes");

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("grown.pb.gz");
    let file = path.to_str().context("a path")?;
    let id = worker.container.id();
    let arguments =
        ["flamegraph", "--type", "memory", "--container", id, "--duration", "1s", "-o", file];
    let output = daemon.cli(&arguments)?;
    assert!(output.success(), "{output:?}");
    let pprof = Pprof::parse(&std::fs::read(&path)?)?;
    assert_eq!(pprof.types[1], ("rss_growth".to_owned(), "bytes".to_owned()));
    let is_told = |sample: &&cgscope_tests::PprofSample| {
        sample.labels.get("state").is_some_and(|state| state == "memory.anonymous")
    };
    let told: u64 = pprof.samples.iter().filter(is_told).map(|sample| sample.values[1]).sum();
    assert!(told > 1 << 20 && told <= pprof.total(1), "{told} of {}", pprof.total(1));
    Ok(())
}

#[test]
fn what_cannot_be_is_refused() -> Result<()> {
    let daemon = daemon()?;
    for (query, what) in [
        ("type=block&frequency=99", "frequency"),
        ("type=fault&state=lock", "states"),
        ("type=offcpu&state=running", "running"),
        ("type=network&pid=4194303", "4194303"),
    ] {
        let answer = daemon.answer(&format!("/api/v1/flamegraph?{query}"))?;
        assert!(answer.status >= 400 && answer.body.contains(what), "{query}: {answer:?}");
    }
    Ok(())
}
