//! Sends what waits in a queue to one receiver over HTTP, each request until the receiver has it or refuses it.
//!
//! Contract: whoever puts into the queue never waits. After a failure the pauses grow; what is given up is counted by reason.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use super::queue::{GivenUp, Queue};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait after the first failure; twice as long after each more.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are looked at.
const LONGEST_ANSWER: u64 = 1 << 16;
/// How we call ourselves.
const USER_AGENT: &str = concat!("cgscope/", env!("CARGO_PKG_VERSION"));

/// Where requests go, and what each of them begins with.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The receiver.
    pub url: String,
    /// Headers of each request.
    pub headers: Vec<(String, String)>,
    /// How it says what became of a request.
    pub answers: Answers,
}

/// How a receiver says what became of a request.
#[derive(Clone, Copy, Debug, Default)]
pub enum Answers {
    /// By the status of HTTP.
    #[default]
    Http,
    /// By the status of gRPC, in the headers or behind the message.
    GrpcWeb,
    /// By the status of HTTP, and how many of what was taken was refused all the same, with the reason, in its message.
    Otlp(fn(&[u8]) -> Option<(u64, String)>),
}

impl Destination {
    /// A receiver that is told what the protocol demands, then what the user wants.
    pub fn new(url: String, protocol: &[(&str, &str)], user: Vec<(String, String)>) -> Self {
        let own = protocol.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { url, headers: own.chain(user).collect(), answers: Answers::default() }
    }
}

/// Starts the thread that sends; it ends with the queue.
///
/// # Errors
/// That it cannot be started.
pub fn start(destination: Destination, queue: Arc<Queue>) -> io::Result<()> {
    let sender = Sender::new(destination, queue);
    let thread = thread::Builder::new().name("cgscope-send".into());
    thread.spawn(move || sender.run()).map(drop)
}

struct Sender {
    destination: Destination,
    queue: Arc<Queue>,
    agent: ureq::Agent,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Taken,
    /// But for so many samples.
    PartlyTaken(u64, String),
    /// It would not be taken later either.
    Refused(String),
    /// It may be taken later.
    Failed(String),
}

impl Sender {
    fn new(destination: Destination, queue: Arc<Queue>) -> Self {
        let config = ureq::Agent::config_builder()
            // A status is an answer here.
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        Self { destination, queue, agent: config.into() }
    }

    fn run(&self) {
        let (mut pause, mut is_failing) = (FIRST_PAUSE, false);
        while let Some(request) = self.queue.take() {
            let counts = &self.queue.counts;
            match self.send(&request.body) {
                outcome @ (Outcome::Taken | Outcome::PartlyTaken(..)) => {
                    let refused = self.refused(outcome, request.samples);
                    counts.give_up(GivenUp::Refused, refused);
                    counts.sent.fetch_add(request.samples - refused, Ordering::Relaxed);
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("{} takes what is pushed", self.destination.url);
                    }
                    pause = FIRST_PAUSE;
                }
                Outcome::Refused(why) => {
                    tracing::warn!("{} refuses what is pushed: {why}", self.destination.url);
                    counts.give_up(GivenUp::Refused, request.samples);
                }
                Outcome::Failed(why) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        let url = &self.destination.url;
                        tracing::warn!("nothing can be pushed to {url}, it is tried again: {why}");
                    }
                    counts.retries.fetch_add(1, Ordering::Relaxed);
                    self.queue.put_back(request);
                    if self.queue.rest(pause) {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// How many samples of what was taken were refused all the same.
    fn refused(&self, outcome: Outcome, of: u64) -> u64 {
        let Outcome::PartlyTaken(count, why) = outcome else { return 0 };
        let (url, count) = (&self.destination.url, count.min(of));
        tracing::warn!("{url} refuses {count} samples of what is pushed: {}", why.escape_debug());
        count
    }

    fn send(&self, body: &[u8]) -> Outcome {
        let mut post = self.agent.post(&self.destination.url).header("User-Agent", USER_AGENT);
        for (name, value) in &self.destination.headers {
            post = post.header(name, value);
        }
        let mut answer = match post.send(body) {
            Ok(answer) => answer,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        let status = answer.status();
        if status.is_success() && matches!(self.destination.answers, Answers::GrpcWeb) {
            let of_header = |name: &str| answer.headers().get(name)?.to_str().ok();
            let in_headers = of_header("grpc-status").map(str::to_owned);
            let said = of_header("grpc-message").unwrap_or_default().to_owned();
            let body = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec();
            return match in_headers {
                Some(code) => grpc_outcome(&code, &said),
                None => grpc_outcome_of(&body.unwrap_or_default()),
            };
        }
        if status.is_success() {
            let Answers::Otlp(refused) = self.destination.answers else { return Outcome::Taken };
            let body = answer.body_mut().with_config().limit(LONGEST_ANSWER).read_to_vec();
            let part = refused(&body.unwrap_or_default());
            return part.map_or(Outcome::Taken, |(count, why)| Outcome::PartlyTaken(count, why));
        }
        let text = answer.body_mut().with_config().limit(1_000).read_to_string();
        let why = format!("{status} {}", text.unwrap_or_default().trim().escape_debug());
        // As remote write's specification has it: what is too much now may be taken later, other errors of ours are ours for ever.
        if status.is_client_error() && status.as_u16() != 429 {
            Outcome::Refused(why)
        } else {
            Outcome::Failed(why)
        }
    }
}

/// What the frames of an answer in gRPC-Web say: the one with the highest bit of its flags set holds trailers as text.
fn grpc_outcome_of(mut body: &[u8]) -> Outcome {
    while let Some((&[flags, a, b, c, d], rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some((frame, after)) = rest.split_at_checked(length) else { break };
        body = after;
        if flags & 0x80 == 0 {
            continue;
        }
        let text = String::from_utf8_lossy(frame).to_ascii_lowercase();
        let of = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(of, _)| of.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        if let Some(code) = of("grpc-status") {
            return grpc_outcome(&code, &of("grpc-message").unwrap_or_default());
        }
    }
    Outcome::Failed("an answer without a status: is it a receiver of gRPC-Web?".to_owned())
}

/// Codes: <https://grpc.io/docs/guides/status-codes/>.
fn grpc_outcome(code: &str, message: &str) -> Outcome {
    let why = format!("status {} {}", code.escape_debug(), message.trim().escape_debug());
    match code.trim() {
        "0" => Outcome::Taken,
        // Cancelled, unknown, too late, exhausted, aborted, internal, unavailable: may pass.
        "1" | "2" | "4" | "8" | "10" | "13" | "14" => Outcome::Failed(why),
        _ => Outcome::Refused(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_grpc_web() {
        let frame = |flags: u8, text: &str| {
            let mut frame = vec![flags];
            frame.extend_from_slice(&(text.len() as u32).to_be_bytes());
            frame.extend_from_slice(text.as_bytes());
            frame
        };
        let taken = [frame(0, ""), frame(0x80, "Grpc-Status: 0\r\nGrpc-Message:\r\n")].concat();
        assert_eq!(grpc_outcome_of(&taken), Outcome::Taken);
        let wrong = frame(0x80, "grpc-status:3\r\ngrpc-message:no name");
        assert_eq!(grpc_outcome_of(&wrong), Outcome::Refused("status 3 no name".to_owned()));
        for may_pass in [&frame(0x80, "grpc-status:14\r\n")[..], &taken[..7], b"<html>", b""] {
            assert!(matches!(grpc_outcome_of(may_pass), Outcome::Failed(_)), "{may_pass:?}");
        }
    }
}
