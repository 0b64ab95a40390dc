//! What the family measures, and which program each number depends on: without it the number is unknown, not 0.

use monitor_common::tcp::TcpCounter;

use crate::metric::{Descriptor, descriptor};

descriptor!(
    pub(super) static BYTES,
    "cgscope_tcp_bytes_total",
    "TCP traffic",
    Bytes,
    Counter,
    Container,
    &["direction"],
    "tracepoints sock:sock_send_length, sock_recv_length",
    "6.5",
    "Bytes that its programs sent and received by TCP: the application's own, each once. Not what is spliced from a socket into a \
     pipe."
);
descriptor!(
    pub(super) static UDP_BYTES,
    "cgscope_udp_bytes_total",
    "UDP traffic",
    Bytes,
    Counter,
    Container,
    &["direction"],
    "tracepoints sock:sock_send_length, sock_recv_length",
    "6.5",
    "Bytes that its programs sent and received by UDP."
);
descriptor!(
    pub(super) static UDP_DATAGRAMS,
    "cgscope_udp_datagrams_total",
    "datagrams",
    Count,
    Counter,
    Container,
    &["direction"],
    "tracepoints sock:sock_send_length, sock_recv_length",
    "6.5",
    "Datagrams that its programs sent and received by UDP; one call that the kernel cuts into several counts once."
);
descriptor!(
    pub(super) static CONNECTIONS,
    "cgscope_tcp_connections_total",
    "connections",
    Count,
    Counter,
    Container,
    &["direction"],
    "tracepoint sock:inet_sock_set_state",
    "5.8",
    "TCP connections established: opened by its programs, or accepted by its listeners."
);
descriptor!(
    pub(super) static FAILURES,
    "cgscope_tcp_connect_failures_total",
    "failed connects",
    Count,
    Counter,
    Container,
    &["reason"],
    "tracepoint sock:inet_sock_set_state",
    "5.8",
    "TCP connections that its programs asked for and did not get: refused, timed_out, unreachable, abandoned (by the program itself, \
     or for want of a free port), other."
);
descriptor!(
    pub(super) static SOCKETS,
    "cgscope_tcp_sockets",
    "TCP sockets",
    Count,
    Gauge,
    Container,
    &["state"],
    "tracepoint sock:inet_sock_set_state, iterator over task_file",
    "5.11",
    "Its TCP sockets now, by state. What waits in TIME_WAIT is no socket any more."
);
descriptor!(
    pub(super) static RETRANSMITTED,
    "cgscope_tcp_retransmitted_segments_total",
    "retransmitted",
    Count,
    Counter,
    Container,
    &[],
    "tracepoints tcp:tcp_retransmit_skb, tcp_retransmit_synack",
    "5.8",
    "TCP segments sent again. One event can send several, and each counts."
);
descriptor!(
    pub(super) static RESETS,
    "cgscope_tcp_resets_total",
    "resets",
    Count,
    Counter,
    Container,
    &["direction"],
    "tracepoints tcp:tcp_send_reset, tcp_receive_reset",
    "5.8",
    "TCP resets sent and received. What answers a packet for no socket belongs to nobody."
);
descriptor!(
    pub(super) static CONNECT_LATENCY,
    "cgscope_tcp_connect_latency_seconds",
    "connect latency",
    Seconds,
    Distribution,
    Container,
    &[],
    "tracepoint sock:inet_sock_set_state",
    "5.8",
    "How long the connections that its programs opened took, from the first segment to being established."
);
descriptor!(
    pub(super) static ROUND_TRIP,
    "cgscope_tcp_round_trip_seconds",
    "TCP round trip",
    Seconds,
    Distribution,
    Container,
    &[],
    "tracepoint sock:sock_send_length",
    "6.5",
    "The smoothed round-trip time of its TCP connections, as each send found it."
);
descriptor!(
    pub(super) static DNS_QUERIES,
    "cgscope_dns_queries_total",
    "DNS queries",
    Count,
    Counter,
    Container,
    &[],
    "tracepoint sock:sock_send_length",
    "6.5",
    "Queries that its programs sent to port 53 by UDP, by sockets connected there: glibc's and Go's resolvers have those, musl's has \
     not. Shown once there is one."
);
descriptor!(
    pub(super) static DNS_ANSWERS,
    "cgscope_dns_answers_total",
    "DNS answers",
    Count,
    Counter,
    Container,
    &[],
    "tracepoint sock:sock_recv_length",
    "6.5",
    "Queries of DNS that its programs got an answer to, whatever it said."
);
descriptor!(
    pub(super) static DNS_LATENCY,
    "cgscope_dns_latency_seconds",
    "DNS latency",
    Seconds,
    Distribution,
    Container,
    &[],
    "tracepoints sock:sock_send_length, sock_recv_length",
    "6.5",
    "How long its programs waited for answers of DNS: from the first query of a socket that was not answered to the answer being taken."
);
descriptor!(
    pub(super) static PACKET_DROPS,
    "cgscope_tcp_dropped_packets_total",
    "dropped packets",
    Count,
    Counter,
    Container,
    &["reason"],
    "tracepoint skb:kfree_skb",
    "5.17",
    "IP packets from or to its sockets, of TCP, UDP or another protocol, that the kernel dropped, with the kernel's reason. What \
     was dropped before a socket was found belongs to nobody."
);

