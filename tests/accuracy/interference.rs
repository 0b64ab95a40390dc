//! Who kept whom from the CPU: against the CPU time of those who had it.

use anyhow::{Context, Result};
use cgscope_tests::{Container, ContainerOptions, Scrape, between_stops};

use crate::close::close;
use crate::cpu::usage_ns;
use crate::{WINDOW, daemon};

/// How long one waited for another, ns.
fn waited_ns(scrape: &Scrape, waiter: &Container, culprit: &str) -> f64 {
    let labels = [("culprit_id", culprit)];
    scrape.of(waiter.id()).sum("cgscope_sched_waited_for_seconds_total", &labels) * 1e9
}

/// Two that burn on one CPU: each wants it always, so each waits for the other just as long as the other has it. A third on
/// another CPU keeps nobody waiting.
#[test]
fn who_waits_waits_for_the_one_who_runs() -> Result<()> {
    let daemon = daemon()?;
    let burner =
        |name: &str, cpu: &str| Container::run(name, &["burn", "--cpu", cpu, "--seconds", "60"]);
    let (hog, victim, bystander) =
        (burner("hog", "0")?, burner("victim", "0")?, burner("bystander", "1")?);
    let span = between_stops(&daemon, &[&hog, &victim, &bystander], WINDOW, || {
        Ok([usage_ns(&hog)?, usage_ns(&victim)?])
    })?;
    // What the hypervisor takes of a CPU lies in the slice of who had it.
    let had_ns = |who: &Container, i: usize| {
        let stolen = span.rise(|s| s.of(who.id()).state_ns("stolen"), |_| 0).0;
        span.rise(|_| 0.0, |usage: &[u64; 2]| usage[i]).1 + stolen
    };
    for (waiter, culprit, had_ns) in
        [(&victim, &hog, had_ns(&hog, 0)), (&hog, &victim, had_ns(&victim, 1))]
    {
        assert!(had_ns > 2e8, "{} hardly ran: {had_ns:.0} ns", culprit.name());
        let waited = span.rise(|s| waited_ns(s, waiter, culprit.id()), |_| 0).0;
        close(
            &format!("{} waited for {}, ns", waiter.name(), culprit.name()),
            waited,
            had_ns,
            0.01,
            2e6,
        );
        assert_eq!(span.rise(|s| waited_ns(s, waiter, bystander.id()), |_| 0).0, 0.0);
        let runnable = span.rise(|s| s.of(waiter.id()).state_ns("runnable"), |_| 0).0;
        let all = "cgscope_sched_waited_for_seconds_total";
        let all = span.rise(|s| s.of(waiter.id()).sum(all, &[]) * 1e9, |_| 0).0;
        close(&format!("all that {} waited for, ns", waiter.name()), all, runnable, 0.01, 0.0);
    }
    Ok(())
}

/// Two pass a token to each other on the CPU of a third: it waits while hundreds of their turns go by, and each of them had its part.
#[test]
fn a_wait_of_many_turns_is_divided_among_those_who_had_them() -> Result<()> {
    let daemon = daemon()?;
    let shared = tempfile::tempdir()?;
    let side = |role: &str| {
        let command = ["--via", "fifo", "--role", role, "--dir", "/shared", "--cpu", "0"];
        let command = [&["pipe_pair"][..], &command, &["--seconds", "120"]].concat();
        ContainerOptions::new().bind(shared.path(), "/shared").run(role, &command)
    };
    let (ping, pong) = (side("ping")?, side("pong")?);
    let victim = Container::run("victim", &["burn", "--cpu", "0", "--seconds", "120"])?;
    let span = between_stops(&daemon, &[&ping, &pong, &victim], WINDOW, || {
        Ok([usage_ns(&ping)?, usage_ns(&pong)?])
    })?;
    let all = "cgscope_sched_waited_for_seconds_total";
    let all = span.rise(|s| s.of(victim.id()).sum(all, &[]) * 1e9, |_| 0).0;
    let runnable = span.rise(|s| s.of(victim.id()).state_ns("runnable"), |_| 0).0;
    close("all that it waited for, ns", all, runnable, 0.01, 0.0);
    let unknown = span.rise(|s| waited_ns(s, &victim, "unknown"), |_| 0).0;
    assert!(unknown < 0.01 * all, "{unknown:.0} of {all:.0} ns are nobody's");
    for (i, culprit) in [&ping, &pong].into_iter().enumerate() {
        let stolen = span.rise(|s| s.of(culprit.id()).state_ns("stolen"), |_| 0).0;
        let had = span.rise(|_| 0.0, |usage: &[u64; 2]| usage[i]).1 + stolen;
        assert!(had > 2e8, "{} hardly ran: {had:.0} ns", culprit.name());
        let waited = span.rise(|s| waited_ns(s, &victim, culprit.id()), |_| 0).0;
        close(&format!("waited for {}, ns", culprit.name()), waited, had, 0.02, 2e6);
    }
    Ok(())
}

/// Threads of one container that want the same CPUs wait for each other.
#[test]
fn a_container_may_be_its_own_culprit() -> Result<()> {
    let daemon = daemon()?;
    let command = ["contend", "--threads", "8", "--seconds", "60"];
    let crowd = Container::run("crowd", &command)?;
    let span = between_stops(&daemon, &[&crowd], WINDOW, || Ok(0))?;
    let runnable = span.rise(|s| s.of(crowd.id()).state_ns("runnable"), |_| 0).0;
    let own = span.rise(|s| waited_ns(s, &crowd, crowd.id()), |_| 0).0;
    let all = "cgscope_sched_waited_for_seconds_total";
    let all = span.rise(|s| s.of(crowd.id()).sum(all, &[]) * 1e9, |_| 0).0;
    close("all that it waited for, ns", all, runnable, 0.01, 0.0);
    // While one of its threads runs, some of the others wait for that CPU.
    let had = span.rise(|s| s.of(crowd.id()).cpu_ns(), |_| 0).0;
    assert!(own > had && own < 8.0 * had, "{own:.0} ns for itself, which ran for {had:.0}");
    let report = daemon.get(&format!("/api/v1/containers/{}/states?duration=1s", crowd.id()))?;
    let culprits = report["waited_for"].as_array().context("waited_for")?;
    let itself = culprits.iter().find(|culprit| culprit["id"] == *crowd.id());
    assert_eq!(itself.context("itself")?["name"], crowd.name(), "{report}");
    Ok(())
}
