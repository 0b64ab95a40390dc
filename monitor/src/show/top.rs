//! `cgscope top`: the containers, live or once.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use ratatui::{
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    widgets::TableState,
};

use super::{
    arguments::TopArguments,
    bar,
    client::{Client, path},
    failure::{Failure, RUNTIME},
    output::{has_colours, print, print_json},
    program::Engine,
    signal,
    table::{self, Side},
    top_columns::{BAR_CELLS, Column, Columns, Order},
    top_view::{self, View},
};
use crate::serve::{
    EngineOptions,
    api::{ContainerList, ContainerRow},
};

/// How long the screen may lag behind a key or a number.
const REDRAW: Duration = Duration::from_millis(50);

pub fn top(engine: Engine, arguments: &TopArguments) -> Result<(), Failure> {
    let options = arguments.engine.options(EngineOptions::default().frequency_hz);
    let client = Client::connect(&arguments.connect, engine, options)?;
    let question = Question {
        container: arguments.container.clone(),
        metrics: arguments.columns.metrics().join(","),
    };
    let span = arguments.duration.map(|span| span.0);
    let is_once = arguments.once || arguments.json || !io::stdout().is_terminal();
    let list = question.ask(&client, arguments.all, span.filter(|_| is_once))?;
    if arguments.json {
        print_json(&list)
    } else if is_once {
        print(&draw_once(&list, &arguments.columns, has_colours()))
    } else {
        let view = View {
            list,
            columns: arguments.columns.clone(),
            order: Order::default(),
            all: arguments.all,
            trouble: None,
            has_colours: has_colours(),
            table: TableState::default(),
        };
        live(client, question, view, arguments.engine.interval.0)
    }
}

/// What is asked at each refresh.
struct Question {
    container: Option<String>,
    metrics: String,
}

impl Question {
    fn ask(
        &self,
        client: &Client,
        all: bool,
        span: Option<Duration>,
    ) -> Result<ContainerList, Failure> {
        let mut query = vec![("all", all.to_string())];
        query.extend(self.container.clone().map(|container| ("container", container)));
        query.extend(span.map(|span| ("duration", crate::serve::duration::Span(span).to_string())));
        if !self.metrics.is_empty() {
            query.push(("metrics", self.metrics.clone()));
        }
        client.get(&path(&["containers"], &query), span.unwrap_or_default())
    }
}

fn draw_once(list: &ContainerList, columns: &Columns, has_colours: bool) -> String {
    let rows = &list.containers;
    if rows.is_empty() {
        return "no containers here; --all shows units and plain cgroups\n".to_owned();
    }
    let headings: Vec<(String, Side)> =
        columns.0.iter().map(|column| (column.heading(rows), column.side())).collect();
    let headings: Vec<(&str, Side)> =
        headings.iter().map(|(name, side)| (name.as_str(), *side)).collect();
    let cells = |row: &ContainerRow| {
        let cell = |column: &Column| match (column, &row.activity) {
            (Column::States, Some(activity)) => bar::draw(&activity.states, BAR_CELLS, has_colours),
            _ => column.cell(row),
        };
        columns.0.iter().map(cell).collect::<Vec<String>>()
    };
    let mut text = table::draw(&headings, &rows.iter().map(cells).collect::<Vec<_>>());
    if columns.0.contains(&Column::States) {
        let legend = bar::legend().map(|(state, look)| {
            let letter = look.letter.to_string();
            let letter = if has_colours { look.paint(&letter) } else { letter };
            format!("{letter} {state}")
        });
        text.push_str(&format!("\n{}\n", legend.collect::<Vec<_>>().join("  ")));
    }
    text
}

/// What the asking thread shares with the screen.
struct Asking {
    all: Arc<AtomicBool>,
    answers: Receiver<Result<ContainerList, Failure>>,
    /// A message asks at once; without a sender, the thread ends.
    ask_now: Sender<()>,
}

fn ask_in_background(
    client: Client,
    question: Question,
    all: bool,
    interval: Duration,
) -> io::Result<Asking> {
    let all = Arc::new(AtomicBool::new(all));
    let (to_screen, answers) = mpsc::channel();
    let (ask_now, asked) = mpsc::channel();
    let shared = Arc::clone(&all);
    thread::Builder::new().name("asking".to_owned()).spawn(move || {
        loop {
            if asked.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Disconnected) {
                return;
            }
            let answer = question.ask(&client, shared.load(Ordering::Relaxed), None);
            if to_screen.send(answer).is_err() {
                return;
            }
        }
    })?;
    Ok(Asking { all, answers, ask_now })
}

fn live(
    client: Client,
    question: Question,
    mut view: View,
    interval: Duration,
) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        Failure::new(RUNTIME, format!("cannot use the terminal: {error}"), "use --once")
    };
    let ends = signal::end_flag().map_err(failed)?;
    let asking = ask_in_background(client, question, view.all, interval).map_err(failed)?;
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let shown = (|| -> io::Result<()> {
        view.order.sort(&mut view.list.containers);
        while !ends.load(Ordering::Relaxed) {
            terminal.draw(|frame| top_view::draw(frame, &mut view))?;
            if event::poll(REDRAW)?
                && let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
                match key.code {
                    KeyCode::Char('c') if is_control => return Ok(()),
                    code => {
                        if !obey(code, &mut view, &asking) {
                            return Ok(());
                        }
                    }
                }
            }
            while let Ok(answer) = asking.answers.try_recv() {
                take(answer, &mut view);
            }
        }
        Ok(())
    })();
    ratatui::restore();
    shown.map_err(failed)
}

fn take(answer: Result<ContainerList, Failure>, view: &mut View) {
    match answer {
        Ok(list) => {
            view.list = list;
            view.trouble = None;
            view.order.sort(&mut view.list.containers);
        }
        Err(failure) => view.trouble = Some(failure.to_string()),
    }
}

/// Does what a key says; `false` ends.
fn obey(key: KeyCode, view: &mut View, asking: &Asking) -> bool {
    match key {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('a') => {
            view.all = !view.all;
            asking.all.store(view.all, Ordering::Relaxed);
            // The thread is there as long as the screen; if not, the next answer is missing anyway.
            let _ = asking.ask_now.send(());
        }
        KeyCode::Down | KeyCode::Char('j') => view.table.select_next(),
        KeyCode::Up | KeyCode::Char('k') => view.table.select_previous(),
        KeyCode::PageDown => view.table.scroll_down_by(20),
        KeyCode::PageUp => view.table.scroll_up_by(20),
        KeyCode::Char(key) => {
            if let Some(order) = Order::of_key(key) {
                view.order = order;
                order.sort(&mut view.list.containers);
            }
        }
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metric::WallTimeNs, show::top_columns::tests::row};

    #[test]
    fn one_table() {
        let list = ContainerList {
            at: WallTimeNs(0),
            span_ns: 1,
            containers: vec![row("web", Some(1.25), Some(0.5)), row("db", None, None)],
        };
        let text = draw_once(&list, &"name,cpu,stall,states".parse().unwrap(), false);
        let bar = "R".repeat(BAR_CELLS);
        let expected = format!(
            "NAME   CPU  STALL  STATES\nweb   0.50   1.25  {bar}\ndb       -      -  {bar}\n\nU running.user"
        );
        assert!(text.starts_with(&expected), "{text}");
        let text = draw_once(&list, &"name,cpu".parse().unwrap(), false);
        assert!(!text.contains("running.user"), "no bar, no legend");
        let empty = ContainerList { containers: vec![], ..list };
        assert!(draw_once(&empty, &Columns::default(), false).contains("--all"));
    }
}
