//! What the files of a container's cgroup say.

use std::fs;

use anyhow::{Context, Result};
use cgscope_tests::{ContainerOptions, Daemon, Scrape, mounts};

use crate::ALONE;
use crate::user::{User, read_until};

pub const LIMIT_BYTES: u64 = 48 << 20;

/// A number in a file of the container's memory cgroup, of v1 or v2: `FILE`, or `FILE:FIELD` of lines with a field and a number.
pub fn cgroup_number(user: &User, v1: &str, v2: &str) -> Result<u64> {
    let (directory, name) = match mounts::cgroup_v1_root("memory")? {
        Some(_) => (user.container.cgroup_v1("memory")?, v1),
        None => (user.container.cgroup_v2()?, v2),
    };
    let (name, field) = name.split_once(':').unwrap_or((name, ""));
    let path = directory.join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let numbers = text.lines().filter_map(|line| line.strip_prefix(field)?.trim().parse().ok());
    numbers.into_iter().next().with_context(|| format!("{field} of {}: {text}", path.display()))
}

/// A container that may not have more than [`LIMIT_BYTES`].
pub fn limited() -> ContainerOptions {
    ContainerOptions::new().argument(&format!("--memory={LIMIT_BYTES}"))
}

#[test]
fn use_and_limit_are_those_of_the_cgroup() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    let user = User::start(limited(), "limited", &["--eat-mb", "20"])?;
    let free = User::start(ContainerOptions::new(), "free", &[])?;
    user.run()?;
    let limit = cgroup_number(&user, "memory.limit_in_bytes", "memory.max")?;
    assert_eq!(limit, LIMIT_BYTES);
    // Of one that sleeps, but the kernel still moves some between its own accounts: read both until they agree.
    let truth = || -> Result<[u64; 3]> {
        Ok([
            cgroup_number(&user, "memory.usage_in_bytes", "memory.current")?,
            cgroup_number(&user, "memory.stat:total_rss ", "memory.stat:anon ")?,
            cgroup_number(&user, "memory.stat:total_cache ", "memory.stat:file ")?,
        ])
    };
    let seen = |scrape: &Scrape| {
        let part = |part| user.count(scrape, "part_bytes", &[("part", part)]);
        [user.count(scrape, "use_bytes", &[]), part("anonymous"), part("file")]
    };
    let scrape = read_until(&daemon, |s| truth().is_ok_and(|truth| seen(s) == truth))?;
    assert_eq!(seen(&scrape), truth()?);
    assert!(truth()?[1] >= 20 << 20);
    assert_eq!(user.count(&scrape, "limit_bytes", &[]), limit);
    let working_set = user.count(&scrape, "working_set_bytes", &[]);
    assert!(working_set <= truth()?[0] && working_set >= truth()?[1], "{working_set}");
    let of_free = scrape.of(free.container.id());
    assert!(of_free.sum("cgscope_memory_use_bytes", &[]) > 0.0);
    assert!(
        of_free.sum("cgscope_memory_use_bytes", &[]) < (20 << 20) as f64,
        "not its neighbour's"
    );
    assert!(!of_free.has("cgscope_memory_limit_bytes"), "absent: it has none");
    Ok(())
}

#[test]
fn pressure_and_events_are_those_of_the_cgroup() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    // More page cache than fits: it reaches its limit again and again, and waits.
    let directory = tempfile::TempDir::with_prefix_in("files-", cgscope_tests::scratch_dir())?;
    let options = limited().bind(directory.path(), "/files");
    let user = User::start(options, "squeezed", &["--file", "/files/new", "--write-mb", "192"])?;
    user.run()?;
    let truth = || cgroup_number(&user, "memory.failcnt", "memory.events:max ");
    let seen = |scrape: &Scrape| user.count(scrape, "events_total", &[("event", "max")]);
    let scrape = read_until(&daemon, |scrape| truth().is_ok_and(|truth| seen(scrape) == truth))?;
    assert_eq!(seen(&scrape), truth()?);
    assert!(truth()? > 0);
    let pressure = fs::read_to_string(user.container.cgroup_v2()?.join("memory.pressure"));
    let pressure = pressure.context("memory.pressure")?;
    let some = pressure.lines().next().context("some")?;
    let total_us: f64 = some.rsplit_once("total=").context("total")?.1.parse()?;
    let seen_s = user.value(&scrape, "pressure_seconds_total", &[("kind", "some")]);
    // It sleeps now: nothing is added any more.
    assert!((seen_s - total_us / 1e6).abs() < 1e-6, "{seen_s} s, {total_us} us");
    assert!(seen_s > 0.0);
    Ok(())
}
