//! Waiting for a window of ticks: what is already there is used, the rest is waited for.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::broadcast::error::RecvError, time::timeout};

use super::backend::BackendError;
use crate::{
    analyze::Window,
    metric::{KtimeNs, Subject, Tick},
    store::Live,
};

/// How long after the end of a window its last tick may come before something is wrong.
const GRACE: Duration = Duration::from_secs(10);

/// Ticks come a little early or late: a window that falls short by less than this is whole.
const JITTER: Duration = Duration::from_millis(50);

/// The shortest window that counts as `duration`.
fn least(duration: Duration) -> Duration {
    duration - JITTER.min(duration / 20)
}

/// The window of the newest two ticks, made once for all who ask before the next.
#[derive(Clone, Debug, Default)]
pub struct Newest(Arc<Mutex<Option<Made>>>);

#[derive(Debug)]
struct Made {
    from: KtimeNs,
    to: KtimeNs,
    window: Arc<Window>,
}

impl Newest {
    /// From an earlier and a later tick. Who comes while another makes it waits for that one.
    pub fn between(&self, first: &Tick, last: &Tick) -> Arc<Window> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |made: &&Made| (made.from, made.to) == (first.taken, last.taken);
        if let Some(made) = made.as_ref().filter(same) {
            return Arc::clone(&made.window);
        }
        let window = Arc::new(Window::between(first, last));
        *made = Some(Made { from: first.taken, to: last.taken, window: Arc::clone(&window) });
        window
    }
}

/// The newest window of about `duration`, of all; zero gives the newest two ticks.
///
/// # Errors
/// [`BackendError::Failed`] when no ticks come.
pub async fn recent(
    live: &Live,
    newest: &Newest,
    duration: Duration,
) -> Result<Arc<Window>, BackendError> {
    let (first, last) = ends(live, duration).await?;
    Ok(match duration {
        Duration::ZERO => newest.between(&first, &last),
        _ => Arc::new(Window::between(&first, &last)),
    })
}

/// The newest window of about `duration`, of one subject; zero gives the newest two ticks.
///
/// # Errors
/// [`BackendError::Failed`] when no ticks come.
pub async fn recent_of(
    live: &Live,
    subject: &Subject,
    duration: Duration,
) -> Result<Window, BackendError> {
    let (first, last) = ends(live, duration).await?;
    Ok(Window::of_one(&first, &last, subject))
}

/// The ticks that a window of about `duration` lies between.
async fn ends(live: &Live, duration: Duration) -> Result<(Arc<Tick>, Arc<Tick>), BackendError> {
    let least = least(duration);
    within(duration + GRACE, async {
        let mut added = live.subscribe();
        let first = match live.window(least) {
            Some((first, last)) if last.taken.since(first.taken) >= least => return (first, last),
            // All there ever will be.
            Some((first, last)) if live.is_over() => return (first, last),
            Some((first, _)) => first,
            None => match live.latest() {
                Some(only) if live.is_over() => return (Arc::clone(&only), only),
                Some(first) => first,
                None => next(live, &mut added).await,
            },
        };
        loop {
            let last = next(live, &mut added).await;
            if last.taken > first.taken && last.taken.since(first.taken) >= least {
                return (first, last);
            }
        }
    })
    .await
}

/// A window of `duration` that begins with the next tick, for a subject that is measured only from now on; it ends early
/// when the subject has no more samples or `is_gone` says so. `None` when the subject had no samples.
///
/// # Errors
/// [`BackendError::Failed`] when no ticks come.
pub async fn from_now(
    live: &Live,
    duration: Duration,
    subject: &Subject,
    is_gone: impl Fn() -> bool,
) -> Result<Option<Window>, BackendError> {
    within(duration + GRACE, async {
        let mut added = live.subscribe();
        let first = next(live, &mut added).await;
        let mut last_seen = None;
        loop {
            let tick = next(live, &mut added).await;
            let is_there = tick.samples().any(|sample| sample.subject == subject);
            let is_over = tick.taken.since(first.taken) >= least(duration) || is_gone();
            if is_there {
                last_seen = Some(tick);
            }
            if is_over || (!is_there && last_seen.is_some()) {
                return last_seen.map(|last| Window::of_one(&first, &last, subject));
            }
        }
    })
    .await
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, BackendError> {
    timeout(limit, work).await.map_err(|_| BackendError::Failed {
        what: "no measurement came in time".to_owned(),
        remedy: "`cgscope doctor` tells what is missing".to_owned(),
    })
}

/// The next tick; one who was too slow goes on with the newest.
async fn next(live: &Live, added: &mut tokio::sync::broadcast::Receiver<Arc<Tick>>) -> Arc<Tick> {
    loop {
        match added.recv().await {
            Ok(tick) => return tick,
            Err(RecvError::Lagged(_)) => {}
            // `live` holds the sender, so this cannot come; the timeout ends it if it does.
            Err(RecvError::Closed) => match live.latest() {
                Some(tick) => return tick,
                None => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::WallTimeNs;

    fn tick(ms: u64) -> Tick {
        let taken = KtimeNs(ms * 1_000_000);
        Tick::new(WallTimeNs(0), taken, vec![])
    }

    #[tokio::test]
    async fn ticks_that_come_a_little_early_make_no_window_longer() {
        let live = Live::default();
        [0, 1_001, 2_000, 2_999].into_iter().for_each(|ms| live.add(tick(ms)));
        let newest = Newest::default();
        let span = async |seconds| {
            let duration = Duration::from_secs(seconds);
            let all = recent(&live, &newest, duration).await.unwrap().span;
            assert_eq!(recent_of(&live, &Subject::Host, duration).await.unwrap().span, all);
            all.as_millis()
        };
        assert_eq!(span(2).await, 1_998);
        assert_eq!(span(3).await, 2_999);
        assert_eq!(span(0).await, 999);
        assert_eq!(least(Duration::from_millis(100)), Duration::from_millis(95));
    }

    #[tokio::test]
    async fn the_newest_is_made_once_for_each_pair_of_ticks() {
        let (live, newest) = (Live::default(), Newest::default());
        let now = async || recent(&live, &newest, Duration::ZERO).await.unwrap();
        [0, 1_000].into_iter().for_each(|ms| live.add(tick(ms)));
        let first = now().await;
        assert!(Arc::ptr_eq(&first, &now().await));
        live.add(tick(2_000));
        let second = now().await;
        assert!(!Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &now().await));
    }

    #[tokio::test]
    async fn without_ticks_it_ends() {
        let error =
            within(Duration::from_millis(1), std::future::pending::<()>()).await.unwrap_err();
        assert!(matches!(error, BackendError::Failed { .. }), "{error}");
    }
}
