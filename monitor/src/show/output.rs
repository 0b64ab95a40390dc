//! Where results go: standard output, whole or not at all.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::failure::Failure;

/// Writes a result to standard output.
///
/// # Errors
/// [`Failure::Output`]: of a pipe that nobody reads any more, too.
pub fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// As [`print`], for what need not be text.
///
/// # Errors
/// As [`print`].
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Writes a result as JSON.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    text.push('\n');
    print(&text)
}

/// Whether standard output takes colours: a terminal whose user did not refuse them.
pub fn has_colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns of the terminal, or a width that fits most when it is none.
pub fn columns() -> usize {
    let is_terminal = io::stdout().is_terminal();
    let size = is_terminal.then(ratatui::crossterm::terminal::size).and_then(Result::ok);
    size.map_or(100, |(columns, _)| usize::from(columns).max(40))
}
