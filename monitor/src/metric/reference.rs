//! The reference of all metrics as Markdown, from their descriptors: `docs/metrics.md` is this text.

use std::{collections::BTreeMap, fmt::Write};

use super::{Descriptor, Scope, Unit};

const HEAD: &str = "\
<!-- Generated from the descriptors; `CGSCOPE_BLESS=1 cargo test -p cgscope --test metrics_reference` writes it anew. -->

# Metrics

What `/metrics` and the API publish, by subsystem: the word after `cgscope_`.

- Times are kept as integer nanoseconds and published in seconds.
- A **counter** only grows; its rate is what to look at. A **gauge** goes up and down. A **distribution** is published as a
  Prometheus histogram: `_bucket`, `_sum` and `_count`.
- What is not known is absent. A 0 was measured.
- Metrics of scope *container* carry the labels `container`, `container_id` and `runtime`, and `image`, `pod` and `namespace` where
  they are known, besides those in the table.
- *Since* is the oldest kernel whose interface gives the number; cgscope as a whole is made for 6.1 and later.
";

/// Everything about `descriptors`: a section for each subsystem, the metrics in the order of their names.
pub fn markdown(descriptors: impl Iterator<Item = &'static Descriptor>) -> String {
    let mut subsystems: BTreeMap<&str, Vec<&Descriptor>> = BTreeMap::new();
    for descriptor in descriptors {
        subsystems.entry(subsystem(descriptor.name)).or_default().push(descriptor);
    }
    let mut text = HEAD.to_owned();
    for (subsystem, mut metrics) in subsystems {
        metrics.sort_by_key(|metric| metric.name);
        section(&mut text, subsystem, &metrics);
    }
    text
}

/// `sched` of `cgscope_sched_threads`.
fn subsystem(name: &str) -> &str {
    let rest = name.strip_prefix("cgscope_").unwrap_or(name);
    rest.split_once('_').map_or(rest, |(subsystem, _)| subsystem)
}

fn section(text: &mut String, subsystem: &str, metrics: &[&Descriptor]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n## {subsystem}\n");
    text.push_str("| metric | what | kind | unit | scope | labels | source | since |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for metric in metrics {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {} | {} |",
            metric.name,
            cell(metric.help),
            metric.kind,
            unit(metric.unit),
            scope(metric.scope),
            labels.join(", "),
            cell(metric.source),
            metric.kernel_floor,
        );
    }
}

/// A cell ends at a bar.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "seconds",
        Unit::Bytes => "bytes",
        Unit::Ratio => "ratio",
        Unit::Count => "count",
    }
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Container => "container",
        Scope::Host => "host",
        Scope::Own => "cgscope",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Kind;

    const fn descriptor(name: &'static str, help: &'static str) -> Descriptor {
        Descriptor {
            name,
            help,
            title: "",
            unit: Unit::Seconds,
            kind: Kind::Counter,
            scope: Scope::Host,
            labels: &["cpu", "mode"],
            source: "/proc/stat",
            kernel_floor: "2.6",
        }
    }

    static SWITCHES: Descriptor = descriptor("cgscope_sched_b_total", "One | two.");
    static WAKEUPS: Descriptor = descriptor("cgscope_sched_a_total", "");
    static LOAD: Descriptor = descriptor("cgscope_host_load", "");

    #[test]
    fn sections_by_subsystem_rows_by_name() {
        let text = markdown([&SWITCHES, &LOAD, &WAKEUPS].into_iter());
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in {text}"));
        let order = ["## host", "cgscope_host_load", "## sched", "sched_a_total", "sched_b_total"];
        assert!(order.map(at).is_sorted(), "{text}");
        assert!(text.contains(
            "| `cgscope_sched_b_total` | One \\| two. | counter | seconds | host | `cpu`, `mode` | /proc/stat | 2.6 |"
        ));
        assert_eq!(text.matches("## sched").count(), 1);
    }
}
