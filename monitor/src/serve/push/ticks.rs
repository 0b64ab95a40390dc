//! Ticks that are pushed: one each interval, made into requests on a thread of their own.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::sync::broadcast::error::RecvError;

use super::queue::{Queue, Request};
use crate::{
    container::Registry,
    metric::{KtimeNs, Tick},
    serve::subject::Names,
    store::Live,
};

/// By how much less than the interval two ticks may be apart.
const UNEVENNESS: Duration = Duration::from_millis(100);

/// Starts the thread, which puts what `make` makes of a tick into the queue and ends with it.
///
/// # Errors
/// That it cannot be started.
pub fn start(
    live: &Live,
    registry: Arc<Registry>,
    interval: Duration,
    queue: Arc<Queue>,
    mut make: impl FnMut(&Tick, &Names) -> Vec<Request> + Send + 'static,
) -> io::Result<()> {
    let mut ticks = live.subscribe();
    let run = move || {
        let mut last = None;
        while !queue.is_ending() {
            let tick = match ticks.blocking_recv() {
                Ok(tick) => tick,
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            if is_due(last, tick.taken, interval) {
                last = Some(tick.taken);
                let names = Names::of(&registry);
                make(&tick, &names).into_iter().for_each(|request| queue.push(request));
            }
        }
    };
    thread::Builder::new().name("cgscope-push".to_owned()).spawn(run).map(drop)
}

/// Whether so much time went by. Ticks are not quite even.
fn is_due(last: Option<KtimeNs>, taken: KtimeNs, interval: Duration) -> bool {
    last.is_none_or(|last| taken.since(last) + UNEVENNESS >= interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_due_once_an_interval() {
        let second = |s: u64| KtimeNs(s * 1_000_000_000);
        let (one, two) = (Duration::from_secs(1), Duration::from_secs(2));
        assert!(is_due(None, second(4), two));
        assert!(!is_due(Some(second(4)), second(4), one));
        assert!(is_due(Some(second(4)), second(5), one));
        assert!(is_due(Some(second(4)), KtimeNs(4_950_000_000), one));
        assert!(!is_due(Some(second(4)), second(5), two));
    }
}
