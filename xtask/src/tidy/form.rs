//! The form of one file: how long it is, how it begins, and what it says beside `unsafe`.

use super::Finding;
use super::source::{Source, tokens};

/// Longer than this, a file does more than one thing.
const MAX_LINES: usize = 600;

/// What is wrong with the form of a file.
pub fn check(source: &Source) -> Vec<Finding> {
    length(source).into_iter().chain(head(source)).chain(unsafes(source)).collect()
}

fn length(source: &Source) -> Option<Finding> {
    let lines = source.lines_without_tests();
    (lines > MAX_LINES && !source.is_test()).then(|| {
        let what =
            format!("{lines} lines without tests, {MAX_LINES} at most: split it by what it does");
        Finding::new(source, MAX_LINES, what)
    })
}

fn head(source: &Source) -> Option<Finding> {
    let first = source.text.lines().position(|line| !line.trim().is_empty());
    let begins = first.is_some_and(|line| {
        source.text.lines().nth(line).is_some_and(|line| line.starts_with("//!"))
    });
    (!begins).then(|| {
        let what = "begin with `//!`: what the file is for, and its contract";
        Finding::new(source, first.map_or(1, |line| line + 1), what)
    })
}

fn unsafes(source: &Source) -> Vec<Finding> {
    let text: Vec<&str> = source.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let blocks = tokens(&source.code)
        .windows(2)
        .filter(|pair| pair[0].text == "unsafe" && pair[1].text == "{")
        .map(|pair| pair[0].line)
        .collect::<Vec<_>>();
    let unsaid = blocks.into_iter().filter(|line| !says_safety(&text, &code, line - 1));
    unsaid
        .map(|line| {
            let what = "`unsafe` without a reason: say in a `// SAFETY:` line above why it holds";
            Finding::new(source, line, what)
        })
        .collect()
}

/// Whether a `SAFETY:` comment stands on the line at `index`, or above it with nothing between
/// but comments, attributes and the beginning of the same statement.
fn says_safety(text: &[&str], code: &[&str], index: usize) -> bool {
    if text[index].contains("SAFETY:") {
        return true;
    }
    for above in (0..index).rev() {
        if text[above].contains("SAFETY:") {
            return true;
        }
        let code = code[above].trim_end();
        let is_comment = code.is_empty() && !text[above].trim().is_empty();
        let is_attribute = code.trim_start().starts_with("#[");
        let ends_something = code.is_empty() || code.ends_with([';', '{', '}', ',']);
        if !is_comment && !is_attribute && ends_something {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&Source::new("monitor/src/x/y.rs", text)).iter().map(|found| found.line).collect()
    }

    #[test]
    fn a_head_is_wanted() {
        assert_eq!(lines("//! What it is for.\n"), [0; 0]);
        assert_eq!(lines("\n//! What it is for.\n"), [0; 0]);
        assert_eq!(lines("// What it is for.\n"), [1]);
        assert_eq!(lines("\nuse x;\n//! Late.\n"), [2]);
        assert_eq!(lines(""), [1]);
    }

    #[test]
    fn length_is_counted_without_tests() {
        let code = |lines: usize| format!("//! x\n{}", "fn a() {}\n".repeat(lines - 1));
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn b() {}\n".repeat(300));
        assert_eq!(lines(&code(600)), [0; 0]);
        assert_eq!(lines(&format!("{}{tests}", code(600))), [0; 0]);
        assert_eq!(lines(&code(601)), [600]);
        let findings = |path: &str| check(&Source::new(path, code(601))).len();
        assert_eq!(findings("tests/kernel/sched.rs"), 1, "an end-to-end test is split as well");
        assert_eq!(findings("monitor/src/metric/unit_tests.rs"), 0);
    }

    #[test]
    fn unsafe_with_its_reason() {
        for good in [
            "// SAFETY: it holds.\nunsafe { f() }",
            "// SAFETY: it holds,\n// and why.\nlet x =\n    unsafe { f() };",
            "// SAFETY: it holds.\n#[allow(x)]\nlet x = g(\n    unsafe { f() });",
            "let x = unsafe { f() }; // SAFETY: it holds.",
            "let x = unsafe {\n    // not looked at\n};\n// SAFETY: too late",
            "unsafe fn f() {}",
            "\"unsafe { \"",
        ] {
            let found = lines(&format!("//! x\n{good}\n"));
            assert_eq!(found.is_empty(), !good.contains("too late"), "{good}");
        }
    }

    #[test]
    fn unsafe_without_its_reason() {
        for bad in [
            "let x = unsafe { f() };",
            "// SAFETY: of another.\nunsafe { f() }\nunsafe { f() }",
            "// SAFETY: of another.\ng();\nunsafe { f() }",
            "// SAFETY: far away.\n\nunsafe { f() }",
        ] {
            assert_eq!(lines(&format!("//! x\n{bad}\n")).len(), 1, "{bad}");
        }
    }
}
