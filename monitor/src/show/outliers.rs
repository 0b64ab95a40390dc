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
    if arguments.json { print_json(&list) } else { print(&draw(&list)) }
}

fn draw(list: &OutlierList) -> String {
    let span = number::time(list.span_ns);
    if list.outliers.is_empty() {
        return format!("nothing slow in the last {span}\n");
    }
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
    ];
    let rows: Vec<_> = list.outliers.iter().map(|row| cells(row, list.at)).collect();
    let mut text = table::draw(&heading, &rows);
    let left_out = list.total - list.outliers.len();
    if left_out > 0 {
        text.push_str(&format!("and {left_out} that were faster; --limit shows more\n"));
    }
    text
}

fn cells(row: &OutlierRow, now: WallTimeNs) -> Vec<String> {
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
    ]
}
