//! The order of the stages: which folder of `monitor/src` names which other, and which crate.

use std::path::{Component, Path};

use super::Finding;
use super::source::{Source, Token, tokens};
use super::table::{CRATES, STAGES, WIRING};

/// Every import of a file in `monitor/src` that the table does not allow.
pub fn check(source: &Source) -> Vec<Finding> {
    let Ok(inside) = source.path.strip_prefix("monitor/src") else { return Vec::new() };
    let Some(place) = place(inside).filter(|_| !source.is_test()) else { return Vec::new() };
    let code = source.code_without_tests();
    let tokens = tokens(&code);
    let mut findings = crates(source, place, &tokens);
    if WIRING.contains(&place) {
        return findings;
    }
    let Some((stage, allowed)) = STAGES.iter().find(|(stage, _)| *stage == place) else {
        let what = format!(
            "`{place}` is no stage: put the file into a folder of xtask/src/tidy/table.rs, or add \
             the folder there with what it may import"
        );
        findings.push(Finding::new(source, 1, what));
        return findings;
    };
    for used in stages(&tokens, depth(inside)) {
        if used.text == "*" {
            let what = "`crate::*` hides which stages are used: name them";
            findings.push(Finding::new(source, used.line, what));
        } else if used.text != *stage && is_stage(used.text) && !allowed.contains(&used.text) {
            let may =
                if allowed.is_empty() { "no other stage".to_owned() } else { allowed.join(", ") };
            let what = format!(
                "`{stage}` may not import `{}`, only {may}: move the code to the stage it belongs \
                 to, or let daemon.rs hand the data in",
                used.text
            );
            findings.push(Finding::new(source, used.line, what));
        }
    }
    findings
}

/// The folder, or the file beside the folders, that a path within `monitor/src` belongs to.
fn place(inside: &Path) -> Option<&str> {
    match inside.components().next()? {
        Component::Normal(first) => first.to_str(),
        _ => None,
    }
}

/// How many `super` lead from a file to the crate's root.
fn depth(inside: &Path) -> usize {
    let parts = inside.components().count();
    if inside.ends_with("mod.rs") { parts - 1 } else { parts }
}

fn is_stage(name: &str) -> bool {
    STAGES.iter().any(|(stage, _)| *stage == name)
        || WIRING.iter().any(|file| file.strip_suffix(".rs") == Some(name))
}

/// The first names behind `crate::` and behind as many `super::` as lead to the crate's root.
fn stages<'a>(tokens: &[Token<'a>], depth: usize) -> Vec<Token<'a>> {
    let mut used = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let mut behind = at;
        let mut up = 0;
        while text(tokens, behind) == "super" && text(tokens, behind + 1) == "::" {
            behind += 2;
            up += 1;
        }
        if text(tokens, behind) == "crate" && text(tokens, behind + 1) == "::" {
            behind += 2;
            up = depth;
        }
        if up >= depth && behind > at {
            used.extend(heads(&tokens[behind..]));
        }
        at = behind.max(at + 1);
    }
    used
}

/// The first name of a path, or of each path in a group.
fn heads<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    if text(tokens, 0) != "{" {
        return tokens.first().copied().into_iter().collect();
    }
    let mut heads = Vec::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(text(tokens, at - 1), "{" | ",") => heads.push(*token),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// The crates named where they may not be.
fn crates(source: &Source, place: &str, tokens: &[Token<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Some((name, places)) = CRATES.iter().find(|(name, _)| *name == token.text) else {
            continue;
        };
        if names_a_crate(tokens, at) && !places.contains(&place) {
            let what = format!(
                "the crate `{name}` may only be named in {}: wrap what is needed there",
                places.join(" and ")
            );
            findings.push(Finding::new(source, token.line, what));
        }
    }
    findings
}

