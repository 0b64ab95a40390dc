//! Python as it comes, without trampolines: its functions are read from the interpreter's memory, in the place of the interpreter's own.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Daemon, Folded, Stack};

use crate::python::of_pyenv;
use crate::script::{Script, expect_callers, expect_shares};

/// Interpreters of each version that can be walked: those of the system and of pyenv.
fn interpreters() -> Result<Vec<PathBuf>> {
    let is_walked = |path: &PathBuf| {
        ["3.11", "3.12", "3.13"].iter().any(|minor| {
            path.with_file_name(format!("python{minor}")).exists()
                && path.canonicalize().is_ok_and(|real| real.ends_with(format!("python{minor}")))
        })
    };
    let mut all = of_pyenv();
    all.extend(["3.11", "3.12", "3.13"].map(|minor| format!("/usr/bin/python{minor}").into()));
    all.retain(is_walked);
    all.sort();
    all.first().context("no python of 3.11 to 3.13: apt install python3, or pyenv install 3.13")?;
    Ok(all)
}

fn start(interpreter: &Path, arguments: &[&str]) -> Result<Script> {
    let home = interpreter.ancestors().nth(2).unwrap_or(Path::new("/usr"));
    let name = interpreter.display().to_string();
    Script::start("interpreted", home, &[&[name.as_str()], arguments].concat())
}

/// `py::burn_one:/shared/hot.py:18_[j]`.
fn is_function(frame: &str, name: &str) -> bool {
    frame.starts_with(&format!("py::{name}:/shared/"))
}

#[test]
fn functions_of_a_plain_interpreter_have_their_shares_and_callers() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    for interpreter in interpreters()? {
        let name = interpreter.display().to_string();
        let script = start(&interpreter, &["/shared/hot.py"])?;
        let (folded, spent) = script.record(&daemon, 8)?;
        expect_shares(&name, &folded, spent, is_function, ["burn_three", "burn_one"])?;
        let callers = [
            "_start",
            "Py_RunMain",
            "PyEval_EvalCode",
            "py::<module>:/shared/hot.py:1_[j]",
            "py::main:/shared/hot.py:",
            "py::turn:/shared/hot.py:",
            "py::measured:/shared/hot.py:",
            "py::burn_",
        ];
        expect_callers(&folded, &callers)?;
        expect_replaced(&name, &folded)?;
    }
    Ok(())
}

/// A sort in C calls Python, which calls a sum in C, which calls a generator of Python's; and beside it a thread that is in zlib, where
/// it does not hold the interpreter's lock.
#[test]
fn python_that_c_calls_stands_above_it_and_each_thread_has_its_own() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    for interpreter in interpreters()? {
        let name = interpreter.display().to_string();
        let script = start(&interpreter, &["/shared/nested.py"])?;
        let (folded, spent) = script.record(&daemon, 8)?;
        expect_shares(&name, &folded, spent, is_function, ["Sorter.ordered", "checksum"])?;
        let of_main = [
            "Py_RunMain",
            "PyEval_EvalCode",
            "py::<module>:",
            "py::main:",
            "py::Sorter.ordered:",
            "PyObject_CallOneArg",
            "py::Sorter.key:",
            "py::numbers:",
        ];
        expect_callers(&folded, &of_main)?;
        let of_thread = [
            "start_thread",
            "py::Thread._bootstrap:",
            "py::Thread._bootstrap_inner:",
            "py::Thread.run:",
            "py::worker:",
            "py::checksum:",
            "crc32_z",
        ];
        expect_callers(&folded, &of_thread)?;
        expect_replaced(&name, &folded)?;
    }
    Ok(())
}

/// Each lives for a quarter of a second: its names are read before it ends.
#[test]
fn functions_of_short_lived_processes_are_named() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let interpreter = interpreters()?.pop().context("an interpreter")?;
    let home = interpreter.ancestors().nth(2).unwrap_or(Path::new("/usr"));
    let forever = format!(
        "echo '{{\"three_us\":0,\"one_us\":0}}'; while :; do {} /shared/brief.py; done",
        interpreter.display()
    );
    let script = Script::start("brief", home, &["sh", "-c", &forever])?;
    let (folded, _) = script.record(&daemon, 6)?;
    let is_python = |stack: &Stack| stack.frames.iter().any(|frame| is_of_interpreter(frame));
    let is_doubtful = |frame: &String| frame == GONE || frame.starts_with(EVALUATES);
    let all = folded.count(is_python);
    let unnamed = folded.count(|stack| is_python(stack) && stack.frames.iter().any(is_doubtful));
    let working = folded.count(|s| s.frames.iter().any(|f| is_function(f, "brief_work")));
    eprintln!("short-lived: {working} of {all} at work, {unnamed} not named");
    ensure!(all >= 500 && working * 2 > all, "{working} of {all} at work: {:?}", folded.0.first());
    ensure!(unnamed * 10 <= all, "{unnamed} of {all} are not named");
    expect_counted(&daemon, &folded)
}

/// Fails unless the daemon's metrics have at least the functions that the graph shows, named or gone.
fn expect_counted(daemon: &Daemon, folded: &Folded) -> Result<()> {
    let frames = || folded.0.iter().flat_map(|stack| &stack.frames);
    let shown: BTreeSet<_> = frames().filter(|frame| frame.starts_with("py::")).collect();
    let (scrape, _) = daemon.next_tick()?;
    let counted =
        |outcome| scrape.sum("cgscope_own_symbol_outcomes_total", &[("outcome", outcome)]) as usize;
    let (named, gone) = (counted("function_named"), counted("function_gone"));
    ensure!(named >= shown.len(), "{named} named, of {shown:?}");
    ensure!(gone > 0 || !frames().any(|frame| frame == GONE), "gone, and not counted");
    ensure!(counted("address_looked_up") > 0, "no address was looked up");
    Ok(())
}

const EVALUATES: &str = "_PyEval_EvalFrameDefault";
const GONE: &str = "[unknown: Python function gone]";

fn is_of_interpreter(frame: &str) -> bool {
    frame == GONE || frame.starts_with(EVALUATES) || frame.starts_with("py::")
}

/// Fails unless what evaluates functions has made room for them. Where it begins and ends it has none yet, and stands innermost: in a
/// generator that is called for each number that is some 2 % of the time.
fn expect_replaced(name: &str, folded: &Folded) -> Result<()> {
    let evaluates = |frame: &&String| frame.starts_with(EVALUATES);
    let is_innermost = |stack: &Stack| {
        let mut own = stack.frames.iter().filter(|f| !f.ends_with("_[k]") && !f.ends_with("_[i]"));
        own.next_back().is_some_and(|frame| evaluates(&frame))
    };
    let left = folded.count(|stack| stack.frames.iter().any(|frame| evaluates(&frame)));
    let innermost = folded.count(is_innermost);
    let (all, gone) = (folded.kept(), folded.count(|stack| stack.has(GONE)));
    eprintln!(
        "{name}: {left} of {all} with the interpreter's own function, innermost in {innermost}; {gone} with one that is gone"
    );
    let elsewhere = left - innermost;
    ensure!(elsewhere * 200 <= all, "{name}: {elsewhere} of {all} have it among their callers");
    ensure!(left * 20 <= all && gone * 100 <= all, "{name}: {left} and {gone} of {all}");
    Ok(())
}
