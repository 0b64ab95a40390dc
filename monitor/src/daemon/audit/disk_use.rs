//! What containers read from disks and wrote to them, by their own cgroups' account and by ours.
//!
//! Contract: the kernel counts bytes as they are asked for, we when a disk is done with them: at the instant of ours its account may be
//! ahead by what the disk works on. Disks that hand requests on, and disks that a cgroup has no account for, are left out on both sides.
//! Whose files are read does not depend on our count: who is missing there shows.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{by_owner, family::Families};
use crate::{
    container::Registry,
    kernel::{
        accounts::{self, DiskAccount, DiskNumber},
        cgroup_io::{IoAccount, IoFiles},
    },
    metric::Sample,
};

/// Ours.
const METRIC: &str = "cgscope_block_bytes_total";
/// Of how many containers the files are read in a round: of more, in turns.
const CONTAINERS: usize = 64;

/// Reads them.
pub(super) struct DiskUse {
    files: IoFiles,
    /// Where the next round begins.
    turn: usize,
    /// What is to be added to our count of a container's disk, where it was first looked at, to be the kernel's: it may have been counting
    /// since a limit was set, and we since the daemon was started.
    lead: HashMap<(Arc<str>, DiskNumber), u64>,
}

/// What the kernel said before ours was read.
pub(super) struct UsesBefore {
    uses: Vec<Use>,
    /// By disk, the most bytes that it had not done yet.
    pending: HashMap<DiskNumber, u64>,
}

struct Use {
    owner: Arc<str>,
    cgroup: String,
    /// It, and who is inside it: the kernel's account is of all of them.
    family: Vec<Arc<str>>,
    disks: BTreeMap<DiskNumber, IoAccount>,
}

/// Our count of a disk's bytes, by owner: those read and those written.
type Counts<'a> = [HashMap<&'a str, u64>; 2];

impl DiskUse {
    pub fn new() -> Self {
        Self { files: IoFiles::find(), turn: 0, lead: HashMap::new() }
    }

    /// To be called just before ours is read.
    pub fn begin(
        &mut self,
        registry: &Registry,
        disks: &BTreeMap<String, DiskAccount>,
    ) -> UsesBefore {
        let living = registry.living();
        let families = Families::of(&living);
        let by_id: HashSet<&str> = living.iter().map(|one| one.id.as_str()).collect();
        self.lead.retain(|(owner, _), _| by_id.contains(&**owner));
        let mut containers: Vec<_> =
            living.iter().filter(|one| one.runtime.is_container()).collect();
        containers.sort_by_key(|one| one.id.as_str());
        if self.turn >= containers.len() {
            self.turn = 0;
        }
        let turn = containers.into_iter().skip(self.turn).take(CONTAINERS);
        self.turn += CONTAINERS;
        let uses = turn.filter_map(|one| {
            Some(Use {
                owner: one.id.as_str().into(),
                cgroup: one.cgroup.clone(),
                family: families.members(&one.cgroup).map(Arc::from).collect(),
                disks: self.files.account(&one.cgroup)?,
            })
        });
        UsesBefore { uses: uses.collect(), pending: pending_bytes(disks) }
    }

    /// To be called just after ours, `samples`, was read: whose bytes, ours, and the least and the most that the kernel's account was then.
    pub fn end(
        &mut self,
        before: UsesBefore,
        samples: &[Sample],
        disks: &BTreeMap<String, DiskAccount>,
    ) -> Vec<(Arc<str>, u64, u64, u64)> {
        let of_disk = |name: &String| {
            ["read", "write"].map(|operation| by_owner(samples, METRIC, &[name, operation]))
        };
        let ours: Vec<(DiskNumber, Counts<'_>)> =
            disks.iter().map(|(name, disk)| (disk.number, of_disk(name))).collect();
        let UsesBefore { uses, pending } = before;
        uses.into_iter().filter_map(|one| self.compare(one, &ours, &pending)).collect()
    }

    fn compare(
        &mut self,
        before: Use,
        ours: &[(DiskNumber, Counts<'_>)],
        pending: &HashMap<DiskNumber, u64>,
    ) -> Option<(Arc<str>, u64, u64, u64)> {
        let after = self.files.account(&before.cgroup)?;
        let (mut counted, mut least, mut most) = (0, 0, 0);
        for (number, ours) in ours {
            let (Some(then), Some(now)) = (before.disks.get(number), after.get(number)) else {
                continue;
            };
            let of_one = |by_owner: &HashMap<&str, u64>| -> u64 {
                before.family.iter().filter_map(|id| by_owner.get(&**id)).sum()
            };
            let ours: u64 = ours.iter().map(of_one).sum();
            let kernel = now.read_bytes + now.written_bytes;
            let lead = self.lead.entry((Arc::clone(&before.owner), *number));
            counted += ours.wrapping_add(*lead.or_insert(kernel.wrapping_sub(ours)));
            let pending = pending.get(number).copied().unwrap_or(0);
            least += (then.read_bytes + then.written_bytes).saturating_sub(pending);
            most += kernel;
        }
        (most > 0).then_some((before.owner, counted, least, most))
    }
}

/// By disk, the most bytes that what it works on can have.
fn pending_bytes(disks: &BTreeMap<String, DiskAccount>) -> HashMap<DiskNumber, u64> {
    let busy = disks.iter().filter(|(_, disk)| disk.in_flight > 0);
    let of_one = |(name, disk): (&String, &DiskAccount)| {
        let bytes = accounts::largest_request_bytes(name).unwrap_or(0);
        (disk.number, disk.in_flight * bytes)
    };
    busy.map(of_one).collect()
}
