//! `cgscope outliers`: the slowest operations of each second.

use std::thread;

use super::{
    arguments::OutliersArguments,
    client::{Client, path},
    failure::Failure,
    number::{self, UNKNOWN},
    output::{print, print_json},
    program::Engine,
    table::{self, Side},
    text::{clean, fit},
};
use crate::{
    metric::WallTimeNs,
    serve::{
        EngineOptions,
        outliers::{OutlierList, OutlierRow},
    },
};

/// Columns of what may be long.
const NAME_COLUMNS: usize = 40;
/// Columns that only some kinds have anything in.
const OF_SOME: [&str; 5] = ["QUEUE", "SERVICE", "SECTOR", "STACK", "FILE"];

pub fn outliers(engine: Engine, arguments: &OutliersArguments) -> Result<(), Failure> {
    let options = arguments.engine.options(EngineOptions::default().frequency_hz);
    let client = Client::connect(&arguments.connect, engine, options)?;
    if matches!(client, Client::Local(_)) {
        // A daemon tells what was; an engine of our own has only begun to look.
        thread::sleep(arguments.duration.0);
    }
    let mut query =
        vec![("duration", arguments.duration.to_string()), ("limit", arguments.limit.to_string())];
    query.extend(arguments.kind.clone().map(|kind| ("kind", kind)));
    query.extend(arguments.container.clone().map(|container| ("container", container)));
    let list: OutlierList = client.get(&path(&["outliers"], &query), arguments.duration.0)?;
    if arguments.json { print_json(&list) } else { print(&draw(&list, arguments)) }
}

fn draw(list: &OutlierList, arguments: &OutliersArguments) -> String {
    let span = number::time(list.span_ns);
    let mut text = if list.outliers.is_empty() {
        format!("nothing slow in the last {span}\n")
    } else {
        operations(list, arguments.stacks)
    };
    let left_out = list.total - list.outliers.len();
    if left_out > 0 {
        text.push_str(&format!("and {left_out} that were faster; --limit shows more\n"));
    }
    if arguments.stacks {
        for (at, stack) in list.stacks.iter().enumerate() {
            text.push_str(&format!("\nstack {}\n", at + 1));
            text.extend(stack.iter().map(|function| format!("  {}\n", clean(function))));
        }
    }
    // It matters to who asked for it, or sees nothing.
    let is_told = arguments.kind.is_some() || list.outliers.is_empty();
    for missing in list.missing.iter().filter(|_| is_told) {
        let (kind, remedy) = (clean(&missing.kind), clean(&missing.remedy));
        text.push_str(&format!("slow operations of kind {kind} are not looked for: {remedy}\n"));
    }
    text
}

