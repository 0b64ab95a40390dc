//! The API is what its document says: answers and errors of every route of a real daemon, held against their schemas.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cgscope_tests::{Container, Daemon, mounts, scratch_dir, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{get, open, request};
use crate::judge::{Answered, Judge};
use crate::stream::next_event;

const PATIENCE: Duration = Duration::from_secs(60);
/// Formats of others, and the document itself: they may have more members than are told.
const OPEN: [&str; 3] = ["format=firefox", "format=speedscope", "/api/v1/openapi.json"];

fn ask(daemon: &Daemon, path: &str) -> Result<Answered> {
    let answer = get(daemon, path).with_context(|| path.to_owned())?;
    let media_type = answer.headers.get("content-type").cloned().unwrap_or_default();
    Ok(Answered { status: answer.status, media_type, body: answer.body })
}

/// What stands for the variable segments of paths.
struct Known<'a> {
    container: &'a str,
    pid: u32,
    recordings: [String; 2],
}

impl Known<'_> {
    fn record(daemon: &Daemon, container: &Container) -> Result<[String; 2]> {
        let keep = || -> Result<String> {
            let path = format!(
                "/api/v1/flamegraph?container={}&duration=1s&frequency=499&keep=true&format=json",
                container.id()
            );
            let answer = get(daemon, &path)?;
            ensure!(answer.status == 200, "{answer:?}");
            answer.headers.get("x-cgscope-profile").cloned().context("an id")
        };
        Ok([keep()?, keep()?])
    }

    /// What is asked of a path; each must succeed.
    fn questions(&self, path: &str) -> Result<Vec<String>> {
        let Self { container, pid, recordings: [before, after] } = self;
        let window = vec![
            path.replace("{id}", container).replace("{pid}", &pid.to_string()) + "?duration=1s",
        ];
        let with = |ends: &[&str]| -> Vec<String> {
            ends.iter().map(|end| format!("{path}{end}")).collect()
        };
        let latency = "?metric=cgscope_sched_runqueue_latency_seconds";
        Ok(match path {
            "/api/v1/containers" => with(&[
                "",
                "?all=true",
                "?duration=2s&metrics=cgscope_sched_threads,cgscope_sched_runqueue_latency_seconds",
            ]),
            "/api/v1/containers/{id}"
            | "/api/v1/containers/{id}/latency"
            | "/api/v1/containers/{id}/states"
            | "/api/v1/processes/{pid}/latency"
            | "/api/v1/processes/{pid}/states"
            | "/api/v1/host"
            | "/api/v1/host/latency"
            | "/api/v1/host/states" => window,
            "/api/v1/outliers" => with(&["?duration=10m&limit=1000&kind=block"]),
            "/api/v1/flamegraph" => with(&[
                "?duration=1s&format=json",
                "?duration=1s&format=svg",
                "?duration=1s&format=folded",
                "?duration=1s&format=firefox",
                "?duration=1s&format=speedscope",
                "?duration=1s&type=offcpu&state=lock,sleeping&format=json",
                "?start=-1m&format=json",
                "?start=-10s&against=-20s&format=json",
            ]),
            "/api/v1/activity" => with(&["?start=-30s&step=1s"]),
            "/api/v1/profiles/{id}" => vec![path.replace("{id}", after)],
            "/api/v1/profiles/{id}/diff" => {
                let path = path.replace("{id}", after);
                ["", "&format=svg", "&format=folded&absolute=true"]
                    .map(|end| format!("{path}?base={before}{end}"))
                    .to_vec()
            }
            "/api/v1/query" => with(&[
                "?metric=cgscope_sched_cpu_seconds_total&start=-1m&step=5s",
                "?metric=cgscope_sched_threads&start=-30s&by=&aggregate=max&against=-1m",
                &format!("{latency}&fn=quantile&q=0.5&by=container&step=all"),
            ]),
            "/api/v1/buckets" => with(&[&format!("{latency}&start=-1m&step=10s")]),
            "/api/v1/batch" => {
                with(&["?ask=query%3Fmetric%3Dcgscope_sched_threads&ask=query%3Fmetric%3Dnonsense\
                 &ask=buckets%3Fmetric%3Dcgscope_sched_runqueue_latency_seconds"])
            }
            "/api/v1/series" => with(&["?limit=5", "?metric=cgscope_sched_threads"]),
            "/api/v1/labels/{label}" => vec!["/api/v1/labels/container".to_owned()],
            "/api/v1/changes"
            | "/api/v1/recording"
            | "/api/v1/profiles"
            | "/api/v1/probes"
            | "/api/v1/doctor"
            | "/api/v1/sources"
            | "/api/v1/audit"
            | "/api/v1/openapi.json"
            | "/metrics" => with(&[""]),
            "/prometheus/api/v1/query" => with(&[
                "?query=cgscope_sched_threads",
                "?query=cgscope_sched_threads[10s]",
                "?query=1%2B1",
                "?query=%22text%22",
            ]),
            "/prometheus/api/v1/query_range" => {
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
                vec![format!(
                    "{path}?query=rate(cgscope_sched_cpu_seconds_total[5s])&start={}&end={now}&step=1",
                    now - 10
                )]
            }
            "/prometheus/api/v1/series" => with(&["?match[]=cgscope_sched_threads"]),
            "/prometheus/api/v1/label/{name}/values" => {
                vec!["/prometheus/api/v1/label/container/values".to_owned()]
            }
            "/prometheus/api/v1/labels"
            | "/prometheus/api/v1/metadata"
            | "/prometheus/api/v1/status/buildinfo" => with(&[""]),
            // It does not end, and that is no text: there is a test of their own.
            "/api/v1/stream" | "/api/v1/record" | "/api/v1/flight" => vec![],
            path => bail!("{path} is described, and here is no question for it"),
        })
    }
}

