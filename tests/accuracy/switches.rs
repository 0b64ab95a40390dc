//! Context switches, voluntary and involuntary apart, exactly.

use anyhow::Result;
use cgscope_tests::{Container, between_stops, truth};

use crate::{WINDOW, daemon};

fn assert_switches_agree(command: &[&str], beside: Option<&Container>) -> Result<[f64; 2]> {
    let daemon = daemon()?;
    let container = Container::run("switches", command)?;
    let pid = container.host_pid()?;
    let span =
        between_stops(&daemon, &[&container], WINDOW, || truth::process_context_switches(pid))?;
    let of = |scrape: &cgscope_tests::Scrape, kind| scrape.of(container.id()).switches(kind) as f64;
    let (voluntary, truth) = span.rise(|scrape| of(scrape, "voluntary"), |t| t.voluntary);
    assert_eq!(voluntary, truth, "voluntary switches of {command:?}");
    let (involuntary, truth) = span.rise(|scrape| of(scrape, "involuntary"), |t| t.involuntary);
    assert_eq!(involuntary, truth, "involuntary switches of {command:?}");
    let _ = beside;
    Ok([voluntary, involuntary])
}

#[test]
fn a_process_that_only_sleeps() -> Result<()> {
    let command = ["switcher", "--count", "1000000", "--seconds", "60"];
    let [voluntary, involuntary] = assert_switches_agree(&command, None)?;
    assert!(voluntary > 1000.0, "it slept {voluntary} times only");
    assert!(involuntary < voluntary / 10.0, "{involuntary} involuntary switches of a sleeper");
    Ok(())
}

#[test]
fn a_process_that_is_only_forced() -> Result<()> {
    let rival = Container::run("rival", &["burn", "--cpu", "0", "--seconds", "60"])?;
    let command = ["burn", "--cpu", "0", "--seconds", "60"];
    let [voluntary, involuntary] = assert_switches_agree(&command, Some(&rival))?;
    assert!(involuntary > 100.0, "beside a rival it was forced {involuntary} times only");
    assert!(voluntary < 10.0, "{voluntary} voluntary switches of a burner");
    Ok(())
}
