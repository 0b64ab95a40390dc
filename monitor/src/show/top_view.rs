//! How `cgscope top` looks: a line about the window, the table, the legend.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Row, Table, TableState},
};

use super::{
    bar, number,
    table::Side,
    text::width,
    top_columns::{BAR_CELLS, Column, Columns, Order},
};
use crate::serve::api::{ContainerList, ContainerRow};

/// What is on the screen.
#[derive(Debug)]
pub struct View {
    pub list: ContainerList,
    pub columns: Columns,
    pub order: Order,
    /// With what is no container.
    pub all: bool,
    /// Why the numbers are not new.
    pub trouble: Option<String>,
    pub has_colours: bool,
    pub table: TableState,
}

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let [head, body, legend] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(legend_height(frame.area().width)),
    ])
    .areas(frame.area());
    frame.render_widget(headline(view), head);
    draw_table(frame, body, view);
    for (i, line) in legend_lines(view.has_colours, legend.width).into_iter().enumerate() {
        let y = legend.y + i as u16;
        if y < legend.bottom() {
            frame.render_widget(line, Rect { y, height: 1, ..legend });
        }
    }
}

fn headline(view: &View) -> Line<'static> {
    if let Some(trouble) = &view.trouble {
        let style = Style::new().add_modifier(Modifier::REVERSED);
        return Line::styled(format!("no new numbers: {trouble}"), style);
    }
    let what = if view.all { "of everything" } else { "of containers" };
    let order = match view.order {
        Order::Stall => "stall",
        Order::Cpu => "CPU",
        Order::RunqueueP99 => "run queue p99",
        Order::Throttled => "throttled",
        Order::Name => "name",
    };
    let count = view.list.containers.len();
    let span = number::time(view.list.span_ns);
    Line::from(format!(
        "cgscope  {count} {what}, over {span}, by {order}   s stall  c CPU  r run queue  t throttled  n name  a all  q quit"
    ))
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, view: &mut View) {
    let rows = &view.list.containers;
    let columns = &view.columns.0;
    let headings: Vec<String> = columns.iter().map(|column| column.heading(rows)).collect();
    let widths: Vec<Constraint> = columns
        .iter()
        .zip(&headings)
        .map(|(column, heading)| match column {
            Column::States => Constraint::Fill(1),
            _ => {
                let cells = rows.iter().map(|row| width(&column.cell(row)));
                let widest = cells.chain([width(heading)]).max().unwrap_or(0);
                Constraint::Length(widest as u16)
            }
        })
        .collect();
    let bar_cells = bar_width(area.width, &widths);
    let heading = columns.iter().zip(&headings).map(|(column, heading)| align(column, heading));
    let heading = Row::new(heading.collect::<Vec<_>>())
        .style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    let body = rows.iter().map(|row| {
        let cells = columns.iter().map(|column| match column {
            Column::States => Cell::from(state_bar(row, bar_cells, view.has_colours)),
            _ => align(column, &column.cell(row)),
        });
        let faded = if row.alive { Modifier::empty() } else { Modifier::DIM };
        Row::new(cells.collect::<Vec<_>>()).style(Style::new().add_modifier(faded))
    });
    let table = Table::new(body.collect::<Vec<_>>(), widths)
        .header(heading)
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::BOLD))
        .highlight_symbol("> ");
    frame.render_stateful_widget(table, area, &mut view.table);
}

/// What the other columns leave.
fn bar_width(width: u16, columns: &[Constraint]) -> usize {
    let taken: u16 = columns
        .iter()
        .map(|column| match column {
            Constraint::Length(length) => length + 2,
            _ => 2,
        })
        .sum();
    usize::from(width.saturating_sub(taken)).clamp(8, BAR_CELLS * 2)
}

fn align(column: &Column, text: &str) -> Cell<'static> {
    let line = Line::from(text.to_owned());
    Cell::from(match column.side() {
        Side::Left => line.left_aligned(),
        Side::Right => line.right_aligned(),
    })
}

fn state_bar(row: &ContainerRow, width: usize, has_colours: bool) -> Line<'static> {
    let states = row.activity.as_ref().map_or(&[][..], |activity| &activity.states);
    let parts = bar::cells(states, width).into_iter().map(|(look, n)| {
        Span::styled(look.letter.to_string().repeat(n), style_of(look, has_colours))
    });
    Line::from(parts.collect::<Vec<_>>())
}

fn style_of(look: bar::Look, has_colours: bool) -> Style {
    if has_colours {
        Style::new().bg(look.ground_color()).fg(look.letter_color())
    } else {
        Style::new()
    }
}

fn legend_lines(has_colours: bool, columns: u16) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = vec![];
    let mut line = Line::default();
    for (state, look) in bar::legend() {
        let name = format!(" {state}  ");
        if line.width() + name.len() + 1 > usize::from(columns) && line.width() > 0 {
            lines.push(std::mem::take(&mut line));
        }
        line.push_span(Span::styled(look.letter.to_string(), style_of(look, has_colours)));
        line.push_span(Span::raw(name));
    }
    lines.push(line);
    lines
}

fn legend_height(columns: u16) -> u16 {
    legend_lines(false, columns).len() as u16
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::{metric::WallTimeNs, show::top_columns::tests::row};

    fn screen(view: &mut View, columns: u16, lines: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        let buffer = terminal.backend().buffer();
        let cells = buffer.content.chunks(usize::from(columns));
        cells
            .map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n")
            .collect()
    }

    fn view() -> View {
        View {
            list: ContainerList {
                at: WallTimeNs(0),
                span_ns: 1_000_000_000,
                containers: vec![row("web", Some(1.25), Some(0.5)), row("we\u{1b}b", None, None)],
            },
            columns: Columns::default(),
            order: Order::Stall,
            all: false,
            trouble: None,
            has_colours: false,
            table: TableState::default(),
        }
    }

    #[test]
    fn the_screen_has_the_rows_the_bar_and_the_legend() {
        let screen = screen(&mut view(), 120, 10);
        for part in [
            "2 of containers, over 1.00s, by stall",
            "web",
            "1.25",
            "0.50",
            "RRRRRRRR",
            "R runnable",
            "we\\u{1b}b",
        ] {
            assert!(screen.contains(part), "{part} in\n{screen}");
        }
    }

    #[test]
    fn a_lost_daemon_is_said() {
        let mut view = view();
        view.trouble = Some("cannot ask".to_owned());
        assert!(screen(&mut view, 80, 10).contains("no new numbers: cannot ask"));
    }

    #[test]
    fn a_tiny_terminal_is_no_reason_to_panic() {
        for (columns, lines) in [(1, 1), (3, 2), (20, 4), (400, 3)] {
            screen(&mut view(), columns, lines);
        }
    }
}
