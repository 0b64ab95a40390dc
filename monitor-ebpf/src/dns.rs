//! DNS as the sockets of each container see it: a query is what a socket sends by UDP to port 53, and what comes back there answers it.
//!
//! Not seen: sockets that are not connected, as musl's resolver has them, and DNS over TCP or TLS. What the answer says is not looked at.

use aya_ebpf::{macros::map, maps::LruHashMap};
use monitor_common::{
    dns::{DNS_PORT, DnsSocket},
    tcp::{SlotTcp, TcpCounter, TcpLatency},
};

use crate::{
    config::tunable,
    histogram,
    socket::{ReadSocket, Socket},
    tcp::{count_in_call, now_ns, record_latency},
};

/// Sockets that asked, by their address. Those that got no answer leave with the oldest.
#[map]
static DNS_SOCKETS: LruHashMap<u64, DnsSocket> = LruHashMap::with_max_entries(1, 0);

/// Whether a UDP socket is connected to a server of DNS.
#[inline(always)]
pub fn is_dns<R: ReadSocket>(socket: Socket<R>) -> bool {
    socket.remote_port() == DNS_PORT
}

/// A datagram was sent.
///
/// # Safety
/// `record` is that of this CPU; the hook runs with preemption off.
#[inline(always)]
pub unsafe fn on_send<R: ReadSocket>(socket: Socket<R>, record: *mut SlotTcp) {
    // SAFETY: as for this function.
    unsafe { count_in_call(record, TcpCounter::DnsQueries, 1) };
    let (address, local_port) = (socket.address(), socket.local_port());
    if let Some(kept) = DNS_SOCKETS.get_ptr_mut(&address) {
        // SAFETY: a map value; of two threads that ask by one socket at once, one may not be counted as waiting.
        unsafe {
            // Another socket may lie where one was that got no answer.
            let is_waiting = (*kept).local_port == local_port
                && (*kept).unanswered > 0
                && (*kept).is_answered == 0;
            if is_waiting {
                (*kept).unanswered += 1;
            } else {
                *kept = asked(local_port);
            }
        }
        return;
    }
    // What finds no place has no answer, and the count of answers says so.
    let _ = DNS_SOCKETS.insert(&address, &asked(local_port), 0);
}

#[inline(always)]
fn asked(local_port: u16) -> DnsSocket {
    DnsSocket { asked_ns: now_ns(), unanswered: 1, local_port, is_answered: 0 }
}

/// A datagram was received.
///
/// # Safety
/// As for [`on_send`].
#[inline(always)]
pub unsafe fn on_receive<R: ReadSocket>(socket: Socket<R>, slot: u32, record: *mut SlotTcp) {
    let Some(kept) = DNS_SOCKETS.get_ptr_mut(&socket.address()) else { return };
    // SAFETY: a map value.
    let before = unsafe { *kept };
    if before.local_port != socket.local_port() || before.unanswered == 0 {
        return;
    }
    // SAFETY: as above, and as for this function.
    unsafe {
        (*kept).unanswered = before.unanswered - 1;
        (*kept).is_answered = 1;
        count_in_call(record, TcpCounter::DnsAnswers, 1);
    }
    if let Some(waited_ns) = histogram::elapsed_ns(before.asked_ns, now_ns()) {
        let is_shared = tunable!(block_shared_lanes) != 0;
        record_latency(slot, TcpLatency::Dns, waited_ns, is_shared);
    }
}
