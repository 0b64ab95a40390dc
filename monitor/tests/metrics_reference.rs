//! `docs/metrics.md` is what the descriptors say. `CGSCOPE_BLESS=1` writes it anew.

use std::{collections::HashSet, env, fs, path::Path};

use cgscope::{
    analyze::audit,
    collect,
    kernel::host,
    metric::{Descriptor, Kind, Scope, Unit, reference},
    probe::own,
    serve::{intake, push, tape},
    store, symbol, unwind,
};
use monitor_common::drops::DropReason;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

fn descriptors() -> impl Iterator<Item = &'static Descriptor> {
    let collected = collect::DESCRIPTORS.iter().copied().flatten();
    let own = [
        own::DESCRIPTORS,
        store::DESCRIPTORS,
        push::DESCRIPTORS,
        intake::DESCRIPTORS,
        tape::DESCRIPTORS,
        unwind::DESCRIPTORS,
        symbol::DESCRIPTORS,
        audit::DESCRIPTORS,
    ];
    let own = own.into_iter().flatten();
    collected.chain(host::DESCRIPTORS).chain(own).copied()
}

#[test]
fn the_reference_is_up_to_date() {
    let text = reference::markdown(descriptors());
    if env::var_os("CGSCOPE_BLESS").is_some() {
        fs::write(Path::new(PATH), text).expect("docs/metrics.md is writable");
        return;
    }
    let written = fs::read_to_string(PATH).unwrap_or_default();
    let first = written.lines().zip(text.lines()).find(|(is, should)| is != should);
    assert!(
        written == text,
        "docs/metrics.md is not what the descriptors say, first here: {first:?}; \
         run CGSCOPE_BLESS=1 cargo test -p cgscope --test metrics_reference"
    );
}

#[test]
fn names_keep_the_conventions() {
    let mut names = HashSet::new();
    for Descriptor { name, help, unit, kind, labels, scope, .. } in descriptors() {
        assert!(names.insert(*name), "{name} is there twice");
        assert!(name.starts_with("cgscope_"), "{name}");
        assert!(help.ends_with('.') && !help.contains("  "), "{name}: {help:?} is no sentence");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
        let stem = name.strip_suffix("_total").unwrap_or(name);
        assert_eq!(*unit == Unit::Seconds, stem.ends_with("_seconds"), "{name}");
        assert_eq!(*unit == Unit::Bytes, stem.ends_with("_bytes"), "{name}");
        for label in *labels {
            assert!(!matches!(*label, "pid" | "tid"), "{name}: {label} has no bound");
            assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}: {label}");
        }
        assert_eq!(*scope == Scope::Own, name.starts_with("cgscope_own_"), "{name}");
        // A whole device is the host's, and keeps the subsystem its containers' share is named by.
        let is_of_host = name.starts_with("cgscope_host_") || name.contains("_device_");
        assert_eq!(*scope == Scope::Host, is_of_host, "{name}");
    }
    assert!(names.len() >= 20, "only {} metrics", names.len());
}

#[test]
fn every_loss_is_explained_with_its_remedy() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let text = fs::read_to_string(path).expect("docs/operations.md");
    for reason in DropReason::ALL {
        let row = format!("| `{}` |", reason.name());
        let row = text.lines().find(|line| line.starts_with(&row));
        let is_told = row.is_some_and(|row| row.ends_with(&format!("| {} |", reason.remedy())));
        assert!(
            is_told,
            "docs/operations.md: no row of {} with {:?}",
            reason.name(),
            reason.remedy()
        );
    }
}
