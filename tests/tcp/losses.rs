//! What is lost on the way: segments that are sent again, packets that the kernel drops.

use anyhow::{Result, bail};
use cgscope_tests::{Daemon, Scrape, Subject};

use crate::ALONE;
use crate::peers::{Peers, counter, number, read_until};
use crate::wire::{SERVER, kernel_counter, lose, lost_packets};

const RETRANSMITTED: &str = "tcp_retransmitted_segments_total";

/// How many times the exchange is repeated until none of its packets interrupted a hidden thread.
const ATTEMPTS: u32 = 5;

/// Platforms exist that keep the threads of their agent out of every eBPF tracepoint, and with them the packets that interrupt
/// these: ftrace sees such a retransmission, we do not. So ours are never more than the kernel's, and as many as soon as
/// none of that happened.
fn retransmissions_are_counted(flags: &[&str]) -> Result<()> {
    let daemon = Daemon::start(&[&ALONE, flags].concat())?;
    for attempt in 1..=ATTEMPTS {
        let (ours, kernel) = retransmit(&daemon)?;
        eprintln!("attempt {attempt}: sent again {ours}, the kernel says {kernel}");
        assert!(ours <= kernel);
        if ours == kernel {
            return Ok(());
        }
    }
    bail!("not once in {ATTEMPTS} times as many as the kernel's")
}

/// Segments that a client sent again, as cgscope and as the kernel say.
fn retransmit(daemon: &Daemon) -> Result<(u64, u64)> {
    let load = ["--connections", "3", "--messages", "60", "--bytes", "60000", "--connect", SERVER];
    let peers = Peers::start(&[], &load)?;
    lose(&peers.server, &["-p", "tcp"], 30)?;
    let truth = peers.run()?;
    assert_eq!(number(&truth, "tcp_received")?, 3 * 60 * 60_000, "nothing is missing in the end");
    let lost = lost_packets(&peers.server)?;
    peers.server.stop()?;
    let again = |scrape: &Scrape| counter(&scrape.of(peers.client.id()), RETRANSMITTED, &[]);
    // The wire has two ends with a namespace each: the kernel counts there for itself.
    let kernel = kernel_counter(&peers.client, "Tcp", "RetransSegs")?;
    let scrape = read_until(daemon, |scrape| again(scrape) == kernel)?;
    // Of its own bytes: what TCP sent again is not in them.
    let sent = counter(&scrape.of(peers.client.id()), "tcp_bytes_total", &[("direction", "sent")]);
    assert_eq!(sent, number(&truth, "tcp_sent")?);
    // Packets of a connection had found their socket when they were dropped, the first of each had not: those are nobody's.
    let dropped = |subject: &Subject| {
        counter(subject, "tcp_dropped_packets_total", &[("reason", "netfilter_drop")])
    };
    let of_server = dropped(&scrape.of(peers.server.id()));
    assert!(of_server > 0 && of_server <= lost, "{of_server} of {lost}");
    assert!(lost < kernel, "a lost packet holds several segments: {lost} of {kernel}");
    Ok((again(&scrape), kernel))
}

#[test]
fn retransmitted_segments_are_those_of_the_kernel_by_tp_btf() -> Result<()> {
    retransmissions_are_counted(&["--hook", "tp_btf"])
}

#[test]
fn retransmitted_segments_are_those_of_the_kernel_by_raw_tp() -> Result<()> {
    retransmissions_are_counted(&["--hook", "raw_tp"])
}

#[test]
fn datagrams_for_a_full_buffer_are_dropped_for_their_receiver() -> Result<()> {
    let daemon = Daemon::start(&ALONE)?;
    let load = ["--flood", "5000", "--datagram-bytes", "1000", "--connect", SERVER];
    let peers = Peers::start(&["--deaf", "1"], &load)?;
    let truth = peers.run()?;
    assert_eq!(number(&truth, "datagrams_sent")?, 5_000);
    let kernel = kernel_counter(&peers.server, "Udp", "RcvbufErrors")?;
    assert!(kernel > 1_000, "{kernel} found the buffer full");
    let dropped = |subject: &Subject| {
        counter(subject, "tcp_dropped_packets_total", &[("reason", "socket_rcvbuff")])
    };
    let scrape = read_until(&daemon, |scrape| dropped(&scrape.of(peers.server.id())) == kernel)?;
    assert_eq!(dropped(&scrape.of(peers.server.id())), kernel);
    assert_eq!(dropped(&scrape.of(peers.client.id())), 0);
    Ok(())
}