/// Lets something of each kind be there: limits that were changed, slow operations, audits.
fn wait_until_there_is_something(daemon: &Daemon, container: &Container) -> Result<()> {
    let cgroup = match mounts::cgroup_v1_root("pids")? {
        Some(_) => container.cgroup_v1("pids")?,
        None => container.cgroup_v2()?,
    };
    wait_until("its limits to be known", PATIENCE, || {
        Ok(daemon.scrape()?.of(container.id()).has("cgscope_sched_threads").then_some(()))
    })?;
    let mut limit = 500;
    for (path, member) in [
        ("/api/v1/changes", "changes"),
        ("/api/v1/outliers?duration=10m", "outliers"),
        ("/api/v1/audit", "checks"),
        ("/api/v1/activity?start=-30s", "values"),
    ] {
        wait_until(path, PATIENCE, || {
            if member == "changes" {
                limit += 1;
                fs::write(cgroup.join("pids.max"), limit.to_string())?;
            }
            let answer = daemon.get(path)?;
            let list = answer[member].as_array().context(member)?;
            Ok(list.iter().any(|one| !one.is_null()).then_some(()))
        })?;
    }
    Ok(())
}

#[test]
fn every_answer_is_as_it_is_described_and_has_nothing_else() -> Result<()> {
    let history = TempDir::with_prefix_in("described-", scratch_dir())?;
    let history = history.path().to_str().context("a path in UTF-8")?;
    let daemon = Daemon::start(&["--history-dir", history, "--keep-profiles", "99"])?;
    let container = Container::run("described", &["burn", "--seconds", "300"])?;
    wait_until_there_is_something(&daemon, &container)?;
    let known = Known {
        container: container.id(),
        pid: container.host_pid()?,
        recordings: Known::record(&daemon, &container)?,
    };
    let mut judge = Judge::of(&daemon)?;
    let (mut answers, mut objects) = (0, 0);
    for path in judge.paths("get") {
        for question in known.questions(&path)? {
            let answer = ask(&daemon, &question)?;
            ensure!(answer.status == 200, "{question} answered {}", answer.body);
            answers += 1;
            let judged = judge.check("get", &path, &answer).context(question.clone())?;
            let Some((place, json)) = judged else { continue };
            if OPEN.iter().any(|open| question.contains(open)) {
                continue;
            }
            let (tried, unnoticed) = judge.unnoticed(&place, &json)?;
            assert!(unnoticed.is_empty(), "{question}: more members are taken at {unnoticed:?}");
            assert!(tried > 0, "{question}");
            objects += tried;
        }
    }
    // So that a document that describes less, or answers that are empty, are noticed.
    assert!(answers >= 45, "only {answers} answers");
    assert!(objects >= 150, "only {objects} kinds of objects");
    let form = "query=cgscope_sched_threads";
    for path in judge.paths("post") {
        if path.ends_with("/query") {
            let answer = daemon.post_form(&path, form)?;
            let answer = Answered {
                status: answer.status,
                media_type: answer.content_type,
                body: answer.body,
            };
            ensure!(judge.check("post", &path, &answer)?.is_some() && answer.status == 200);
        }
    }
    Ok(())
}

