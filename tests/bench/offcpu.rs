//! What recording waits costs at each switch, beside `offcputime`, and recording wakers at each wake-up, beside `wakeuptime`.

use std::time::Duration;

use anyhow::Result;

use crate::load::Load;
use crate::recording::{Case, Column, bench};

/// Waits.
pub fn waits(load: Load, rounds: u32, duration: Duration) -> Result<()> {
    let case = Case {
        title: format!("waits, {}", load.name()),
        kind: "offcpu",
        load: &|duration| load.run(duration),
        done: "rounds/s",
        peer: ("offcputime", &[], "offcputime"),
        columns: &[
            Column {
                title: "sched_switch ns",
                ours: &["sched_switch"],
                peer: Some(&["sched_switch", "sched_switch_btf", "sched_switch_tp"]),
            },
            Column {
                title: "waits ns",
                ours: &["offcpu_switch", "offcpu_switch_plain"],
                peer: None,
            },
        ],
        compared: (1, 0),
    };
    bench(&case, rounds, duration)
}

/// Wakers.
pub fn wakers(load: Load, rounds: u32, duration: Duration) -> Result<()> {
    let case = Case {
        title: format!("wakers, {}", load.name()),
        kind: "wakeup",
        load: &|duration| load.run(duration),
        done: "rounds/s",
        peer: ("wakeuptime", &[], "wakeuptime"),
        columns: &[
            Column {
                title: "a wake-up, ns",
                ours: &["wakeup_waking", "wakeup_waking_plain", "wakeup_woken"],
                peer: Some(&[]),
            },
            Column {
                title: "in the waker, ns",
                ours: &["wakeup_waking", "wakeup_waking_plain"],
                peer: None,
            },
        ],
        compared: (0, 0),
    };
    bench(&case, rounds, duration)
}
