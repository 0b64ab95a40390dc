//! The dashboards for Grafana: what they ask for exists, has the labels they name, and is answered by a daemon with data.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, ContainerOptions, Daemon, scratch_dir, wait_until, workspace_root};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{PATIENCE, daemon};

/// What a test of a minute has nothing for, by title, and why. Everything else must have values.
const EMPTY: &[(&str, &str)] = &[
    ("Throttled by its quota", "the container under test has none"),
    ("Kills for want of memory", "nothing is killed"),
    ("Waiting for memory", "there is enough"),
    ("Kernel programs", "run-time statistics are off"),
    ("Pushed", "nothing is pushed"),
    ("Losses", "nothing need be lost"),
    ("Pressure", "the kernel may have no PSI"),
    ("Error against the kernel's own accounts", "the first minute has none"),
    ("Disks: p99 latency", "the machine may have no disk of its own"),
    ("Disks: time busy", "the machine may have no disk of its own"),
    ("Bytes", "the container asks no disk"),
    ("Requests", "the container asks no disk"),
    ("Latency by phase, p99", "the container asks no disk"),
    ("Whose requests its requests wait for", "the container asks no disk"),
    ("Waiting for disks by container", "no container asks a disk"),
    ("Disk traffic by container", "no container asks a disk"),
    ("TCP bytes", "the container has no network"),
    ("Round-trip time", "the container has no network"),
    ("Connections", "the container has no network"),
    ("TCP traffic by container", "no container has a network"),
];

struct Panel {
    file: String,
    title: String,
    queries: Vec<String>,
}

fn dashboards() -> Result<Vec<(String, Value)>> {
    let folder = workspace_root().join("contrib/grafana/dashboards");
    let mut all = vec![];
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        let text = fs::read_to_string(&path)?;
        all.push((name.clone(), serde_json::from_str(&text).with_context(|| name)?));
    }
    ensure!(all.len() == 3, "{} dashboards", all.len());
    Ok(all)
}

fn panels() -> Result<Vec<Panel>> {
    let mut all = vec![];
    for (file, dashboard) in dashboards()? {
        let (mut ids, mut queries) = (BTreeSet::new(), 0);
        for panel in dashboard["panels"].as_array().context("panels")? {
            ensure!(ids.insert(panel["id"].as_u64().context("an id")?), "{file}: an id twice");
            let title = panel["title"].as_str().context("a title")?.to_owned();
            let targets = panel["targets"].as_array().cloned().unwrap_or_default();
            ensure!(targets.is_empty() == (panel["type"] == "row"), "{file}: {title}");
            let expression = |target: &Value| target["expr"].as_str().map(str::to_owned);
            let expressions: Option<Vec<String>> = targets.iter().map(expression).collect();
            queries += targets.len();
            all.push(Panel { file: file.clone(), title, queries: expressions.context("expr")? });
        }
        ensure!(queries > 0, "{file} asks for nothing");
    }
    all.retain(|panel| !panel.queries.is_empty());
    Ok(all)
}

/// The labels of each metric by the reference, with those of containers and of scrapes.
fn reference() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = fs::read_to_string(workspace_root().join("docs/metrics.md"))?;
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `cgscope_")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let texts = |cell: &str| {
            cell.split(',').map(|part| part.trim().trim_matches('`').to_owned()).collect()
        };
        let mut labels: BTreeSet<String> = texts(cells[6]);
        if cells[5] == "container" {
            labels.extend(["container", "container_id", "runtime", "image"].map(str::to_owned));
        }
        if labels.contains("culprit_id") {
            labels.insert("culprit".to_owned());
        }
        labels.insert("instance".to_owned());
        let name = cells[1].trim_matches('`').to_owned();
        if cells[3] == "distribution" {
            for suffix in ["_bucket", "_sum", "_count"] {
                let le = (suffix == "_bucket").then(|| "le".to_owned());
                all.insert(name.clone() + suffix, labels.iter().cloned().chain(le).collect());
            }
        }
        all.insert(name, labels);
    }
    ensure!(all.len() > 100, "{} metrics in the reference", all.len());
    Ok(all)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics of a query with the labels that are matched, and the labels that it sums by.
