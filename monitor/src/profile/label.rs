//! A frame as it is drawn: what merges with what, and what it is called.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use monitor_common::{state::ThreadState, weight::WeightDetail};

use super::waker::Waker;
use crate::symbol::{Frame, JIT_MODULE};

/// What a box of the flame graph stands for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = FrameKind)]
pub enum LabelKind {
    /// The name of the thread, at the root.
    Thread,
    /// What it waited in, or what happened, next to the root.
    State,
    /// Who ended its wait, above the frames that are his.
    Waker,
    /// A function of a process.
    User,
    /// A function made at run time.
    Jit,
    /// A function inlined into the one below it.
    Inlined,
    /// A function of the kernel.
    Kernel,
    /// Addresses without a name.
    Unknown,
    /// Callers that the walk of the stack did not reach.
    Missing,
    /// Samples that did not arrive.
    Lost,
}

/// What merges into one box: equal labels under equal parents.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// The name without a mark of its kind.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: LabelKind,
    /// The file it lies in, where known.
    pub module: Option<Arc<str>>,
}

impl Label {
    /// The root of a thread's stacks.
    pub fn thread(comm: &Arc<str>) -> Self {
        Self { name: Arc::clone(comm), kind: LabelKind::Thread, module: None }
    }

    /// The box of all waits of one kind, by its name in the metrics.
    pub fn state(name: &str) -> Self {
        // Frames without a name are called that.
        let name = if name == ThreadState::Unknown.name() { UNKNOWN_STATE } else { name };
        Self { name: format!("[{name}]").into(), kind: LabelKind::State, module: None }
    }

    /// The root of the stacks of those who woke a thread.
    pub fn woken(container: Option<&str>, comm: &str) -> Self {
        let name = format!("{WOKEN}{}]", in_container(container, comm)).into();
        Self { name, kind: LabelKind::Thread, module: None }
    }

    /// The box of all that a waker did; `name` is that of a container, by its id.
    pub(super) fn waker<'a>(waker: &'a Waker, name: impl Fn(&'a str) -> &'a str) -> Self {
        let name = match waker {
            Waker::Interrupt => INTERRUPT.into(),
            Waker::Thread { comm, container } => {
                let container = container.as_deref().map(name);
                format!("{WAKER}{}]", in_container(container, comm)).into()
            }
        };
        Self { name, kind: LabelKind::Waker, module: None }
    }

    /// That of a name, if it is one of a wait.
    pub(super) fn known_state(name: &str) -> Option<Self> {
        let is_known = is_state_name(name) || name == ThreadState::Unknown.name();
        is_known.then(|| Self::state(name))
    }

    /// A box for what was lost.
    pub fn lost(reason: &str) -> Self {
        Self { name: format!("[lost: {reason}]").into(), kind: LabelKind::Lost, module: None }
    }

    /// The name with the marks that users of perf and flamegraph.pl know: `_[k]` for the kernel,
    /// `_[i]` for inlined, `_[j]` for run-time code.
    pub fn marked(&self) -> String {
        let mark = match self.kind {
            LabelKind::Kernel => "_[k]",
            LabelKind::Inlined => "_[i]",
            LabelKind::Jit => "_[j]",
            LabelKind::Thread | LabelKind::User | LabelKind::Unknown => "",
            LabelKind::State | LabelKind::Waker => "",
            LabelKind::Missing | LabelKind::Lost => "",
        };
        format!("{}{mark}", self.name)
    }
}

impl Label {
    /// The label that [`Self::marked`] made the text of, but for its module. What is no mark of ours is
    /// part of the name.
    pub(super) fn from_marked(text: &str, is_root: bool) -> Self {
        let (kind, name) = if text.starts_with("[lost: ") && text.ends_with(']') {
            (LabelKind::Lost, text)
        } else if text.starts_with("[unknown") && text.ends_with(']') {
            (LabelKind::Unknown, text)
        } else if is_missing(text) {
            (LabelKind::Missing, text)
        } else if is_state(text) {
            (LabelKind::State, text)
        } else if is_root {
            (LabelKind::Thread, text)
        } else if text == INTERRUPT || text.starts_with(WAKER) && text.ends_with(']') {
            (LabelKind::Waker, text)
        } else if let Some(name) = text.strip_suffix("_[k]") {
            (LabelKind::Kernel, name)
        } else if let Some(name) = text.strip_suffix("_[i]") {
            (LabelKind::Inlined, name)
        } else if let Some(name) = text.strip_suffix("_[j]") {
            (LabelKind::Jit, name)
        } else {
            (LabelKind::User, text)
        };
        Self { name: name.into(), kind, module: None }
    }
}

/// What stands before the reason why callers are missing.
const TRUNCATED: &str = "[truncated: ";
const BY_FRAME_POINTERS: &str = "[by frame pointers: ";

