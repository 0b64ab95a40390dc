//! Births, deaths and what is remembered, without a machine.

use super::*;

const V1: HierarchyId = HierarchyId(7);
const A: &str = "4aa65076bd4226d63fc26a501ccd26529c8241474481ca829bc06091ab74c1ee";

fn key(id: u64) -> CgroupKey {
    CgroupKey { hierarchy: HierarchyId::V2, id: crate::kernel::cgroupfs::CgroupId(id) }
}

fn v1(id: u64) -> CgroupKey {
    CgroupKey { hierarchy: V1, ..key(id) }
}

fn at(seconds: u64) -> Now {
    Now { wall: WallTimeNs(seconds * 1_000_000_000), monotonic: Duration::from_secs(seconds) }
}

fn table(tombstones: usize) -> Table {
    Table::new(HierarchyId::V2, Limits { tombstones, age: Duration::from_secs(3600) })
}

fn docker() -> String {
    format!("/docker/{A}")
}

fn named(name: &str) -> Facts {
    Facts { name: Some(name.to_owned()), ..Facts::default() }
}

#[test]
fn nested_cgroups_lead_to_the_container() {
    let mut table = table(10);
    let handle = table.born(key(1), &docker(), true, at(1)).expect("new");
    assert_eq!(
        table.born(key(2), &format!("{}/system.slice/x.service", docker()), true, at(2)),
        None
    );
    table.enrich(handle, named("web"));
    for id in [1, 2] {
        assert_eq!(table.of(key(id)).expect("known").name, "web");
    }
    assert_eq!(table.keys_of(&A.into()), [key(1), key(2)]);
    table.died(key(2), at(3));
    assert!(table.of(key(2)).expect("remembered").is_alive());
    assert_eq!(table.keys_of(&A.into()), [key(1)]);
}

#[test]
fn a_birth_told_twice_counts_once() {
    let mut table = table(10);
    assert!(table.born(key(1), &docker(), false, at(1)).is_some());
    assert_eq!(table.born(key(1), &docker(), true, at(2)), None);
    let container = table.of(key(1)).expect("known");
    assert_eq!(container.started_at_ns, None, "found by walking, its birth was not seen");
    assert_eq!(table.containers().count(), 1);
}

#[test]
fn names_survive_and_arrive_after_the_death() {
    let mut table = table(10);
    let handle = table.born(key(1), &docker(), true, at(1)).expect("new");
    assert_eq!(table.of(key(1)).expect("known").name, "4aa65076bd42");
    table.died(key(1), at(2));
    table.enrich(handle, named("short-lived"));
    let dead = table.of(key(1)).expect("remembered");
    assert_eq!((dead.name.as_str(), dead.id.as_str()), ("short-lived", A));
    assert_eq!(dead.started_at_ns, Some(at(1).wall));
    assert_eq!(dead.died_at_ns, Some(at(2).wall));
    assert!(table.keys_of(&A.into()).is_empty());
    table.died(key(1), at(3));
    assert_eq!(table.of(key(1)).expect("remembered").died_at_ns, Some(at(2).wall));
}

#[test]
fn a_new_inode_is_a_new_incarnation() {
    let mut table = table(10);
    let first = table.born(key(1), &docker(), true, at(1)).expect("new");
    // The removal of the first was never told.
    let second = table.born(key(5), &docker(), true, at(9)).expect("new");
    assert_ne!(first, second);
    assert!(!table.of(key(1)).expect("remembered").is_alive());
    assert!(table.of(key(5)).expect("known").is_alive());
    assert_eq!(table.keys_of(&A.into()), [key(5)]);
    table.died(key(1), at(10));
    assert!(table.of(key(5)).expect("known").is_alive());
}

#[test]
fn a_lost_removal_of_a_nested_cgroup_ends_with_the_container() {
    let mut table = table(10);
    table.born(key(1), &docker(), true, at(1));
    table.born(key(2), &format!("{}/init", docker()), true, at(1));
    table.died(key(1), at(2));
    assert!(!table.of(key(2)).expect("remembered").is_alive());
    assert!(table.living_cgroups().is_empty());
}

#[test]
fn several_hierarchies_lead_to_one_container() {
    let mut table = table(10);
    table.born(key(1), &docker(), true, at(1));
    assert_eq!(table.born(v1(1), &docker(), true, at(1)), None);
    assert_eq!(table.of(v1(1)).expect("known").id.as_str(), A);
    assert_eq!(table.keys_of(&A.into()), [key(1), v1(1)]);
    // Its own directory going ends it; the other hierarchy's id still leads to it.
    table.died(key(1), at(2));
    assert!(!table.of(v1(1)).expect("remembered").is_alive());
    table.died(v1(1), at(3));
    assert_eq!(table.of(v1(1)).expect("remembered").died_at_ns, Some(at(2).wall));
    // One that only exists elsewhere lives and dies there.
    assert!(table.born(v1(8), "/only/in/v1", true, at(4)).is_some());
    table.died(v1(8), at(5));
    assert!(!table.of(v1(8)).expect("remembered").is_alive());
}

#[test]
fn the_dead_are_bounded_by_number_and_age() {
    let mut table = table(2);
    let path = |n: u64| format!("/system.slice/job-{n}.service");
    for n in 0..10 {
        table.born(key(n), &path(n), true, at(n));
        table.died(key(n), at(n));
    }
    assert_eq!((table.sizes().2, table.evicted_containers), (10, 0), "younger than an hour");
    table.born(key(50), &path(50), true, at(4000));
    table.died(key(50), at(4000));
    assert_eq!((table.sizes().2, table.evicted_containers, table.evicted_cgroups), (2, 9, 9));
    assert!(table.of(key(0)).is_none() && table.of(key(9)).is_some());
    // A burst: sixteen times the number, whatever the age.
    for n in 100..200 {
        table.born(key(n), &path(n), true, at(4000));
        table.died(key(n), at(4000));
    }
    assert_eq!(table.sizes(), (32, 0, 32));
    assert_eq!(table.evicted_containers, 9 + 70);
}

