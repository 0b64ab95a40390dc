//! The exposition of real ticks.

use super::*;
use crate::{
    metric::{KtimeNs, Sample, Unit, WallTimeNs},
    serve::tests::{DB, WEB, descriptor, registry, tick},
};

fn exposed(tick: Tick) -> String {
    let directory = tempfile::tempdir().unwrap();
    let names = Names::of(&registry(&directory));
    encode(Some(Arc::new(tick)), names).unwrap()
}

fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(start)).collect()
}

#[test]
fn families_have_their_type_help_and_every_series() {
    let text = exposed(tick(4));
    assert_eq!(
        lines(&text, "# TYPE cgscope_sched_cpu_seconds "),
        ["# TYPE cgscope_sched_cpu_seconds counter"]
    );
    assert_eq!(
        lines(&text, "# HELP cgscope_sched_cpu_seconds "),
        ["# HELP cgscope_sched_cpu_seconds What it \\\"tells\\\"."]
    );
    let cpu = lines(&text, "cgscope_sched_cpu_seconds_total");
    assert_eq!(cpu.len(), 2, "two containers and no process:\n{text}");
    let db = format!(
        "cgscope_sched_cpu_seconds_total{{container=\"db\",container_id=\"{DB}\",runtime=\"podman\"}} 2.0"
    );
    assert!(cpu.contains(&db.as_str()), "{cpu:?}");
    assert_eq!(lines(&text, "cgscope_sched_threads"), ["cgscope_sched_threads{} 17.0"]);
    assert!(!text.contains("process:"));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn label_values_are_escaped() {
    static ODD: Descriptor =
        descriptor("cgscope_test_total", Unit::Count, Kind::Counter, &["path"]);
    let sample = Sample {
        metric: &ODD,
        subject: Subject::Host,
        labels: vec!["a\\b\"c\nd".into()].into(),
        value: Value::Counter(1),
    };
    let tick = Tick::new(WallTimeNs(0), KtimeNs(0), vec![sample]);
    assert_eq!(
        lines(&exposed(tick), "cgscope_test_total"),
        [r#"cgscope_test_total{path="a\\b\"c\nd"} 1.0"#]
    );
    assert!(exposed(super::super::tests::tick(1)).contains(r#"container="we\"b""#));
}

#[test]
fn distributions_are_cumulative_in_seconds() {
    let text = exposed(tick(2));
    let name = "cgscope_sched_runqueue_latency_seconds";
    let buckets = lines(&text, &format!("{name}_bucket"));
    assert_eq!(buckets.len(), 14, "13 bounds and the infinite one:\n{text}");
    let count = |line: &&str| -> u64 { line.rsplit(' ').next().unwrap().parse().unwrap() };
    let bound = |line: &&str| -> f64 {
        let le = line.split("le=\"").nth(1).unwrap().split('"').next().unwrap();
        if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() }
    };
    for pair in buckets.windows(2) {
        assert!(bound(&pair[0]) < bound(&pair[1]) && count(&pair[0]) <= count(&pair[1]));
    }
    for line in &buckets {
        let expected = if bound(line) >= 0.004 { 20 } else { 0 };
        assert_eq!(count(line), expected, "3 ms in {line}");
    }
    assert!(lines(&text, &format!("{name}_count"))[0].ends_with(" 20"));
    assert!(lines(&text, &format!("{name}_sum"))[0].ends_with(" 0.06"));
    assert!(buckets.iter().all(|line| line.contains(WEB)));
}

#[test]
fn every_value_is_in_a_bucket() {
    let mut histogram = Histogram::default();
    for exponent in 0..63 {
        histogram.record(1 << exponent.min(40));
    }
    let sum: u64 = reduced(&histogram).iter().map(|(_, count)| count).sum();
    assert_eq!(sum, histogram.count());
}

#[test]
fn without_a_tick_there_are_no_metrics() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(encode(None, Names::of(&registry(&directory))).unwrap(), "# EOF\n");
}
