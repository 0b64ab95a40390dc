//! Load, attach, fall back, read maps and rings. The only folder that names aya.
//!
//! Contract: a program that is refused costs its own metrics only and is listed with the kernel's reason; dropping
//! [`Probes`] detaches everything, and nothing is ever pinned, so a killed daemon leaves nothing behind.

mod block;
mod config;
mod event;
mod failure;
mod files;
mod irq;
mod load;
mod map_watch;
mod mapping;
mod memory;
mod offcpu;
mod offsets;
mod outlier;
pub mod own;
mod program;
mod sampler;
mod settle;
mod slots;
mod stack;
mod stats;
mod syscall;
mod syscall_class;
mod task;
mod tcp;
mod unwind;
mod weight;

pub use block::{BlockPairs, block_tree};
pub use config::{Config, Family, HookChoice, Identity};
pub use event::{Event, EventReader};
pub use failure::ProbeError;
pub use files::FilesMaps;
pub use irq::IrqMaps;
pub use load::{Probes, Readers};
pub use map_watch::{MapWatch, Mapped};
pub use mapping::MappedArray;
pub use memory::MemoryMaps;
pub use offcpu::{WaitLink, WaitSampler, WaitTarget, WaitTotals};
pub use outlier::{OutlierReader, SlowNews};
pub use program::ProgramStatus;
pub use sampler::{Sampler, SamplerLink, period_ns};
pub use slots::Slots;
pub use stack::{StackReader, StackRecord, Woken};
pub use stats::{MapStatus, ProgramCost, measure};
pub use syscall::{Single, SyscallMaps};
pub use tcp::TcpMaps;
pub use unwind::{UnwindMaps, UnwindMemory, UnwindSizes};
pub use weight::{WeightLink, WeightSampler, WeightTotals};
