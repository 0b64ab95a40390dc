//! Senseless and hostile questions get a 4xx that names the object and the remedy, and change nothing.

use anyhow::Result;
use cgscope_tests::scratch_dir;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{daemon, wait_written};

#[test]
fn each_with_its_reason() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    wait_written(&daemon, 100.0)?;
    let conditions = vec!["a=b"; 40].join(",");
    let many = format!("metric=cgscope_host_load&match={conditions}");
    let long = format!("metric={}", "x".repeat(10_000));
    for (question, status, word) in [
        ("", 400, "metric"),
        ("metric=cgscope_nosuch_total", 404, "cgscope_nosuch_total"),
        ("metric=", 404, "metric"),
        (long.as_str(), 404, "xxx"),
        ("metric=cgscope_host_load&bogus=1", 400, "bogus"),
        ("metric=cgscope_host_load&fn=median", 400, "median"),
        ("metric=cgscope_host_load&fn=rate", 400, "gauge"),
        ("metric=cgscope_host_load&fn=mean&q=0.5", 400, "takes no q"),
        ("metric=cgscope_sched_runqueue_latency_seconds&q=7", 400, "quantile 7"),
        ("metric=cgscope_sched_runqueue_latency_seconds&q=nan", 400, "quantile NaN"),
        ("metric=cgscope_sched_runqueue_latency_seconds&by=&aggregate=mean", 400, "merged"),
        ("metric=cgscope_host_load&by=&aggregate=product", 400, "product"),
        ("metric=cgscope_host_load&step=1ms", 400, "finer"),
        ("metric=cgscope_host_load&step=0", 400, "finer"),
        ("metric=cgscope_host_load&step=x", 400, "no length of time"),
        ("metric=cgscope_host_load&start=-8760h&step=1s", 400, "steps"),
        ("metric=cgscope_host_load&start=now&end=now", 400, "range"),
        ("metric=cgscope_host_load&start=now&end=-1h", 400, "range"),
        ("metric=cgscope_host_load&start=tomorrow", 400, "tomorrow"),
        ("metric=cgscope_host_load&start=1e300", 400, "no instant"),
        ("metric=cgscope_host_load&match=nonsense", 400, "condition"),
        (many.as_str(), 400, "conditions"),
        ("metric=cgscope_host_load&against=yesterday", 400, "yesterday"),
        ("metric=cgscope_host_load&against_match=period=1m", 400, "without by"),
        ("metric=cgscope_host_load&by=&against_match=nonsense", 400, "condition"),
    ] {
        let answer = daemon.answer(&format!("/api/v1/query?{question}"))?;
        let shown: String = question.chars().take(100).collect();
        assert_eq!(answer.status, status, "{shown}: {}", answer.body);
        let body: Value = serde_json::from_str(&answer.body)?;
        assert!(body["error"].as_str().is_some_and(|e| e.contains(word)), "{shown}: {body}");
        assert!(body["remedy"].as_str().is_some_and(|r| !r.is_empty()), "{shown}: {body}");
    }
    // The future, the distant past and labels that nothing has are no errors: nothing was measured there.
    for question in
        ["start=4000000000&end=4000003600", "start=0&end=3600", "match=container=nosuch"]
    {
        let answer = daemon.get(&format!("/api/v1/query?metric=cgscope_host_load&{question}"))?;
        assert_eq!(answer["series"], Value::Array(vec![]), "{question}");
    }
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    Ok(())
}
