//! Posts in Prometheus' text format: `# TYPE`, `# HELP` and a line a value.
//!
//! Contract: counters, gauges and values without a type. Distributions and instants are refused: buckets of another layout cannot be merged with ours,
//! and a post is of now.

use std::{collections::HashMap, str::Chars};

use super::measurement::{Measurement, Refusal, Refused};
use crate::metric::Kind;

/// What a metric is whose type nobody said.
pub fn kind_by_name(name: &str) -> Kind {
    if name.ends_with("_total") { Kind::Counter } else { Kind::Gauge }
}

/// What was said of metrics so far.
#[derive(Default)]
struct Said<'a> {
    kinds: HashMap<&'a str, Kind>,
    helps: HashMap<&'a str, String>,
}

/// What is in a post.
pub fn parse(body: &[u8]) -> Result<Vec<Measurement>, Refused> {
    let text = std::str::from_utf8(body)
        .map_err(|error| invalid(format!("the text is no UTF-8: {error}"), "encode it so"))?;
    let (mut said, mut read) = (Said::default(), vec![]);
    for (i, line) in text.lines().enumerate() {
        let at = |refused: Refused| refused.at(format_args!("line {}", i + 1));
        let line = line.trim();
        if let Some(comment) = line.strip_prefix('#') {
            said.note(comment).map_err(at)?;
        } else if !line.is_empty() {
            read.push(measurement(line, &said).map_err(at)?);
        }
    }
    Ok(read)
}

fn invalid(what: impl std::fmt::Display, remedy: &str) -> Refused {
    Refused::new(Refusal::Invalid, what, remedy)
}

impl<'a> Said<'a> {
    fn note(&mut self, comment: &'a str) -> Result<(), Refused> {
        let mut words = comment.trim_start().splitn(3, char::is_whitespace);
        match (words.next(), words.next(), words.next()) {
            (Some("TYPE"), Some(name), kind) => {
                let kind = match kind.unwrap_or_default().trim() {
                    "counter" => Kind::Counter,
                    "gauge" => Kind::Gauge,
                    "untyped" | "unknown" => kind_by_name(name),
                    other => {
                        let what = format!("{name:.128} is of type {other:.128?}");
                        return Err(invalid(what, "post counters and gauges"));
                    }
                };
                self.kinds.insert(name, kind);
            }
            (Some("HELP"), Some(name), help) => {
                let help = help.unwrap_or_default().replace("\\n", "\n").replace("\\\\", "\\");
                self.helps.insert(name, help);
            }
            _ => {}
        }
        Ok(())
    }
}

fn measurement(line: &str, said: &Said<'_>) -> Result<Measurement, Refused> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace());
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let (labels, rest) = match rest.trim_start().strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (vec![], rest),
    };
    let mut words = rest.split_whitespace();
    let value = words.next().unwrap_or_default();
    let value = value
        .parse()
        .map_err(|_| invalid(format!("{value:.128?} is no number"), "write NAME{LABELS} VALUE"))?;
    if let Some(more) = words.next() {
        let what = format!("{more:.128?} after the value");
        return Err(invalid(what, "leave the instant out: a post is of now"));
    }
    Measurement {
        kind: said.kinds.get(name).copied().unwrap_or_else(|| kind_by_name(name)),
        help: said.helps.get(name).cloned().unwrap_or_default(),
        name: name.to_owned(),
        labels,
        value,
    }
    .checked()
}

type Labels = Vec<(String, String)>;

/// Labels behind a `{`, and what follows the `}`.
fn labels(text: &str) -> Result<(Labels, &str), Refused> {
    let broken = || invalid("the labels cannot be read", r#"write {queue="mail",zone="a"}"#);
    let (mut labels, mut rest) = (vec![], text.trim_start());
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, after) = rest.split_once('=').ok_or_else(broken)?;
        let after = after.trim_start().strip_prefix('"').ok_or_else(broken)?;
        let mut chars = after.chars();
        let value = quoted(&mut chars).ok_or_else(broken)?;
        labels.push((name.trim().to_owned(), value));
        rest = chars.as_str().trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with('}') => {}
            None => return Err(broken()),
        }
    }
}

/// A text up to the quote that ends it; `None` if there is none.
fn quoted(chars: &mut Chars<'_>) -> Option<String> {
    let mut value = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            plain => value.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_is_read() {
        let body = b"# HELP queue_depth Jobs that wait\\nin line\n# TYPE queue_depth gauge\n# a comment\n\
            queue_depth{queue=\"mail\", zone = \"a \\\"b\\\" \\\\ c\\nd\",} 3.5\n\nqueue_depth{} -1\r\n\
            jobs_total 17\nplain 2e3";
        let read = parse(body).unwrap();
        assert_eq!(read.len(), 4);
        assert_eq!(read[0].help, "Jobs that wait\nin line");
        assert_eq!(read[0].labels[1], ("zone".to_owned(), "a \"b\" \\ c\nd".to_owned()));
        assert_eq!((read[0].value, read[1].value, read[3].value), (3.5, -1.0, 2000.0));
        assert_eq!((read[2].kind, read[3].kind), (Kind::Counter, Kind::Gauge));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_line() {
        for wrong in [
            "depth",
            "depth x",
            "depth 1 1700000000000",
            "depth{ 1",
            "depth{a} 1",
            "depth{a=\"b} 1",
            "depth{a=\"b\" c=\"d\"} 1",
            "depth{a=b} 1",
            "depth NaN",
            "# TYPE depth histogram",
            "{} 1",
            "\u{e4} 1",
        ] {
            let body = format!("fine 1\n{wrong}\n");
            let refused = parse(body.as_bytes()).unwrap_err();
            let error = crate::serve::BackendError::from(refused).to_string();
            assert!(error.contains("line 2"), "{wrong}: {error}");
        }
        assert!(parse(b"\xff 1").is_err());
    }

    /// Whatever is posted, there is an answer.
    #[test]
    fn no_bytes_break_it() {
        let mut state = 88_172_645_463_325_252_u64;
        let alphabet = b"ab_{}=\",\\ \n#TYPE 1.e-\xc3\xa4";
        for _ in 0..20_000 {
            let mut body = vec![];
            for _ in 0..24 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                body.push(alphabet[(state % alphabet.len() as u64) as usize]);
            }
            let _ = parse(&body);
        }
    }
}
