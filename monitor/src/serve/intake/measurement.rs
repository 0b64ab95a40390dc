//! One value that an application posts, and what it may look like.

use std::fmt;

use crate::{
    metric::{Kind, Unit},
    serve::BackendError,
};

/// Labels of a series.
const LABELS_MAX: usize = 16;
/// Bytes of a name.
const NAME_MAX: usize = 128;
/// Bytes of the value of a label.
const VALUE_MAX: usize = 256;
/// Bytes of what is said of a metric.
const HELP_MAX: usize = 512;
/// What is above that is not whole any more in a float, nor in JSON.
const COUNT_MAX: f64 = (1u64 << 53) as f64;
/// Labels that say which container it is, and those that other formats give a meaning.
const TAKEN: [&str; 8] =
    ["container", "container_id", "runtime", "image", "pod", "namespace", "le", "quantile"];
/// Endings that other formats give a meaning.
const ENDINGS: [&str; 5] = ["_bucket", "_count", "_sum", "_created", "_info"];

/// A value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Of the metric.
    pub name: String,
    /// A counter or a gauge.
    pub kind: Kind,
    /// What is said of the metric; may be empty.
    pub help: String,
    /// Sorted by name.
    pub labels: Vec<(String, String)>,
    /// In the unit of its name.
    pub value: f64,
}

/// Why a post is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be read, or a name or value in it may not be.
    Invalid,
    /// It is another metric than that of the name that is known.
    Conflict,
    /// There are too many names or series.
    Limit,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Invalid, Self::Conflict, Self::Limit];

    /// As the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Limit => "limit",
        }
    }
}

/// Why, for people, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For the count.
    pub why: Refusal,
    what: String,
    remedy: String,
}

impl Refused {
    /// Because of what it is.
    pub fn new(why: Refusal, what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { why, what: what.to_string(), remedy: remedy.to_string() }
    }

    /// With the place it is at before it.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }
}

impl From<Refused> for BackendError {
    fn from(refused: Refused) -> Self {
        Self::Invalid { what: refused.what, remedy: refused.remedy }
    }
}

fn invalid(what: impl fmt::Display, remedy: impl fmt::Display) -> Refused {
    Refused::new(Refusal::Invalid, what, remedy)
}

/// Of what a metric is by its name.
pub fn unit_of(name: &str) -> Unit {
    let bare = name.strip_suffix("_total").unwrap_or(name);
    match bare.rsplit_once('_').map_or(bare, |(_, last)| last) {
        "seconds" => Unit::Seconds,
        "bytes" => Unit::Bytes,
        "ratio" => Unit::Ratio,
        _ => Unit::Count,
    }
}

impl Measurement {
    /// Puts its labels in order, and sees that it can be taken.
    pub fn checked(mut self) -> Result<Self, Refused> {
        check_name(&self.name)?;
        let is_total = self.name.ends_with("_total");
        if (self.kind == Kind::Counter) != is_total {
            let what = format!("{} is a {}", self.name, self.kind);
            return Err(invalid(what, "names of counters end in _total, and no others do"));
        }
        if self.help.len() > HELP_MAX {
            let what = format!("the help of {} has {} bytes", self.name, self.help.len());
            return Err(invalid(what, format_args!("say it in {HELP_MAX}")));
        }
        self.labels.sort();
        self.check_labels()?;
        self.check_value()?;
        Ok(self)
    }

