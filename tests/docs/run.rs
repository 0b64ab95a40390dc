//! Runs one example: shorter, on a real container, in a directory of its own, else as it is written.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cgscope_tests::{
    Container, Daemon, cgscope_binary, cli_command, run_captured, scratch_dir, wait_until,
};
use tempfile::TempDir;

use crate::examples::Example;

const PATIENCE: Duration = Duration::from_secs(15);

/// Where the examples play: a container for those that name one, and a directory for their files.
pub struct Stage {
    container: Container,
    directory: TempDir,
    /// A daemon that has kept and remembers some of the past, for those who ask for it.
    keeper: Option<Daemon>,
}

impl Stage {
    pub fn new(container: Container) -> Result<Self> {
        let directory = TempDir::with_prefix_in("examples-", scratch_dir())?;
        Ok(Self { container, directory, keeper: None })
    }

    /// Where a daemon listens that has kept the last twenty seconds.
    fn keeper(&mut self) -> Result<String> {
        if self.keeper.is_none() {
            let daemon = Daemon::start(&["--keep-profiles", "99", "--flight-recorder", "4M"])?;
            wait_until("the past", Duration::from_secs(60), || {
                let windows = daemon.scrape()?.sum("cgscope_own_profiles_windows_total", &[]);
                Ok((windows >= 2.0).then_some(()))
            })?;
            self.keeper = Some(daemon);
        }
        Ok(self.keeper.as_ref().context("it was just started")?.address())
    }

    /// What the example reads and nobody wrote yet: a recording in the format of its ending.
    fn provide(&self, words: &[String]) -> Result<()> {
        let is_file = |word: &&String| !word.contains(':') && *word != "host";
        for file in words.iter().skip(1).take(2).filter(is_file) {
            let path = self.directory.path().join(file);
            if !path.exists() {
                let container = self.container.name();
                let arguments =
                    ["flamegraph", "--container", container, "--duration", "1s", "-o", file];
                let output =
                    run_captured(cli_command(&arguments).current_dir(self.directory.path()))?;
                ensure!(output.success(), "{output:?}");
            }
        }
        Ok(())
    }

    /// A recording that nobody made yet, to be replayed.
    fn record(&self, file: &str) -> Result<()> {
        if self.directory.path().join(file).exists() {
            return Ok(());
        }
        let arguments = ["record", "-o", file, "--duration", "1s"];
        let output = run_captured(cli_command(&arguments).current_dir(self.directory.path()))?;
        ensure!(output.success(), "{output:?}");
        Ok(())
    }

    /// The example's words, with this machine's container and process in place of the invented.
    fn words(&self, example: &Example) -> Result<Vec<String>> {
        let line = example.line.strip_prefix("cgscope ").context("no command of ours")?;
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        for at in 1..words.len() {
            match words[at - 1].as_str() {
                "--container" => words[at] = self.container.name().to_owned(),
                "--pid" => words[at] = self.container.host_pid()?.to_string(),
                "--duration" => "1s".clone_into(&mut words[at]),
                // Of what the daemon of this stage has kept.
                "--start" | "--against" => "-15s".clone_into(&mut words[at]),
                "--end" => "-12s".clone_into(&mut words[at]),
                // Another daemon of this machine may listen on the usual port.
                "--listen" => "127.0.0.1:0".clone_into(&mut words[at]),
                _ if words[at].starts_with("container:") => {
                    words[at] = format!("container:{}", self.container.name());
                }
                _ => {}
            }
        }
        Ok(words)
    }
}

/// Runs it and checks that it did what it is there for.
pub fn run(stage: &mut Stage, example: &Example) -> Result<()> {
    let words = stage.words(example)?;
    let has = |flag: &str| words.iter().any(|word| word == flag);
    match words[0].as_str() {
        "run" if !has("--help") => run_daemon(stage, &words),
        "replay" if !has("--help") => {
            stage.record(words.get(1).context("which file")?)?;
            run_daemon(stage, &words)
        }
        "top" if !has("--once") && !has("--json") => run_live(stage, &words),
        _ => run_to_its_end(stage, words),
    }
}

