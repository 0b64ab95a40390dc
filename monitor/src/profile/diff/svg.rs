//! A difference as SVG, by inferno: the flame graph of B, red where it grew and blue where it shrank.
//!
//! A frame's width is its weight in B, so one that is gone would have none. What is gone is drawn beside
//! the rest, under a root of its own, as wide as it was in A. A colour is of the frame's own
//! weight, without the frames above it.

use std::io;

use inferno::flamegraph::{Options, from_lines};

use super::{Diff, Scale};
use crate::profile::svg::{SUBTITLE_PX, TITLE_PX, fitted, one_line, safe, with_tooltip};
use crate::profile::tree::NodeId;

/// The root of what is gone.
const GONE: &str = "[gone: only in A]";

pub(super) fn render(diff: &Diff) -> io::Result<Vec<u8>> {
    let factor = diff.factor();
    let mut lines = Vec::new();
    for node in diff.tree.nodes() {
        let pair = diff.own[node.index()];
        if pair.a == 0 && pair.b == 0 {
            continue;
        }
        let (a, b) = ((pair.a as f64 * factor).round() as u64, pair.b);
        let path = path(diff, node);
        lines.push(if diff.is_gone(node) {
            // The width is the second number, the change the second less the first.
            // However little it was, it is not rounded away.
            let a = a.max(1);
            format!("{GONE};{path} {} {a}", a.saturating_mul(2))
        } else {
            format!("{path} {a} {b}")
        });
    }
    // Inferno wants its input sorted as text.
    lines.sort_unstable();
    let mut options = Options::default();
    options.title = fitted(&one_line(&title(diff)), TITLE_PX);
    let subtitle = one_line(&subtitle(diff));
    options.subtitle = Some(fitted(&subtitle, SUBTITLE_PX));
    options.count_name = diff.unit.name().to_owned();
    let mut image = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut image)?;
    Ok(with_tooltip(image, &subtitle))
}

fn path(diff: &Diff, node: NodeId) -> String {
    let up = std::iter::successors(Some(node), |node| diff.tree.parent(*node));
    let mut names: Vec<_> = up.map(|node| safe(&diff.tree.label(node).marked())).collect();
    names.reverse();
    names.join(";")
}

fn title(diff: &Diff) -> String {
    format!("{} against {}", diff.b.name, diff.a.name)
}

fn subtitle(diff: &Diff) -> String {
    let total = |weight: u64| diff.unit.shown(weight);
    let side = |name, side: &super::Side| {
        let doubt = side.doubt;
        let lost = 100.0 * doubt.lost as f64 / doubt.total as f64;
        let unknown = 100.0 * doubt.unknown as f64 / doubt.kept() as f64;
        let mut text =
            format!("{name}: {}, {lost:.1} % lost, {unknown:.1} % nameless", total(doubt.kept()));
        // Only where there are: the line is full without.
        if doubt.missing > 0 {
            let missing = 100.0 * doubt.missing as f64 / doubt.kept() as f64;
            text += &format!(", {missing:.1} % with callers in doubt");
        }
        text
    };
    let scaled = match diff.scale {
        Scale::Total => format!("A times {:.3}", diff.factor()),
        Scale::Absolute => "not scaled".to_owned(),
    };
    format!(
        "{}; {}; {scaled}; {:.1} % of A gone; confidence {}",
        side("A", &diff.a),
        side("B", &diff.b),
        100.0 * diff.gone_share(),
        diff.confidence().name()
    )
}
