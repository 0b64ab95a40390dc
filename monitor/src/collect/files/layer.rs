//! Opens by layer: from the number of an overlay and of a layer in it to the layer's name.
//!
//! Numbers of overlays are used again, so a name is looked up for each slot and overlay anew, when they are first seen together; that
//! reads one file. Until it is found what was opened waits, for [`TRIES`] readings.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::Arc,
};

use monitor_common::files::{LayerKey, LayerOpens};

use crate::{collect::Owned, container::Registry, kernel::overlay};

/// How often a name is looked for: a mount that is gone will not come back.
const TRIES: u32 = 3;

/// What each layer served so far.
#[derive(Debug, Default)]
pub(super) struct LayerTotals(BTreeMap<Arc<str>, LayerOpens>);

impl LayerTotals {
    pub fn add(&mut self, layer: Arc<str>, opens: LayerOpens) {
        let total = self.0.entry(layer).or_default();
        total.opens += opens.opens;
        total.time_ns += opens.time_ns;
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &LayerOpens)> {
        self.0.iter()
    }
}

/// What was read of layers.
#[derive(Debug, Default)]
pub(super) struct Layers {
    last: HashMap<LayerKey, LayerOpens>,
    /// By slot and overlay.
    names: HashMap<(u32, u32), Names>,
}

#[derive(Debug)]
enum Names {
    /// Looked for so often in vain.
    Sought(u32),
    Found(Vec<Arc<str>>),
}

impl Layers {
    /// What was opened since the last reading, by whom and from which layer.
    pub fn advance(
        &mut self,
        now: impl Iterator<Item = (LayerKey, LayerOpens)>,
        registry: &Registry,
        owned: &[Owned],
    ) -> Vec<(Arc<str>, Arc<str>, LayerOpens)> {
        let mut gained = Vec::new();
        for (key, opens) in now {
            let before = self.last.get(&key).copied().unwrap_or_default();
            let owner = owned.iter().find(|one| one.slot == key.slot).map(|one| &one.owner);
            let Some(owner) = owner.filter(|_| before != opens) else { continue };
            let names = self.names.entry((key.slot, key.device)).or_insert(Names::Sought(0));
            let Some(layer) = names.name(key, || look_up(key.device, owner, registry)) else {
                continue;
            };
            self.last.insert(key, opens);
            let opens = LayerOpens {
                opens: opens.opens.saturating_sub(before.opens),
                time_ns: opens.time_ns.saturating_sub(before.time_ns),
            };
            gained.push((Arc::clone(owner), layer, opens));
        }
        gained
    }

    /// Forgets a slot.
    pub fn forget(&mut self, slot: u32) {
        self.last.retain(|key, _| key.slot != slot);
        self.names.retain(|(of, _), _| *of != slot);
    }
}

impl Names {
    /// The name of a layer; `None` while it may still be found.
    fn name(
        &mut self,
        key: LayerKey,
        look_up: impl FnOnce() -> Option<Vec<String>>,
    ) -> Option<Arc<str>> {
        if let Self::Sought(times @ 0..TRIES) = *self {
            *self = match look_up() {
                Some(found) => Self::Found(found.into_iter().map(Arc::from).collect()),
                None => Self::Sought(times + 1),
            };
        }
        match self {
            Self::Found(names) => {
                names.get(key.layer as usize).cloned().or_else(|| Some(number(key)))
            }
            Self::Sought(TRIES..) => Some(number(key)),
            Self::Sought(_) => None,
        }
    }
}

/// What a layer without a name is shown as: the overlay, and its place in it.
fn number(key: LayerKey) -> Arc<str> {
    format!("{}:{}/{}", key.device >> 20, key.device & 0xf_ffff, key.layer).into()
}

/// In our own list of mounts, where engines that run as root keep them, else in that of the container.
fn look_up(device: u32, owner: &str, registry: &Registry) -> Option<Vec<String>> {
    let of_container = || {
        let container = registry.living().into_iter().find(|one| one.id.as_str() == owner)?;
        let directory = registry.tree().path_of(&container.cgroup);
        let processes = fs::read_to_string(directory.join("cgroup.procs")).ok()?;
        overlay::layers(processes.lines().next()?, device)
    };
    overlay::layers("self", device).or_else(of_container)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: LayerKey = LayerKey { slot: 12, device: 52, layer: 1 };

    #[test]
    fn a_name_is_looked_for_a_few_times_and_found_once() {
        let mut names = Names::Sought(0);
        assert_eq!(names.name(KEY, || None), None);
        let found = || Some(vec!["upper".to_owned(), "base".to_owned()]);
        assert_eq!(names.name(KEY, found).as_deref(), Some("base"));
        assert_eq!(names.name(KEY, || unreachable!()).as_deref(), Some("base"));
        let data_only = LayerKey { layer: 7, ..KEY };
        assert_eq!(names.name(data_only, || unreachable!()).as_deref(), Some("0:52/7"));
    }

    #[test]
    fn what_is_never_found_is_shown_by_its_number() {
        let mut names = Names::Sought(0);
        let shown: Vec<_> = (0..=TRIES).map(|_| names.name(KEY, || None)).collect();
        assert_eq!(shown.iter().flatten().count(), 2);
        assert_eq!(shown.last().cloned().flatten().as_deref(), Some("0:52/1"));
    }
}
