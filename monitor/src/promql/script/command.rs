//! A script as a list of commands.

use super::notation::{self, Place, quoted, time_ms};
use crate::promql::value::Labels;

/// What is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScriptError {
    /// Where, from 1.
    pub line: usize,
    /// What.
    pub what: String,
}

/// What a script tells to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Forget all series.
    Clear,
    /// Add series, a value each step.
    Load {
        /// Time between two values, ms.
        step_ms: i64,
        /// The series.
        series: Vec<(Labels, Vec<Place>)>,
    },
    /// Ask.
    Eval(Box<Eval>),
}

/// When a query is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At one instant, ms.
    Instant(i64),
    /// From, to and step, ms.
    Range(i64, i64, i64),
}

/// A text that a message must be, or match.
#[derive(Clone, Debug)]
pub enum Message {
    /// Any.
    Any,
    /// Contains this.
    Text(String),
    /// Matches this.
    Regex(String),
}

/// What an answer must be beside its values.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// There must be no answer.
    pub fail: Option<Message>,
    /// Warnings that must be there.
    pub warn: Vec<Message>,
    /// Remarks that must be there.
    pub info: Vec<Message>,
    /// There must be no warning.
    pub no_warn: bool,
    /// There must be no remark.
    pub no_info: bool,
    /// The order matters.
    pub ordered: bool,
    /// A text.
    pub text: Option<String>,
    /// A range vector: from, to and step of the values, ms.
    pub range: Option<(i64, i64, i64)>,
    /// A number alone.
    pub scalar: Option<f64>,
    /// Series.
    pub series: Vec<(Labels, Vec<Place>)>,
}

/// A query and what it must come to.
#[derive(Clone, Debug)]
pub struct Eval {
    /// Where in the script, from 1.
    pub line: usize,
    /// The query.
    pub query: String,
    /// When it is asked.
    pub when: When,
    /// What it must come to.
    pub expected: Expected,
}

/// Reads a script.
///
/// # Errors
/// The first line that is none.
pub fn commands(script: &str) -> Result<Vec<Command>, ScriptError> {
    let clean = |line: &str| -> String {
        let line = line.trim();
        if line.starts_with('#') { String::new() } else { line.to_owned() }
    };
    let lines: Vec<String> = script.lines().map(clean).collect();
    let mut commands = vec![];
    let mut at = 0;
    while at < lines.len() {
        let head = &lines[at];
        let line = at + 1;
        at += 1;
        if head.is_empty() {
            continue;
        }
        let is_block = head.starts_with("load") || head.starts_with("eval");
        let mut block = vec![];
        while is_block && at < lines.len() && !lines[at].is_empty() {
            block.push(lines[at].as_str());
            at += 1;
        }
        commands.push(command(line, head, &block).map_err(|what| ScriptError { line, what })?);
    }
    Ok(commands)
}

fn command(line: usize, head: &str, block: &[&str]) -> Result<Command, String> {
    if head == "clear" {
        return Ok(Command::Clear);
    }
    if let Some(step) = head.strip_prefix("load ") {
        let series = block.iter().map(|line| notation::series(line)).collect::<Result<_, _>>()?;
        return Ok(Command::Load { step_ms: time_ms(step.trim())?, series });
    }
    let (kind, rest) = next_word(head);
    let mut expected = Expected::default();
    match kind {
        "eval" => {}
        "eval_fail" => expected.fail = Some(Message::Any),
        "eval_warn" => expected.warn.push(Message::Any),
        "eval_info" => expected.info.push(Message::Any),
        "eval_ordered" => expected.ordered = true,
        _ => return Err(format!("{kind:?} is no command")),
    }
    let (when, query) = when(rest)?;
    for line in block {
        match line.strip_prefix("expect ").or_else(|| line.strip_prefix("expect\t")) {
            Some(what) => expect(what.trim(), &mut expected)?,
            None => match line.parse::<f64>() {
                Ok(number) => expected.scalar = Some(number),
                Err(_) => expected.series.push(notation::series(line)?),
            },
        }
    }
    Ok(Command::Eval(Box::new(Eval { line, query: query.to_owned(), when, expected })))
}

fn next_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn when(text: &str) -> Result<(When, &str), String> {
    let named = |text, name: &str| {
        let (word, rest) = next_word(text);
        if word != name {
            return Err(format!("expected {name:?} before {rest:?}"));
        }
        let (value, rest) = next_word(rest);
        Ok((time_ms(value)?, rest))
    };
    match next_word(text) {
        ("instant", rest) => {
            let (at_ms, query) = named(rest, "at")?;
            Ok((When::Instant(at_ms), query))
        }
        ("range", rest) => {
            let (from_ms, rest) = named(rest, "from")?;
            let (to_ms, rest) = named(rest, "to")?;
            let (step_ms, query) = named(rest, "step")?;
            Ok((When::Range(from_ms, to_ms, step_ms), query))
        }
        (word, _) => Err(format!("{word:?} is neither instant nor range")),
    }
}

fn expect(what: &str, expected: &mut Expected) -> Result<(), String> {
    let (word, rest) = next_word(what);
    let message = || {
        if let Some(text) = rest.strip_prefix("msg:") {
            Message::Text(text.trim().to_owned())
        } else if let Some(regex) = rest.strip_prefix("regex:") {
            Message::Regex(regex.trim().to_owned())
        } else {
            Message::Any
        }
    };
    match word {
        "fail" => expected.fail = Some(message()),
        "warn" => expected.warn.push(message()),
        "info" => expected.info.push(message()),
        "no_warn" => expected.no_warn = true,
        "no_info" => expected.no_info = true,
        "ordered" => expected.ordered = true,
        "string" => expected.text = Some(quoted(rest)?.0),
        "range" => {
            let rest = rest.strip_prefix("vector").ok_or("expected \"range vector\"")?;
            match when(&format!("range {rest}"))? {
                (When::Range(from, to, step), _) => expected.range = Some((from, to, step)),
                (When::Instant(_), _) => return Err("expected a range".to_owned()),
            }
        }
        _ => return Err(format!("{word:?} cannot be expected")),
    }
    Ok(())
}