fn operations(list: &OutlierList, has_stacks: bool) -> String {
    const LEFT: Side = Side::Left;
    const RIGHT: Side = Side::Right;
    let heading = [
        ("AGO", RIGHT),
        ("LATENCY", RIGHT),
        ("QUEUE", RIGHT),
        ("SERVICE", RIGHT),
        ("OPERATION", LEFT),
        ("SIZE", RIGHT),
        ("DEVICE", LEFT),
        ("SECTOR", RIGHT),
        ("CONTAINER", LEFT),
        ("THREAD", LEFT),
        ("STACK", RIGHT),
        ("FILE", LEFT),
    ];
    let cells = |row| cells(row, list.at, has_stacks);
    let rows: Vec<_> = list.outliers.iter().map(cells).collect();
    // What none of them has takes no room.
    let has = |&column: &usize| {
        !OF_SOME.contains(&heading[column].0) || rows.iter().any(|row| row[column] != UNKNOWN)
    };
    let shown: Vec<usize> = (0..heading.len()).filter(has).collect();
    let heading: Vec<_> = shown.iter().map(|&column| heading[column]).collect();
    let pick = |row: &Vec<String>| shown.iter().map(|&column| row[column].clone()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(pick).collect();
    table::draw(&heading, &rows)
}

fn cells(row: &OutlierRow, now: WallTimeNs, has_stacks: bool) -> Vec<String> {
    let time = |ns: Option<u64>| ns.map_or(UNKNOWN.to_owned(), number::time);
    let text = |text: &Option<String>| text.as_deref().map_or(UNKNOWN.to_owned(), clean);
    vec![
        number::time(now.0.saturating_sub(row.at.0)),
        number::time(row.latency_ns),
        time(row.queue_ns),
        time(row.service_ns),
        format!("{} {}", row.kind, row.operation),
        number::bytes(row.bytes as f64),
        text(&row.device),
        row.sector.map_or(UNKNOWN.to_owned(), |sector| sector.to_string()),
        fit(&clean(&row.name), NAME_COLUMNS),
        match (&row.thread, row.tid) {
            (Some(name), Some(tid)) => format!("{} ({tid})", clean(name)),
            _ => UNKNOWN.to_owned(),
        },
        row.stack.filter(|_| has_stacks).map_or(UNKNOWN.to_owned(), |at| (at + 1).to_string()),
        text(&row.file),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::outliers::MissingKind;

    fn row(kind: &str, file: Option<&str>) -> OutlierRow {
        OutlierRow {
            at: WallTimeNs(1_000),
            kind: kind.into(),
            operation: "write".into(),
            container: "c0ffee".into(),
            name: "web".into(),
            latency_ns: 3_000_000,
            queue_ns: file.is_none().then_some(1_000_000),
            service_ns: file.is_none().then_some(2_000_000),
            device: Some("vda".into()),
            sector: file.is_none().then_some(2_048),
            file: file.map(str::to_owned),
            inode: None,
            bytes: 4_096,
            pid: None,
            tid: None,
            thread: None,
            stack: file.is_none().then_some(0),
        }
    }

    fn arguments(line: &str) -> OutliersArguments {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: OutliersArguments,
        }
        let words = ["outliers"].into_iter().chain(line.split_whitespace());
        <Line as clap::Parser>::parse_from(words).arguments
    }

    fn list(outliers: Vec<OutlierRow>) -> OutlierList {
        let missing = vec![MissingKind { kind: "file".into(), remedy: "--enable files".into() }];
        OutlierList {
            at: WallTimeNs(2_000),
            span_ns: 5_000,
            total: outliers.len(),
            outliers,
            stacks: vec![vec!["ksys_pwrite64".into(), "io_schedule".into()]],
            missing,
        }
    }

    #[test]
    fn columns_are_those_that_somebody_has() {
        let shown = |rows| draw(&list(rows), &arguments(""));
        let of_disks = shown(vec![row("block", None)]);
        assert!(of_disks.contains("SECTOR") && !of_disks.contains("FILE"), "{of_disks}");
        let of_files = shown(vec![row("file", Some("/data/a\u{1b}[0m"))]);
        assert!(of_files.contains("/data/a\\u{1b}[0m"), "{of_files}");
        assert!(!of_files.contains("QUEUE"), "{of_files}");
        let both = shown(vec![row("file", Some("/a")), row("block", None)]);
        assert!(both.contains("SECTOR") && both.contains("FILE"), "{both}");
        assert!(!both.contains("--enable"), "nobody asked for files alone: {both}");
        assert!(!both.contains("io_schedule"), "nobody asked for stacks: {both}");
    }

    #[test]
    fn stacks_are_listed_once_and_named_by_their_number() {
        let rows = vec![row("block", None), row("block", None)];
        let shown = draw(&list(rows), &arguments("--stacks"));
        assert!(shown.contains("\nstack 1\n  ksys_pwrite64\n  io_schedule\n"), "{shown}");
        assert_eq!(shown.matches("io_schedule").count(), 1, "{shown}");
        assert!(shown.contains("STACK"), "{shown}");
    }

    #[test]
    fn what_is_not_looked_for_is_said_where_it_is_missed() {
        let said = "kind file are not looked for: --enable files";
        assert!(draw(&list(vec![]), &arguments("")).contains(said));
        assert!(draw(&list(vec![row("block", None)]), &arguments("--kind block")).contains(said));
    }
}
