//! Series as scripts write them: `metric{label="value"} 1 2 _ 3+1x5 stale`.

use crate::promql::{
    span_ms,
    value::{Labels, NAME},
};

/// One place of a written series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// A number.
    Number(f64),
    /// Nothing.
    Blank,
    /// The series ends.
    Stale,
    /// A native histogram.
    Native,
}

/// The most places of one written series.
const MAX_PLACES: usize = 1_000_000;

/// A series and its places.
pub fn series(line: &str) -> Result<(Labels, Vec<Place>), String> {
    let (labels, rest) = labels(line)?;
    Ok((labels, places(rest)?))
}

/// A series' name and labels, and what follows.
pub fn labels(line: &str) -> Result<(Labels, &str), String> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace()).unwrap_or(line.len());
    let mut labels = Labels::default();
    labels.set(NAME, &line[..end]);
    let Some(mut rest) = line[end..].strip_prefix('{') else { return Ok((labels, &line[end..])) };
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, value) = rest.split_once('=').ok_or_else(|| format!("no label in {rest:?}"))?;
        let (value, after) = quoted(value.trim_start())?;
        labels.set(name.trim(), value);
        rest = after;
    }
}

/// A text in quotes, and what follows.
pub fn quoted(text: &str) -> Result<(String, &str), String> {
    let wrong = || format!("no text in quotes in {text:?}");
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')).ok_or_else(wrong)?;
    let mut value = String::new();
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => {
                value.push(if c == 'n' { '\n' } else { c });
                is_escaped = false;
            }
            '\\' if quote != '`' => is_escaped = true,
            _ if c == quote => return Ok((value, &text[at + 1..])),
            _ => value.push(c),
        }
    }
    Err(wrong())
}

/// Numbers and what stands for them.
pub fn places(mut text: &str) -> Result<Vec<Place>, String> {
    let mut places = vec![];
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Ok(places);
        }
        let end = word_end(text);
        let (word, rest) = text.split_at(end);
        add(word, &mut places).ok_or_else(|| format!("{word:?} is no value"))?;
        if places.len() > MAX_PLACES {
            return Err(format!("more than {MAX_PLACES} values"));
        }
        text = rest;
    }
}

/// Where a word ends; spaces within double braces belong to it.
fn word_end(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if c.is_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn add(word: &str, places: &mut Vec<Place>) -> Option<()> {
    let (head, times) = match word.rsplit_once('x') {
        Some((head, times)) => match times.parse::<usize>() {
            Ok(times) if times <= MAX_PLACES => (head, Some(times)),
            _ => return None,
        },
        None => (word, None),
    };
    // Once, and so many times more; but so many blanks.
    let more = times.unwrap_or(0);
    let mut repeat = |place: Place, count: usize| places.extend(std::iter::repeat_n(place, count));
    match head {
        "_" => repeat(Place::Blank, times.unwrap_or(1)),
        "stale" => repeat(Place::Stale, more + 1),
        _ if head.starts_with("{{") => repeat(Place::Native, more + 1),
        _ => {
            if let Ok(number) = head.parse::<f64>() {
                repeat(Place::Number(number), more + 1);
                return Some(());
            }
            let is_sign = |&(at, c): &(usize, char)| {
                at > 0 && matches!(c, '+' | '-') && !head[..at].ends_with(['e', 'E'])
            };
            let (at, _) = head.char_indices().find(is_sign)?;
            let (first, step) = (head[..at].parse::<f64>().ok()?, head[at..].parse::<f64>().ok()?);
            // Added up one by one, as Prometheus does: so are the errors of floats.
            let mut value = first;
            for _ in 0..=more {
                places.push(Place::Number(value));
                value += step;
            }
        }
    }
    Some(())
}

/// A length of time or an instant: `5m`, `10s53ms`, or seconds; ms.
pub fn time_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1e3).round() as i64);
    }
    span_ms(text).ok_or_else(|| format!("{text:?} is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        use Place::{Blank, Native, Number, Stale};
        let read = |text| places(text).unwrap();
        assert_eq!(read("1 _ NaNx0 stale")[..2], [Number(1.0), Blank]);
        assert_eq!(read("0+10x2 7x1"), [0.0, 10.0, 20.0, 7.0, 7.0].map(Number));
        assert_eq!(read("-1e+2-1x1 _x2"), [Number(-100.0), Number(-101.0), Blank, Blank]);
        assert_eq!(read("{{sum:2 count:2}}+{{sum:3}}x1 stale"), [Native, Native, Stale]);
        assert!(places("1 two").is_err() && places("1x99999999999").is_err());
        assert_eq!(time_ms("10s53ms"), Ok(10_053));
        assert!(time_ms("5").is_ok() && time_ms("5q").is_err());
    }
}
