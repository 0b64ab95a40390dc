//! `label_replace` and `label_join`.

use regex::Regex;

use super::{
    error::{PromqlError, Result},
    value::Line,
};

/// Sets `to` where the whole of `from` is as `regex` says.
///
/// # Errors
/// A name or an expression that is none.
pub fn replace(
    mut lines: Vec<Line>,
    to: &str,
    replacement: &str,
    from: &str,
    regex: &str,
) -> Result<Vec<Line>> {
    let compiled = Regex::new(&format!("^(?s:{regex})$")).map_err(|_| {
        PromqlError::execution(format!("invalid regular expression in label_replace(): {regex}"))
    })?;
    check_name(to, "label_replace")?;
    for line in &mut lines {
        let value = line.labels.get(from).to_owned();
        if let Some(captures) = compiled.captures(&value) {
            let mut expanded = String::new();
            captures.expand(replacement, &mut expanded);
            line.labels.set(to, expanded);
        }
    }
    Ok(lines)
}

/// Sets `to` to the values of `from` with `separator` between.
///
/// # Errors
/// A name that is none.
pub fn join(mut lines: Vec<Line>, to: &str, separator: &str, from: &[String]) -> Result<Vec<Line>> {
    check_name(to, "label_join")?;
    for line in &mut lines {
        let values: Vec<&str> = from.iter().map(|label| line.labels.get(label)).collect();
        let joined = values.join(separator);
        line.labels.set(to, joined);
    }
    Ok(lines)
}

/// Whether a text can be the name of a label.
pub fn is_label_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_part) && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn check_name(name: &str, function: &str) -> Result<()> {
    if is_label_name(name) {
        return Ok(());
    }
    let message = format!("invalid destination label name in {function}(): {name}");
    Err(PromqlError::execution(message))
}
