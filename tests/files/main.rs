//! Opens, reads, writes and syncs held against what a command was told to do, the slow ones against who made them, and layers against
//! the overlay they were put in.

mod outliers;
mod overlay;

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, PlainCgroup, Scrape, expect_off, run_captured, wait_until};
use overlay::Overlay;

const PATIENCE: Duration = Duration::from_secs(15);

/// A shell in a cgroup of its own that waits for a line, and then is `command`.
struct Waiting {
    cgroup: PlainCgroup,
    shell: Child,
}

impl Waiting {
    fn new(name: &str, command: &str) -> Result<Self> {
        let cgroup = PlainCgroup::new(name)?;
        let shell = Command::new("sh")
            .args(["-c", &format!("read go; {command}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // What it does until it waits is done outside.
        let waits = format!("{} 0x0 ", libc::SYS_read);
        wait_until("the shell to wait for its line", PATIENCE, || {
            let call = std::fs::read_to_string(format!("/proc/{}/syscall", shell.id()))?;
            Ok(call.starts_with(&waits).then_some(()))
        })?;
        cgroup.add(shell.id())?;
        Ok(Self { cgroup, shell })
    }

    /// Lets it run to its end.
    fn run(&mut self) -> Result<()> {
        self.shell.stdin.take().context("its input")?.write_all(b"go\n")?;
        let mut said = String::new();
        self.shell.stdout.take().context("its output")?.read_to_string(&mut said)?;
        ensure!(self.shell.wait()?.success(), "it failed: {said}");
        Ok(())
    }

    fn count(&self, scrape: &Scrape, name: &str, label: (&str, &str)) -> u64 {
        scrape.of(&self.cgroup.id()).sum(&format!("cgscope_files_{name}"), &[label]) as u64
    }

    fn operations(&self, scrape: &Scrape, name: &str) -> [u64; 4] {
        ["open", "read", "write", "sync"].map(|o| self.count(scrape, name, ("operation", o)))
    }
}

fn daemon(hook: &str) -> Result<Daemon> {
    Daemon::start(&["--enable", "files", "--hook", hook])
}

/// Two runs that differ only in how much they do: what starting and ending takes is the same in both.
fn operations_are_those_that_were_made(hook: &str) -> Result<()> {
    let overlay = Overlay::make()?;
    let daemon = daemon(hook)?;
    let source = overlay.lower(0).join("source");
    std::fs::write(&source, vec![7; 8 << 20])?;
    let run = |name: &str, blocks: u32, opens: usize| -> Result<Waiting> {
        let names = vec![source.display().to_string(); opens].join(" ");
        let (source, copy) = (source.display(), overlay.lower(0).join(name));
        let command = format!(
            "dd if={source} of={} bs=4096 count={blocks} conv=fsync status=none; \
             for name in {names}; do exec 3<$name; done; exec 4</no/such/file || true",
            copy.display()
        );
        // A redirection that fails ends a shell: it is the last.
        let mut waiting = Waiting::new(name, &format!("({command}) 2>/dev/null; true"))?;
        waiting.run()?;
        Ok(waiting)
    };
    let bystander = Waiting::new("bystander", "true")?;
    let (few, many) = (run("few", 10, 10)?, run("many", 1_510, 310)?);
    let (scrape, _) = daemon.next_tick()?;
    let rise = |name: &str| -> [i64; 4] {
        let (few, many) = (few.operations(&scrape, name), many.operations(&scrape, name));
        std::array::from_fn(|i| many[i] as i64 - few[i] as i64)
    };
    assert_eq!(rise("operations_total"), [300, 1_500, 1_500, 0], "opens, reads, writes, syncs");
    assert_eq!(rise("bytes_total"), [0, 1_500 * 4096, 1_500 * 4096, 0]);
    assert_eq!(rise("errors_total"), [0; 4]);
    let all = many.operations(&scrape, "operations_total");
    assert_eq!(all[3], 1, "one fsync");
    assert!(many.operations(&scrape, "errors_total")[0] >= 1, "what is not there was opened");
    // Each has its time, but for those whose place another thread took.
    let missed = scrape.dropped("call_missed");
    for (timed, all) in many.operations(&scrape, "latency_seconds_count").into_iter().zip(all) {
        assert!(timed <= all && timed + missed >= all, "{timed} of {all}, {missed} missed by all");
    }
    assert_eq!(bystander.operations(&scrape, "operations_total"), [0; 4], "the bystander");
    Ok(())
}

#[test]
fn operations_are_those_that_were_made_by_tp_btf() -> Result<()> {
    operations_are_those_that_were_made("tp_btf")
}

#[test]
fn operations_are_those_that_were_made_by_raw_tp() -> Result<()> {
    operations_are_those_that_were_made("raw_tp")
}

/// Each open is counted for the layer that has the file: the upper one after it was written to, the first of two that both have it.
#[test]
fn an_open_is_served_by_the_layer_that_has_the_file() -> Result<()> {
    let overlay = Overlay::make()?;
    for (layer, name) in [(0, "first"), (1, "second"), (0, "both"), (1, "both"), (1, "changed")] {
        std::fs::write(overlay.lower(layer).join(name), name)?;
    }
    overlay.mount()?;
    std::fs::write(overlay.merged().join("changed"), "other")?;
    let daemon = daemon("auto")?;
    let opens = |name: &str, times: usize| {
        let path = overlay.merged().join(name).display().to_string();
        vec![path; times].join(" ")
    };
    let names = [opens("first", 5), opens("second", 70), opens("both", 11), opens("changed", 3)];
    let command = format!("for name in {}; do exec 3<$name; done", names.join(" "));
    let mut user = Waiting::new("user", &command)?;
    let mut bystander = Waiting::new("bystander", "exec 3</etc/passwd")?;
    user.run()?;
    bystander.run()?;
    let expected = [
        (overlay.lower(0).display().to_string(), 16),
        (overlay.lower(1).display().to_string(), 70),
        ("upper".to_owned(), 3),
    ];
    let scrape = wait_until("the layers", PATIENCE, || {
        let (scrape, _) = daemon.next_tick()?;
        let all: u64 = expected.iter().map(|(layer, _)| of_layer(&user, &scrape, layer)).sum();
        Ok((all >= 89).then_some(scrape))
    })?;
    for (layer, opens) in &expected {
        assert_eq!(of_layer(&user, &scrape, layer), *opens, "{layer}");
        assert_eq!(of_layer(&bystander, &scrape, layer), 0, "{layer} of the bystander");
    }
    let time_s = scrape.of(&user.cgroup.id()).sum("cgscope_files_layer_open_seconds_total", &[]);
    assert!(time_s > 0.0, "opening takes time");
    Ok(())
}

fn of_layer(waiting: &Waiting, scrape: &Scrape, layer: &str) -> u64 {
    waiting.count(scrape, "layer_opens_total", ("layer", layer))
}

/// A real container: the layer has the id that the engine's own directory of it has.
#[test]
fn the_layer_of_an_image_is_named_by_its_directory() -> Result<()> {
    let daemon = daemon("auto")?;
    let command = "while true; do exec 3</bin/busybox; sleep 0.05; done";
    let container = Container::run("layered", &["sh", "-c", command])?;
    let mut podman = Command::new("podman");
    podman.args(["inspect", "--format", "{{.GraphDriver.Data.LowerDir}}", container.id()]);
    let said = run_captured(&mut podman)?;
    let lower = said.stdout.trim().to_owned();
    let layer = lower.split(':').next().and_then(|path| path.strip_suffix("/diff"));
    let layer = layer.and_then(|path| path.rsplit('/').next()).with_context(|| lower.clone())?;
    let labels = [("layer", layer)];
    wait_until("opens by layer", PATIENCE, || {
        let own = daemon.scrape()?.of(container.id());
        Ok((own.sum("cgscope_files_layer_opens_total", &labels) >= 20.0).then_some(()))
    })?;
    Ok(())
}

#[test]
fn who_is_not_asked_for_counts_nothing_and_takes_no_room() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    daemon.next_tick()?;
    let maps = ["SLOT_FILES", "SLOT_FILES_LATENCY", "FILE_LAYERS", "FILE_OUTLIERS"];
    expect_off(&daemon, "files", &["cgscope_files_"], &maps)
}
