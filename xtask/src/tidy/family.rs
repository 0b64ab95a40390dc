//! One kernel family, one user file: a file of `monitor-ebpf/src` that holds programs has a file
//! of the same name in `monitor/src/collect`, and the reverse.

use std::path::Path;

use super::Finding;
use super::source::Source;

const KERNEL: &str = "monitor-ebpf/src";
const USER: &str = "monitor/src/collect";

/// What makes a function a program: aya's attributes, and the section of an iterator.
const PROGRAMS: [&str; 8] = [
    "#[btf_tracepoint",
    "#[raw_tracepoint",
    "#[tracepoint",
    "#[perf_event",
    "#[fentry",
    "#[kprobe",
    "#[uprobe",
    "link_section = \"iter",
];

/// Families that lack their other half.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        if let Some(name) = family(source, KERNEL)
            && let Some(line) = first_program(source)
            && !sources.iter().any(|other| family(other, USER) == Some(name))
        {
            let what = format!("holds programs, but nobody reads them: add {USER}/{name}.rs");
            findings.push(Finding::new(source, line, what));
        }
        if let Some(name) = family(source, USER)
            && !sources.iter().any(|other| family(other, KERNEL) == Some(name))
        {
            let what = format!(
                "reads no kernel family of its name: add {KERNEL}/{name}.rs, rename it after the \
                 family it reads, or move it to the stage it belongs to"
            );
            findings.push(Finding::new(source, 1, what));
        }
    }
    findings
}

/// The name of the family that a file in `folder` belongs to: the file's own, or its folder's.
fn family<'a>(source: &'a Source, folder: &str) -> Option<&'a str> {
    let inside = source.path.strip_prefix(folder).ok()?;
    let first = Path::new(inside.components().next()?.as_os_str());
    let name = first.file_stem()?.to_str()?;
    (name != "mod" && !source.is_test()).then_some(name)
}

/// The line of the first program in a file.
fn first_program(source: &Source) -> Option<usize> {
    let found = |line: &str| PROGRAMS.iter().any(|program| line.contains(program));
    source.uncommented.lines().position(found).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|(path, text)| Source::new(*path, *text)).collect();
        check(&sources)
            .iter()
            .map(|found| format!("{}:{}", found.path.display(), found.line))
            .collect()
    }

    #[test]
    fn halves_that_match_are_no_finding() {
        let files = [
            ("monitor-ebpf/src/sched.rs", "//! x\n#[btf_tracepoint(function = \"sched_switch\")]"),
            ("monitor-ebpf/src/slot.rs", "//! x\n// #[perf_event] in a comment"),
            ("monitor-ebpf/src/main.rs", "//! x"),
            ("monitor/src/collect/mod.rs", "//! x"),
            ("monitor/src/collect/sched.rs", "//! x"),
        ];
        assert_eq!(findings(&files), [""; 0]);
    }

    #[test]
    fn a_family_in_a_folder_is_one() {
        let files = [
            ("monitor-ebpf/src/net/tcp.rs", "#[raw_tracepoint]"),
            ("monitor/src/collect/net/mod.rs", "//! x"),
        ];
        assert_eq!(findings(&files), [""; 0]);
    }

    #[test]
    fn a_missing_half_is_found() {
        for program in PROGRAMS {
            let text = format!("//! x\n\n{program}");
            let found = findings(&[("monitor-ebpf/src/block.rs", &text)]);
            assert_eq!(found, ["monitor-ebpf/src/block.rs:3"], "{program}");
        }
        let found = findings(&[("monitor/src/collect/block.rs", "//! x")]);
        assert_eq!(found, ["monitor/src/collect/block.rs:1"]);
    }
}