/// Everything.
pub(in crate::collect) static DESCRIPTORS: &[&Descriptor] = &[
    &BYTES,
    &UDP_BYTES,
    &UDP_DATAGRAMS,
    &CONNECTIONS,
    &FAILURES,
    &SOCKETS,
    &RETRANSMITTED,
    &RESETS,
    &CONNECT_LATENCY,
    &ROUND_TRIP,
    &PACKET_DROPS,
    &DNS_QUERIES,
    &DNS_ANSWERS,
    &DNS_LATENCY,
];

/// Shown of those who ask: most containers never do.
pub(super) static DNS: [&Descriptor; 3] = [&DNS_QUERIES, &DNS_ANSWERS, &DNS_LATENCY];

/// One counter of a slot.
pub(super) struct Series {
    pub metric: &'static Descriptor,
    pub label: Option<&'static str>,
    /// The program that counts it.
    pub program: &'static str,
}

const fn series(
    metric: &'static Descriptor,
    label: Option<&'static str>,
    program: &'static str,
) -> Series {
    Series { metric, label, program }
}

/// In the order of [`TcpCounter`].
pub(super) static SERIES: [Series; TcpCounter::COUNT] = [
    series(&BYTES, Some("sent"), "tcp_send"),
    series(&BYTES, Some("received"), "tcp_receive"),
    series(&UDP_BYTES, Some("sent"), "tcp_send"),
    series(&UDP_BYTES, Some("received"), "tcp_receive"),
    series(&UDP_DATAGRAMS, Some("sent"), "tcp_send"),
    series(&UDP_DATAGRAMS, Some("received"), "tcp_receive"),
    series(&CONNECTIONS, Some("opened"), "tcp_state"),
    series(&CONNECTIONS, Some("accepted"), "tcp_state"),
    series(&RETRANSMITTED, None, "tcp_retransmit"),
    series(&RESETS, Some("sent"), "tcp_send_reset"),
    series(&RESETS, Some("received"), "tcp_receive_reset"),
    series(&FAILURES, Some("refused"), "tcp_state"),
    series(&FAILURES, Some("timed_out"), "tcp_state"),
    series(&FAILURES, Some("unreachable"), "tcp_state"),
    series(&FAILURES, Some("abandoned"), "tcp_state"),
    series(&FAILURES, Some("other"), "tcp_state"),
    series(&DNS_QUERIES, None, "tcp_send"),
    series(&DNS_ANSWERS, None, "tcp_receive"),
];
