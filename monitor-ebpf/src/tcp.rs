//! The `tcp` family: what the sockets of each container send, receive and lose, and how their connections come about.
//!
//! Attribution: the cgroup of the socket ([`crate::socket`]). Where the kernel does not keep one, bytes belong to the thread
//! that sends or receives them, connections to the thread that asked or listened, and the rest to nobody.
//!
//! Bytes are counted once a call, in the process that made it, and not once a packet: they are the application's own, without
//! what TCP sent again. Not seen: `splice` from a socket into a pipe and mapped receiving, which pass those hooks by.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_sock_from_file},
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use monitor_common::{
    drops::DropReason,
    sched::SLOT_UNATTRIBUTED,
    tcp::{
        CLOSED, Connection, ESTABLISHED, LISTEN, PacketDropKey, STATES, SYN_RECEIVED, SYN_SENT,
        SlotTcp, SlotTcpLatency, TcpCounter, TcpLatency,
    },
};

use crate::{
    atomic,
    config::{offset, tunable},
    dns, drops, histogram,
    kernel::{self, Direct, Probe, pointer},
    slot,
    socket::{self, ReadSocket, Socket},
};

/// Counters, at `slot * cpus + cpu`.
#[map]
static SLOT_TCP: Array<SlotTcp> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Distributions, at `slot * lanes + lane`, with the lanes of the `block` family.
#[map]
static SLOT_TCP_LATENCIES: Array<SlotTcpLatency> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// TCP sockets that are not closed, by their address.
#[map]
static CONNECTIONS: HashMap<u64, Connection> = HashMap::with_max_entries(1, 0);

/// Packets that the kernel gave up.
#[map]
static PACKET_DROPS: HashMap<PacketDropKey, u64> = HashMap::with_max_entries(1, 0);

const BPF_NOEXIST: u64 = 1;

const ENETUNREACH: u32 = 101;
const ECONNRESET: u32 = 104;
const ETIMEDOUT: u32 = 110;
const ECONNREFUSED: u32 = 111;
const EHOSTUNREACH: u32 = 113;

/// `MSG_ERRQUEUE`: what is received is one's own packet, sent back with an error.
const MSG_ERRQUEUE: u32 = 0x2000;
/// `MSG_PEEK`: it will be received once more.
const MSG_PEEK: u32 = 2;

/// `ETH_P_IP` and `ETH_P_IPV6` in network order.
const PROTOCOL_IP: u16 = 0x0800_u16.to_be();
const PROTOCOL_IPV6: u16 = 0x86dd_u16.to_be();

/// `sock_send_length(struct sock *sk, int ret, int flags)`: of any socket, after each call.
#[btf_tracepoint(function = "sock_send_length")]
pub fn tcp_send(ctx: BtfTracePointContext) -> i32 {
    on_send::<Direct>(Socket::new(ctx.arg(0)), ctx.arg::<usize>(1) as i32);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn tcp_send_raw(ctx: RawTracePointContext) -> i32 {
    on_send::<Probe>(Socket::new(ctx.arg(0)), ctx.arg::<usize>(1) as i32);
    0
}

/// `sock_recv_length(struct sock *sk, int ret, int flags)`: of any socket, after each call.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn tcp_receive(ctx: BtfTracePointContext) -> i32 {
    let (bytes, flags) = (ctx.arg::<usize>(1) as i32, ctx.arg::<usize>(2) as u32);
    on_receive::<Direct>(Socket::new(ctx.arg(0)), bytes, flags);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub fn tcp_receive_raw(ctx: RawTracePointContext) -> i32 {
    let (bytes, flags) = (ctx.arg::<usize>(1) as i32, ctx.arg::<usize>(2) as u32);
    on_receive::<Probe>(Socket::new(ctx.arg(0)), bytes, flags);
    0
}

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn tcp_state(ctx: BtfTracePointContext) -> i32 {
    let (from, to) = (ctx.arg::<usize>(1) as u32, ctx.arg::<usize>(2) as u32);
    on_state::<Direct>(Socket::new(ctx.arg(0)), from, to);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn tcp_state_raw(ctx: RawTracePointContext) -> i32 {
    let (from, to) = (ctx.arg::<usize>(1) as u32, ctx.arg::<usize>(2) as u32);
    on_state::<Probe>(Socket::new(ctx.arg(0)), from, to);
    0
}

/// `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb, int err)`, before 6.15 without the error.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn tcp_retransmit(ctx: BtfTracePointContext) -> i32 {
    if tunable!(retransmit_has_error) == 0 || ctx.arg::<usize>(2) as u32 == 0 {
        on_retransmit::<Direct>(Socket::new(ctx.arg(0)), ctx.arg(1));
    }
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn tcp_retransmit_raw(ctx: RawTracePointContext) -> i32 {
    if tunable!(retransmit_has_error) == 0 || ctx.arg::<usize>(2) as u32 == 0 {
        on_retransmit::<Probe>(Socket::new(ctx.arg(0)), ctx.arg(1));
    }
    0
}

/// `tcp_retransmit_synack(const struct sock *sk, const struct request_sock *req)`: the answer of a listener.
#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub fn tcp_retransmit_synack(ctx: BtfTracePointContext) -> i32 {
    let slot = slot_of(Socket::<Direct>::new(ctx.arg(0)));
    count(slot, TcpCounter::RetransmittedSegments, 1);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "tcp_retransmit_synack")]
