//! What recording faults and bytes sent costs each of them: of somebody else's, of everybody's; beside bpftrace with the same stacks.

use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::FixtureProcess;

use crate::recording::{self, Case, Column};

/// Faults, then sends.
pub fn bench(rounds: u32, duration: Duration) -> Result<()> {
    let both: [(&str, &str, &[&str], &str, &str); 2] = [
        (
            "fault",
            "fault",
            &["weight_fault_minor", "weight_fault_minor_plain"],
            "pages/s",
            "software:page-faults:1 { @[kstack, ustack] = count(); }",
        ),
        (
            "network",
            "send",
            &["weight_send", "weight_send_plain"],
            "bytes/s",
            "tracepoint:sock:sock_send_length { @[kstack, ustack] = sum(args->ret); }",
        ),
    ];
    for (kind, what, programs, done, script) in both {
        let case = Case {
            title: kind.to_owned(),
            kind,
            load: &|duration| load(what, duration),
            done,
            peer: ("bpftrace", &["-e", script], "bpftrace, both stacks"),
            columns: &[Column { title: "ns a call", ours: programs, peer: Some(&[]) }],
            compared: (0, 0),
        };
        recording::bench(&case, rounds, duration)?;
    }
    Ok(())
}

/// What the fixture does a second: pages or bytes.
fn load(what: &str, duration: Duration) -> Result<f64> {
    let seconds = duration.as_secs().to_string();
    let turns = ["--turns", "1000000000", "--seconds", &seconds];
    let fixture = FixtureProcess::start(&[&["weights", "--what", what][..], &turns].concat())?;
    let truth = fixture.wait_truth(duration + Duration::from_secs(10))?;
    let number = |name: &str| truth[name].as_f64().with_context(|| name.to_owned());
    let done = number("three")? + number("one")?;
    Ok(done / (number("ended_ns")? - number("began_ns")?) * 1e9)
}