    fn check_labels(&self) -> Result<(), Refused> {
        if self.labels.len() > LABELS_MAX {
            let what = format!("{} has {} labels", self.name, self.labels.len());
            return Err(invalid(what, format_args!("give at most {LABELS_MAX}")));
        }
        for (name, value) in &self.labels {
            let is_begin = |c: char| c.is_ascii_alphabetic() || c == '_';
            let is_name = name.starts_with(is_begin)
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !name.starts_with("__")
                && name.len() <= NAME_MAX;
            if !is_name {
                let what = format!("{name:.128?} is no name of a label");
                return Err(invalid(what, "use letters, digits and _, and begin with a letter"));
            }
            if TAKEN.contains(&name.as_str()) {
                let what = format!("the label {name} of {} is not yours to give", self.name);
                return Err(invalid(what, "leave it out: who posts is known"));
            }
            if value.len() > VALUE_MAX {
                let what = format!("the label {name} of {} has {} bytes", self.name, value.len());
                return Err(invalid(what, format_args!("give at most {VALUE_MAX}")));
            }
        }
        match self.labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => {
                let what = format!("{} has the label {} twice", self.name, pair[0].0);
                Err(invalid(what, "give it once"))
            }
            None => Ok(()),
        }
    }

    fn check_value(&self) -> Result<(), Refused> {
        let what = || format!("{} is {}", self.name, self.value);
        if !self.value.is_finite() {
            return Err(invalid(what(), "give a number, and leave out what is not known"));
        }
        if self.kind != Kind::Counter {
            return Ok(());
        }
        let is_whole = self.value.fract() == 0.0 || unit_of(&self.name) == Unit::Seconds;
        if self.value < 0.0 || self.value > COUNT_MAX || !is_whole {
            let remedy = "counters are whole numbers from 0, or seconds and named ..._seconds_total; other values are gauges";
            return Err(invalid(what(), remedy));
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), Refused> {
    let is_begin = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    let is_name = name.starts_with(is_begin)
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    if !is_name || name.len() > NAME_MAX {
        let what = format!("{name:.128?} is no name of a metric");
        return Err(invalid(
            what,
            "use up to 128 letters, digits, _ and :, and begin with a letter",
        ));
    }
    if name.starts_with("cgscope_") || name.starts_with("__") {
        return Err(invalid(
            format_args!("{name} is not yours to post"),
            "name it after the application",
        ));
    }
    match ENDINGS.iter().find(|ending| name.ends_with(**ending)) {
        Some(ending) => {
            let what = format!("{name} ends in {ending}, which parts of distributions do");
            Err(invalid(what, "name it otherwise, or post a counter ..._total"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(name: &str, kind: Kind, value: f64) -> Measurement {
        Measurement { name: name.into(), kind, help: String::new(), labels: vec![], value }
    }

    #[test]
    fn names_and_kinds_agree() {
        for (name, kind, value) in [
            ("jobs_done_total", Kind::Counter, 3.0),
            ("busy_seconds_total", Kind::Counter, 0.25),
            ("queue_depth", Kind::Gauge, -1.5),
            ("app:queue:depth", Kind::Gauge, 0.0),
        ] {
            assert!(measurement(name, kind, value).checked().is_ok(), "{name}");
        }
        for (name, kind, value) in [
            ("jobs_done", Kind::Counter, 3.0),
            ("jobs_done_total", Kind::Gauge, 3.0),
            ("jobs_done_total", Kind::Counter, 0.5),
            ("jobs_done_total", Kind::Counter, -1.0),
            ("jobs_done_total", Kind::Counter, 1e17),
            ("depth", Kind::Gauge, f64::NAN),
            ("depth", Kind::Gauge, f64::INFINITY),
            ("cgscope_sched_threads", Kind::Gauge, 1.0),
            ("latency_bucket", Kind::Gauge, 1.0),
            ("", Kind::Gauge, 1.0),
            ("1st", Kind::Gauge, 1.0),
            ("tiefe_\u{e4}", Kind::Gauge, 1.0),
            (&"x".repeat(129), Kind::Gauge, 1.0),
        ] {
            let refused = measurement(name, kind, value).checked().unwrap_err();
            assert_eq!(refused.why, Refusal::Invalid, "{name}");
        }
    }

    #[test]
    fn labels_are_sorted_and_who_posts_is_not_among_them() {
        let with = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            Measurement { labels, ..measurement("depth", Kind::Gauge, 1.0) }.checked()
        };
        let sorted = with(&[("zone", "b"), ("queue", "a \"\n")]).unwrap();
        assert_eq!(sorted.labels[0], ("queue".to_owned(), "a \"\n".to_owned()));
        for wrong in ["container", "container_id", "le", "__name__", "a-b", "", "9"] {
            assert!(with(&[(wrong, "x")]).is_err(), "{wrong}");
        }
        assert!(with(&[("a", "1"), ("a", "2")]).is_err());
        assert!(with(&[("a", &"x".repeat(257))]).is_err());
        let many: Vec<String> = (0..17).map(|i| format!("l{i}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
        assert!(with(&many).is_err());
    }

    #[test]
    fn units_are_those_of_names() {
        assert_eq!(unit_of("busy_seconds_total"), Unit::Seconds);
        assert_eq!(unit_of("heap_bytes"), Unit::Bytes);
        assert_eq!(unit_of("hit_ratio"), Unit::Ratio);
        assert_eq!(unit_of("jobs_total"), Unit::Count);
        assert_eq!(unit_of("seconds"), Unit::Seconds);
    }
}
