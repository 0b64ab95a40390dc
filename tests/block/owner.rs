//! Whose a request is when another one makes it: writeback after the writer has closed its file.

use std::fs;

use anyhow::{Context, Result};
use cgscope_tests::disk::Disk;
use cgscope_tests::{Container, ContainerOptions, Daemon};

use crate::ALONE;
use crate::series::{Series, label, read_until};
use crate::watch::Watch;

const DIRTY_BYTES: u64 = 8 << 20;

/// Bytes that the kernel's own controller charged to a container on a disk, from its v1 `blkio` or v2 `io.stat` files.
fn charged_by_the_kernel(container: &Container, number: &str) -> Result<u64> {
    let v2 = container.cgroup_v2()?.join("io.stat");
    if let Ok(text) = fs::read_to_string(&v2) {
        let line = text.lines().find(|line| line.starts_with(number)).unwrap_or_default();
        let written = line.split_whitespace().find_map(|f| f.strip_prefix("wbytes=")?.parse().ok());
        return Ok(written.unwrap_or(0));
    }
    let v1 = container.cgroup_v1("blkio")?.join("blkio.throttle.io_service_bytes");
    let text = fs::read_to_string(&v1).with_context(|| v1.display().to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{number} Write ")));
    line.map_or(Ok(0), |bytes| Ok(bytes.trim().parse()?))
}

/// On cgroup v2 the inode knows whose writeback it is. On v1 and hybrid hosts the kernel charges it to the root cgroup: there is no
/// one else to be read from the request. Either way we say what the kernel says, and never blame who synced.
#[test]
fn writeback_is_charged_as_the_kernel_charges_it() -> Result<()> {
    let disk = Disk::make()?;
    disk.fill("dirty", DIRTY_BYTES as usize)?;
    let daemon = Daemon::start(&ALONE)?;
    let writer = ContainerOptions::new().bind(&disk.mount(), "/disk").run(
        "writer",
        &[
            "sh",
            "-c",
            "dd if=/dev/zero of=/disk/dirty bs=64k count=128 conv=notrunc; exec sleep 60",
        ],
    )?;
    let other = Container::run("other", &["sh", "-c", "exec sleep 60"])?;
    cgscope_tests::wait_until("the writer to close", crate::PATIENCE, || {
        let sleeping = fs::read_to_string(format!("/proc/{}/comm", writer.host_pid()?))?;
        Ok((sleeping.trim() == "sleep").then_some(()))
    })?;
    let watch = Watch::begin(&daemon, &disk)?;
    disk.sync()?;
    let written = watch.statistics()?.written_bytes;
    assert!(written >= DIRTY_BYTES, "only {written} bytes were dirty");

    let number = fs::read_to_string(format!("/sys/block/{}/dev", disk.name()))?;
    let kernel = charged_by_the_kernel(&writer, number.trim())?;
    let device = label("device", disk.name());
    let bytes_of = |series: &Series, id: &str| {
        let labels = [label("container_id", id), device.clone(), label("operation", "write")];
        series.sum("cgscope_block_bytes_total", &labels)
    };
    let is_there = |series: &Series| Ok(series.of_disk(disk.name())?.written_bytes >= written);
    let series = read_until(&daemon, is_there)?;
    let (ours, root) = (bytes_of(&series, writer.id())?, bytes_of(&series, "/")?);
    eprintln!(
        "written back {written}; the kernel charged the writer {kernel}, we {ours}, the root {root}"
    );
    assert_eq!(ours, kernel as f64);
    assert_eq!(ours + root, series.of_disk(disk.name())?.written_bytes as f64);
    let missed = watch.doubt(0)?.missed * disk.largest_request_bytes()?;
    assert!(ours + root + missed as f64 >= DIRTY_BYTES as f64, "{ours} + {root}, {missed} missed");
    assert_eq!(bytes_of(&series, other.id())?, 0.0);
    Ok(())
}
