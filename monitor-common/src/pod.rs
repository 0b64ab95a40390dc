//! Which records user space may read and write as plain bytes.

use crate::{
    block::{BlockKey, QueueWait},
    files::{LayerKey, LayerOpens},
    memory::OomKey,
    offcpu::Wait,
    offset::KernelOffsets,
    python::PythonLayout,
    sched::Thread,
    stack::StackSample,
    tcp::PacketDropKey,
    tunable::Tunables,
    weight::{LockKey, LockWait, Resident},
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
unsafe impl aya::Pod for LayerKey {}
// SAFETY: as above.
unsafe impl aya::Pod for LayerOpens {}
// SAFETY: as above.
unsafe impl aya::Pod for QueueWait {}
// SAFETY: as above.
unsafe impl aya::Pod for Wait {}
// SAFETY: as above.
unsafe impl aya::Pod for LockKey {}
// SAFETY: as above.
unsafe impl aya::Pod for LockWait {}
// SAFETY: as above.
unsafe impl aya::Pod for Resident {}
// SAFETY: as above.
unsafe impl aya::Pod for StackSample {}
// SAFETY: as above.
unsafe impl aya::Pod for PythonLayout {}
