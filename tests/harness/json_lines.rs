//! The standard output of a fixture: JSON lines, `ready` first and `truth` last.

use serde_json::Value;

/// What a fixture has printed so far. A half-written last line is left out.
#[derive(Debug, Clone)]
pub struct JsonLines(Vec<Value>);

impl JsonLines {
    /// Keeps the complete lines of `text` that are JSON objects.
    pub fn parse(text: &str) -> Self {
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        Self(complete.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// The last line whose `event` is `name`.
    pub fn event(&self, name: &str) -> Option<&Value> {
        self.0.iter().rev().find(|line| line["event"] == name)
    }
}
