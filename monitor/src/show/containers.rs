//! `cgscope containers`: who there is.

use std::time::Duration;

use super::{
    arguments::ContainersArguments,
    client::{Client, path},
    failure::Failure,
    number::UNKNOWN,
    output::{print, print_json},
    program::Engine,
    table::{self, Side},
    text::clean,
};
use crate::serve::{
    EngineOptions,
    api::{ContainerList, ContainerRow},
};

/// Characters of an id that are enough to tell containers apart.
const SHORT_ID: usize = 12;

pub fn containers(engine: Engine, arguments: &ContainersArguments) -> Result<(), Failure> {
    let options = arguments.engine.options(EngineOptions::default().frequency_hz);
    let client = Client::connect(&arguments.connect, engine, options)?;
    let mut query = vec![("all", arguments.all.to_string())];
    query.extend(arguments.container.clone().map(|container| ("container", container)));
    let mut list: ContainerList = client.get(&path(&["containers"], &query), Duration::ZERO)?;
    list.containers.sort_by_cached_key(|row| (!row.alive, row.container.qualified_name()));
    if arguments.json { print_json(&list) } else { print(&draw(&list.containers)) }
}

fn draw(rows: &[ContainerRow]) -> String {
    if rows.is_empty() {
        return "no containers here; --all shows units and plain cgroups\n".to_owned();
    }
    let heading = ["NAME", "ID", "RUNTIME", "STATUS", "IMAGE", "CGROUP"];
    let heading = heading.map(|name| (name, Side::Left));
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|ContainerRow { container, alive, .. }| {
            let id = container.id.as_str();
            let id = if container.runtime.is_container() {
                id.get(..SHORT_ID).unwrap_or(id)
            } else {
                UNKNOWN
            };
            vec![
                clean(&container.qualified_name()),
                clean(id),
                container.runtime.to_string(),
                if *alive { "alive" } else { "dead" }.to_owned(),
                container.image.as_deref().map_or(UNKNOWN.to_owned(), clean),
                clean(&container.cgroup),
            ]
        })
        .collect();
    table::draw(&heading, &rows)
}
