//! The flame graph as SVG, by inferno.
//!
//! Contract: names are other people's text. Whatever they hold, the result is well-formed XML, and no
//! name can pass for a weight, a comment or a separator of inferno's input.

use std::io;

use inferno::flamegraph::color::{Color, MultiPalette, PaletteMap};
use inferno::flamegraph::{Options, Palette, from_lines};

use super::confidence::Confidence;
use super::document::Profile;
use super::kind::Unit;
use super::label::LabelKind;
use super::tree::CallTree;

/// Nameless frames are grey: they are not hot code.
const UNKNOWN_COLOR: Color = Color { r: 190, g: 190, b: 190 };
/// What a thread waited in is no code.
const STATE_COLOR: Color = Color { r: 170, g: 205, b: 200 };
/// What was lost is neither code nor the kernel's.
const LOST_COLOR: Color = Color { r: 150, g: 150, b: 210 };

/// The width of the drawing, as inferno makes it.
const WIDTH_PX: usize = 1200;
/// Left free at both sides together.
const MARGIN_PX: usize = 20;
/// The size of the title's letters, as inferno makes them.
pub(super) const TITLE_PX: usize = 17;
/// The size of the subtitle's letters.
pub(super) const SUBTITLE_PX: usize = 12;

/// Draws the flame graph.
pub(super) fn render(profile: &Profile, tree: &CallTree) -> io::Result<Vec<u8>> {
    let title = one_line(&format!("{} flame graph: {}", profile.kind.title(), profile.scope));
    let title = fitted(&title, TITLE_PX);
    let subtitle = one_line(&subtitle(profile, tree));
    if tree.total() == 0 {
        let image = empty(&title, &fitted(&subtitle, SUBTITLE_PX)).into_bytes();
        return Ok(with_tooltip(image, &subtitle));
    }
    let mut lines: Vec<String> = tree
        .paths()
        .map(|(path, weight)| {
            let names: Vec<_> = path.iter().map(|label| safe(&label.marked())).collect();
            format!("{} {weight}", names.join(";"))
        })
        .collect();
    // Inferno wants its input sorted as text, and a frame's name is all it goes by.
    lines.sort_unstable();
    let mut colors = PaletteMap::default();
    for label in tree.labels() {
        match label.kind {
            LabelKind::Unknown | LabelKind::Missing => {
                colors.insert(safe(&label.marked()), UNKNOWN_COLOR);
            }
            LabelKind::State | LabelKind::Waker => {
                colors.insert(safe(&label.marked()), STATE_COLOR);
            }
            LabelKind::Lost => drop(colors.insert(safe(&label.marked()), LOST_COLOR)),
            _ => {}
        }
    }
    let mut options = Options::default();
    // The palette that reads the marks `_[k]`, `_[i]` and `_[j]`.
    options.colors = Palette::Multi(MultiPalette::Java);
    // The same function has the same colour in every graph.
    options.deterministic = true;
    options.palette_map = Some(&mut colors);
    options.title = title;
    options.subtitle = Some(fitted(&subtitle, SUBTITLE_PX));
    options.count_name = profile.kind.unit().name().to_owned();
    let mut image = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut image)?;
    Ok(with_tooltip(image, &subtitle))
}

fn subtitle(profile: &Profile, tree: &CallTree) -> String {
    let confidence = Confidence::of(profile);
    let seconds = profile.duration_ns as f64 / 1e9;
    let total = match profile.kind.unit() {
        Unit::Samples => format!("{} samples", confidence.sample_count),
        unit => unit.shown(tree.total()),
    };
    let rate = profile.frequency_hz.map(|hz| format!(" at {hz} Hz")).unwrap_or_default();
    let mut text = format!("{total} in {seconds:.1} s{rate}");
    text += &format!(", {:.1} % lost", 100.0 * confidence.lost_share);
    text += &format!(", {:.1} % with nameless frames", 100.0 * confidence.unresolved_share);
    // Only where there are: the line is full without.
    if confidence.truncated_share > 0.0 {
        text += &format!(", {:.1} % with callers in doubt", 100.0 * confidence.truncated_share);
    }
    text += &format!(", confidence {}", confidence.level.name());
    for doubt in &confidence.doubts {
        text += ". ";
        text += doubt.trim_end_matches('.');
    }
    text
}

/// As much of the text as fits into the drawing in letters of that size; a monospaced letter is at most
/// 0.61 as wide as high, but those of some scripts are as wide as they are high.
pub(super) fn fitted(text: &str, font_px: usize) -> String {
    let room = (WIDTH_PX - MARGIN_PX) * 100;
    let width = |c: char| font_px * if c.is_ascii() { 61 } else { 100 };
    if text.chars().map(width).sum::<usize>() <= room {
        return text.to_owned();
    }
    let mut left = room - width('\u{2026}');
    let fits = |c: &char| {
        let is_room = width(*c) <= left;
        left = left.saturating_sub(width(*c));
        is_room
    };
    let head: String = text.chars().take_while(fits).collect();
    // Not within a word, if there are words.
    let end = head.rfind(' ').filter(|end| *end > head.len() / 2).unwrap_or(head.len());
    format!("{}\u{2026}", head[..end].trim_end_matches([' ', '.', ',', ';', ':']))
}

/// The drawing, with the whole subtitle where the pointer rests on it.
pub(super) fn with_tooltip(image: Vec<u8>, subtitle: &str) -> Vec<u8> {
    let text = match String::from_utf8(image) {
        Ok(text) => text,
        Err(error) => return error.into_bytes(),
    };
    let Some(id) = text.find("id=\"subtitle\"") else { return text.into_bytes() };
    let Some(end) = text[id..].find("</text>").map(|end| id + end) else {
        return text.into_bytes();
    };
    let tooltip = format!("<title>{}</title>", escape(subtitle));
    [&text[..end], &tooltip, &text[end..]].concat().into_bytes()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A name that inferno and XML both take for nothing but a name.
pub(super) fn safe(name: &str) -> String {
    let mut name = one_line(name);
    if name.trim().is_empty() {
        return "(no name)".to_owned();
    }
    // The separator becomes the Greek question mark, which looks the same.
    name = name.replace(';', "\u{37e}");
    if name.starts_with("# ") {
        name.replace_range(1..2, "\u{a0}");
    }
    // A number at the end of a name would be read as a second weight.
    if let Some(at) = name.rfind(' ')
        && name[at..].contains(|c: char| c.is_ascii_digit())
        && !name[at + 1..].contains(|c: char| !c.is_ascii_digit() && c != '.')
    {
        name.replace_range(at..=at, "\u{a0}");
    }
    name
}

/// Without line ends and other characters that XML does not allow.
pub(super) fn one_line(text: &str) -> String {
    let bad = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

fn empty(title: &str, subtitle: &str) -> String {
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" width=\"1200\" height=\"80\" xmlns=\"http://www.w3.org/2000/svg\">\
         <text x=\"600\" y=\"30\" text-anchor=\"middle\" font-family=\"monospace\" \
         font-size=\"17\">{}</text>\
         <text id=\"subtitle\" x=\"600\" y=\"56\" text-anchor=\"middle\" font-family=\"monospace\" \
         font-size=\"12\">{}</text></svg>\n",
        escape(title),
        escape(subtitle)
    )
}
