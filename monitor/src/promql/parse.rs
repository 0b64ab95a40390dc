//! From text to tree, with everything refused before that would make the parser panic, recurse deeply or take long.

use promql_parser::parser::{self, Expr, VectorSelector};

use super::{
    error::{PromqlError, Result},
    limits::Limits,
    source::Condition,
};

/// Durations beyond are mistakes; the parser panics on those beyond what it can hold. 300 years.
const MAX_DURATION_S: f64 = 1e10;

/// Parses a query.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str, limits: &Limits) -> Result<Expr> {
    check(text, limits).map_err(PromqlError::bad_data)?;
    parser::parse(text).map_err(|error| PromqlError::bad_data(format!("parse error: {error}")))
}

/// Parses what is only a selector, as the parameter `match[]` is.
///
/// # Errors
/// What is wrong with it, also that it is something else.
pub fn selector(text: &str, limits: &Limits) -> Result<Condition> {
    match parse(text, limits)? {
        Expr::VectorSelector(VectorSelector { name, matchers, offset: None, at: None }) => {
            Ok(Condition::of(name.as_deref(), &matchers))
        }
        _ => Err(PromqlError::bad_data(format!("{text:?} is no selector of series"))),
    }
}

/// Looks at the characters alone.
fn check(text: &str, limits: &Limits) -> std::result::Result<(), String> {
    if text.len() > limits.text_bytes {
        return Err(format!(
            "the query has {} bytes, and {} are the most",
            text.len(),
            limits.text_bytes
        ));
    }
    let mut rest = text;
    let (mut depth, mut operators, mut regexes) = (0usize, 0usize, 0usize);
    let mut is_in_braces = false;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        match c {
            '"' | '\'' | '`' => length = string_length(rest, c),
            '#' => length = rest.find('\n').unwrap_or(rest.len()),
            '{' => is_in_braces = true,
            '}' => is_in_braces = false,
            '~' => regexes += 1,
            '(' => {
                depth += 1;
                operators += 1;
            }
            ')' => depth = depth.saturating_sub(1),
            '[' => {
                let inside = &rest[1..rest.find(']').unwrap_or(rest.len())];
                if inside.contains('#') {
                    return Err("a comment in brackets: put it elsewhere".to_owned());
                }
                operators += 1;
                inside.split(':').try_for_each(check_duration)?;
            }
            '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '!' | '=' if !is_in_braces => {
                operators += 1;
            }
            _ if c.is_ascii_alphanumeric() || c == '_' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let word = rest[..length].to_ascii_lowercase();
                if matches!(word.as_str(), "and" | "or" | "unless" | "atan2") {
                    operators += 1;
                }
                if word == "offset" {
                    let after = rest[length..].trim_start();
                    if after.starts_with('#') {
                        return Err("a comment behind offset: put it elsewhere".to_owned());
                    }
                    check_duration(after.trim_start_matches(['+', '-']))?;
                }
            }
            _ => {}
        }
        rest = &rest[length..];
        if depth > limits.nesting {
            return Err(format!("more than {} parentheses in each other", limits.nesting));
        }
    }
    for (count, most, what) in [
        (operators, limits.operators, "operators and calls"),
        (regexes, limits.regexes, "regular expressions"),
    ] {
        if count > most {
            return Err(format!("the query has {count} {what}, and {most} are the most"));
        }
    }
    Ok(())
}

/// Bytes of the string that `text` begins with; all of it when it does not end.
fn string_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if quote != '`' => is_escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// A number of seconds must be one that a duration can hold. Others are left to the parser.
fn check_duration(text: &str) -> std::result::Result<(), String> {
    let text = text.trim_start();
    let mut before = ' ';
    let mut is_part = |c: char| {
        let is_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E' | ' ');
        before = c;
        is_sign || c.is_ascii_alphanumeric() || c == '.'
    };
    let length = text.find(|c| !is_part(c)).unwrap_or(text.len());
    match text[..length].parse::<f64>() {
        Ok(seconds) if !(0.0..=MAX_DURATION_S).contains(&seconds) => {
            Err(format!("{} is no duration", &text[..length]))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> std::result::Result<Expr, String> {
        parse(text, &Limits::default()).map_err(|error| error.message)
    }

    #[test]
    fn what_is_meant_is_taken() {
        for text in [
            "up",
            "rate(x{a=~\"b|c\",d!~'e#[.]'}[5m] offset -1h) # why not",
            "sum by (a, b) (max_over_time(x[1000:30] offset 5)) / on(a) group_left(b) y > bool 1 and z or w",
            "{\"a.b\"=\"[1e300]\"}",
            "x[5m] @ 1e9",
            "1e300 + -Inf",
        ] {
            if let Err(error) = parsed(text) {
                panic!("{text}: {error}");
            }
        }
    }

    #[test]
    fn hostile_text_is_refused_without_a_panic() {
        let deep = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
        let cases = [
            deep(10_000),
            deep(65),
            "-".repeat(60_000) + "1",
            "1+".repeat(30_000) + "1",
            "x".repeat(70_000),
            "x[1e300]".into(),
            "x[1e300:]".into(),
            "x[5m:1e300]".into(),
            "x[NaN]".into(),
            "x[-5]".into(),
            "x[ 1e+300 ]".into(),
            "x[#\n1e300]".into(),
            "x offset 1e300".into(),
            "x offset -1e300".into(),
            "x offset #\n1e300".into(),
            "x offset Inf".into(),
            "x offset - NaN".into(),
            "x @ Inf".into(),
            format!("x{{{}}}", "a=~\"b\",".repeat(40)),
            "x{a=~\"(\"}".into(),
            "x{a=~\"(((a{999}){999}){999})\"}".into(),
            String::new(),
            "\0".into(),
            "x{a=\"\u{1f980}".into(),
            "é".into(),
            "x[".into(),
            "x[5m".into(),
            "sum(".into(),
            "{}".into(),
            "x{a=~\".*\"} offset".into(),
        ];
        for text in cases {
            assert!(parsed(&text).is_err(), "{}", text.chars().take(80).collect::<String>());
        }
    }
}
