//! More events than are sent: some are drawn, and weigh what all did.

use anyhow::Result;
use cgscope_tests::ContainerOptions;

use crate::daemon;
use crate::recording::{Worker, assert_close, number, of, record};

#[test]
fn many_faults_weigh_what_they_are() -> Result<()> {
    let daemon = daemon()?;
    let load = ["--what", "fault", "--turns", "200000"];
    let worker = Worker::start(ContainerOptions::new(), "many", &load)?;
    let recorded = record(&daemon, "fault", &worker.target(), 8, &[&worker])?;
    let faults = number(&recorded.truth, "faults")?;
    assert!(faults > 700_000, "{faults}");
    let folded = &recorded.folded;
    assert_close("faults", folded.kept() + folded.lost(), faults, 0.01);
    assert!(folded.lost() < faults / 100, "{} lost", folded.lost());
    let (three, one) = (of(folded, "do_three") as f64, of(folded, "do_one") as f64);
    let share = 100.0 * three / (three + one);
    assert!((share - 75.0).abs() < 2.0, "do_three has {share:.2} %: {folded:?}");
    let doubts = recorded.profile["confidence"]["doubts"].to_string();
    assert!(doubts.contains("of the faults were drawn, one for each"), "{doubts}");
    Ok(())
}
