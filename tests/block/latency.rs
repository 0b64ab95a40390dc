//! Latencies against the fixture's clock and against biolatency on the same run.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::disk::Disk;
use cgscope_tests::{ContainerOptions, Daemon, peer};

use crate::series::{label, read_until};
use crate::watch::Watch;
use crate::{ALONE, PATIENCE};

const WRITES: u64 = 5_000;

#[test]
fn the_median_agrees_with_biolatency_and_the_sum_with_the_writer() -> Result<()> {
    let disk = Disk::make()?;
    disk.fill("timed", 16 << 20)?;
    let daemon = Daemon::start(&ALONE)?;
    let watch = Watch::begin(&daemon, &disk)?;
    let mut tool = Command::new(peer::tool_path("biolatency")?)
        .args(["-d", disk.name()])
        .stdout(Stdio::piped())
        .spawn()?;
    // Its programs take a moment; what it misses are requests at the beginning, which it does not count either.
    std::thread::sleep(Duration::from_secs(2));
    let writes = WRITES.to_string();
    let options = ContainerOptions::new().bind(&disk.mount(), "/disk");
    let container = options.run(
        "timed",
        &["direct_io", "--seconds", "60", "--file", "/disk/timed", "--writes", &writes],
    )?;
    let truth = container.wait_truth(PATIENCE)?;
    // SAFETY: kill takes plain integers; the child is ours and not yet reaped, so its id is not reused.
    unsafe { libc::kill(tool.id() as i32, libc::SIGINT) };
    let mut output = String::new();
    tool.stdout.take().context("its output")?.read_to_string(&mut output)?;
    tool.wait()?;
    let histogram = peer::parse_histograms(&output)?.into_iter().next().context("no histogram")?;
    let doubt = watch.doubt(0)?;
    let least = WRITES - doubt.missed;
    // What is hidden from our program is hidden from its.
    ensure!(histogram.total() >= least, "biolatency saw {} of {least}", histogram.total());
    let (low_ns, high_ns) = histogram.quantile_bounds_ns(0.5).context("it is empty")?;

    let labels = |phase: &str| {
        [
            label("container_id", container.id()),
            label("device", disk.name()),
            label("operation", "write"),
            label("phase", phase),
        ]
    };
    let name = "cgscope_block_latency_seconds";
    let count = format!("{name}_count");
    let series =
        read_until(&daemon, |series| Ok(series.sum(&count, &labels("service"))? >= WRITES as f64))?;
    let sum_ns = |phase: &str| {
        Ok::<_, anyhow::Error>(series.sum(&format!("{name}_sum"), &labels(phase))? * 1e9)
    };
    for phase in ["queue", "service", "total"] {
        let counted = series.sum(&count, &labels(phase))? as u64;
        assert!((least..=WRITES).contains(&counted), "{phase}: {counted}, {doubt:?}");
    }

    // The exposition has every second power of two as a bound: that which holds the median must touch the tool's own.
    let buckets = series.buckets(name, &labels("service"))?;
    let median = buckets.iter().position(|&(_, below)| below >= WRITES as f64 / 2.0);
    let median = median.context("no median")?;
    let our_low_ns = if median == 0 { 0.0 } else { buckets[median - 1].0 };
    let our_high_ns = buckets[median].0;
    eprintln!(
        "median of service: biolatency {low_ns}..{high_ns} ns, ours {our_low_ns}..{our_high_ns} ns; sums: queue {}, \
         service {}, total {} ns, the writer waited {} ns",
        sum_ns("queue")?,
        sum_ns("service")?,
        sum_ns("total")?,
        truth["write_wait_ns"]
    );
    assert!(our_low_ns < 2.0 * high_ns as f64 && our_high_ns * 2.0 > low_ns as f64);

    // Parts and whole, and nothing longer than what the writer saw from outside.
    let (queue_ns, service_ns, total_ns) = (sum_ns("queue")?, sum_ns("service")?, sum_ns("total")?);
    assert!((queue_ns + service_ns - total_ns).abs() < 1_000.0, "{queue_ns} + {service_ns}");
    let waited_ns = truth["write_wait_ns"].as_f64().context("write_wait_ns")?;
    assert!(total_ns < waited_ns && total_ns > waited_ns / 4.0, "{total_ns} of {waited_ns}");
    Ok(())
}
