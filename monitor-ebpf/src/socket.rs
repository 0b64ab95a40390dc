//! A socket, as the kernel sees it: whose it is, and what it speaks.
//!
//! Contract: the owner is the cgroup that the kernel charges the socket to (`sk_cgrp_data`), never `current`, which in a softirq
//! is whoever was interrupted. That cgroup is always one of v2. Where v2 does not give the identity, or the
//! kernel keeps a class of net_cls or net_prio in its place (before 5.15), the socket's owner cannot be read from it.

use core::{ffi::c_void, marker::PhantomData};

use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use monitor_common::{
    drops::DropReason,
    sched::SLOT_UNATTRIBUTED,
    tcp::{REQUEST, TIME_WAIT},
    tunable::IDENTITY_V2,
};

use crate::{
    config::{offset, tunable},
    drops,
    kernel::{self, Direct, Probe, Read, pointer},
    slot,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `IPPROTO_TCP`.
pub const TCP: u16 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u16 = 17;

/// Set in `cgroup_subsys_state.flags` when the directory is being removed.
const CSS_DYING: u32 = 1 << 4;

/// How the members of a TCP socket behind those of every socket are reached.
pub trait ReadSocket: Read {
    /// The same socket, with its TCP members; null if it is none.
    fn tcp(socket: *const c_void) -> *const c_void;
}

impl ReadSocket for Direct {
    #[inline(always)]
    fn tcp(socket: *const c_void) -> *const c_void {
        // SAFETY: the helper checks that it is a whole TCP socket.
        unsafe { bpf_skc_to_tcp_sock(socket.cast_mut()) as *const c_void }
    }
}

impl ReadSocket for Probe {
    #[inline(always)]
    fn tcp(socket: *const c_void) -> *const c_void {
        socket
    }
}

/// A socket.
#[derive(Clone, Copy)]
pub struct Socket<R: Read>(*const c_void, PhantomData<R>);

impl<R: ReadSocket> Socket<R> {
    /// From an argument of a hook.
    #[inline(always)]
    pub fn new(socket: *const c_void) -> Self {
        Self(socket, PhantomData)
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Where it lies.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// Whether it speaks IP.
    #[inline(always)]
    pub fn is_internet(self) -> bool {
        let family: u16 = R::at(self.0, offset!(socket_family));
        family == AF_INET || family == AF_INET6
    }

    /// Its protocol.
    #[inline(always)]
    pub fn protocol(self) -> u16 {
        R::at(self.0, offset!(socket_protocol))
    }

    /// The port it is connected to, in network order; 0 for none.
    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        R::at(self.0, offset!(socket_remote_port))
    }

    /// Its own port.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        R::at(self.0, offset!(socket_local_port))
    }

    /// Its state, a number of TCP's.
    #[inline(always)]
    pub fn state(self) -> u32 {
        u32::from(R::at::<u8>(self.0, offset!(socket_state)))
    }

    /// Whether it is a socket at all, and not the request for one, or what is left of one: those lack most members.
    #[inline(always)]
    pub fn is_full(self) -> bool {
        let state = self.state();
        state != TIME_WAIT && state != REQUEST
    }

    /// The error it has; 0 for none.
    #[inline(always)]
    pub fn error(self) -> u32 {
        R::at(self.0, offset!(socket_error))
    }

    /// Its smoothed round-trip time in eighths of a microsecond; 0 before there is one.
    #[inline(always)]
    pub fn round_trip_eighths_us(self) -> u32 {
        let tcp = R::tcp(self.0);
        if tcp.is_null() { 0 } else { R::at(tcp, offset!(tcp_srtt_us)) }
    }

    /// Whether [`Self::slot`] can tell its owner.
    #[inline(always)]
    pub fn is_owner_kept() -> bool {
        tunable!(identity_subsys) == IDENTITY_V2
    }

    /// The cgroup it is charged to, as [`Self::is_owner_kept`] has it, with the tag of a kernel that tags it.
    #[inline(always)]
    pub fn cgroup(self) -> *const c_void {
        pointer::<R>(self.0, offset!(socket_cgroup))
    }

    /// The slot of its cgroup; `unattributed` where that is not known, or gone already. It must be full.
    #[inline(always)]
    pub fn slot(self) -> u32 {
        if !Self::is_owner_kept() {
            return SLOT_UNATTRIBUTED;
        }
        let cgroup = self.cgroup();
        // Refused of a typed pointer; a kernel that tags it takes the untyped hooks.
        if tunable!(socket_cgroup_tag) != 0 && cgroup as u64 & 1 != 0 {
            return SLOT_UNATTRIBUTED;
        }
        let id = kernel::cgroup_id::<R>(cgroup);
        if let Some(slot) = slot::known(id) {
            return slot;
        }
        Self::new_slot(cgroup, id)
    }

    #[inline(always)]
    fn new_slot(cgroup: *const c_void, id: u64) -> u32 {
        if id == 0 {
            drops::count(DropReason::TaskUnreadable);
            return SLOT_UNATTRIBUTED;
        }
        // A socket outlives its cgroup while it says goodbye. Nobody would give back a slot that is taken then.
        let flags: u32 = R::at(cgroup, offset!(cgroup_flags));
        if flags & CSS_DYING != 0 { SLOT_UNATTRIBUTED } else { slot::of_cgroup(id) }
    }
}