fn parts(query: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let (mut metrics, mut by) = (vec![], vec![]);
    let mut rest = query;
    while let Some(at) = rest.find("cgscope_") {
        let tail = &rest[at..];
        let end = tail.find(|c| !is_word(c)).unwrap_or(tail.len());
        let (name, after) = tail.split_at(end);
        let mut labels = vec![];
        if let Some(inside) = after.strip_prefix('{').and_then(|after| after.split('}').next()) {
            let matchers = inside.split(',');
            let label = |m: &str| m.split(|c| !is_word(c)).next().map(str::to_owned);
            labels.extend(matchers.filter_map(label));
        }
        metrics.push((name.to_owned(), labels));
        rest = after;
    }
    for inside in query.split("by (").skip(1).filter_map(|after| after.split(')').next()) {
        by.extend(inside.split(',').map(|label| label.trim().to_owned()));
    }
    (metrics, by)
}

#[test]
fn dashboards_name_what_exists() -> Result<()> {
    let reference = reference()?;
    let mut seen = 0;
    for Panel { file, title, queries } in panels()? {
        for query in queries {
            let (metrics, by) = parts(&query);
            ensure!(!metrics.is_empty(), "{file}: {title}: {query}");
            for (metric, labels) in metrics {
                let known = reference.get(&metric);
                let known = known.with_context(|| format!("{file}: {title}: no {metric}"))?;
                for label in labels.iter().chain(&by) {
                    ensure!(known.contains(label), "{file}: {title}: {metric} has no {label}");
                }
                seen += 1;
            }
        }
    }
    eprintln!("{seen} metrics in all panels");
    Ok(())
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// As Grafana asks when its variables are chosen.
fn asked(query: &str, container: &Container) -> String {
    query
        .replace("$__rate_interval", "15s")
        .replace("$instance", ".*")
        .replace("$container", container.name())
}

/// How many series a panel of the last minute has.
fn answer(daemon: &Daemon, query: &str) -> Result<usize> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    let form = format!("query={}&start={:.3}&end={now:.3}&step=1", encoded(query), now - 60.0);
    let answer = daemon.post_form("/prometheus/api/v1/query_range", &form)?;
    ensure!(answer.status == 200, "{query}: {} {}", answer.status, answer.body);
    let answer: Value = serde_json::from_str(&answer.body)?;
    ensure!(answer["status"] == "success", "{query}: {answer}");
    let series = answer["data"]["result"].as_array().context("result")?;
    let has_number = |series: &&Value| {
        let values = series["values"].as_array().into_iter().flatten();
        values.filter_map(|v| v[1].as_str()?.parse::<f64>().ok()).any(f64::is_finite)
    };
    Ok(series.iter().filter(has_number).count())
}

#[test]
fn every_query_of_the_dashboards_is_answered() -> Result<()> {
    let directory = TempDir::with_prefix_in("history-", scratch_dir())?;
    let daemon = daemon(directory.path())?;
    let container = Container::run("shares", &["shares", "--seconds", "300"])?;
    let _rival = ContainerOptions::new()
        .run("contend", &["contend", "--threads", "3", "--seconds", "300"])?;
    let panels = panels()?;
    for name in EMPTY.iter().map(|(title, _)| title) {
        ensure!(panels.iter().any(|panel| panel.title == *name), "no panel {name}");
    }
    let mut empty: Vec<String> = vec![];
    let all = wait_until("every panel to have values", PATIENCE * 3, || {
        empty.clear();
        for Panel { file, title, queries } in &panels {
            let mut series = 0;
            for query in queries {
                series += answer(&daemon, &asked(query, &container))?;
            }
            if series == 0 && !EMPTY.iter().any(|(of, _)| of == title) {
                empty.push(format!("{file}: {title}"));
            }
        }
        Ok(empty.is_empty().then_some(()))
    });
    all.with_context(|| format!("without values: {empty:?}"))?;
    let queries: usize = panels.iter().map(|panel| panel.queries.len()).sum();
    eprintln!("{} panels with {queries} queries", panels.len());

    // The variables: label_values(metric{matchers}, label).
    for (file, dashboard) in dashboards()? {
        for variable in dashboard["templating"]["list"].as_array().context("variables")? {
            let Some(definition) = variable["definition"].as_str() else { continue };
            let inside = definition.strip_prefix("label_values(").and_then(|d| d.strip_suffix(')'));
            let (selector, label) = inside.and_then(|i| i.rsplit_once(", ")).context("a query")?;
            let path = format!(
                "/prometheus/api/v1/label/{label}/values?match[]={}",
                encoded(&asked(selector, &container))
            );
            let values = daemon.get(&path)?["data"].as_array().context("values")?.clone();
            let has = values.iter().any(|value| value == container.name());
            ensure!(has == (label == "container"), "{file}: {definition}: {values:?}");
        }
    }
    Ok(())
}
