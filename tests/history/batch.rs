//! Several questions in one request: each answer is that of the question alone, with its status.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use cgscope_tests::{scratch_dir, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{PATIENCE, daemon};

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn as_if_asked_alone() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let span = |start: u64, end: u64| format!("start={start}&end={end}&step=1s");
    let metric = "metric=cgscope_host_memory_bytes";
    // The window is over when a later step has a value: then nothing is added to it between two answers.
    wait_until("a later step", PATIENCE, || {
        let later = format!("/api/v1/query?{metric}&{}", span(now_s + 5, now_s + 7));
        // Before the first step is written there is no such metric.
        let answer = daemon.answer(&later)?;
        let body: Value = serde_json::from_str(&answer.body)?;
        Ok(body["series"].as_array().filter(|s| !s.is_empty()).map(|_| ()))
    })?;
    let window = span(now_s + 1, now_s + 4);
    let questions = [
        (200, format!("query?metric=cgscope_host_cpu_seconds_total&by=mode&{window}")),
        (200, format!("query?{metric}&match=kind=total&{window}")),
        (200, format!("buckets?metric=cgscope_sched_runqueue_latency_seconds&{window}")),
        (404, format!("query?metric=cgscope_nosuch_total&{window}")),
        (400, format!("query?metric=cgscope_host_load&bogus=1&{window}")),
        (400, format!("buckets?metric=cgscope_sched_runqueue_latency_seconds&by=&{window}")),
    ];
    let asked: Vec<_> = questions.iter().map(|(_, q)| format!("ask={}", encoded(q))).collect();
    let together = daemon.get(&format!("/api/v1/batch?{}", asked.join("&")))?;
    let answers = together["answers"].as_array().context("answers")?;
    assert_eq!(answers.len(), questions.len());
    for (answer, (status, question)) in answers.iter().zip(&questions) {
        let alone = daemon.answer(&format!("/api/v1/{question}"))?;
        let body: Value = serde_json::from_str(&alone.body)?;
        assert_eq!(alone.status, *status, "{question}: {body}");
        assert_eq!(*answer, json!({"status": status, "body": body}), "{question}");
    }
    assert!(answers[0]["body"]["series"].as_array().is_some_and(|s| s.len() > 2), "{together}");

    // What is no question about the past fails by itself.
    let odd = daemon.get(&format!(
        "/api/v1/batch?ask=containers&ask={}&ask={}",
        encoded("a b"),
        encoded(&questions[0].1)
    ))?;
    let statuses: Vec<_> =
        odd["answers"].as_array().into_iter().flatten().map(|a| a["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(400), Some(400), Some(200)], "{odd}");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    Ok(())
}