/// Whether the word at this place is the first of a path, rather than a module or a variable.
fn names_a_crate(tokens: &[Token<'_>], at: usize) -> bool {
    let before = if at == 0 { "" } else { text(tokens, at - 1) };
    let first = match before {
        // `::aya::Ebpf` begins at the root, `x::aya::Ebpf` does not.
        "::" => !text(tokens, at.wrapping_sub(2))
            .starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>'),
        "." => false,
        _ => true,
    };
    first && (text(tokens, at + 1) == "::" || matches!(before, "use" | "crate"))
}

fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let findings = check(&Source::new(format!("monitor/src/{path}"), text));
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn what_the_table_allows_is_no_finding() {
        for (path, text) in [
            ("kernel/btf.rs", "use crate::metric::Unit;"),
            ("probe/load.rs", "use aya::Ebpf;\nuse crate::{kernel::Btf, metric, probe::Map};"),
            ("show/top.rs", "use crate::serve::Api; fn f() { crate::analyze::run() }"),
            ("daemon.rs", "use crate::{show, serve, probe};"),
            ("main.rs", "use clap::Parser;"),
            ("metric/mod.rs", "use crate::metric::Unit; use self::unit::X; use super::metric::Y;"),
            ("kernel/a.rs", "pub(crate) fn f(axum: u8) -> u8 { axum }"),
        ] {
            assert_eq!(lines(path, text), [0; 0], "{path}: {text}");
        }
    }

    #[test]
    fn an_import_against_the_flow_is_found() {
        for (path, text) in [
            ("metric/unit.rs", "use crate::kernel::Btf;"),
            ("kernel/mod.rs", "fn f() { crate::probe::load() }"),
            ("kernel/mod.rs", "use super::probe;"),
            ("kernel/btf.rs", "use super::super::probe;"),
            ("kernel/x/y.rs", "use super::super::super::probe;"),
            ("analyze/rule.rs", "use crate::{metric::{Unit, kernel}, store};"),
            ("serve/api.rs", "use crate::show::table;"),
            ("store/disk.rs", "use crate::daemon;"),
            ("store/disk.rs", "use crate::*;"),
            ("profile/tree.rs", "pub use crate::kernel as k;"),
        ] {
            assert_eq!(lines(path, text), [1], "{path}: {text}");
        }
    }

    #[test]
    fn a_nested_super_is_not_the_root() {
        assert_eq!(lines("kernel/btf.rs", "use super::probe;"), [0; 0]);
    }

    #[test]
    fn each_name_of_a_group_is_looked_at() {
        let text = "use crate::{\n    metric::A,\n    collect::{B, C},\n    show::D,\n};";
        assert_eq!(lines("kernel/a.rs", text), [3, 4]);
    }

    #[test]
    fn a_crate_stays_in_its_folder() {
        assert_eq!(lines("collect/sched.rs", "use aya::maps::Array;"), [1]);
        assert_eq!(lines("daemon.rs", "fn f(x: ::aya::Ebpf) {}"), [1]);
        assert_eq!(lines("serve/a.rs", "#[derive(clap::Parser)]\nstruct X;"), [1]);
        assert_eq!(lines("show/a.rs", "use axum;"), [1]);
        assert_eq!(lines("probe/a.rs", "use blazesym::X;\nuse inferno::Y;"), [1, 2]);
        assert_eq!(lines("show/a.rs", "use ratatui::X;\nuse clap::Y;"), [0; 0]);
        assert_eq!(lines("show/a.rs", "use crate::show::axum::X;"), [0; 0]);
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = "// use crate::probe;\nconst X: &str = \"crate::probe::\";\n\
                    #[cfg(test)]\nmod tests { use crate::probe::X; use aya::Y; }";
        assert_eq!(lines("metric/a.rs", text), [0; 0]);
        assert_eq!(lines("metric/tests.rs", "use crate::probe;"), [0; 0]);
        assert_eq!(lines("metric/unit_tests.rs", "use crate::probe;"), [0; 0]);
    }

    #[test]
    fn a_folder_outside_the_table_is_found() {
        assert_eq!(lines("util/mod.rs", "//! x"), [1]);
        assert_eq!(lines("error.rs", "//! x"), [1]);
    }

    #[test]
    fn the_table_names_only_stages() {
        for (stage, allowed) in STAGES {
            for name in allowed {
                assert!(is_stage(name) && *name != stage, "{stage}: {name}");
            }
        }
        assert!(
            CRATES
                .iter()
                .flat_map(|(_, places)| *places)
                .all(|place| is_stage(place.trim_end_matches(".rs")))
        );
    }
}
