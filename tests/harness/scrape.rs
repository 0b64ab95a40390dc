//! One reading of `/metrics`: every cumulative counter at one tick.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::command::wait_until;
use crate::daemon::Daemon;

const TICK_PATIENCE: Duration = Duration::from_secs(10);
/// Differs in any two ticks: its unit is a nanosecond of the daemon's own CPU time, and a tick costs some.
const TICK_MARK: &str = "cgscope_own_cpu_seconds_total";

/// One series of the exposition.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The metric, with `_total`, `_sum`, `_count` or `_bucket`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// In the unit of the exposition: seconds, bytes, counts.
    pub value: f64,
}

/// All series of one tick.
#[derive(Debug, Clone, Default)]
pub struct Scrape(Vec<Series>);

impl Deref for Scrape {
    type Target = [Series];
    fn deref(&self) -> &[Series] {
        &self.0
    }
}

impl Scrape {
    /// Reads OpenMetrics text.
    ///
    /// # Errors
    /// When a line is neither a comment nor `name{label="value",...} number`.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series =
            lines.map(|line| series(line).with_context(|| format!("not a series: {line}")));
        Ok(Self(series.collect::<Result<_>>()?))
    }

    /// The sum of the series `name` that carry all of `labels`; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &&Series| {
            let mut wanted = labels.iter();
            series.name == name
                && wanted.all(|(key, value)| series.labels.get(*key).is_some_and(|v| v == value))
        };
        self.0.iter().filter(has).map(|series| series.value).sum()
    }

    /// How often something was lost for `reason`.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.sum("cgscope_own_dropped_total", &[("reason", reason)]) as u64
    }

    /// The part of the subject with this full id: a container's id, a plain cgroup's path, `/`, `kernel`, `unattributed`.
    pub fn of(&self, id: &str) -> Subject {
        let own = self.0.iter().filter(|s| s.labels.get("container_id").is_some_and(|v| v == id));
        Subject(Self(own.cloned().collect()))
    }

    /// The ids of all subjects that have a series.
    pub fn subjects(&self) -> Vec<String> {
        let ids = self.0.iter().filter_map(|series| series.labels.get("container_id"));
        let unique: std::collections::BTreeSet<_> = ids.cloned().collect();
        unique.into_iter().collect()
    }
}

fn series(line: &str) -> Option<Series> {
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, mut rest)) = head.strip_suffix('}').and_then(|head| head.split_once('{'))
    else {
        return Some(Series { name: head.to_owned(), labels: BTreeMap::new(), value });
    };
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (key, quoted) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => text.push(other),
            }
        };
        labels.insert(key.to_owned(), text);
        rest = quoted[end + 1..].trim_start_matches(',');
    }
    Some(Series { name: name.to_owned(), labels, value })
}

/// The series of one container, cgroup or pseudo-container. What it has no series of is 0.
#[derive(Debug, Clone, Default)]
pub struct Subject(Scrape);

impl Subject {
    /// Whether there is any series of it.
    pub fn is_known(&self) -> bool {
        !self.0.is_empty()
    }

    /// The sum of its series `name` that carry all of `labels`.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.0.sum(name, labels)
    }

    /// Whether it has the series `name`.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|series| series.name == name)
    }

    /// Time on a CPU.
    pub fn cpu_ns(&self) -> f64 {
        self.0.sum("cgscope_sched_cpu_seconds_total", &[]) * 1e9
    }

    /// Thread time in one state.
    pub fn state_ns(&self, state: &str) -> f64 {
        self.0.sum("cgscope_sched_state_seconds_total", &[("state", state)]) * 1e9
    }

    /// Thread time in all states.
    pub fn all_states_ns(&self) -> f64 {
        self.0.sum("cgscope_sched_state_seconds_total", &[]) * 1e9
    }

    /// Switches away: `voluntary` or `involuntary`.
    pub fn switches(&self, kind: &str) -> u64 {
        self.0.sum("cgscope_sched_switches_total", &[("kind", kind)]) as u64
    }

    /// Wake-ups that ended a wait.
    pub fn wakeups(&self) -> u64 {
        self.0.sum("cgscope_sched_wakeups_total", &[]) as u64
    }

    /// Living threads.
    pub fn threads(&self) -> u64 {
        self.0.sum("cgscope_sched_threads", &[]) as u64
    }

    /// Sum and number of the waits for a CPU.
    pub fn runqueue(&self) -> (f64, u64) {
        self.distribution("cgscope_sched_runqueue_latency_seconds")
    }

    /// Sum, in ns, and number of the stays off a CPU.
    pub fn off_cpu(&self) -> (f64, u64) {
        self.distribution("cgscope_sched_off_cpu_seconds")
    }

    /// Sum, in ns, and number of the stays on a CPU.
    pub fn on_cpu(&self) -> (f64, u64) {
        self.distribution("cgscope_sched_on_cpu_seconds")
    }

    /// `forks`, `clones`, `execs` or `exits`.
    pub fn processes(&self, what: &str) -> u64 {
        self.0.sum(&format!("cgscope_process_{what}_total"), &[]) as u64
    }

    fn distribution(&self, name: &str) -> (f64, u64) {
        let sum = self.0.sum(&format!("{name}_sum"), &[]);
        (sum * 1e9, self.0.sum(&format!("{name}_count"), &[]) as u64)
    }
}

impl Daemon {
    /// The newest tick.
    ///
    /// # Errors
    /// When the daemon does not answer or the answer is no exposition.
    pub fn scrape(&self) -> Result<Scrape> {
        Scrape::parse(&self.text("/metrics")?)
    }

    /// A tick that began after this call, and the instant (of this machine's monotonic clock) it was first seen.
    ///
    /// # Errors
    /// When none comes in 10 s.
    pub fn next_tick(&self) -> Result<(Scrape, Instant)> {
        // The first to come may have been taken before the call; the second was not.
        self.wait_tick()?;
        let text = self.wait_tick()?;
        Ok((Scrape::parse(&text)?, Instant::now()))
    }

    fn wait_tick(&self) -> Result<String> {
        let mark = |text: &str| text.lines().find(|l| l.starts_with(TICK_MARK)).map(str::to_owned);
        let before = mark(&self.text("/metrics")?);
        wait_until("the next tick", TICK_PATIENCE, || {
            let text = self.text("/metrics")?;
            let now = mark(&text);
            ensure!(now.is_some() || before.is_none(), "the tick's mark is gone from /metrics");
            Ok((now != before).then_some(text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unescaped() {
        let scrape =
            Scrape::parse("# EOF\na_total{x=\"1,\\\"\\\\\",y=\"}\"} 2.5\na_total 1\n").unwrap();
        assert_eq!(scrape.sum("a_total", &[("x", "1,\"\\"), ("y", "}")]), 2.5);
        assert_eq!(scrape.sum("a_total", &[]), 3.5);
    }
}