#[test]
fn a_cgroup_learned_to_be_a_container_takes_what_is_inside() {
    let mut table = table(10);
    let handle = table.born(key(1), "/batch/one", true, at(1)).expect("new");
    table.born(key(2), "/batch/one/init.scope", true, at(1));
    table.born(key(3), "/batch/one/inner/docker", true, at(1));
    table.born(key(4), &format!("/batch/one/docker/{A}"), true, at(1));
    table.born(key(5), "/batch/one-more", true, at(1));
    let facts = Facts { id: Some("job".to_owned()), runtime: Some(Runtime::Runc), ..named("job") };
    table.enrich(handle, facts);
    for id in [1, 2, 3] {
        let owner = table.of(key(id)).expect("known");
        assert_eq!((owner.id.as_str(), owner.runtime), ("job", Runtime::Runc), "{id}");
    }
    assert_eq!(table.of(key(4)).expect("known").id.as_str(), A, "a container inside is its own");
    assert_eq!(table.of(key(5)).expect("known").runtime, Runtime::Cgroup);
    // What is born inside later belongs to it as well.
    assert_eq!(table.born(key(6), "/batch/one/later/x.service", true, at(2)), None);
    assert_eq!(table.of(key(6)).expect("known").id.as_str(), "job");
    table.born(key(7), &format!("/batch/one/docker/{A}/init"), true, at(2));
    assert_eq!(table.of(key(7)).expect("known").id.as_str(), A);
    // Its next incarnation has to be learned anew.
    table.died(key(1), at(3));
    assert!(table.born(key(8), "/batch/one", true, at(4)).is_some());
    assert_eq!(table.of(key(8)).expect("known").runtime, Runtime::Cgroup);
    assert_eq!(table.of(key(1)).expect("remembered").id.as_str(), "job");
}

#[test]
fn files_correct_the_runtime_and_complete_the_pod() {
    let mut table = table(10);
    let path = format!("/kubepods/besteffort/pod74c13223-5a00-11e9-b385-42010a80018d/{A}");
    let handle = table.born(key(1), &path, false, at(1)).expect("new");
    assert_eq!(table.of(key(1)).expect("known").runtime, Runtime::Containerd);
    let pod = Pod { name: Some("shop-0".to_owned()), ..Pod::default() };
    let facts = Facts { runtime: Some(Runtime::Docker), pod: Some(pod), ..Facts::default() };
    table.enrich(handle, facts);
    let container = table.of(key(1)).expect("known");
    assert_eq!(container.runtime, Runtime::Docker);
    let pod = container.pod.as_ref().expect("known");
    assert_eq!(pod.name.as_deref(), Some("shop-0"));
    assert_eq!(pod.uid.as_deref(), Some("74c13223-5a00-11e9-b385-42010a80018d"));
}

#[test]
fn a_renamed_cgroup_moves() {
    let mut table = table(10);
    table.born(key(1), "/a", false, at(1));
    table.born(key(1), "/b", true, at(2));
    assert_eq!(table.of(key(1)).expect("known").cgroup, "/b");
    assert_eq!(table.living_cgroups().len(), 1);
    table.died(key(1), at(3));
    assert!(table.living_cgroups().is_empty());
}

#[test]
fn missed_removals_are_bounded_too() {
    let mut table = table(2);
    for n in 0..100 {
        table.born(key(n), &docker(), true, at(n));
    }
    assert_eq!(table.sizes(), (33, 1, 32));
}

proptest::proptest! {
    /// Whatever is told in whatever order: books stay consistent and bounded.
    #[test]
    fn any_history(events in proptest::collection::vec((0_u8..4, 0_u64..12, 0_usize..6, 0_u64..9000), 0..200)) {
        let paths = ["/", "/a", "/a/b", "/lxc/x", "/lxc/x/y", "/s.slice/u.service"];
        let mut table = table(3);
        let mut clock = 0;
        let mut handles = Vec::new();
        for (what, id, path, step) in events {
            clock += step;
            let any = if id % 2 == 0 { key(id) } else { v1(id) };
            match what {
                0 | 1 => handles.extend(table.born(any, paths[path], what == 0, at(clock))),
                2 => table.died(any, at(clock)),
                _ => if let Some(handle) = handles.get(path) {
                    table.enrich(*handle, Facts { id: Some("learned".to_owned()), ..named("n") });
                },
            }
            for (key, cgroup) in &table.cgroups {
                if !cgroup.dead {
                    let record = table.records.get(&cgroup.owner).expect("a living cgroup has an owner");
                    proptest::prop_assert!(record.live.contains(key));
                }
            }
            for (directory, handle) in &table.living {
                let record = table.records.get(handle).expect("a living record is kept");
                proptest::prop_assert!(record.container.is_alive());
                proptest::prop_assert_eq!(&record.container.cgroup, directory);
                proptest::prop_assert!(!record.live.is_empty());
            }
            let learned = table.living.values().filter(|handle| table.records[handle].learned).count();
            proptest::prop_assert_eq!(table.learned, learned);
            let alive = table.records.values().filter(|r| r.container.is_alive()).count();
            proptest::prop_assert_eq!(table.living.len(), alive);
            proptest::prop_assert_eq!(table.records.len(), alive + table.dead_records.len());
        }
    }
}
