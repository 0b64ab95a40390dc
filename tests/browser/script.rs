//! A script in Node that steers the browser: started with what it needs to know, answered when it asks.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cgscope_tests::{scratch_dir, workspace_root};
use serde_json::{Value, json};

/// A running script. Dropping it ends it, and its browser with it.
pub struct Script {
    child: Child,
    to: ChildStdin,
    from: BufReader<std::process::ChildStdout>,
}

/// What a script says in a line of its own.
#[derive(Debug)]
pub enum Said {
    /// It wants something done, and waits until [`Script::answer`].
    Wants(String),
    /// It has seen all it looked for; what it measured.
    Done(Value),
}

impl Script {
    /// Starts `tests/browser/NAME.mjs` with `knows` as its one argument.
    pub fn start(name: &str, knows: &Value) -> Result<Self> {
        let root = workspace_root();
        ensure!(
            root.join("web/node_modules/playwright-core").is_dir(),
            "playwright-core is not installed: `cargo xtask build` does it"
        );
        let pictures = root.join("target/screenshots");
        std::fs::create_dir_all(&pictures)?;
        let mut knows = knows.clone();
        knows["pictures"] = json!(pictures);
        knows["scratch"] = json!(scratch_dir());
        let mut child = Command::new("timeout")
            .args(["--kill-after=5", "240", "node"])
            .arg(root.join(format!("tests/browser/{name}.mjs")))
            .arg(knows.to_string())
            .current_dir(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the browser tests need node (apt install nodejs)")?;
        let to = child.stdin.take().context("its input")?;
        let from = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Self { child, to, from })
    }

    /// The next thing it says. What is no line of JSON is shown.
    pub fn hear(&mut self) -> Result<Said> {
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line)? == 0 {
                bail!("the script ended with {} before it was done; see above", self.child.wait()?);
            }
            let Ok(said) = serde_json::from_str::<Value>(&line) else {
                eprint!("{line}");
                continue;
            };
            if let Some(what) = said["wants"].as_str() {
                return Ok(Said::Wants(what.to_owned()));
            }
            if said.get("done").is_some() {
                return Ok(Said::Done(said["done"].clone()));
            }
        }
    }

    /// What it wanted is done.
    pub fn answer(&mut self, with: &Value) -> Result<()> {
        writeln!(self.to, "{with}").context("the script has ended")
    }

    /// Runs one that wants nothing to its end.
    pub fn run(name: &str, knows: &Value) -> Result<Value> {
        match Self::start(name, knows)?.hear()? {
            Said::Done(measured) => Ok(measured),
            Said::Wants(what) => bail!("nobody does {what:?} here"),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Ended already when it was done: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
