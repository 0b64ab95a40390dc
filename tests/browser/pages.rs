//! Every page with real containers: names and states, the hot function, a dragged window, two windows, files, the daemon's end.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cgscope_tests::{Daemon, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::load::Load;
use crate::script::{Said, Script};

/// Set when pictures are wanted that are worth looking at, and there is time for them.
const PICTURES: &str = "CGSCOPE_PICTURES";

#[test]
fn who_stalls_is_seen_and_followed_down_to_the_function() -> Result<()> {
    let load = Load::start()?;
    let history = TempDir::with_prefix_in("history-", cgscope_tests::scratch_dir())?;
    let directory = history.path().to_str().context("a path in UTF-8")?;
    let flags = ["--history-dir", directory, "--retention", "12h,3d,30d,1y", "--enable", "files"];
    let mut daemon = Some(Daemon::start(&flags)?);
    let (url, port) = daemon.as_ref().map(|d| (d.url(), d.port())).context("a daemon")?;
    wait_measured(daemon.as_ref().context("a daemon")?, &load)?;
    if std::env::var_os(PICTURES).is_some() {
        // People look at charts of two minutes: they are full then.
        sleep(Duration::from_secs(125));
    }
    let knows = json!({"url": url, "load": load.knows()});
    let mut script = Script::start("pages", &knows)?;
    loop {
        match script.hear()? {
            Said::Done(measured) => {
                eprintln!("{measured:#}");
                return Ok(());
            }
            Said::Wants(what) => {
                match what.as_str() {
                    "kill" => {
                        daemon.take().context("it is gone already")?.kill9()?;
                    }
                    "restart" => daemon = Some(Daemon::start_at(port, &flags)?),
                    other => bail!("the script wants {other:?}"),
                }
                script.answer(&Value::Null)?;
            }
        }
    }
}

/// Until each has been measured for some seconds: the pages show a window.
fn wait_measured(daemon: &Daemon, load: &Load) -> Result<()> {
    for container in [&load.burner, &load.disk, &load.client, &load.contender, &load.limited] {
        wait_until("a measured container", Duration::from_secs(20), || {
            let detail = daemon.get(&format!("/api/v1/containers/{}", container.id()))?;
            Ok(detail["activity"]["states"].as_array().filter(|s| !s.is_empty()).map(|_| ()))
        })?;
    }
    Ok(())
}
