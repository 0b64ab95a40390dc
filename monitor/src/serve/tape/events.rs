//! What a recording waits for.

use std::{future::Future, sync::Arc};

use tokio::{
    runtime::Handle,
    sync::broadcast::{Receiver, error::RecvError},
};

use crate::{
    metric::Tick,
    profile::{Kept, ProfileKind},
    serve::{backend::Following, routes::Ending},
    store::{Live, profiles::KeptWindows},
};

/// What comes next.
pub(super) enum Event<T> {
    Tick(Arc<Tick>),
    MissedTicks(u64),
    Window(ProfileKind, Arc<Kept>),
    MissedWindows(u64),
    /// The daemon ends.
    Ending,
    /// What else was waited for.
    Other(T),
}

/// Where it comes from.
pub(super) struct Events {
    handle: Handle,
    added: Receiver<Arc<Tick>>,
    following: Option<Following>,
    ending: Ending,
}

impl Events {
    /// From now on. Without stacks the rest is recorded all the same.
    pub fn of(live: &Live, following: Option<Following>, ending: Ending, handle: Handle) -> Self {
        Self { handle, added: live.subscribe(), following, ending }
    }

    /// Waits, for `other` as well: on a thread that answers nobody.
    pub fn next<T>(&mut self, other: impl Future<Output = T>) -> Event<T> {
        let Self { handle, added, following, ending } = self;
        handle.block_on(async {
            tokio::select! {
                tick = added.recv() => match tick {
                    Ok(tick) => Event::Tick(tick),
                    Err(RecvError::Lagged(count)) => Event::MissedTicks(count),
                    Err(RecvError::Closed) => Event::Ending,
                },
                window = next_window(following) => match window {
                    Ok((kind, kept)) => Event::Window(kind, kept),
                    Err(count) => Event::MissedWindows(count),
                },
                () = ending.wait() => Event::Ending,
                other = other => Event::Other(other),
            }
        })
    }

    /// The windows that have come and are not taken; with `wait` after the end of the one under way.
    pub fn last_windows(&mut self, wait: bool) -> Option<KeptWindows> {
        let following = self.following.take()?;
        Some(if wait { following.end() } else { following.windows })
    }
}

/// How many were missed, when some were.
async fn next_window(following: &mut Option<Following>) -> Result<(ProfileKind, Arc<Kept>), u64> {
    loop {
        let Some(Following { windows, .. }) = following else {
            return std::future::pending().await;
        };
        match windows.recv().await {
            Ok(window) => return Ok(window),
            Err(RecvError::Lagged(count)) => return Err(count),
            Err(RecvError::Closed) => *following = None,
        }
    }
}
