//! What applications post: whose it is, where it is seen, and what is refused.

use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{
    Captured, Container, ContainerOptions, Daemon, fixture_path, run_captured, scratch_dir,
    wait_until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::exposition::{Exposition, Labels, parse};

const PATIENCE: Duration = Duration::from_secs(10);
const INSIDE: &str = "/intake/post.sock";

/// A daemon that takes posts.
struct Intake {
    daemon: Daemon,
    directory: TempDir,
}

impl Intake {
    fn start(flags: &[&str]) -> Result<Self> {
        let directory = TempDir::with_prefix_in("intake-", scratch_dir())?;
        let path = directory.path().join("post.sock");
        let path = path.to_str().context("a path")?;
        let daemon = Daemon::start(&[&["--intake", path], flags].concat())?;
        Ok(Self { daemon, directory })
    }

    fn container(&self, name: &str) -> Result<Container> {
        let options = ContainerOptions::new().bind(self.directory.path(), "/intake");
        options.run(name, &["waker_every", "--seconds", "120"])
    }

    /// From a process of the host.
    fn post(&self, kind: &str, body: &str) -> Result<Captured> {
        let socket = self.directory.path().join("post.sock");
        let mut command = Command::new(fixture_path("post")?);
        command.arg("--socket").arg(socket).args(["--type", kind, "--body", body]);
        run_captured(&mut command)
    }

    fn scrape(&self) -> Result<Exposition> {
        parse(&self.daemon.text("/metrics")?)
    }

    /// The value of a series that has a label, once it is `expected`.
    fn expect(&self, name: &str, label: (&str, &str), expected: f64) -> Result<()> {
        let what = format!("{name} of {label:?} to be {expected}");
        wait_until(&what, PATIENCE, || {
            let values = self.values(name, label)?;
            Ok((values == [expected]).then_some(()))
        })
    }

    fn values(&self, name: &str, (label, value): (&str, &str)) -> Result<Vec<f64>> {
        let scraped = self.scrape()?;
        let samples = scraped.values().flat_map(|family| &family.samples);
        let is_it = |(of, labels): &(String, Labels)| {
            of == name && labels.get(label).map(String::as_str) == Some(value)
        };
        Ok(samples.filter(|(series, _)| is_it(series)).map(|(_, value)| *value).collect())
    }
}

fn post_in(container: &Container, kind: &str, body: &str) -> Result<Value> {
    let arguments = ["post", "--socket", INSIDE, "--type", kind, "--body", body];
    let answer = container.exec(&arguments)?;
    ensure!(answer.success(), "{answer:?}");
    Ok(serde_json::from_str(&answer.stdout)?)
}

#[test]
fn what_two_containers_post_is_that_of_each() -> Result<()> {
    let intake = Intake::start(&[])?;
    let (one, other) = (intake.container("one")?, intake.container("other")?);
    let text = "# HELP test_depth Jobs that wait\ntest_depth{queue=\"a\"} 3\ntest_done_total 100\n";
    let answer = post_in(&one, "text/plain", text)?;
    assert_eq!((&answer["taken"], &answer["container_id"]), (&json!(2), &json!(one.id())));
    let body = json!({"measurements": [
        {"name": "test_depth", "value": 7.5, "labels": {"queue": "a"}},
        {"name": "test_busy_seconds_total", "value": 12.25}]});
    let answer = post_in(&other, "application/json", &body.to_string())?;
    assert_eq!(answer["container"], other.name());
    // A counter is shown from its first post on.
    post_in(&one, "text/plain", "test_done_total 117")?;
    post_in(&other, "text/plain", "test_busy_seconds_total 13.5")?;
    intake.expect("test_depth", ("container_id", one.id()), 3.0)?;
    intake.expect("test_depth", ("container", other.name()), 7.5)?;
    intake.expect("test_done_total", ("container_id", one.id()), 17.0)?;
    intake.expect("test_busy_seconds_total", ("container_id", other.id()), 1.25)?;
    assert!(intake.values("test_done_total", ("container_id", other.id()))?.is_empty());
    // A process of the host says who it is by where it is.
    let answer = intake.post("text/plain", "test_depth{queue=\"b\"} 1")?;
    assert!(answer.success(), "{answer:?}");
    let answer: Value = serde_json::from_str(&answer.stdout)?;
    assert_ne!(answer["container_id"], "unattributed", "{answer}");
    // And as history, with what it gained in it.
    let query =
        "/prometheus/api/v1/query?query=sum%20by%20(container)(test_depth%7Bqueue%3D%22a%22%7D)";
    wait_until("PromQL to know", PATIENCE, || {
        let answer = intake.daemon.get(query)?;
        let rows = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let of = |container: &Container| {
            let row = rows.iter().find(|row| row["metric"]["container"] == container.name());
            row.and_then(|row| row["value"][1].as_str().map(str::to_owned))
        };
        Ok((of(&one).as_deref() == Some("3") && of(&other).as_deref() == Some("7.5")).then_some(()))
    })
}

#[test]
fn what_cannot_be_is_refused_whole_and_counted() -> Result<()> {
    let intake = Intake::start(&["--intake-series", "8"])?;
    let refused = |kind: &str, body: &str, reason: &str| -> Result<()> {
        let answer = intake.post(kind, body)?;
        assert_eq!(answer.status, Some(3), "{answer:?}");
        let error: Value = serde_json::from_str(&answer.stdout).with_context(|| answer.stdout)?;
        assert_eq!(error["kind"], "invalid", "{error}");
        let told = error["error"].as_str().unwrap_or_default();
        assert!(told.contains(reason) && error["remedy"].is_string(), "{error}");
        Ok(())
    };
    refused("text/plain", "test_level 1\ntest_level 2 1700000000000", "line 2")?;
    refused("text/plain", "cgscope_sched_threads 1", "cgscope_sched_threads")?;
    refused("text/plain", "test_level{container=\"another\"} 1", "container")?;
    refused("application/json", "{\"measurements\": [{\"name\": \"x\"}]}", "missing field")?;
    let long = format!("test_level{{line=\"{}\"}} 1", "x".repeat(100_000));
    refused("text/plain", &long, "100000 bytes")?;
    let answer = intake.post("text/plain", "test_level{line=\"0\"} 1")?;
    assert!(answer.success(), "{answer:?}");
    refused("text/plain", "test_level{place=\"0\"} 1", "labels")?;
    refused("text/plain", "test_level{line=\"1\"} 1\ntest_level{line=\"2\"} 1", "3 series")?;
    // Nothing of what was refused is there.
    wait_until("the refusals to be counted", PATIENCE, || {
        let of = |reason| {
            let label = ("reason", reason);
            intake.values("cgscope_own_intake_refused_total", label)
        };
        let counts = [of("invalid")?, of("conflict")?, of("limit")?];
        Ok((counts == [[5.0], [1.0], [1.0]]).then_some(()))
    })?;
    let scraped = intake.scrape()?;
    let levels = &scraped.get("test_level").context("what was taken")?.samples;
    assert_eq!(levels.len(), 1, "{levels:?}");
    Ok(())
}

#[test]
fn the_socket_goes_with_the_daemon_and_one_left_behind_is_replaced() -> Result<()> {
    let mut intake = Intake::start(&[])?;
    let path = intake.directory.path().join("post.sock");
    let flags = ["--intake", path.to_str().context("a path")?];
    let error = Daemon::start(&flags).err().context("two daemons at one socket")?;
    assert!(format!("{error:#}").contains("is in use"), "{error:#}");
    intake.daemon.kill9()?;
    assert!(path.exists() && UnixStream::connect(&path).is_err());
    let mut again = Daemon::start(&flags)?;
    UnixStream::connect(&path)?;
    again.terminate()?;
    assert!(!path.exists());
    Ok(())
}
