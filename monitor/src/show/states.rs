//! `cgscope states`: where the time of the threads of a container, a process or the host went.

use super::{
    arguments::WindowArguments,
    bar,
    failure::Failure,
    latency::{about, ask},
    number,
    output::{columns, has_colours, print, print_json},
    program::Engine,
    table::{self, Side},
    text::clean,
};
use crate::{analyze::Culprit, serve::api::StatesReport};

pub fn states(engine: Engine, arguments: &WindowArguments) -> Result<(), Failure> {
    let report: StatesReport = ask(engine, arguments, "states")?;
    if arguments.json {
        print_json(&report)
    } else {
        print(&draw(&report, columns(), has_colours()))
    }
}

fn draw(report: &StatesReport, columns: usize, has_colours: bool) -> String {
    let activity = &report.activity;
    let mut text = format!("{}, {}\n", about(&report.about), number::time(report.span_ns));
    if activity.states.is_empty() {
        text.push_str(
            "\nnothing measured: it did not run, or `cgscope doctor` tells what is missing\n",
        );
        return text;
    }
    let known = |number: Option<f64>| number.map_or(number::UNKNOWN.to_owned(), number::plain);
    text.push_str(&format!(
        "{} threads, {} CPUs, {} stalled\n\n{}\n\n",
        known(activity.threads),
        known(activity.cpu_cores),
        known(activity.stall),
        bar::draw(&activity.states, columns.min(100), has_colours)
    ));
    let rows: Vec<Vec<String>> = activity
        .states
        .iter()
        .map(|state| {
            let letter = bar::look_of(&state.state).letter.to_string();
            let per_second = state.time_ns as f64 / report.span_ns.max(1) as f64;
            vec![
                if has_colours { bar::look_of(&state.state).paint(&letter) } else { letter },
                clean(&state.state),
                number::share(state.share),
                number::time(state.time_ns),
                number::plain(per_second),
            ]
        })
        .collect();
    let heading = [
        ("", Side::Left),
        ("STATE", Side::Left),
        ("SHARE", Side::Right),
        ("TIME", Side::Right),
        ("THREADS", Side::Right),
    ];
    text.push_str(&table::draw(&heading, &rows));
    text.push_str(&draw_culprits(&report.waited_for));
    text
}

/// Culprits that are shown: the rest is a tail of thousandths.
const MOST_CULPRITS: usize = 10;

/// Who ran meanwhile; nothing when nobody was waited for.
fn draw_culprits(culprits: &[Culprit]) -> String {
    if culprits.is_empty() {
        return String::new();
    }
    let row = |culprit: &Culprit| {
        vec![clean(&culprit.name), number::share(culprit.share), number::time(culprit.waited_ns)]
    };
    let rows: Vec<Vec<String>> = culprits.iter().take(MOST_CULPRITS).map(row).collect();
    let heading = [
        ("WHILE RUNNABLE, THE CPU RAN", Side::Left),
        ("SHARE", Side::Right),
        ("TIME", Side::Right),
    ];
    format!("\n{}", table::draw(&heading, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analyze::{Activity, StateShare},
        metric::WallTimeNs,
        serve::api::About,
    };

    #[test]
    fn shares_and_times() {
        let share =
            |state: &str, time_ns, share| StateShare { state: state.to_owned(), time_ns, share };
        let report = StatesReport {
            about: About::Host,
            at: WallTimeNs(0),
            span_ns: 2_000_000_000,
            activity: Activity {
                id: "all".to_owned(),
                cpu_cores: Some(0.5),
                throttled_share: None,
                runqueue: None,
                threads: Some(2.0),
                states: vec![
                    share("running.user", 1_000_000_000, 0.25),
                    share("sleeping", 3_000_000_000, 0.75),
                ],
                stall: Some(0.0),
            },
            waited_for: vec![Culprit {
                id: "hog".to_owned(),
                name: "ho\u{1b}g".to_owned(),
                waited_ns: 1_000_000_000,
                share: 1.0,
            }],
        };
        let text = draw(&report, 80, false);
        assert!(text.contains(&format!("{}{}", "U".repeat(20), ".".repeat(60))), "{text}");
        assert!(text.contains("2.00 threads, 0.500 CPUs, 0 stalled"), "{text}");
        assert!(text.contains("U  running.user  25.0%  1.00s    0.500"), "{text}");
        let culprits = text.split_once("THE CPU RAN").unwrap().1;
        assert!(culprits.contains("ho\\u{1b}g") && culprits.contains("1.00s"), "{text}");
    }
}
