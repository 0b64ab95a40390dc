//! The hooks of older kernels give the same figures.

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon, between_stops, truth};

use crate::common::{WINDOW, close, daemon, usage_ns};

/// How the programs of a family are attached.
fn attached(daemon: &Daemon, family: &str) -> Result<Vec<String>> {
    let report = daemon.get("/api/v1/probes")?;
    let programs = report["programs"].as_array().context("no programs")?.iter();
    let own = programs.filter(|program| program["family"] == family);
    Ok(own.map(|program| program["attached"].as_str().unwrap_or("not").to_owned()).collect())
}

fn figures_agree(hook: &str) -> Result<()> {
    let daemon = daemon(&["--hook", hook])?;
    let hooks = attached(&daemon, "sched")?;
    assert_eq!(hooks.iter().filter(|name| *name == hook).count(), 3, "hooks are {hooks:?}");
    let container = Container::run("contend", &["contend", "--threads", "8", "--seconds", "60"])?;
    let pid = container.host_pid()?;
    let span = between_stops(&daemon, &[&container], WINDOW, || {
        let switches = truth::process_context_switches(pid)?;
        Ok((usage_ns(&container)?, truth::process_sched_stat(pid)?, switches))
    })?;
    let of = |scrape: &cgscope_tests::Scrape| scrape.of(container.id());
    let (seen, truth) = span.rise(|s| of(s).cpu_ns(), |t| t.0);
    close("CPU time, ns", seen, truth, 0.01);
    let (seen, truth) = span.rise(|s| of(s).state_ns("runnable"), |t| t.1.run_delay_ns);
    close("runqueue wait, ns", seen, truth, 0.01);
    let (seen, truth) = span.rise(|s| of(s).switches("voluntary") as f64, |t| t.2.voluntary);
    assert_eq!(seen, truth, "voluntary switches");
    let (seen, truth) = span.rise(|s| of(s).switches("involuntary") as f64, |t| t.2.involuntary);
    assert_eq!(seen, truth, "involuntary switches");
    let states =
        daemon.get(&format!("/api/v1/containers/{}/states?duration=2s", container.id()))?;
    let threads = states["activity"]["threads"].as_f64().context("threads")?;
    close("thread time of nine threads, thousandths of wall time", 1e3 * threads, 9e3, 0.01);
    Ok(())
}

#[test]
fn raw_tracepoints() -> Result<()> {
    figures_agree("raw_tp")
}

#[test]
fn btf_tracepoints() -> Result<()> {
    figures_agree("tp_btf")
}

/// What is switched off is missing and said to be; the rest goes on.
#[test]
fn a_family_that_is_off_takes_only_its_own_with_it() -> Result<()> {
    let daemon = daemon(&["--disable", "profile,process"])?;
    let container = Container::run("burn", &["burn", "--seconds", "60"])?;
    crate::common::assert_cpu_time(&daemon, &container, || usage_ns(&container))?;
    let scrape = daemon.scrape()?;
    assert!(!scrape.iter().any(|series| series.name.starts_with("cgscope_process_")));
    let refused = daemon.answer("/api/v1/flamegraph?duration=1s")?;
    assert!(refused.status >= 400 && refused.body.contains("remedy"), "{refused:?}");
    let doctor = daemon.get("/api/v1/doctor")?;
    let checks = doctor["checks"].as_array().context("checks")?;
    for family in ["profile", "process"] {
        let name = format!("family {family}");
        let check = checks.iter().find(|check| check["name"] == *name);
        assert_eq!(check.with_context(|| format!("no check {name}"))?["status"], "missing");
    }
    Ok(())
}
