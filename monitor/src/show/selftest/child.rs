//! A workload in a process of its own: started from this binary, told to begin, asked what it did.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use clap::ValueEnum;

use super::workload::{Truth, Workload};

/// One that waits to begin. Dropping it ends it.
pub struct Waiting {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Waiting {
    /// Starts it and waits until it is ready.
    pub fn start(workload: Workload, directory: &Path) -> io::Result<Self> {
        let name = workload.to_possible_value().map(|value| value.get_name().to_owned());
        // The file that runs, even if another has taken its place.
        let program =
            env::current_exe().or_else(|_| Ok::<_, io::Error>("/proc/self/exe".into()))?;
        let mut child = Command::new(program)
            .args(["selftest", "--workload", &name.unwrap_or_default()])
            .arg("--directory")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let mut waiting = Self { child, input: Some(input), output };
        if waiting.line()?.trim() != "ready" {
            return Err(io::Error::other("the workload did not begin"));
        }
        Ok(waiting)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it work, and gives what it did once it is done. It stays until it is dropped.
    pub fn work(&mut self) -> io::Result<Truth> {
        if let Some(input) = &mut self.input {
            input.write_all(b"go\n")?;
        }
        serde_json::from_str(&self.line()?).map_err(io::Error::other)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It ends with its input; if it hangs, it is ended.
        self.input = None;
        let mut rest = String::new();
        if self.output.read_line(&mut rest).is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
