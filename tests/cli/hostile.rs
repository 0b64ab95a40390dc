//! Names from others: a terminal must not obey them, and programs get them as they are.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use cgscope_tests::{Daemon, mounts::cgroup_v2_root, wait_until};

/// Escape sequences that clear and colour, a bell, a tab, a line end, a right-to-left override, and much more of it.
const HOSTILE: &str = "cgscope-hostile\u{1b}[2J\u{1b}[31m\u{7}\tname\u{202e}gnp\u{2066}\u{feff}";
const NAME_BYTES: usize = 200;

/// A cgroup with a hostile name and a process in it.
struct Hostile {
    directory: PathBuf,
    child: Child,
}

impl Hostile {
    fn new() -> Result<Self> {
        let name = format!("{HOSTILE}{}", "x".repeat(NAME_BYTES - HOSTILE.len()));
        let directory = cgroup_v2_root()?.join(name);
        fs::create_dir(&directory).or_else(|error| match error.kind() {
            // What a crashed run left behind.
            std::io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        })?;
        let child = Command::new("sh")
            .args(["-c", "while :; do sleep 0.01; done"])
            .stdout(Stdio::null())
            .spawn()?;
        let hostile = Self { directory, child };
        fs::write(hostile.directory.join("cgroup.procs"), hostile.child.id().to_string())?;
        Ok(hostile)
    }

    fn id(&self) -> String {
        format!("/{}", self.directory.file_name().unwrap_or_default().to_string_lossy())
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let gone = wait_until("the cgroup to go", std::time::Duration::from_secs(2), || {
            Ok(fs::remove_dir(&self.directory).ok())
        });
        if let Err(error) = gone {
            eprintln!("left behind: {:?}: {error:#}", self.directory);
        }
    }
}

#[track_caller]
fn assert_harmless(text: &str, what: &str) {
    let obeyed = text.chars().find(|&c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    });
    assert_eq!(obeyed, None, "{what}: {text:?}");
}

#[test]
fn a_terminal_is_not_commanded_and_json_is_intact() -> Result<()> {
    let hostile = Hostile::new()?;
    let daemon = Daemon::start(&[])?;
    let id = hostile.id();
    for line in ["containers --all", "top --once --all", "top --once --all --columns id,name"] {
        let output = daemon.cli(&line.split(' ').collect::<Vec<_>>())?;
        assert_eq!(output.status, Some(0), "{output:?}");
        assert!(output.stdout.contains("cgscope-hostile\\u{1b}[2J"), "{line}: {}", output.stdout);
        assert_harmless(&output.stdout, line);
    }
    for command in ["states", "latency"] {
        let output = daemon.cli(&[command, "--duration", "1s", "--container", &id])?;
        assert_eq!(output.status, Some(0), "{output:?}");
        assert_harmless(&output.stdout, command);
        let json = daemon.cli_json(&[command, "--duration", "1s", "--container", &id])?;
        assert_eq!(json["about"]["id"], id, "{json}");
    }
    let list = daemon.cli_json(&["containers", "--all"])?;
    let rows = list["containers"].as_array().context("rows")?;
    let row = rows.iter().find(|row| row["id"] == id).context("the hostile one")?;
    assert_eq!(row["cgroup"], id);
    assert!(row["activity"]["threads"].as_f64() > Some(0.0), "it is measured: {row}");
    Ok(())
}

#[test]
fn an_error_that_repeats_the_name_is_harmless() -> Result<()> {
    let hostile = Hostile::new()?;
    let daemon = Daemon::start(&[])?;
    let misspelt = hostile.id().replace("name", "nome");
    let output = daemon.cli(&["states", "--container", &misspelt])?;
    assert_eq!(output.status, Some(4), "{output:?}");
    assert_harmless(&output.stderr, "the error");
    Ok(())
}

#[test]
fn drawings_and_labels_escape_it() -> Result<()> {
    let hostile = Hostile::new()?;
    let daemon = Daemon::start(&[])?;
    let drawing =
        daemon.cli(&["flamegraph", "--duration", "1s", "-o", "-", "--container", &hostile.id()])?;
    assert_eq!(drawing.status, Some(0), "{drawing:?}");
    assert_harmless(&drawing.stdout, "folded stacks");
    let metrics = daemon.text("/metrics")?;
    let series = metrics.lines().filter(|line| line.contains("cgscope-hostile"));
    assert!(series.count() > 0, "it has series");
    Ok(())
}
