//! A file that was cut or damaged: what is whole is served, what was lost is said, and nothing panics.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, Daemon, as_nobody, scratch_dir};
use tempfile::TempDir;

use crate::common::{number, record, told};

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

/// Serves it if it can be served; the text of its losses, or of its refusal.
fn look_at(file: &Path) -> Result<(bool, String)> {
    match Daemon::replay(file) {
        Ok(replay) => {
            let told = told(&replay)?;
            for path in [
                "/api/v1/containers?all=true",
                "/api/v1/host",
                "/metrics",
                "/api/v1/doctor",
                "/api/v1/outliers",
            ] {
                let answer = replay.answer(path)?;
                ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
            }
            let path = "/api/v1/query?metric=cgscope_host_load&start=-1m";
            let answer = replay.answer(path)?;
            // Its description may be among what was lost, and that is said.
            let is_undescribed = number(&told["lost"], "undescribed_samples")? > 0;
            let is_right = answer.status == 200 || answer.status == 404 && is_undescribed;
            ensure!(is_right, "{path}: {} {}", answer.status, answer.body);
            let drawn = replay.answer("/api/v1/flamegraph?start=-1m&format=folded")?;
            ensure!([200, 501].contains(&drawn.status), "{}", drawn.body);
            ensure!(number(&told, "ticks")? > 0, "{told}");
            let log = replay.log();
            ensure!(!log.contains("panicked"), "{log}");
            Ok((true, told["lost_text"].as_str().context("a text")?.to_owned()))
        }
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(!text.contains("panicked"), "{text}");
            let refusal = text.lines().find(|line| line.starts_with("error: "));
            Ok((false, refusal.with_context(|| text.clone())?.to_owned()))
        }
    }
}

#[test]
fn whatever_is_cut_or_flipped_is_told_and_the_rest_is_served() -> Result<()> {
    let directory = TempDir::with_prefix_in("replay-", scratch_dir())?;
    let file = directory.path().join("a.cgscope");
    {
        let daemon = Daemon::start(&["--no-history"])?;
        let _burn = Container::run("burn", &["burn", "--seconds", "60"])?;
        record(&daemon, &file, "25s")?;
    }
    let text = fs::read(&file)?;
    let (is_served, lost) = look_at(&file)?;
    ensure!(is_served && lost.is_empty(), "{lost}");
    let mut random = Random(1);
    let damaged = directory.path().join("damaged.cgscope");
    let (mut served, mut refused) = (0, 0);
    for round in 0..16 {
        let mut text = text.clone();
        let what = if round % 2 == 0 {
            let length = random.below(text.len());
            text.truncate(length);
            format!("cut at {length}")
        } else {
            let places: Vec<usize> = (0..=round / 4).map(|_| random.below(text.len())).collect();
            places.iter().for_each(|place| text[*place] ^= 0x24);
            format!("flipped at {places:?}")
        };
        fs::write(&damaged, text)?;
        let (is_served, lost) = look_at(&damaged).context(what.clone())?;
        ensure!(!lost.is_empty(), "{what}: nothing is said to be lost");
        eprintln!("{what}: {}: {lost}", if is_served { "served" } else { "refused" });
        if is_served { served += 1 } else { refused += 1 }
    }
    // One in ten cuts lies before the first ten seconds are there.
    ensure!(served >= 10, "{served} served, {refused} refused");
    Ok(())
}

#[test]
fn a_recording_that_was_killed_can_be_replayed() -> Result<()> {
    let directory = TempDir::with_prefix_in("replay-", scratch_dir())?;
    let file = directory.path().join("a.cgscope");
    let daemon = Daemon::start(&["--no-history"])?;
    let address = daemon.address();
    let name = file.to_str().context("a path in UTF-8")?;
    let line = ["record", "-o", name, "--duration", "10m", "--address", &address];
    let mut command = cgscope_tests::cli_command(&line).spawn()?;
    // A section is ten seconds.
    std::thread::sleep(Duration::from_secs(13));
    command.kill()?;
    command.wait()?;
    let replay = Daemon::replay(&file)?;
    let told = told(&replay)?;
    ensure!((10..=12).contains(&number(&told, "ticks")?), "{told}");
    ensure!(told["lost"]["is_cut"] == true, "{told}");
    ensure!(replay.log().contains("cut off"), "{}", replay.log());
    // The daemon notices that nobody reads.
    let answer = daemon.answer("/api/v1/containers")?;
    ensure!(answer.status == 200, "{}", answer.body);
    Ok(())
}

#[test]
fn a_later_version_and_other_files_are_refused_with_the_remedy() -> Result<()> {
    let directory = TempDir::with_prefix_in("cgscope-tapes-", "/tmp")?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), mode)?;
    let path = |name: &str| directory.path().join(name);
    // The head of a file: magic, version, checksum of both.
    let mut later = b"cgstape\n".to_vec();
    later.extend(7u32.to_le_bytes());
    let mut sum = flate2::Crc::new();
    sum.update(&later);
    later.extend(sum.sum().to_le_bytes());
    fs::write(path("later"), &later)?;
    fs::write(path("text"), "that is no recording\n")?;
    fs::write(path("empty"), "")?;
    let cases = [
        ("later", 1, ["later version", "that version or a later one"]),
        ("text", 2, ["no recording", "cgscope record"]),
        ("empty", 2, ["no recording", "cgscope record"]),
        ("missing", 4, ["No such file", "cgscope record"]),
        (".", 1, ["directory", "cgscope record"]),
    ];
    for (name, code, told) in cases {
        let file = path(name);
        let file = file.to_str().context("a path in UTF-8")?;
        let output = as_nobody(&["replay", file, "--listen", "127.0.0.1:0"])?;
        ensure!(output.status == Some(code), "{name}: {output:?}");
        for text in told {
            ensure!(output.stderr.contains(text), "{name}: {}", output.stderr);
        }
    }
    Ok(())
}
