//! Queries of DNS, their answers and how long those took, for who asks.

use anyhow::Result;
use cgscope_tests::{Daemon, Subject};

use crate::ALONE;
use crate::peers::{Peers, counter, number, read_until};
use crate::wire::SERVER;

/// What the server waits before it answers.
const DELAY_US: u64 = 2_000;
/// When the client asks again, as resolvers do after some seconds.
const AGAIN_MS: u64 = 60;
/// It may do so as much earlier: the kernel counts a timeout in ticks.
const TICK_MS: u64 = 10;

fn seen(subject: &Subject) -> [u64; 3] {
    ["queries_total", "answers_total", "latency_seconds_count"]
        .map(|name| counter(subject, &format!("dns_{name}"), &[]))
}

/// Each fifth query is not answered, and asked again on the same socket: whoever waits does so from the first on.
fn queries_have_their_answers(hook: &str) -> Result<()> {
    let daemon = Daemon::start(&[&ALONE[..], &["--hook", hook]].concat())?;
    let (delay, again) = (DELAY_US.to_string(), AGAIN_MS.to_string());
    let load = ["--connect", SERVER, "--datagrams", "25", "--ask-again-ms", &again];
    let server = ["--delay-us", &delay, "--mute-every", "5"];
    let peers = Peers::start_at("53", &server, &load)?;
    let elsewhere = Peers::start(&server, &load)?;
    let truth = peers.run()?;
    elsewhere.run()?;
    let (sent, answered) =
        (number(&truth, "datagrams_sent")?, number(&truth, "datagrams_received")?);
    assert_eq!((sent, answered), (31, 25), "the load itself");

    let expected = [sent, answered, answered];
    let scrape = read_until(&daemon, |scrape| seen(&scrape.of(peers.client.id())) == expected)?;
    let client = scrape.of(peers.client.id());
    assert_eq!(seen(&client), expected);
    for other in [&peers.server, &elsewhere.client, &elsewhere.server] {
        assert_eq!(seen(&scrape.of(other.id())), [0; 3], "{}", other.name());
    }
    let waited_ns = client.sum("cgscope_dns_latency_seconds_sum", &[]) * 1e9;
    let least_ns =
        (answered * DELAY_US * 1_000 + (sent - answered) * (AGAIN_MS - TICK_MS) * 1_000_000) as f64;
    let most_ns = number(&truth, "wall_ns")? as f64;
    // What lies between is what the client did besides: its calls, and the way in and out of them.
    assert!(
        (least_ns..=most_ns).contains(&waited_ns),
        "{waited_ns} ns, of {most_ns} by the client's clock and {least_ns} at the least"
    );
    Ok(())
}

#[test]
fn queries_have_their_answers_by_tp_btf() -> Result<()> {
    queries_have_their_answers("tp_btf")
}

#[test]
fn queries_have_their_answers_by_raw_tp() -> Result<()> {
    queries_have_their_answers("raw_tp")
}
