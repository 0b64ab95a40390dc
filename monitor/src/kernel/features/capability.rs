//! What this process may do, from `/proc/self/status`.

use super::{
    list::{Feature, KERNEL_HALF, PROFILES},
    machine::read,
};

/// A capability: its number, its name, what needs it.
struct Capability {
    number: u32,
    name: &'static str,
    needed_for: &'static [&'static str],
}

/// Numbers from `include/uapi/linux/capability.h`.
const CAPABILITIES: [Capability; 5] = [
    Capability { number: 39, name: "CAP_BPF", needed_for: &[KERNEL_HALF] },
    Capability { number: 38, name: "CAP_PERFMON", needed_for: &[KERNEL_HALF] },
    Capability {
        number: SYS_ADMIN,
        name: "CAP_SYS_ADMIN",
        needed_for: &[PROFILES, "the cost of each program"],
    },
    Capability {
        number: 19,
        name: "CAP_SYS_PTRACE",
        needed_for: &["names of functions of other users' processes"],
    },
    Capability { number: 34, name: "CAP_SYSLOG", needed_for: &["names of kernel functions"] },
];

const SYS_ADMIN: u32 = 21;
/// The kernel takes CAP_SYS_ADMIN for these two.
const IMPLIED_BY_SYS_ADMIN: [&str; 2] = ["CAP_BPF", "CAP_PERFMON"];

pub(super) fn capabilities() -> Vec<Feature> {
    let status = read("/proc/self/status");
    let effective = match &status {
        Ok(text) => effective(text).ok_or("/proc/self/status has no CapEff"),
        Err(reason) => Err(reason.as_str()),
    };
    CAPABILITIES.iter().map(|capability| capability.look(effective)).collect()
}

impl Capability {
    fn look(&self, effective: Result<u64, &str>) -> Feature {
        let has = |number: u32| effective.ok().map(|mask| mask >> number & 1 == 1);
        let is_implied = IMPLIED_BY_SYS_ADMIN.contains(&self.name) && has(SYS_ADMIN) == Some(true);
        let detail = match (effective, has(self.number)) {
            (Err(reason), _) => reason.to_owned(),
            (Ok(_), Some(true)) => "effective".to_owned(),
            (Ok(_), _) if is_implied => "not effective, but CAP_SYS_ADMIN stands for it".to_owned(),
            (Ok(mask), _) => format!("not effective (CapEff {mask:016x})"),
        };
        let is_present = if is_implied { Some(true) } else { has(self.number) };
        let remedy = format!("run as root, or with {}", self.name);
        Feature::seen(self.name, is_present, detail, &remedy, self.needed_for)
    }
}

/// The mask of effective capabilities.
fn effective(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(mask: u64) -> Vec<Option<bool>> {
        CAPABILITIES.iter().map(|capability| capability.look(Ok(mask)).is_present).collect()
    }

    #[test]
    fn masks() {
        assert_eq!(effective("Name:\tx\nCapEff:\t000001fffeffffff\n"), Some(0x1ff_feff_ffff));
        assert_eq!(effective("CapPrm:\t1\n"), None);
        assert_eq!(present(0x1ff_feff_ffff), [Some(true); 5]);
        assert_eq!(present(0), [Some(false); 5]);
        assert_eq!(
            present(1 << 34),
            [Some(false), Some(false), Some(false), Some(false), Some(true)]
        );
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon_only() {
        let expected = [Some(true), Some(true), Some(true), Some(false), Some(false)];
        assert_eq!(present(1 << SYS_ADMIN), expected);
    }

    #[test]
    fn a_status_that_cannot_be_read_is_unknown() {
        let feature = CAPABILITIES[0].look(Err("/proc/self/status: not there"));
        assert_eq!((feature.is_present, feature.detail.contains("not there")), (None, true));
    }
}
