//! Folded stacks as `/api/v1/flamegraph?format=folded` gives them: `thread;root;...;leaf COUNT`.

use anyhow::{Context, Result};

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

    /// Whether it stands for samples that were lost.
    pub fn is_lost(&self) -> bool {
        self.frames.first().is_some_and(|frame| frame.starts_with("[lost:"))
    }
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
