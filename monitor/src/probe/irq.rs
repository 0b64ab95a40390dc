//! The maps of the `irq` family.

use aya::Ebpf;
use monitor_common::irq::{IrqVector, SlotIrq};

use super::{MappedArray, ProbeError, load::mapped};

/// What is counted of interrupts.
pub struct IrqMaps {
    /// By slot, at `slot * cpus + cpu`.
    pub slots: MappedArray<SlotIrq>,
    /// By vector, at `cpu * VECTORS_PER_CPU + vector`.
    pub vectors: MappedArray<IrqVector>,
}

impl IrqMaps {
    /// Takes the maps; `size` tells how many entries each was made with.
    pub(super) fn new(ebpf: &Ebpf, size: impl Fn(&str) -> u32) -> Result<Self, ProbeError> {
        Ok(Self {
            slots: mapped(ebpf, "SLOT_IRQ", size("SLOT_IRQ"))?,
            vectors: mapped(ebpf, "IRQ_VECTORS", size("IRQ_VECTORS"))?,
        })
    }
}