/// What stands before the name of who was woken, and of who did it.
const WOKEN: &str = "[woken: ";
const WAKER: &str = "[waker: ";
/// What woke somebody and is no thread.
const INTERRUPT: &str = "[interrupt]";

fn in_container(container: Option<&str>, comm: &str) -> String {
    container.map_or_else(|| comm.to_owned(), |container| format!("{container}/{comm}"))
}

const UNKNOWN_STATE: &str = "state unknown";

fn is_state(text: &str) -> bool {
    let name = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    name.is_some_and(|name| name == UNKNOWN_STATE || is_state_name(name))
}

fn is_state_name(name: &str) -> bool {
    ThreadState::ALL.into_iter().any(|state| state.name() == name && state != ThreadState::Unknown)
        || WeightDetail::ALL.into_iter().any(|detail| detail.name() == name)
}

fn is_missing(text: &str) -> bool {
    (text.starts_with(TRUNCATED) || text.starts_with(BY_FRAME_POINTERS)) && text.ends_with(']')
}

impl From<&Frame> for Label {
    fn from(frame: &Frame) -> Self {
        let (kind, name, module) = match frame {
            Frame::Kernel { name } => (LabelKind::Kernel, name, &None),
            Frame::User { name, module } if module.as_deref() == Some(JIT_MODULE) => {
                (LabelKind::Jit, name, module)
            }
            Frame::User { name, module } => (LabelKind::User, name, module),
            Frame::Inlined { name, module } => (LabelKind::Inlined, name, module),
            Frame::Missing { end } => {
                let is_guess = end.is_by_frame_pointers();
                let prefix = if is_guess { BY_FRAME_POINTERS } else { TRUNCATED };
                let name = format!("{prefix}{}]", end.label()).into();
                return Self { name, kind: LabelKind::Missing, module: None };
            }
            // The address is left out: it differs at each sample and would tear the box apart.
            Frame::Unresolved { reason, module, .. } => {
                let file = module.as_deref().map(|path| {
                    Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy())
                });
                let name = match file {
                    Some(file) => format!("[unknown: {reason} in {file}]"),
                    None => format!("[unknown: {reason}]"),
                };
                let module = module.clone();
                return Self { name: name.into(), kind: LabelKind::Unknown, module };
            }
        };
        Self { name: Arc::clone(name), kind, module: module.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::{Reason, WalkEnd};

    #[test]
    fn marks_are_those_of_perf() {
        let marked = |frame: Frame| Label::from(&frame).marked();
        assert_eq!(marked(Frame::Kernel { name: "f".into() }), "f_[k]");
        assert_eq!(marked(Frame::Inlined { name: "f".into(), module: None }), "f_[i]");
        assert_eq!(marked(Frame::User { name: "f".into(), module: Some("[jit]".into()) }), "f_[j]");
        let unknown = |reason, module: Option<&str>| {
            marked(Frame::Unresolved { reason, address: 1, module: module.map(Into::into) })
        };
        assert_eq!(unknown(Reason::ProcessGone, None), "[unknown: process gone]");
        let file = Some("/lib/libc.so.6");
        assert_eq!(unknown(Reason::NoSymbols, file), "[unknown: no symbols in libc.so.6]");
    }

    #[test]
    fn missing_callers_are_read_back() {
        for end in WalkEnd::ALL.into_iter().filter(|end| *end != WalkEnd::Complete) {
            let label = Label::from(&Frame::Missing { end });
            assert_eq!(Label::from_marked(&label.marked(), false), label);
        }
        assert_eq!(Label::from_marked("[truncated: ", false).kind, LabelKind::User);
    }

    #[test]
    fn wakers_are_read_back() {
        let woken = Label::woken(Some("shop/db"), "postgres");
        assert_eq!(woken.marked(), "[woken: shop/db/postgres]");
        assert_eq!(Label::from_marked(&woken.marked(), true), woken);
        let thread = |container: Option<&str>| Waker::Thread {
            comm: "x".into(),
            container: container.map(Into::into),
        };
        for (waker, text) in [
            (Waker::Interrupt, "[interrupt]"),
            (thread(Some("id")), "[waker: name/x]"),
            (thread(None), "[waker: x]"),
        ] {
            let label = Label::waker(&waker, |_| "name");
            assert_eq!((label.marked().as_str(), label.kind), (text, LabelKind::Waker));
            assert_eq!(Label::from_marked(text, false), label);
        }
    }

    #[test]
    fn states_are_read_back() {
        for state in ThreadState::ALL {
            let label = Label::state(state.name());
            assert_eq!(Label::from_marked(&label.marked(), false), label);
        }
        for detail in WeightDetail::ALL {
            let label = Label::state(detail.name());
            assert_eq!(Label::from_marked(&label.marked(), false), label);
        }
        assert_eq!(Label::from_marked("[vdso]", false).kind, LabelKind::User);
    }
}
