//! Many containers that do a little, without a runtime.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use cgscope_tests::PlainCgroup;

/// Cgroups named as docker names them, each with a process that wakes ten times a second. Dropping it ends them.
pub struct Crowd {
    parent: PlainCgroup,
    children: Vec<Child>,
    count: usize,
}

impl Crowd {
    /// So many.
    pub fn start(count: usize) -> Result<Self> {
        let parent = PlainCgroup::new("crowd")?;
        let mut crowd = Self { parent, children: Vec::new(), count };
        for number in 0..count {
            let directory = crowd.directory(number);
            fs::create_dir(&directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
            let child = Command::new("perl")
                .args(["-e", "select(undef, undef, undef, 0.1) while 1"])
                .stdin(Stdio::null())
                .spawn()
                .context("apt install perl")?;
            let pid = child.id().to_string();
            crowd.children.push(child);
            fs::write(directory.join("cgroup.procs"), pid)?;
        }
        Ok(crowd)
    }

    /// The id of one of them.
    pub fn one(&self) -> String {
        id(self.count - 1)
    }

    fn directory(&self, number: usize) -> PathBuf {
        self.parent.path().join(format!("docker-{}.scope", id(number)))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for number in 0..self.count {
            // Where it was not made it cannot be removed.
            let _ = fs::remove_dir(self.directory(number));
        }
    }
}

fn id(number: usize) -> String {
    format!("{number:064x}")
}
