//! A difference as folded lines: `root;caller;leaf A B`, as difffolded.pl writes it for flamegraph.pl.
//!
//! A's weight is scaled and rounded to whole numbers. Stacks that are gone have 0 for B.

use std::collections::BTreeMap;

use super::Diff;
use crate::profile::folded;

pub(super) fn render(diff: &Diff) -> String {
    let factor = diff.factor();
    let mut lines: BTreeMap<Vec<String>, (f64, u64)> = BTreeMap::new();
    for node in diff.tree.nodes() {
        let pair = diff.own[node.index()];
        if pair.a == 0 && pair.b == 0 {
            continue;
        }
        let up = std::iter::successors(Some(node), |node| diff.tree.parent(*node));
        let mut names: Vec<_> = up.map(|node| diff.tree.label(node).marked()).collect();
        names.reverse();
        let (a, b) = lines.entry(names).or_default();
        *a += pair.a as f64 * factor;
        *b += pair.b;
    }
    let mut text = String::new();
    for (names, (a, b)) in lines {
        // The first weight stands before the one that the writer of lines puts at the end.
        let line = folded::write([(names.iter().map(String::as_str), b)]);
        let stack = line.trim_end_matches('\n').rsplit_once(' ').map_or("", |(stack, _)| stack);
        text.push_str(&format!("{stack} {} {b}\n", a.round() as u64));
    }
    text
}
