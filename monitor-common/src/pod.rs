//! Which records user space may read and write as plain bytes.

use crate::{
    block::BlockKey, memory::OomKey, offcpu::Wait, offset::KernelOffsets, sched::Thread,
    tcp::PacketDropKey, tunable::Tunables,
};

// SAFETY: repr(C), integers only, no padding that is not a field of its own, any bytes are a valid value.
unsafe impl aya::Pod for KernelOffsets {}
// SAFETY: as above.
unsafe impl aya::Pod for Thread {}
// SAFETY: as above.
unsafe impl aya::Pod for Tunables {}
// SAFETY: as above.
unsafe impl aya::Pod for BlockKey {}
// SAFETY: as above.
unsafe impl aya::Pod for PacketDropKey {}
// SAFETY: as above.
unsafe impl aya::Pod for OomKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Wait {}