pub fn tcp_retransmit_synack_raw(ctx: RawTracePointContext) -> i32 {
    let slot = slot_of(Socket::<Probe>::new(ctx.arg(0)));
    count(slot, TcpCounter::RetransmittedSegments, 1);
    0
}

/// `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb, ...)`: without a socket where nobody listens.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn tcp_send_reset(ctx: BtfTracePointContext) -> i32 {
    let slot = slot_of(Socket::<Direct>::new(ctx.arg(0)));
    count(slot, TcpCounter::ResetsSent, 1);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub fn tcp_send_reset_raw(ctx: RawTracePointContext) -> i32 {
    let slot = slot_of(Socket::<Probe>::new(ctx.arg(0)));
    count(slot, TcpCounter::ResetsSent, 1);
    0
}

/// `tcp_receive_reset(struct sock *sk)`.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    let slot = slot_of(Socket::<Direct>::new(ctx.arg(0)));
    count(slot, TcpCounter::ResetsReceived, 1);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub fn tcp_receive_reset_raw(ctx: RawTracePointContext) -> i32 {
    let slot = slot_of(Socket::<Probe>::new(ctx.arg(0)));
    count(slot, TcpCounter::ResetsReceived, 1);
    0
}

/// The arguments of `kfree_skb(struct sk_buff *skb, void *location, enum skb_drop_reason reason, struct sock *rx_sk)` after the
/// first; older kernels lack the last or the last two.
macro_rules! packet_drop {
    ($ctx:ident) => {{
        let arguments = tunable!(packet_drop_arguments);
        let reason = if arguments > 2 { $ctx.arg::<usize>(2) as u32 } else { 0 };
        let receiver: *const c_void = if arguments > 3 { $ctx.arg(3) } else { core::ptr::null() };
        (reason, receiver)
    }};
}

/// `kfree_skb`: a packet that is not delivered.
#[btf_tracepoint(function = "kfree_skb")]
pub fn tcp_packet_drop(ctx: BtfTracePointContext) -> i32 {
    let (reason, receiver) = packet_drop!(ctx);
    on_packet_drop::<Direct>(ctx.arg(0), reason, receiver);
    0
}

/// The same where the verifier does not type arguments.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn tcp_packet_drop_raw(ctx: RawTracePointContext) -> i32 {
    let (reason, receiver) = packet_drop!(ctx);
    on_packet_drop::<Probe>(ctx.arg(0), reason, receiver);
    0
}

/// Run for each descriptor of each process once the hooks are attached: connections that are there already are counted by state.
/// A connection without a descriptor, which nobody has accepted yet or whose process is gone, is found at its next change.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn tcp_sockets(ctx: *mut c_void) -> i32 {
    // SAFETY: `struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; u32 fd; struct file *file; }`,
    // each in 8 bytes.
    let file = unsafe { *ctx.cast::<*const c_void>().add(3) };
    if file.is_null() {
        return 0;
    }
    // SAFETY: the verifier knows it as an open file.
    let of_file = unsafe { bpf_sock_from_file(file.cast_mut().cast()) } as *const c_void;
    if of_file.is_null() {
        return 0;
    }
    let socket = Socket::<Direct>::new(pointer::<Direct>(of_file, offset!(socket_sk)));
    if socket.is_null() || !socket.is_internet() || socket.protocol() != socket::TCP {
        return 0;
    }
    let state = socket.state();
    if state == CLOSED || !Socket::<Direct>::is_owner_kept() {
        return 0;
    }
    let address = socket.address();
    let connection = Connection { asked_ns: 0, slot: socket.slot(), state };
    if CONNECTIONS.insert(&address, &connection, BPF_NOEXIST).is_err() {
        return 0;
    }
    // It may have closed before anybody could find it.
    if socket.state() == CLOSED {
        let _ = CONNECTIONS.remove(&address);
    } else {
        count_state(connection.slot, state, 1);
    }
    0
}

/// The record of a slot on this CPU.
#[inline(always)]
fn record(slot: u32) -> Option<*mut SlotTcp> {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    SLOT_TCP.get_ptr_mut(slot * tunable!(cpus) + cpu)
}

