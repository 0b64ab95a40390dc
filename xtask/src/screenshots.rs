//! `cargo xtask screenshots`: the pictures of the README and the docs, of the real dashboard over real containers.
//!
//! They are made by the browser tests, which leave a picture of each page in `target/screenshots`; the chosen ones are copied.

use std::fs;

use anyhow::{Context, Result};

use crate::{build, command, node, setup, workspace};

/// Those that users see: a name in `target/screenshots`, and that in `docs/images`.
const CHOSEN: [(&str, &str); 5] = [
    ("overview-light", "overview"),
    ("container-time", "container"),
    ("container-latency", "latency"),
    ("flame-client", "flame-graph"),
    ("interference", "interference"),
];

/// Builds, lets the browser walk through all pages, and copies.
///
/// # Errors
/// That the walk failed, or a picture is missing.
pub fn run() -> Result<()> {
    setup::for_test()?;
    build::all()?;
    let mut walk = command::cargo();
    node::provide(&mut walk)?;
    command::run(
        walk.env("CGSCOPE_BIN", workspace::binary())
            .env("CGSCOPE_PICTURES", "1")
            .args(["test", "--release", "--package", "cgscope-tests", "--test", "browser", "--"])
            .args(["--test-threads=1", "who_stalls"]),
    )?;
    let images = workspace::root().join("docs/images");
    fs::create_dir_all(&images)?;
    for (made, shown) in CHOSEN {
        let from = workspace::root().join(format!("target/screenshots/{made}.png"));
        let to = images.join(format!("{shown}.png"));
        fs::copy(&from, &to).with_context(|| format!("{} was not made", from.display()))?;
        println!("{}", to.display());
    }
    Ok(())
}