fn run_to_its_end(stage: &mut Stage, mut words: Vec<String>) -> Result<()> {
    let takes_time =
        ["latency", "states", "flamegraph", "diff", "outliers"].contains(&words[0].as_str());
    let has = |words: &[String], flag: &str| words.iter().any(|word| word == flag);
    let is_help = has(&words, "--help");
    if let Some(at) = words.iter().position(|word| word == "--address") {
        words[at + 1] = stage.keeper()?;
    } else if has(&words, "--start") || has(&words, "--flight") {
        words.extend(["--address".to_owned(), stage.keeper()?]);
    } else if takes_time && !has(&words, "--duration") && !is_help {
        words.extend(["--duration".to_owned(), "1s".to_owned()]);
    }
    if words[0] == "diff" && !is_help {
        stage.provide(&words)?;
    }
    let is_json = has(&words, "--json");
    let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = run_captured(cli_command(&arguments).current_dir(stage.directory.path()))?;
    ensure!(output.success(), "{output:?}");
    let at = words.iter().position(|word| word == "-o");
    let file = at.and_then(|at| words.get(at + 1)).map(String::as_str);
    let writes = ["flamegraph", "diff", "record"].contains(&words[0].as_str()) && !is_help;
    if writes && file != Some("-") {
        let usual = if words[0] == "diff" { "diff.svg" } else { "flamegraph.svg" };
        let file = file.unwrap_or(usual);
        let drawing = fs::read(stage.directory.path().join(file))
            .with_context(|| format!("it wrote no {file}"))?;
        ensure!(!drawing.trim_ascii().is_empty(), "{file} is empty");
    } else {
        ensure!(!output.stdout.trim().is_empty(), "it printed nothing: {output:?}");
    }
    if is_json {
        serde_json::from_str::<serde_json::Value>(&output.stdout).context("--json")?;
    }
    Ok(())
}

/// The daemon does not end by itself: it is started, seen to serve, and stopped.
fn run_daemon(stage: &Stage, words: &[String]) -> Result<()> {
    let log = stage.directory.path().join("daemon.log");
    let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    if !arguments.contains(&"--listen") {
        arguments.extend(["--listen", "127.0.0.1:0"]);
    }
    let mut daemon = cli_command(&arguments)
        .current_dir(stage.directory.path())
        .env("CGSCOPE_RUNTIME_DIR", stage.directory.path())
        .stdout(Stdio::null())
        .stderr(File::create(&log)?)
        .spawn()?;
    let serving = wait_until("the daemon to serve", PATIENCE, || {
        if let Some(status) = daemon.try_wait()? {
            bail!("it ended with {status}: {}", fs::read_to_string(&log)?);
        }
        Ok(fs::read_to_string(&log)?.contains("serving http://127.0.0.1:").then_some(()))
    });
    // SAFETY: kill takes plain integers; the child is ours and not yet reaped, so its id is not reused.
    unsafe { libc::kill(daemon.id() as i32, libc::SIGTERM) };
    let status = wait_until("the daemon to end", PATIENCE, || Ok(daemon.try_wait()?));
    if status.is_err() {
        daemon.kill()?;
        daemon.wait()?;
    }
    serving?;
    ensure!(status?.success(), "{}", fs::read_to_string(&log)?);
    Ok(())
}

/// The live view needs a terminal, and a key to end: `script` is the terminal.
fn run_live(stage: &Stage, words: &[String]) -> Result<()> {
    // A terminal without a screen of its own begins with no columns.
    let size = "stty columns 120 rows 40";
    let line = format!("{size}; exec {} {}", cgscope_binary().display(), words.join(" "));
    let screen = stage.directory.path().join("screen");
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--flush", "--command", &line])
        .arg(Path::new("/dev/null"))
        .env("CGSCOPE_RUNTIME_DIR", "/dev/null/none")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(File::create(&screen)?)
        .spawn()
        .context("a terminal for the live view needs script (apt install bsdutils)")?;
    let seen = wait_until("the live view to draw", PATIENCE, || {
        if let Some(status) = terminal.try_wait()? {
            bail!(
                "it ended with {status}: {:?}",
                fs::read(&screen).map(|s| String::from_utf8_lossy(&s).into_owned())
            );
        }
        let drawn = fs::read(&screen)?;
        Ok(String::from_utf8_lossy(&drawn).contains("example").then_some(()))
    });
    sleep(Duration::from_millis(200));
    let mut keys = terminal.stdin.take().context("its keyboard")?;
    keys.write_all(b"q")?;
    let status = wait_until("the live view to end at q", PATIENCE, || Ok(terminal.try_wait()?));
    if status.is_err() {
        terminal.kill()?;
        terminal.wait()?;
    }
    seen?;
    ensure!(status?.success(), "it did not end well");
    Ok(())
}
