//! The states of waits, as a user names them: `--state lock,disk`.

use monitor_common::state::ThreadState;

/// The states that a thread can wait in.
fn waits() -> impl Iterator<Item = ThreadState> {
    ThreadState::ALL.into_iter().filter(|state| *state as u32 >= ThreadState::Disk as u32)
}

/// The name without what they all begin with.
fn short(state: ThreadState) -> &'static str {
    let name = state.name();
    name.strip_prefix("blocked.").unwrap_or(name)
}

/// The names of the states that a thread can wait in, each in both forms.
pub fn wait_state_names() -> Vec<&'static str> {
    let mut names: Vec<_> = waits().map(short).chain(waits().map(ThreadState::name)).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    names
}

/// States separated by commas, by their names in the metrics or without `blocked.`.
///
/// # Errors
/// What is none, with those there are.
pub fn wait_states(text: &str) -> Result<Vec<ThreadState>, String> {
    let named = |name: &str| {
        let found = waits().find(|state| name == short(*state) || name == state.name());
        found.ok_or_else(|| {
            let names: Vec<_> = waits().map(short).collect();
            format!("{name:?} is no state of a wait: ask for some of {}", names.join(", "))
        })
    };
    text.split(',').map(|name| named(name.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_two_names() {
        let states = [ThreadState::Lock, ThreadState::Disk, ThreadState::Sleeping];
        assert_eq!(wait_states("lock, blocked.disk,sleeping").unwrap(), states);
        for name in wait_state_names() {
            assert!(wait_states(name).is_ok(), "{name}");
        }
        for name in ["", "running", "runnable", "lock;"] {
            assert!(wait_states(name).unwrap_err().contains("disk, fault, lock"), "{name}");
        }
    }
}
