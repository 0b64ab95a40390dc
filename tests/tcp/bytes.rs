//! Bytes and datagrams, to the last one, for whose they are.

use anyhow::Result;
use cgscope_tests::{Container, Daemon, Scrape, Subject, expect_off};
use serde_json::Value;

use crate::ALONE;
use crate::peers::{Peers, counter, number, read_until};
use crate::wire::{SERVER, SERVER_V6, kernel_counter};

const LOAD: [&str; 12] = [
    "--connections",
    "7",
    "--messages",
    "40",
    "--bytes",
    "70001",
    "--datagrams",
    "500",
    "--datagram-bytes",
    "333",
    "--refused",
    "3",
];

/// Bytes and calls, as the fixture's truth names them and as cgscope's series do.
const COUNTED: [(&str, &str, &str); 6] = [
    ("tcp_sent", "tcp_bytes_total", "sent"),
    ("tcp_received", "tcp_bytes_total", "received"),
    ("udp_sent", "udp_bytes_total", "sent"),
    ("udp_received", "udp_bytes_total", "received"),
    ("datagrams_sent", "udp_datagrams_total", "sent"),
    ("datagrams_received", "udp_datagrams_total", "received"),
];

fn seen(subject: &Subject) -> [u64; 6] {
    COUNTED.map(|(_, name, direction)| counter(subject, name, &[("direction", direction)]))
}

fn expected(truth: &Value) -> Result<[u64; 6]> {
    let mut all = [0; 6];
    for (value, (name, ..)) in all.iter_mut().zip(COUNTED) {
        *value = number(truth, name)?;
    }
    Ok(all)
}

fn bytes_are_exact(address: &str, flags: &[&str]) -> Result<()> {
    let daemon = Daemon::start(&[&ALONE, flags].concat())?;
    let peers = Peers::start(&[], &[&LOAD[..], &["--connect", address]].concat())?;
    // Uses its CPU and has no socket of its own, so interrupts of the others' packets land in its time.
    let bystander = Container::run("bystander", &["burn", "--seconds", "300"])?;
    let of_client = expected(&peers.run()?)?;
    let (datagrams_in, datagrams_out) = (
        kernel_counter(&peers.server, "Udp", "InDatagrams")?,
        kernel_counter(&peers.server, "Udp", "OutDatagrams")?,
    );
    let of_server = expected(&peers.server.stop()?)?;
    assert_eq!(of_client[0], 7 * 40 * 70_001, "the client's own count");
    if address == SERVER {
        assert_eq!((of_server[5], of_server[4]), (datagrams_in, datagrams_out), "the kernel's");
    }
    let both = |scrape: &Scrape| {
        (seen(&scrape.of(peers.client.id())), seen(&scrape.of(peers.server.id())))
    };
    let scrape = read_until(&daemon, |scrape| both(scrape) == (of_client, of_server))?;
    assert_eq!(both(&scrape), (of_client, of_server));
    assert_eq!(seen(&scrape.of(bystander.id())), [0; 6]);
    Ok(())
}

#[test]
fn bytes_are_exact_over_ipv4() -> Result<()> {
    bytes_are_exact(SERVER, &["--hook", "tp_btf"])
}

#[test]
fn bytes_are_exact_over_ipv6() -> Result<()> {
    bytes_are_exact(SERVER_V6, &[])
}

#[test]
fn bytes_are_exact_by_raw_tp() -> Result<()> {
    bytes_are_exact(SERVER, &["--hook", "raw_tp"])
}

/// Without cgroup v2 a socket's owner is not kept: bytes are those of the thread that sends them.
#[test]
fn bytes_are_exact_where_a_v1_hierarchy_gives_the_identity() -> Result<()> {
    bytes_are_exact(SERVER, &["--identity", "v1:memory"])
}

#[test]
fn a_container_that_ended_keeps_its_bytes() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    let peers = Peers::start(&[], &[&LOAD[..], &["--connect", SERVER]].concat())?;
    let truth = expected(&peers.run()?)?;
    let id = peers.client.id().to_owned();
    drop(peers);
    // Longer than the grace after which its slot is given back.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let scrape = read_until(&daemon, |scrape| seen(&scrape.of(&id)) == truth)?;
    assert_eq!(seen(&scrape.of(&id)), truth);
    Ok(())
}

#[test]
fn round_trips_are_those_of_the_kernel() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    let load = ["--connections", "1", "--messages", "2000", "--connect", SERVER];
    let peers = Peers::start(&[], &load)?;
    let truth = peers.run()?;
    let sends = number(&truth, "sends")?;
    let name = "tcp_round_trip_seconds";
    let count = |subject: &Subject| counter(subject, &format!("{name}_count"), &[]);
    let scrape = read_until(&daemon, |scrape| count(&scrape.of(peers.client.id())) == sends)?;
    let client = scrape.of(peers.client.id());
    assert_eq!(count(&client), sends, "one for each send");
    let (least, most) = (number(&truth, "least_rtt_us")?, number(&truth, "most_rtt_us")?);
    let mean_us = client.sum(&format!("cgscope_{name}_sum"), &[]) * 1e6 / sends as f64;
    assert!(
        mean_us >= least as f64 && mean_us <= most as f64 + 1.0,
        "a mean of {mean_us} us, where TCP_INFO said {least} to {most} us"
    );
    Ok(())
}

#[test]
fn a_family_that_is_off_counts_nothing_and_takes_no_room() -> Result<()> {
    let daemon = Daemon::start(&[&ALONE[..], &["--disable", "tcp"]].concat())?;
    let series = ["cgscope_tcp_", "cgscope_udp_", "cgscope_dns_"];
    let maps = ["SLOT_TCP", "SLOT_TCP_LATENCIES", "CONNECTIONS", "PACKET_DROPS", "DNS_SOCKETS"];
    expect_off(&daemon, "tcp", &series, &maps)
}
