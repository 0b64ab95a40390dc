//! Requests that wait to be sent: bounded, the oldest goes first. At the end what waits is sent, if the receiver is quick.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What may wait: an hour of 5,000 series each 15 s.
const MAX_BYTES: usize = 16 << 20;

/// How long the end waits for a receiver: the daemon is to be gone within a second, whatever it pushes to.
const LAST_PATIENCE: Duration = Duration::from_millis(250);

/// A request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The message.
    pub body: Vec<u8>,
    /// Samples in it.
    pub samples: u64,
}

/// Why samples were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// The receiver was away for too long.
    QueueFull,
    /// The receiver does not want them, and would not later.
    Refused,
}

impl GivenUp {
    /// All reasons.
    pub const ALL: [Self; 2] = [Self::QueueFull, Self::Refused];

    /// As the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
        }
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Samples that the receiver has taken.
    pub sent: AtomicU64,
    /// Attempts that failed and were made again.
    pub retries: AtomicU64,
    /// Samples that were given up, by [`GivenUp`].
    pub given_up: [AtomicU64; GivenUp::ALL.len()],
    /// Samples that wait.
    pub waiting: AtomicU64,
}

impl Counts {
    /// Notes samples that were given up.
    pub fn give_up(&self, why: GivenUp, samples: u64) {
        self.given_up[why as usize].fetch_add(samples, Ordering::Relaxed);
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    news: Condvar,
    /// What became of samples.
    pub counts: Counts,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    bytes: usize,
    /// Samples of the request that is being sent.
    sending: Option<u64>,
    is_ending: bool,
    /// Nobody waits for the receiver any more.
    is_over: bool,
}

impl Queue {
    /// Adds a request; the oldest make room for it.
    pub fn push(&self, request: Request) {
        let mut state = self.state();
        state.bytes += request.body.len();
        state.requests.push_back(request);
        while state.bytes > MAX_BYTES && state.requests.len() > 1 {
            let oldest = state.requests.pop_front();
            let (bytes, samples) =
                oldest.map_or((0, 0), |oldest| (oldest.body.len(), oldest.samples));
            state.bytes -= bytes;
            self.counts.give_up(GivenUp::QueueFull, samples);
        }
        self.count(&state);
        self.news.notify_all();
    }

    /// Takes the oldest, and waits for one; what was taken before has been sent. `None` at the end.
    pub fn take(&self) -> Option<Request> {
        let mut state = self.state();
        state.sending = None;
        self.news.notify_all();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(request) = state.requests.pop_front() {
                state.bytes -= request.body.len();
                state.sending = Some(request.samples);
                self.count(&state);
                return Some(request);
            }
            if state.is_ending {
                return None;
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts back what could not be sent: it is the oldest still.
    pub fn put_back(&self, request: Request) {
        let mut state = self.state();
        state.sending = None;
        // There is no later.
        state.is_over = state.is_ending;
        self.news.notify_all();
        if state.bytes + request.body.len() > MAX_BYTES {
            return self.counts.give_up(GivenUp::QueueFull, request.samples);
        }
        state.bytes += request.body.len();
        state.requests.push_front(request);
        self.count(&state);
    }

    /// After a failure: waits for so long or for the end; returns whether it is the end.
    pub fn rest(&self, time: Duration) -> bool {
        let is_running = |state: &mut State| !state.is_ending;
        let rested = self.news.wait_timeout_while(self.state(), time, is_running);
        let mut state = rested.unwrap_or_else(PoisonError::into_inner).0;
        if state.is_ending {
            // It failed a moment ago.
            state.is_over = true;
            self.news.notify_all();
        }
        state.is_ending
    }

    /// Whether it is the end.
    pub fn is_ending(&self) -> bool {
        self.state().is_ending
    }

    /// Ends it when all is sent, or when the receiver fails or takes too long. Whoever waits returns. How many samples were
    /// not sent, as far as is known.
    pub fn end(&self) -> u64 {
        let mut state = self.state();
        state.is_ending = true;
        self.news.notify_all();
        let is_busy = |state: &mut State| {
            !state.is_over && (state.sending.is_some() || !state.requests.is_empty())
        };
        let waited = self.news.wait_timeout_while(state, LAST_PATIENCE, is_busy);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.is_over = true;
        let waiting: u64 = state.requests.iter().map(|request| request.samples).sum();
        waiting + state.sending.unwrap_or(0)
    }

    fn count(&self, state: &State) {
        let waiting = state.requests.iter().map(|request| request.samples).sum();
        self.counts.waiting.store(waiting, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        thread::{self, JoinHandle},
    };

    use super::*;

    fn request(number: u8, bytes: usize) -> Request {
        Request { body: vec![number; bytes], samples: 10 }
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let queue = Queue::default();
        for number in 0..5 {
            queue.push(request(number, MAX_BYTES / 4));
        }
        let given_up = |queue: &Queue| queue.counts.given_up[0].load(Ordering::Relaxed);
        assert_eq!((given_up(&queue), queue.counts.waiting.load(Ordering::Relaxed)), (10, 40));
        let oldest = queue.take().unwrap();
        assert_eq!(oldest.body[0], 1);
        queue.put_back(oldest);
        assert_eq!(queue.take().unwrap().body[0], 1);
        queue.push(request(9, MAX_BYTES / 4));
        queue.put_back(request(1, MAX_BYTES / 4));
        assert_eq!(given_up(&queue), 20, "there was no room any more");
        assert_eq!(queue.end(), 40);
        assert_eq!(queue.take(), None);
        assert!(queue.rest(Duration::from_secs(100)));
    }

    /// Takes requests until the end; `send` tells whether the receiver has one.
    fn sender(
        queue: &Arc<Queue>,
        send: impl Fn(&Request) -> bool + Send + 'static,
    ) -> JoinHandle<Vec<u8>> {
        let queue = Arc::clone(queue);
        thread::spawn(move || {
            let mut sent = vec![];
            while let Some(request) = queue.take() {
                if send(&request) {
                    sent.push(request.body[0]);
                } else {
                    queue.put_back(request);
                    if queue.rest(Duration::from_secs(100)) {
                        break;
                    }
                }
            }
            sent
        })
    }

    fn of_three() -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        (0..3).for_each(|number| queue.push(request(number, 1)));
        queue
    }

    #[test]
    fn what_waits_at_the_end_is_sent() {
        let queue = of_three();
        let sender = sender(&queue, |_| true);
        assert_eq!(queue.end(), 0);
        assert_eq!(sender.join().unwrap(), [0, 1, 2]);
    }

    #[test]
    fn the_end_waits_for_no_receiver_that_fails_or_hangs() {
        let queue = of_three();
        let failing = sender(&queue, |request| request.body[0] == 0);
        assert_eq!(queue.end(), 20);
        assert_eq!(failing.join().unwrap(), [0]);

        let queue = of_three();
        let (begun, is_begun) = mpsc::channel();
        let (answer, answers) = mpsc::channel::<()>();
        let hanging = sender(&queue, move |_| {
            let _ = begun.send(());
            answers.recv().is_ok()
        });
        is_begun.recv().unwrap();
        assert_eq!(queue.end(), 30);
        answer.send(()).unwrap();
        assert_eq!(hanging.join().unwrap(), [0], "it came too late, and is the last");
    }
}
