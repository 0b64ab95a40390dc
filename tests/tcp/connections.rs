//! Connections: how many come about and how many do not, how long that takes, and in which state they are.

use anyhow::Result;
use cgscope_tests::{Daemon, Scrape, Subject};

use crate::ALONE;
use crate::peers::{Peers, counter, number, read_until};
use crate::wire::{SERVER, kernel_counter, kernel_sockets, lose};

const CONNECTIONS: &str = "tcp_connections_total";
const FAILURES: &str = "tcp_connect_failures_total";
const LATENCY: &str = "tcp_connect_latency_seconds";
/// Numbers of `/proc/PID/net/tcp`.
const STATES: [(&str, u32); 5] =
    [("established", 1), ("fin_wait1", 4), ("fin_wait2", 5), ("close_wait", 8), ("listen", 10)];

fn direction(subject: &Subject, direction: &str) -> u64 {
    counter(subject, CONNECTIONS, &[("direction", direction)])
}

fn connections_are_counted(flags: &[&str]) -> Result<()> {
    let daemon = Daemon::start(&[&ALONE, flags].concat())?;
    let load = ["--connections", "60", "--messages", "1", "--refused", "25", "--connect", SERVER];
    let peers = Peers::start(&[], &load)?;
    let truth = peers.run()?;
    assert_eq!((number(&truth, "opened")?, number(&truth, "refused")?), (60, 25));
    assert_eq!(kernel_counter(&peers.client, "Tcp", "ActiveOpens")?, 60 + 25, "the kernel's");
    assert_eq!(kernel_counter(&peers.client, "Tcp", "AttemptFails")?, 25, "the kernel's");
    assert_eq!(kernel_counter(&peers.server, "Tcp", "PassiveOpens")?, 60, "the kernel's");
    let refused = |subject: &Subject| counter(subject, FAILURES, &[("reason", "refused")]);
    let scrape = read_until(&daemon, |scrape| {
        refused(&scrape.of(peers.client.id())) == 25
            && direction(&scrape.of(peers.client.id()), "opened") == 60
    })?;
    let (client, server) = (scrape.of(peers.client.id()), scrape.of(peers.server.id()));
    assert_eq!((direction(&client, "opened"), direction(&client, "accepted")), (60, 0));
    assert_eq!((direction(&server, "opened"), direction(&server, "accepted")), (0, 60));
    assert_eq!((refused(&client), counter(&client, FAILURES, &[])), (25, 25));
    assert_eq!(counter(&server, FAILURES, &[]), 0);
    // The answers to the refused came from no socket, so the client received them and nobody sent them.
    let resets = |subject: &Subject, direction| {
        counter(subject, "tcp_resets_total", &[("direction", direction)])
    };
    assert_eq!((resets(&client, "received"), resets(&client, "sent")), (25, 0));
    assert_eq!(resets(&server, "sent"), 0);
    assert!(resets(&scrape.of("unattributed"), "sent") >= 25);
    // From the first segment to the last of the handshake lies inside the call.
    let name = format!("cgscope_{LATENCY}");
    assert_eq!(counter(&client, &format!("{LATENCY}_count"), &[]), 60);
    let waited_ns = client.sum(&format!("{name}_sum"), &[]) * 1e9;
    let called_ns = number(&truth, "connect_ns")? as f64;
    assert!(waited_ns < called_ns && waited_ns > called_ns / 20.0, "{waited_ns} of {called_ns}");
    assert_eq!(counter(&server, &format!("{LATENCY}_count"), &[]), 0);
    Ok(())
}

#[test]
fn connections_are_counted_by_tp_btf() -> Result<()> {
    connections_are_counted(&["--hook", "tp_btf"])
}

#[test]
fn connections_are_counted_by_raw_tp() -> Result<()> {
    connections_are_counted(&["--hook", "raw_tp"])
}

#[test]
fn a_lost_first_segment_is_in_the_connect_latency() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    let load = ["--connections", "3", "--messages", "1", "--connect", SERVER];
    let peers = Peers::start(&[], &load)?;
    // The first of every two: each connection is asked for twice, the second time after the kernel's second.
    lose(&peers.server, &["-p", "tcp", "--syn"], 2)?;
    let truth = peers.run()?;
    let scrape =
        read_until(&daemon, |scrape| direction(&scrape.of(peers.client.id()), "opened") == 3)?;
    let client = scrape.of(peers.client.id());
    assert_eq!(direction(&client, "opened"), 3);
    let waited_s = client.sum(&format!("cgscope_{LATENCY}_sum"), &[]);
    let called_s = number(&truth, "connect_ns")? as f64 / 1e9;
    assert!(called_s > 3.0, "each connect took {} s", called_s / 3.0);
    assert!((waited_s - called_s).abs() < 0.01 * called_s, "{waited_s} of {called_s} s");
    assert_eq!(counter(&client, "tcp_retransmitted_segments_total", &[]), 3);
    assert_eq!(kernel_counter(&peers.client, "Tcp", "RetransSegs")?, 3, "the kernel's");
    Ok(())
}

/// Before and after the daemon's start: what was there already is found, what comes is followed.
#[test]
fn sockets_are_counted_by_state() -> Result<()> {
    let before = Peers::start(&[], &["--hold", "20", "--connect", SERVER])?;
    before.run()?;
    let daemon = Daemon::start(&ALONE)?;
    let after = Peers::start(&[], &["--hold", "30", "--connect", SERVER])?;
    after.run()?;
    let kernel = |container| -> Result<Vec<u64>> {
        STATES.iter().map(|(_, number)| kernel_sockets(container, *number)).collect()
    };
    let seen = |subject: &Subject| -> Vec<u64> {
        let of = |state| counter(subject, "tcp_sockets", &[("state", state)]);
        STATES.iter().map(|(name, _)| of(*name)).collect()
    };
    let all = [&before.server, &before.client, &after.server, &after.client];
    let truth: Vec<_> = all.iter().map(|container| kernel(container)).collect::<Result<_>>()?;
    assert_eq!((truth[0][0], truth[1][0], truth[2][0]), (20, 20, 30), "the kernel's");
    assert_eq!((truth[0][4], truth[3][4]), (1, 0), "the kernel's");
    let read = |scrape: &Scrape| -> Vec<_> {
        all.iter().map(|container| seen(&scrape.of(container.id()))).collect()
    };
    let scrape = read_until(&daemon, |scrape| read(scrape) == truth)?;
    assert_eq!(read(&scrape), truth);

    // Their clients end: the server closes what they leave, and only its listener remains.
    before.client.stop()?;
    after.client.kill()?;
    let listener = vec![0, 0, 0, 0, 1];
    let servers = |scrape: &Scrape| -> Vec<_> {
        let both = [&before.server, &after.server];
        both.iter().map(|container| seen(&scrape.of(container.id()))).collect()
    };
    let expected = vec![listener.clone(), listener];
    let scrape = read_until(&daemon, |scrape| servers(scrape) == expected)?;
    assert_eq!(servers(&scrape), expected);
    assert_eq!(scrape.dropped("connection_table_full"), 0);
    Ok(())
}
