//! `cgscope latency`: the distributions of a container, a process or the host.

use super::{
    arguments::{TargetArguments, WindowArguments},
    client::{Client, path},
    failure::Failure,
    histogram, number,
    output::{columns, print, print_json},
    program::Engine,
    text::clean,
};
use crate::serve::api::{About, LatencyReport};

pub fn latency(engine: Engine, arguments: &WindowArguments) -> Result<(), Failure> {
    let report: LatencyReport = ask(engine, arguments, "latency")?;
    if arguments.json { print_json(&report) } else { print(&draw(&report, columns())) }
}

/// Asks for one report of a target: `latency` or `states`.
pub fn ask<T: serde::de::DeserializeOwned>(
    engine: Engine,
    arguments: &WindowArguments,
    what: &str,
) -> Result<T, Failure> {
    let frequency_hz = crate::serve::EngineOptions::default().frequency_hz;
    let client =
        Client::connect(&arguments.connect, engine, arguments.engine.options(frequency_hz))?;
    let query = [("duration", arguments.duration.to_string())];
    client.get(&target_path(&arguments.target, what, &query), arguments.duration.0)
}

fn target_path(target: &TargetArguments, what: &str, query: &[(&str, String)]) -> String {
    match (&target.container, target.pid) {
        (Some(container), _) => path(&["containers", container, what], query),
        (None, Some(pid)) => path(&["processes", &pid.to_string(), what], query),
        (None, None) => path(&["host", what], query),
    }
}

/// Of whom, in words.
pub fn about(about: &About) -> String {
    match about {
        About::Host => "the whole host".to_owned(),
        About::Container(container) => {
            let name = clean(&container.qualified_name());
            if container.runtime.is_container() {
                format!("container {name} ({})", container.runtime)
            } else {
                format!("{name} ({})", container.runtime)
            }
        }
        About::Process { pid, name: Some(name) } => format!("process {pid} ({})", clean(name)),
        About::Process { pid, name: None } => format!("process {pid}"),
    }
}

fn draw(report: &LatencyReport, columns: usize) -> String {
    let mut text = format!("{}, {}\n", about(&report.about), number::time(report.span_ns));
    if report.distributions.is_empty() {
        text.push_str(
            "\nnothing measured: it did not run, or `cgscope doctor` tells what is missing\n",
        );
    }
    for one in &report.distributions {
        let labels: Vec<String> =
            one.labels.iter().map(|(name, value)| format!("{name}={}", clean(value))).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!(" {{{}}}", labels.join(",")) };
        text.push_str(&format!(
            "\n{}{labels}: {}\n{}",
            one.title,
            histogram::summary(&one.distribution),
            histogram::draw(&one.distribution, columns)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metric::{Histogram, WallTimeNs},
        serve::api::NamedDistribution,
    };

    #[test]
    fn a_report_tells_of_whom_and_how_long() {
        let mut histogram = Histogram::default();
        histogram.record(5_000);
        let report = LatencyReport {
            about: About::Process { pid: 7, name: Some("we\u{1b}b".to_owned()) },
            at: WallTimeNs(0),
            span_ns: 10_000_000_000,
            distributions: vec![NamedDistribution {
                name: "cgscope_test_seconds".to_owned(),
                title: "Run queue latency".to_owned(),
                help: String::new(),
                labels: [("kind".to_owned(), "x".to_owned())].into(),
                distribution: (&histogram).into(),
            }],
        };
        let text = draw(&report, 80);
        assert!(
            text.starts_with(
                "process 7 (we\\u{1b}b), 10.0s\n\nRun queue latency {kind=x}: 1 times"
            ),
            "{text}"
        );
        let empty = draw(&LatencyReport { distributions: vec![], ..report }, 80);
        assert!(empty.contains("nothing measured"), "{empty}");
    }
}
