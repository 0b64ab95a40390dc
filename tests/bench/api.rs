//! How long the daemon takes to answer what an open dashboard asks each second, on a host of many containers.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Daemon, wait_until};

use crate::crowd::Crowd;

const CONTAINERS: usize = 200;
/// As long as the charts that are asked for.
const HISTORY: Duration = Duration::from_secs(125);
/// Rounds come as they do from a page that asks at each tick, only closer.
const PAUSE: Duration = Duration::from_millis(100);

/// Prints the median, p99 and worst of each question.
pub fn bench(rounds: u32) -> Result<()> {
    let crowd = Crowd::start(CONTAINERS)?;
    let history = tempfile::TempDir::with_prefix_in("history-", cgscope_tests::scratch_dir())?;
    let directory = history.path().to_str().context("a path in UTF-8")?;
    let daemon = Daemon::start(&["--history-dir", directory])?;
    wait_until("all containers", Duration::from_secs(30), || {
        let list = daemon.get("/api/v1/containers")?;
        let measured = list["containers"].as_array().into_iter().flatten().filter(|container| {
            container["activity"]["states"].as_array().is_some_and(|s| !s.is_empty())
        });
        Ok((measured.count() >= CONTAINERS).then_some(()))
    })?;
    println!("{CONTAINERS} containers, {} s of history, then {rounds} rounds", HISTORY.as_secs());
    sleep(HISTORY);

    let questions = questions(&crowd.one());
    let mut took = vec![Vec::new(); questions.len()];
    let mut sizes = vec![0; questions.len()];
    for _ in 0..rounds {
        for (place, (_, path)) in questions.iter().enumerate() {
            let start = Instant::now();
            let answer = daemon.answer(path)?;
            took[place].push(start.elapsed());
            ensure!(answer.status == 200, "{path}: {}", answer.body);
            sizes[place] = answer.body.len();
        }
        sleep(PAUSE);
    }
    println!(
        "{:<44} {:>10} {:>10} {:>10} {:>9}",
        "question", "median ms", "p99 ms", "most ms", "KiB"
    );
    for (((name, _), took), size) in questions.iter().zip(&took).zip(&sizes) {
        print(name, took, *size);
    }
    print("all of them", &took.concat(), sizes.iter().sum());
    Ok(())
}

fn print(name: &str, took: &[Duration], size: usize) {
    let mut sorted = took.to_vec();
    sorted.sort();
    let at = |share: f64| {
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted[rank.clamp(1, sorted.len()) - 1].as_secs_f64() * 1e3
    };
    let (median, p99, most) = (at(0.5), at(0.99), at(1.0));
    println!("{name:<44} {median:>10.2} {p99:>10.2} {most:>10.2} {:>9.1}", size as f64 / 1024.0);
}

/// What the overview, a container's page, the matrix of waiting and the page of the own cost ask.
fn questions(id: &str) -> Vec<(&'static str, String)> {
    let window = "start=-120s&end=now";
    let query =
        |metric: &str, rest: &str| format!("/api/v1/query?metric=cgscope_{metric}&{window}&{rest}");
    let of = format!("match=container_id={id}");
    let all = "fn=increase&step=all";
    vec![
        ("overview", "/api/v1/containers".to_owned()),
        ("overview, everything", "/api/v1/containers?all=true".to_owned()),
        ("overview, sparklines", query("sched_cpu_seconds_total", "by=container_id&step=2s")),
        ("container", format!("/api/v1/containers/{id}")),
        ("states", query("sched_state_seconds_total", &format!("{of}&by=state&step=1s"))),
        ("CPU", query("sched_cpu_seconds_total", &format!("{of}&by=&step=1s"))),
        (
            "run queue p99",
            query("sched_runqueue_latency_seconds", &format!("{of}&by=&q=0.99&step=1s")),
        ),
        ("switches", query("sched_switches_total", &format!("{of}&by=&step=1s"))),
        (
            "heat map",
            format!(
                "/api/v1/buckets?metric=cgscope_sched_runqueue_latency_seconds&{window}&{of}&step=1s"
            ),
        ),
        (
            "who it waited for",
            query("sched_waited_for_seconds_total", &format!("{of}&by=culprit_id,culprit&{all}")),
        ),
        (
            "who waits for whom, all",
            query(
                "sched_waited_for_seconds_total",
                &format!("by=container_id,container,culprit_id,culprit&{all}"),
            ),
        ),
        ("states of all", query("sched_state_seconds_total", "by=state&step=1s")),
        ("run queue p99 of all", query("sched_runqueue_latency_seconds", "by=&q=0.99&step=1s")),
        ("own cost", "/api/v1/probes".to_owned()),
        ("audit", "/api/v1/audit".to_owned()),
    ]
}
