//! The maps of the `tcp` family, and what its programs must know of this kernel.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use monitor_common::tcp::{PacketDropKey, SlotTcp, SlotTcpLatency};

use super::{
    MappedArray, ProbeError,
    load::{map_error, mapped, take},
};
use crate::kernel::btf::Btf;

/// 1 if a socket's cgroup shares its word with a class of net_cls or net_prio.
pub(super) fn cgroup_tag(btf: &Btf) -> u32 {
    u32::from(btf.member_bits("sock_cgroup_data", &["is_data"]).is_ok())
}

/// 1 if the tracepoint of a retransmission has the error as third argument.
pub(super) fn retransmit_has_error(btf: &Btf) -> u32 {
    u32::from(btf.tracepoint_arguments("tcp_retransmit_skb").is_some_and(|count| count > 2))
}

/// How many arguments the tracepoint of a dropped packet has.
pub(super) fn packet_drop_arguments(btf: &Btf) -> u32 {
    btf.tracepoint_arguments("kfree_skb").unwrap_or(2)
}

/// The names this kernel has for the reasons of a drop.
pub(super) fn packet_drop_reasons(btf: &Btf) -> BTreeMap<u32, String> {
    let named = btf.enumerators("skb_drop_reason");
    named
        .filter_map(|(name, value)| {
            Some((value, name.strip_prefix("SKB_DROP_REASON_")?.to_ascii_lowercase()))
        })
        .collect()
}

/// What is counted of sockets.
pub struct TcpMaps {
    /// Counters, at `slot * cpus + cpu`.
    pub counters: MappedArray<SlotTcp>,
    /// Distributions, at `slot * block_lanes + lane`.
    pub latencies: MappedArray<SlotTcpLatency>,
    packet_drops: HashMap<MapData, PacketDropKey, u64>,
    /// Names of reasons.
    reasons: BTreeMap<u32, String>,
}

impl TcpMaps {
    /// Takes the maps; `size` tells how many entries each was made with.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        size: impl Fn(&str) -> u32,
        reasons: BTreeMap<u32, String>,
    ) -> Result<Self, ProbeError> {
        Ok(Self {
            counters: mapped(ebpf, "SLOT_TCP", size("SLOT_TCP"))?,
            latencies: mapped(ebpf, "SLOT_TCP_LATENCIES", size("SLOT_TCP_LATENCIES"))?,
            packet_drops: HashMap::try_from(take(ebpf, "PACKET_DROPS")?).map_err(map_error)?,
            reasons,
        })
    }

    /// Packets dropped so far, by slot and reason. A system call for each pair that there ever was.
    pub fn packet_drops(&self) -> impl Iterator<Item = (PacketDropKey, u64)> + '_ {
        // An entry that vanishes meanwhile was removed by ourselves.
        self.packet_drops.iter().flatten()
    }

    /// Forgets the drops of a slot.
    pub fn forget_packet_drops(&mut self, slot: u32) {
        let of_slot: Vec<_> =
            self.packet_drops().map(|(key, _)| key).filter(|key| key.slot == slot).collect();
        for key in of_slot {
            // Not there any more is what we want.
            let _ = self.packet_drops.remove(&key);
        }
    }

    /// What the kernel calls a reason: `no_socket`, `tcp_zerowindow`. What a module added has only its number.
    pub fn reason_name(&self, reason: u32) -> String {
        match self.reasons.get(&reason) {
            Some(name) => name.clone(),
            // Kernels that give no reason.
            None if reason == 0 => "not_specified".to_owned(),
            None => format!("0x{reason:x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernel::btf;

    #[test]
    fn reasons_have_the_names_of_the_running_kernel() {
        let btf = Btf::open(Path::new(btf::VMLINUX)).unwrap();
        let reasons = packet_drop_reasons(&btf);
        // Kernels since 5.17 have some.
        if packet_drop_arguments(&btf) > 2 {
            assert!(reasons.values().any(|name| name == "no_socket"), "{reasons:?}");
        }
    }
}