#[test]
fn the_format_that_is_told_is_the_one_that_comes() -> Result<()> {
    let daemon = Daemon::start(&["--flight-recorder", "4M"])?;
    let mut judge = Judge::of(&daemon)?;
    let host = ("Host", &*daemon.address());
    // Each alternative of a flame graph takes its own and no other.
    let path = "/api/v1/flamegraph?duration=1s&format=json";
    let profile: Value = serde_json::from_str(&get(&daemon, path)?.body)?;
    let of = |name: &str| format!("/components/schemas/{name}");
    assert_eq!(judge.fault(&of("ProfileDocument"), &profile)?, None);
    assert!(judge.fault(&of("DiffDocument"), &profile)?.is_some());
    // Protobuf in gzip is no text, nor is a recording of everything.
    for (path, question) in [
        ("/api/v1/flamegraph", "?duration=1s&format=pprof"),
        ("/api/v1/record", "?duration=1s"),
        ("/api/v1/flight", ""),
    ] {
        let (status, headers, _) = open(&daemon, "GET", &format!("{path}{question}"), &[host])?;
        let media_type = headers["content-type"].clone();
        let answer = Answered { status, media_type, body: String::new() };
        assert_eq!(status, 200, "{path}");
        assert!(judge.check("get", path, &answer)?.is_none());
    }
    let (status, headers, mut events) = open(&daemon, "GET", "/api/v1/stream?all=true", &[host])?;
    let media_type = headers["content-type"].clone();
    let answer = Answered { status, media_type, body: String::new() };
    judge.check("get", "/api/v1/stream", &answer)?;
    for _ in 0..2 {
        let event = next_event(&mut events)?;
        assert_eq!(judge.fault(&of("LiveList"), &event)?, None);
        let (tried, unnoticed) = judge.unnoticed(&of("LiveList"), &event)?;
        assert!(tried >= 4 && unnoticed.is_empty(), "{unnoticed:?}");
    }
    Ok(())
}

#[test]
fn every_error_is_as_it_is_described() -> Result<()> {
    let daemon = Daemon::start(&["--no-history"])?;
    let mut judge = Judge::of(&daemon)?;
    let mut check =
        |path: &str, question: &str, status: u16, headers: &[(&str, &str)]| -> Result<()> {
            let answer = request(&daemon, "GET", question, headers)?;
            ensure!(answer.status == status, "{question} answered {answer:?}");
            let media_type = answer.headers.get("content-type").cloned().unwrap_or_default();
            let answer = Answered { status, media_type, body: answer.body };
            let judged = judge.check("get", path, &answer).context(question.to_owned())?;
            let (place, json) = judged.with_context(|| format!("{question}: not JSON"))?;
            let (_, unnoticed) = judge.unnoticed(&place, &json)?;
            ensure!(unnoticed.is_empty(), "{question}: more members are taken at {unnoticed:?}");
            Ok(())
        };
    let address = daemon.address();
    let right = [("Host", address.as_str())];
    for path in Judge::of(&daemon)?.paths("get") {
        let question = ["{id}", "{pid}", "{label}", "{name}"]
            .iter()
            .fold(path.clone(), |path, segment| path.replace(segment, "1"));
        check(&path, &question, 421, &[("Host", "elsewhere.example")])?;
        if path != "/metrics" {
            let from_elsewhere = [right[0], ("Sec-Fetch-Site", "cross-site")];
            check(&path, &question, 403, &from_elsewhere)?;
        }
        if !path.starts_with("/prometheus/") {
            check(&path, &format!("{question}?unheard_of=1"), 400, &right)?;
        }
    }
    let prometheus = "/prometheus/api/v1";
    for (path, question, status) in [
        ("/api/v1/containers", "/api/v1/containers?container=nobody", 404),
        ("/api/v1/containers", "/api/v1/containers?duration=11m", 400),
        ("/api/v1/containers/{id}", "/api/v1/containers/nobody", 404),
        ("/api/v1/containers/{id}/states", "/api/v1/containers/nobody/states", 404),
        ("/api/v1/processes/{pid}/states", "/api/v1/processes/4194303/states", 410),
        ("/api/v1/processes/{pid}/latency", "/api/v1/processes/x/latency", 400),
        ("/api/v1/changes", "/api/v1/changes?container=nobody", 404),
        ("/api/v1/outliers", "/api/v1/outliers?kind=nonsense", 400),
        ("/api/v1/flamegraph", "/api/v1/flamegraph?pid=4194303", 410),
        ("/api/v1/flamegraph", "/api/v1/flamegraph?start=-1m", 501),
        ("/api/v1/activity", "/api/v1/activity", 501),
        ("/api/v1/profiles/{id}", "/api/v1/profiles/nobody", 404),
        ("/api/v1/profiles/{id}/diff", "/api/v1/profiles/nobody/diff?base=x", 404),
        ("/api/v1/query", "/api/v1/query?metric=x", 501),
        ("/api/v1/buckets", "/api/v1/buckets?metric=x&fn=rate", 400),
        ("/api/v1/batch", "/api/v1/batch", 400),
        ("/api/v1/series", "/api/v1/series", 501),
        ("/api/v1/labels/{label}", "/api/v1/labels/container", 501),
    ] {
        check(path, question, status, &right)?;
    }
    for (path, question, status) in [
        ("/query", "/query", 400),
        ("/query", "/query?query=up&time=soon", 400),
        ("/query", "/query?query=up", 503),
        ("/query_range", "/query_range?query=up&start=1&end=2", 400),
        ("/series", "/series", 400),
        ("/labels", "/labels?limit=x", 400),
        ("/label/{name}/values", "/label/container/values", 503),
        ("/metadata", "/metadata?limit=x", 400),
    ] {
        check(&format!("{prometheus}{path}"), &format!("{prometheus}{question}"), status, &right)?;
    }
    Ok(())
}
