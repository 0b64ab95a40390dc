//! Python with perf trampolines, which do not keep frame pointers, between an interpreter that does not either.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cgscope_tests::{Daemon, run_captured};

use crate::script::{Script, expect_callers, expect_shares};

/// Those of pyenv, in no order.
pub fn of_pyenv() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let versions = fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin/python3")).collect()
}

/// Interpreters that have trampolines, the newest last: those of the system and of pyenv. Each version lays them out its own way.
fn interpreters() -> Result<Vec<PathBuf>> {
    let mut all = of_pyenv();
    all.extend(
        ["3.12", "3.13", "3.14"].map(|minor| PathBuf::from(format!("/usr/bin/python{minor}"))),
    );
    all.retain(|path| {
        let mut python = std::process::Command::new(path);
        python.args(["-X", "perf", "-c", "import sys; sys.activate_stack_trampoline('perf')"]);
        path.exists() && run_captured(&mut python).is_ok_and(|done| done.success())
    });
    all.sort();
    all.first()
        .context("no python of 3.12 or later: apt install python3, or pyenv install 3.13")?;
    Ok(all)
}

/// `py::burn_one:/shared/hot.py_[j]`.
fn is_function(frame: &str, name: &str) -> bool {
    frame.starts_with(&format!("py::{name}:/shared/hot.py"))
}

#[test]
fn functions_are_named_and_have_their_callers() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    for interpreter in interpreters()? {
        let name = interpreter.display().to_string();
        let home = interpreter.ancestors().nth(2).unwrap_or(Path::new("/usr"));
        let script = Script::start("python", home, &[&name, "-X", "perf", "/shared/hot.py"])?;
        let (folded, spent) = script.record(&daemon, 8)?;
        expect_shares(&name, &folded, spent, is_function, ["burn_three", "burn_one"])?;
        let of_python = ["py::<module>:", "py::main:", "py::turn:", "py::measured:", "py::burn_"];
        expect_callers(&folded, &of_python)?;
    }
    Ok(())
}