/// Adds to a counter that packets and interrupts add to as well.
#[inline(always)]
fn count(slot: u32, counter: TcpCounter, value: u64) {
    let index = counter as usize;
    if index >= TcpCounter::COUNT {
        return;
    }
    if let Some(record) = record(slot) {
        // SAFETY: the index is inside; the record is a map value.
        unsafe { atomic::add_u64((&raw mut (*record).counters).cast::<u64>().add(index), value) };
    }
}

/// Adds to a counter that only calls add to.
///
/// # Safety
/// `record` is that of this CPU; the hook runs with preemption off.
#[inline(always)]
pub unsafe fn count_in_call(record: *mut SlotTcp, counter: TcpCounter, value: u64) {
    // SAFETY: as for this function; the index is a constant inside.
    unsafe { (*record).counters[counter as usize] += value };
}

/// Adds to the sockets of a state; `u64::MAX` takes one away.
#[inline(always)]
fn count_state(slot: u32, state: u32, value: u64) {
    let index = state as usize;
    if index >= STATES {
        return;
    }
    if let Some(record) = record(slot) {
        // SAFETY: the index is inside; the record is a map value.
        unsafe { atomic::add_u64((&raw mut (*record).states).cast::<u64>().add(index), value) };
    }
}

/// Records a latency of a slot.
#[inline(always)]
pub fn record_latency(slot: u32, latency: TcpLatency, latency_ns: u64, is_shared: bool) {
    // SAFETY: no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let lane =
        if tunable!(block_shared_lanes) == 0 { cpu } else { cpu & (tunable!(block_lanes) - 1) };
    if let Some(record) = SLOT_TCP_LATENCIES.get_ptr_mut(slot * tunable!(block_lanes) + lane) {
        // SAFETY: the index is one of the record's, and the record is a map value.
        unsafe {
            let histogram = &raw mut (*record).histograms[latency as usize];
            histogram::record_in(histogram, latency_ns, is_shared);
        }
    }
}

/// The slot of a socket that may not be there or not be whole.
#[inline(always)]
fn slot_of<R: ReadSocket>(socket: Socket<R>) -> u32 {
    if socket.is_null() || !socket.is_full() {
        return SLOT_UNATTRIBUTED;
    }
    if Socket::<R>::is_owner_kept() {
        return socket.slot();
    }
    // SAFETY: the value is read at once.
    match unsafe { CONNECTIONS.get(socket.address()) } {
        Some(connection) => connection.slot,
        None => SLOT_UNATTRIBUTED,
    }
}

/// The slot of a socket in the middle of a call that its user makes.
#[inline(always)]
fn slot_in_call<R: ReadSocket>(socket: Socket<R>) -> u32 {
    let task = kernel::current();
    if !Socket::<R>::is_owner_kept() {
        return slot::of_current(task);
    }
    // Nearly always it belongs to who calls, whose slot is at hand: a cgroup's is a hash away, some 36 of 170 ns.
    let is_its_own = socket.cgroup() as u64 == task.default_cgroup() as u64;
    if is_its_own && !task.is_kernel_thread() {
        return slot::of_current(task);
    }
    socket.slot()
}

#[inline(always)]
fn on_send<R: ReadSocket>(socket: Socket<R>, sent: i32) {
    if sent < 0 || !socket.is_internet() {
        return;
    }
    let protocol = socket.protocol();
    if protocol != socket::TCP && protocol != socket::UDP {
        return;
    }
    let slot = slot_in_call(socket);
    let Some(record) = record(slot) else { return };
    // SAFETY: it is that of this CPU.
    unsafe {
        if protocol == socket::UDP {
            count_in_call(record, TcpCounter::UdpSentBytes, sent as u64);
            count_in_call(record, TcpCounter::UdpSent, 1);
            if dns::is_dns(socket) {
                dns::on_send(socket, record);
            }
            return;
        }
        count_in_call(record, TcpCounter::SentBytes, sent as u64);
    }
    let round_trip_ns = u64::from(socket.round_trip_eighths_us()) * (1_000 / 8);
    if round_trip_ns != 0 {
        let is_shared = tunable!(block_shared_lanes) != 0;
        record_latency(slot, TcpLatency::RoundTrip, round_trip_ns, is_shared);
    }
}

#[inline(always)]
fn on_receive<R: ReadSocket>(socket: Socket<R>, received: i32, flags: u32) {
    if received < 0 || flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 || !socket.is_internet() {
        return;
    }
    let protocol = socket.protocol();
    let is_udp = protocol == socket::UDP;
    if protocol != socket::TCP && !is_udp {
        return;
    }
    let slot = slot_in_call(socket);
    let Some(record) = record(slot) else { return };
    // SAFETY: it is that of this CPU.
    unsafe {
        if is_udp {
            count_in_call(record, TcpCounter::UdpReceivedBytes, received as u64);
            count_in_call(record, TcpCounter::UdpReceived, 1);
            if dns::is_dns(socket) {
                dns::on_receive(socket, slot, record);
            }
        } else {
            count_in_call(record, TcpCounter::ReceivedBytes, received as u64);
        }
    }
}

