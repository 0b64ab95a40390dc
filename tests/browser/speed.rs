//! How fast the page is, roughly: exact figures need a machine of their own.

use anyhow::Result;
use cgscope_tests::{Container, Daemon, wait_until};
use serde_json::json;
use std::time::Duration;

use crate::script::Script;

#[test]
fn data_comes_soon_and_a_large_flame_graph_moves() -> Result<()> {
    let container = Container::run("seen", &["burn", "--seconds", "300"])?;
    let daemon = Daemon::start(&[])?;
    wait_until("a measured container", Duration::from_secs(20), || {
        let detail = daemon.get(&format!("/api/v1/containers/{}", container.id()))?;
        Ok(detail["activity"]["cpu_cores"].as_f64().filter(|cores| *cores > 0.0))
    })?;
    let measured =
        Script::run("speed", &json!({"url": daemon.url(), "container": container.id()}))?;
    eprintln!("{measured:#}");
    Ok(())
}
