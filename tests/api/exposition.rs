//! A strict reader of OpenMetrics text: what it takes, Prometheus takes.
//!
//! Contract: HELP and TYPE once a family and before its samples; families do not mix; no series twice; label values
//! are escaped; buckets are cumulative and end in `+Inf`, which equals `_count`; the last line is `# EOF`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// Labels of a series, by name.
pub type Labels = BTreeMap<String, String>;

/// One family.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// Samples by full name and labels.
    pub samples: BTreeMap<(String, Labels), f64>,
}

/// Families by name, without the suffixes of samples.
pub type Exposition = BTreeMap<String, Family>;

/// Reads all of it.
pub fn parse(text: &str) -> Result<Exposition> {
    let lines = text.strip_suffix("# EOF\n").context("the last line is not # EOF")?;
    let mut families = Exposition::new();
    let mut current = String::new();
    for line in lines.lines() {
        read_line(line, &mut families, &mut current)
            .with_context(|| format!("in line {line:?}"))?;
    }
    for (name, family) in &families {
        check(name, family).with_context(|| format!("in family {name}"))?;
    }
    Ok(families)
}

fn read_line(line: &str, families: &mut Exposition, current: &mut String) -> Result<()> {
    if let Some(comment) = line.strip_prefix("# ") {
        let mut words = comment.splitn(3, ' ');
        let (word, name) = (words.next(), words.next().context("a family's name")?);
        let text = words.next().context("a text")?;
        ensure!(is_name(name), "{name} is no name");
        match word {
            Some("HELP") => {
                ensure!(
                    !families.contains_key(name),
                    "a second HELP, or the family was broken off"
                );
                *current = name.to_owned();
                families
                    .insert(name.to_owned(), Family { help: unescape(text)?, ..Family::default() });
            }
            Some("TYPE") => {
                ensure!(name == current, "TYPE of another family than HELP");
                let family = families.get_mut(name).context("HELP comes first")?;
                ensure!(family.kind.is_empty() && family.samples.is_empty(), "a second TYPE");
                ensure!(["counter", "gauge", "histogram"].contains(&text), "{text} is no type");
                family.kind = text.to_owned();
            }
            _ => bail!("a comment that is neither HELP nor TYPE"),
        }
        return Ok(());
    }
    let (name, labels, value) = sample(line)?;
    let family = families.get_mut(current.as_str()).context("a sample before any HELP")?;
    let suffix = name.strip_prefix(current.as_str()).context("a sample of another family")?;
    let allowed: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_sum", "_count"],
        _ => bail!("a sample before TYPE"),
    };
    ensure!(allowed.contains(&suffix), "a {} has no {suffix:?}", family.kind);
    ensure!(family.samples.insert((name, labels), value).is_none(), "this series is there twice");
    Ok(())
}

/// `name{label="value",...} number`.
fn sample(line: &str) -> Result<(String, Labels, f64)> {
    let name_end = line.find(['{', ' ']).context("a name")?;
    let (name, mut rest) = line.split_at(name_end);
    ensure!(is_name(name), "{name} is no name");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"").context("label=\"value\"")?;
            ensure!(is_name(label) && !label.contains(':'), "{label} is no label");
            let end = end_of_quoted(quoted).context("a closing quote")?;
            let value = unescape(&quoted[..end])?;
            ensure!(labels.insert(label.to_owned(), value).is_none(), "{label} is there twice");
            rest = &quoted[end + 1..];
            if let Some(after) = rest.strip_prefix(',') {
                ensure!(!after.starts_with('}'), "a comma before the end");
                rest = after;
            }
        }
        rest = &rest[1..];
    }
    let number = rest.strip_prefix(' ').context("one space before the number")?;
    let value = number.parse().with_context(|| format!("{number:?} is no number"))?;
    Ok((name.to_owned(), labels, value))
}

/// Where the quote is that no backslash escapes.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

fn unescape(text: &str) -> Result<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(match chars.next() {
                Some('n') => '\n',
                Some(c @ ('\\' | '"')) => c,
                other => bail!("\\ before {other:?}"),
            }),
            c => plain.push(c),
        }
    }
    Ok(plain)
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b"_:".contains(&b))
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b))
}

fn check(name: &str, family: &Family) -> Result<()> {
    ensure!(!family.help.is_empty() && !family.kind.is_empty(), "HELP or TYPE is missing");
    for ((sample, labels), value) in &family.samples {
        ensure!(!value.is_nan(), "{sample}{labels:?} is NaN");
        if family.kind != "gauge" {
            ensure!(value.is_finite() && *value >= 0.0, "{sample}{labels:?} is {value}");
        }
    }
    if family.kind != "histogram" {
        return Ok(());
    }
    let bare = |labels: &Labels| -> Labels {
        labels.iter().filter(|(key, _)| *key != "le").map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let all: BTreeSet<Labels> = family.samples.keys().map(|(_, labels)| bare(labels)).collect();
    for labels in all {
        let mut buckets = Vec::new();
        for ((sample, of), count) in &family.samples {
            if *sample == format!("{name}_bucket") && bare(of) == labels {
                let bound: f64 = of.get("le").context("a bucket without le")?.parse()?;
                buckets.push((bound, *count));
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        ensure!(buckets.is_sorted_by(|a, b| a.0 < b.0), "{labels:?}: a bound twice");
        ensure!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{labels:?}: not cumulative: {buckets:?}");
        let (bound, last) = buckets.last().context("no buckets")?;
        ensure!(bound.is_infinite(), "{labels:?} does not end in +Inf");
        let count = family.samples.get(&(format!("{name}_count"), labels.clone()));
        ensure!(count == Some(last), "{labels:?}: +Inf is {last}, _count is {count:?}");
        ensure!(family.samples.contains_key(&(format!("{name}_sum"), labels.clone())), "no _sum");
    }
    Ok(())
}

/// The reader itself must refuse what is wrong, or the tests that stand on it could not fail.
#[test]
fn the_reader_is_strict() {
    let right = "# HELP a What \\\"it\\\" is.\n# TYPE a counter\na_total{x=\"q\\\"\\\\\\n,}\"} 1.5\n\
                 # HELP h H.\n# TYPE h histogram\nh_sum 2.0\nh_count 3\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 3\n# EOF\n";
    let read = parse(right).expect("it is right");
    assert_eq!(read["a"].help, "What \"it\" is.");
    let (_, labels) = read["a"].samples.keys().next().expect("a sample");
    assert_eq!(labels["x"], "q\"\\\n,}");
    for (part, instead) in [
        ("# EOF\n", ""),
        ("# TYPE a counter\n", ""),
        ("# TYPE a counter\n", "# TYPE a counter\n# TYPE a counter\n"),
        ("# HELP h H.", "# HELP a H."),
        ("# TYPE h histogram\n", "# TYPE h histogram\na_total 1\n"),
        ("a_total{", "a{"),
        ("1.5", "-1.5"),
        ("1.5", "NaN"),
        ("1.5\n", "1.5\na_total{x=\"q\\\"\\\\\\n,}\"} 2\n"),
        ("\\\\\\n", "\\x"),
        ("x=\"q", "x=\"y\",x=\"q"),
        ("} 1\n", "} 4\n"),
        ("le=\"+Inf\"", "le=\"9\""),
        ("h_count 3", "h_count 4"),
        ("h_sum 2.0\n", ""),
    ] {
        assert!(right.contains(part), "{part}");
        let wrong = right.replacen(part, instead, 1);
        assert!(parse(&wrong).is_err(), "{part:?} -> {instead:?} was taken:\n{wrong}");
    }
}
