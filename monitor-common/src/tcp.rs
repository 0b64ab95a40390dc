//! Records of the `tcp` family: what is counted per cgroup slot of sockets, and what is kept of each connection.
//!
//! Contract: a number belongs to the cgroup of the socket, which is that of the process that made it (an accepted one
//! inherits its listener's). Bytes are of the application: what it handed to the socket and what it took from it.
//! The words that system calls count are written with plain additions, by their own CPU and never from an interrupt; all
//! others are added to atomically, since a packet may interrupt a call on the same CPU.

use crate::bucket::RawHistogram;

/// States of a TCP socket (`TCP_ESTABLISHED` is 1, `TCP_CLOSING` 11), with the unused 0.
pub const STATES: usize = 12;

/// `TCP_ESTABLISHED`.
pub const ESTABLISHED: u32 = 1;
/// `TCP_SYN_SENT`.
pub const SYN_SENT: u32 = 2;
/// `TCP_SYN_RECV`.
pub const SYN_RECEIVED: u32 = 3;
/// `TCP_TIME_WAIT`: no socket any more, only its addresses.
pub const TIME_WAIT: u32 = 6;
/// `TCP_CLOSE`.
pub const CLOSED: u32 = 7;
/// `TCP_LISTEN`.
pub const LISTEN: u32 = 10;
/// `TCP_NEW_SYN_RECV`: a request, not yet a socket.
pub const REQUEST: u32 = 12;

/// The values of the label `state`, by number; empty for what no socket is counted in.
pub const STATE_NAMES: [&str; STATES] = [
    "",
    "established",
    "syn_sent",
    "syn_received",
    "fin_wait1",
    "fin_wait2",
    "",
    "",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

/// What is counted of a slot.
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpCounter {
    /// Bytes that programs sent by TCP. This and the next five are counted by system calls only.
    SentBytes,
    /// Bytes that programs received by TCP.
    ReceivedBytes,
    /// Bytes that programs sent by UDP.
    UdpSentBytes,
    /// Bytes that programs received by UDP.
    UdpReceivedBytes,
    /// Datagrams that programs sent.
    UdpSent,
    /// Datagrams that programs received.
    UdpReceived,
    /// Connections established that were asked for here.
    Opened,
    /// Connections established that were asked for elsewhere.
    Accepted,
    /// Segments sent again.
    RetransmittedSegments,
    /// Resets sent.
    ResetsSent,
    /// Resets received.
    ResetsReceived,
    /// Connections asked for that the other side answered with a reset.
    Refused,
    /// That nobody answered.
    TimedOut,
    /// To which a router, or this host, said that there is no way.
    Unreachable,
    /// That the program gave up.
    Abandoned,
    /// That failed with another error.
    FailedOtherwise,
    /// Datagrams sent to port 53, of [`Self::UdpSent`]. This and the next are counted by system calls only.
    DnsQueries,
    /// Those of them that got an answer.
    DnsAnswers,
}

impl TcpCounter {
    /// How many there are.
    pub const COUNT: usize = 18;
}

/// What is counted per slot and CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotTcp {
    /// By [`TcpCounter`].
    pub counters: [u64; TcpCounter::COUNT],
    /// Sockets that came to a state on this CPU less those that left it here, by the state's number, wrapping.
    pub states: [u64; STATES],
    /// Explicit padding to whole cache lines.
    pub padding: [u64; 2],
}

const _: () = assert!(size_of::<SlotTcp>() == 256);

/// What of a slot is distributed.
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpLatency {
    /// From the first segment of a connection asked for here to its being established.
    Connect,
    /// The kernel's smoothed round-trip time, as each send found it.
    RoundTrip,
    /// From a query of DNS to its answer.
    Dns,
}

impl TcpLatency {
    /// How many distributions.
    pub const COUNT: usize = 3;
}

/// The distributions of one slot and lane, indexed by [`TcpLatency`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SlotTcpLatency {
    /// See [`TcpLatency`].
    pub histograms: [RawHistogram; TcpLatency::COUNT],
}

const _: () = assert!(size_of::<SlotTcpLatency>() == TcpLatency::COUNT * size_of::<RawHistogram>());

/// What is kept of a TCP socket that is not closed, by its address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// When its first segment was sent, `CLOCK_MONOTONIC` ns; 0 for one that others asked for.
    pub asked_ns: u64,
    /// The slot it is counted in.
    pub slot: u32,
    /// The state it is counted in.
    pub state: u32,
}

const _: () = assert!(size_of::<Connection>() == 16);

/// Sockets that are not closed and can be followed at once.
pub const MAX_CONNECTIONS: u32 = 32_768;

/// Whose packets were dropped, and why.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketDropKey {
    /// The slot of the socket that sent them or should have got them.
    pub slot: u32,
    /// `enum skb_drop_reason`; 0 where the kernel gives none.
    pub reason: u32,
}

const _: () = assert!(size_of::<PacketDropKey>() == 8);

/// Pairs of a slot and a reason that are kept.
pub const MAX_PACKET_DROPS: u32 = 4_096;
