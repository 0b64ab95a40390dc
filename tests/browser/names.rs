//! Names that are meant to do harm: they are shown as text.

use anyhow::Result;
use cgscope_tests::{Daemon, PlainCgroup};
use serde_json::json;

use crate::script::Script;

#[test]
fn hostile_names_are_text() -> Result<()> {
    // Names of units and cgroups are free: podman's are not, and would refuse these.
    let long = "n".repeat(200);
    let names = [
        "<script>window.harmed=1",
        "\"><img src=x onerror=window.harmed=1>",
        "quote'\"`${7*7}",
        "rtl\u{202e}gnp.exe",
        "שלום עולם",
        &long,
    ];
    let mut cgroups = Vec::new();
    for name in names {
        cgroups.push(PlainCgroup::new(name)?);
    }
    let daemon = Daemon::start(&[])?;
    let measured = Script::run("names", &json!({"url": daemon.url(), "names": names}))?;
    eprintln!("{measured:#}");
    Ok(())
}
