//! Resolving the members the kernel half reads, in the running kernel's types.

use monitor_common::offset::{ABSENT, KernelOffsets};

use super::ProbeError;
use crate::kernel::btf::Btf;

/// All offsets, and the names of optional members that this kernel lacks.
pub fn resolve(btf: &Btf) -> Result<(KernelOffsets, Vec<String>), ProbeError> {
    let mut missing = Vec::new();
    let mut failure = None;
    let offsets = KernelOffsets::from_values(|wanted| {
        match btf.member_bits(wanted.structure, wanted.members) {
            Ok(bits) => {
                if wanted.is_bit {
                    bits
                } else {
                    bits / 8
                }
            }
            Err(error) => {
                if wanted.is_required {
                    failure.get_or_insert(error);
                } else {
                    missing.push(format!("{}.{}", wanted.structure, wanted.members.join("|")));
                }
                ABSENT
            }
        }
    });
    match failure {
        Some(error) => Err(error.into()),
        None => Ok((offsets, missing)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernel::btf;

    #[test]
    fn the_running_kernel_has_what_is_required() {
        let btf = Btf::open(Path::new(btf::VMLINUX)).unwrap();
        let (offsets, _) = resolve(&btf).unwrap();
        assert_ne!(offsets.task_cgroups, offsets.task_pid);
        assert!(offsets.task_in_iowait > offsets.task_pid, "a bit offset is 8 times a byte offset");
    }
}
