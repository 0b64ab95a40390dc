//! Folded stacks as `/api/v1/flamegraph?format=folded` gives them: `thread;root;...;leaf COUNT`.

use anyhow::{Context, Result};
use serde_json::Value;

/// One stack and its samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// The thread's name, then root first. Kernel frames end in `_[k]`.
    pub frames: Vec<String>,
    /// Samples.
    pub count: u64,
}

impl Stack {
    /// The innermost frame.
    pub fn leaf(&self) -> &str {
        self.frames.last().map_or("", String::as_str)
    }

    /// Whether a frame is called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| frame == name)
    }

    /// Whether one of its frames is a program of ours, or what the kernel calls it by.
    pub fn has_program(&self) -> bool {
        self.frames.iter().any(|frame| is_of_program(frame))
    }

    /// Whether it begins with such a frame.
    pub fn begins_in_program(&self) -> bool {
        is_of_program(self.leaf())
    }

    /// Whether it stands for samples that were lost.
    pub fn is_lost(&self) -> bool {
        self.frames.first().is_some_and(|frame| frame.starts_with("[lost:"))
    }
}

fn is_of_program(frame: &str) -> bool {
    const BEGINS: [&str; 7] = [
        "bpf_prog_",
        "bpf_trace_run",
        "bpf_trampoline_",
        "bpf_dispatcher_",
        "__bpf_trace_",
        "__traceiter_",
        "perf_trace_",
    ];
    BEGINS.iter().any(|begin| frame.starts_with(begin)) && frame.ends_with("_[k]")
}

/// A recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded(pub Vec<Stack>);

impl Folded {
    /// Reads folded lines.
    ///
    /// # Errors
    /// When a line has no count.
    pub fn parse(text: &str) -> Result<Self> {
        let stacks = text.lines().map(|line| {
            let (stack, count) = line.rsplit_once(' ').context("a folded line ends in a count")?;
            let count = count.parse().with_context(|| format!("not a count: {line}"))?;
            Ok(Stack { frames: stack.split(';').map(str::to_owned).collect(), count })
        });
        Ok(Self(stacks.collect::<Result<_>>()?))
    }

    /// The call tree of `format=json`, as stacks.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn of_json(profile: &Value) -> Result<Self> {
        let list = |name: &str| profile[name].as_array().with_context(|| name.to_owned());
        let (frames, nodes) = (list("frames")?, list("nodes")?);
        let mut paths: Vec<Vec<String>> = Vec::new();
        let mut stacks = Vec::new();
        for node in nodes {
            let frame = &frames[node["frame"].as_u64().context("frame")? as usize];
            let mut name = frame["name"].as_str().context("name")?.to_owned();
            if frame["kind"] == "kernel" {
                name += "_[k]";
            }
            let mut path = match node["parent"].as_u64() {
                Some(parent) => paths[parent as usize].clone(),
                None => Vec::new(),
            };
            path.push(name);
            paths.push(path.clone());
            let count = node["self"].as_u64().context("self")?;
            if count > 0 {
                stacks.push(Stack { frames: path, count });
            }
        }
        Ok(Self(stacks))
    }

    /// The samples of the stacks that `wanted` chooses.
    pub fn count(&self, wanted: impl Fn(&Stack) -> bool) -> u64 {
        self.0.iter().filter(|stack| wanted(stack)).map(|stack| stack.count).sum()
    }

    /// All samples that were kept.
    pub fn kept(&self) -> u64 {
        self.count(|stack| !stack.is_lost())
    }

    /// Samples that were lost.
    pub fn lost(&self) -> u64 {
        self.count(Stack::is_lost)
    }
}
