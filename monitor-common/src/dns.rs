//! What is kept of a socket that asks a server of DNS.

/// The port of DNS, in network order as sockets have it.
pub const DNS_PORT: u16 = 53_u16.to_be();

/// Sockets that are remembered.
pub const MAX_DNS_SOCKETS: u32 = 4_096;

/// A socket that asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DnsSocket {
    /// When it sent the first query that is not answered, `CLOCK_MONOTONIC` ns. Resolvers ask for both kinds of addresses at once, and
    /// ask again when no answer comes: whoever waits does so from the first on.
    pub asked_ns: u64,
    /// Queries without an answer since then.
    pub unanswered: u32,
    /// Its own port, which tells it from another socket at the same address.
    pub local_port: u16,
    /// Not 0 once there was an answer since the last query: the next query begins anew, as what is still not answered then was given up.
    pub is_answered: u16,
}

const _: () = assert!(size_of::<DnsSocket>() == 16);
