//! The state of a wait in each format, and what is refused.

use anyhow::{Context, Result};
use cgscope_tests::{Container, Pprof};

use crate::daemon;

#[test]
fn each_format_tells_the_state() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("waits", &["waits", "--seconds", "60"])?;
    let of = |format: &str| {
        format!(
            "/api/v1/flamegraph?type=offcpu&container={}&duration=1s&format={format}",
            container.id()
        )
    };
    let svg = daemon.text(&of("svg"))?;
    assert!(svg.contains("Off-CPU flame graph") && svg.contains("[blocked.lock]"), "{svg}");
    for format in ["firefox", "speedscope"] {
        let text = daemon.text(&of(format))?;
        assert!(text.contains("[blocked.pipe]") && text.contains("wait_sixty"), "{format}: {text}");
    }
    let json = daemon.get(&of("json"))?;
    assert_eq!((&json["kind"], &json["unit"]), (&"off-cpu".into(), &"nanoseconds".into()));
    assert_eq!(json["frequency_hz"], serde_json::Value::Null);
    assert_eq!(json["confidence"]["level"], "high", "{}", json["confidence"]);
    Ok(())
}

#[test]
fn pprof_labels_the_state() -> Result<()> {
    let daemon = daemon()?;
    let container = Container::run("waits", &["waits", "--seconds", "60"])?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("waits.pb.gz");
    let file = path.to_str().context("a path")?;
    let arguments = [
        "flamegraph",
        "--type",
        "offcpu",
        "--container",
        container.id(),
        "--duration",
        "2s",
        "-o",
        file,
    ];
    let output = daemon.cli(&arguments)?;
    assert!(output.success(), "{output:?}");
    let pprof = Pprof::parse(&std::fs::read(&path)?)?;
    assert_eq!(pprof.types[1], ("off_cpu".to_owned(), "nanoseconds".to_owned()));
    let in_state = |state: &str| -> u64 {
        let of = pprof.samples.iter().filter(|s| s.labels.get("state").is_some_and(|s| s == state));
        of.map(|sample| sample.values[1]).sum()
    };
    let named = in_state("sleeping") + in_state("blocked.lock") + in_state("blocked.pipe");
    assert_eq!(named, pprof.total(1), "all of it in these three");
    assert!(pprof.total(1) > 2_000_000_000, "two threads, two seconds: {}", pprof.total(1));
    Ok(())
}

#[test]
fn what_cannot_be_is_refused() -> Result<()> {
    let daemon = daemon()?;
    for (query, what) in [
        ("type=wall", "wall"),
        ("type=offcpu&frequency=99", "frequency"),
        ("type=offcpu&pid=4194303", "4194303"),
    ] {
        let answer = daemon.answer(&format!("/api/v1/flamegraph?{query}"))?;
        assert!(answer.status >= 400 && answer.body.contains(what), "{query}: {answer:?}");
    }
    Ok(())
}