/// A TCP socket goes from one state to another, under its lock.
#[inline(always)]
fn on_state<R: ReadSocket>(socket: Socket<R>, from: u32, to: u32) {
    if socket.protocol() != socket::TCP {
        return;
    }
    let address = socket.address();
    let kept = CONNECTIONS.get_ptr_mut(&address);
    // SAFETY: only changes of this socket write its entry, and they come one after another.
    let before = kept.map(|kept| unsafe { *kept });
    let slot = match before {
        _ if Socket::<R>::is_owner_kept() => socket.slot(),
        // Both are states that a call of its user brings about.
        _ if to == SYN_SENT || to == LISTEN => slot_in_call(socket),
        Some(before) => before.slot,
        None => SLOT_UNATTRIBUTED,
    };
    // Another slot now means that the old one has been given back, with what was counted there.
    if let Some(before) = before.filter(|before| before.slot == slot) {
        count_state(slot, before.state, u64::MAX);
    }
    let asked_ns = before.map_or(0, |before| before.asked_ns);
    if to == ESTABLISHED {
        establish(slot, from, asked_ns);
    }
    if to == CLOSED {
        if from == SYN_SENT {
            fail(slot, socket.error());
        }
        if before.is_some() {
            let _ = CONNECTIONS.remove(&address);
        }
        return;
    }
    let asked_ns = match to {
        SYN_SENT => now_ns(),
        // The two ends asked each other at the same time.
        SYN_RECEIVED if from == SYN_SENT => asked_ns,
        _ => 0,
    };
    count_state(slot, to, 1);
    let after = Connection { asked_ns, slot, state: to };
    match kept {
        // SAFETY: as above.
        Some(kept) => unsafe { *kept = after },
        None => {
            if CONNECTIONS.insert(&address, &after, 0).is_err() {
                count_state(slot, to, u64::MAX);
                drops::count(DropReason::ConnectionTableFull);
            }
        }
    }
}

#[inline(always)]
fn establish(slot: u32, from: u32, asked_ns: u64) {
    let is_ours = from == SYN_SENT || asked_ns != 0;
    count(slot, if is_ours { TcpCounter::Opened } else { TcpCounter::Accepted }, 1);
    if asked_ns != 0 {
        if let Some(waited_ns) = histogram::elapsed_ns(asked_ns, now_ns()) {
            // A packet may interrupt a call that records another connection of the same slot.
            record_latency(slot, TcpLatency::Connect, waited_ns, true);
        }
    }
}

#[inline(always)]
fn fail(slot: u32, error: u32) {
    let counter = match error {
        0 | ECONNRESET => TcpCounter::Abandoned,
        ECONNREFUSED => TcpCounter::Refused,
        ETIMEDOUT => TcpCounter::TimedOut,
        ENETUNREACH | EHOSTUNREACH => TcpCounter::Unreachable,
        _ => TcpCounter::FailedOtherwise,
    };
    count(slot, counter, 1);
}

/// Some segments of a packet are sent again, which is one event.
#[inline(always)]
fn on_retransmit<R: ReadSocket>(socket: Socket<R>, packet: *const c_void) {
    let segments: u16 = R::at(packet, offset!(skb_cb) + offset!(tcp_skb_segments));
    let slot = slot_of(socket);
    count(slot, TcpCounter::RetransmittedSegments, u64::from(segments));
}

#[inline(always)]
fn on_packet_drop<R: ReadSocket>(packet: *const c_void, reason: u32, receiver: *const c_void) {
    let protocol: u16 = R::at(packet, offset!(skb_protocol));
    let mut socket = Socket::<R>::new(receiver);
    if socket.is_null() {
        socket = Socket::new(pointer::<R>(packet, offset!(skb_socket)));
    }
    // What a socket sends has no protocol yet until it has a header.
    let is_internet = match socket.is_null() {
        true => protocol == PROTOCOL_IP || protocol == PROTOCOL_IPV6,
        false => socket.is_internet(),
    };
    if !is_internet {
        return;
    }
    let key = PacketDropKey { slot: slot_of(socket), reason };
    let add = || {
        let Some(count) = PACKET_DROPS.get_ptr_mut(&key) else { return false };
        // SAFETY: a map value.
        unsafe { atomic::add_u64(count, 1) };
        true
    };
    // Of two CPUs that insert at once, one finds the entry of the other.
    if !add() && PACKET_DROPS.insert(&key, &1, BPF_NOEXIST).is_err() && !add() {
        drops::count(DropReason::PacketDropTableFull);
    }
}

#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}
