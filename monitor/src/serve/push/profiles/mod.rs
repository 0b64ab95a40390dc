//! Profiles pushed to Pyroscope, Parca or a receiver of OTLP: each window that is kept, as a profile for each container.
//!
//! Contract: the stacks and weights are those that are kept, to the sample. A series is a container, whose labels are those of its
//! metrics: to Pyroscope and Parca the thread's name is the outermost frame and no label of a sample, since they make a series of each such
//! label. What was lost is drawn in the series of what is nobody's.

mod message;
mod otlp;

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use self::message::{Series, parca, pyroscope};
use super::{
    message::Label,
    otlp::{HEADERS as OTLP_HEADERS, resource::of_container},
    own,
    queue::{Queue, Request},
    sender::{self, Answers, Destination},
};
use crate::{
    container::{Container, Registry},
    metric::Sample,
    profile::{Kept, KeptWindow, Profile, ProfileKind, Sample as Stack, Weight},
    serve::{exposition::container_labels, subject::Names},
};

/// Bytes of files in a request, unless one alone has more: receivers take 4 MB and more.
const BYTES_PER_REQUEST: usize = 1 << 20;
/// What it is called in the metrics of pushing.
const PROTOCOL: &str = "profiles";

/// Who takes profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProfileReceiver {
    /// Pyroscope, Alloy, and what else has its API.
    #[default]
    Pyroscope,
    /// Parca.
    Parca,
    /// An OpenTelemetry collector, and what else takes profiles by OTLP: a protocol that still changes.
    Otlp,
}

impl ProfileReceiver {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pyroscope, Self::Parca, Self::Otlp];

    /// The name users give.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pyroscope => "pyroscope",
            Self::Parca => "parca",
            Self::Otlp => "otlp",
        }
    }

    /// Where below its address it takes them.
    fn path(self) -> &'static str {
        match self {
            Self::Pyroscope => "/push.v1.PusherService/Push",
            Self::Parca => "/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw",
            Self::Otlp => "/v1development/profiles",
        }
    }

    /// What the protocol demands of each request.
    fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Pyroscope => {
                &[("Content-Type", "application/proto"), ("Connect-Protocol-Version", "1")]
            }
            Self::Parca => &[("Content-Type", "application/grpc-web+proto"), ("X-Grpc-Web", "1")],
            Self::Otlp => OTLP_HEADERS,
        }
    }

    fn answers(self) -> Answers {
        match self {
            Self::Pyroscope => Answers::Http,
            Self::Parca => Answers::GrpcWeb,
            Self::Otlp => Answers::Otlp(otlp::refused),
        }
    }
}

/// Where to push profiles, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfilePushOptions {
    /// The address of the receiver, without the path of its API.
    pub url: String,
    /// Who is there.
    pub receiver: ProfileReceiver,
    /// Labels that each series gets unless it has them.
    pub labels: Vec<(String, String)>,
    /// Headers of each request.
    pub headers: Vec<(String, String)>,
}

/// Pushes profiles until it is dropped.
pub struct ProfilePush {
    queue: Arc<Queue>,
    receiver: ProfileReceiver,
    labels: Vec<(String, String)>,
    registry: Arc<Registry>,
}

impl ProfilePush {
    /// Starts its thread.
    ///
    /// # Errors
    /// That it cannot be started.
    pub fn start(options: ProfilePushOptions, registry: Arc<Registry>) -> io::Result<Self> {
        let ProfilePushOptions { url, receiver, labels, headers } = options;
        let queue = Arc::new(Queue::default());
        let url = url.trim_end_matches('/').to_owned() + receiver.path();
        let destination = Destination::new(url, receiver.headers(), headers);
        let destination = Destination { answers: receiver.answers(), ..destination };
        sender::start(destination, Arc::clone(&queue))?;
        Ok(Self { queue, receiver, labels, registry })
    }

    /// Pushes what was kept of a window.
    pub fn window(&self, kind: ProfileKind, kept: &Kept) {
        let names = Names::of(&self.registry);
        for window in &kept.windows {
            let mut part = vec![];
            for (id, profile) in profiles_of(kind, kept, window, &names) {
                if self.receiver == ProfileReceiver::Otlp {
                    if let Some(request) = otlp_request(&id, &profile, &names, &self.labels) {
                        self.queue.push(request);
                    }
                    continue;
                }
                let labels = labels_of(&id, &profile, &names, &self.labels);
                match profile.as_series() {
                    Ok(file) => part.push(Series { labels, file, samples: count(&profile) }),
                    Err(error) => tracing::warn!("a profile is not pushed: {error}"),
                }
                if part.iter().map(|series| series.file.len()).sum::<usize>() > BYTES_PER_REQUEST {
                    self.request(std::mem::take(&mut part));
                }
            }
            self.request(part);
        }
    }

    /// Appends what it did and lost.
    pub fn collect(&self, samples: &mut Vec<Sample>) {
        own::collect(PROTOCOL, &self.queue.counts, samples);
    }

    fn request(&self, series: Vec<Series>) {
        if series.is_empty() {
            return;
        }
        let samples = series.iter().map(|series| series.samples).sum();
        let body = match self.receiver {
            ProfileReceiver::Parca => parca(series),
            _ => pyroscope(series),
        };
        self.queue.push(Request { body, samples });
    }
}

impl Drop for ProfilePush {
    fn drop(&mut self) {
        own::tell_unsent(PROTOCOL, self.queue.end());
    }
}

/// A profile for each container that was sampled in a window, by its id.
fn profiles_of<'a>(
    kind: ProfileKind,
    kept: &'a Kept,
    window: &'a KeptWindow,
    names: &'a Names,
) -> impl Iterator<Item = (Arc<str>, Profile)> + 'a {
    let nobody: Arc<str> = Container::unattributed().id.as_str().into();
    let mut of: BTreeMap<Arc<str>, Vec<Stack>> = BTreeMap::new();
    let range = window.started_ms..window.ended_ms();
    for stack in kept.samples(&range, &vec![true; kept.threads.len()]) {
        let id = stack.container.clone().unwrap_or_else(|| Arc::clone(&nobody));
        of.entry(id).or_default().push(stack);
    }
    if !window.lost.is_empty() {
        of.entry(Arc::clone(&nobody)).or_default();
    }
    of.into_iter().map(move |(id, samples)| {
        let lost = if id == nobody { window.lost.clone() } else { BTreeMap::new() };
        let profile = Profile {
            kind,
            started_at: UNIX_EPOCH + Duration::from_millis(window.started_ms),
            duration_ns: u64::from(window.duration_ms) * 1_000_000,
            frequency_hz: window.frequency_hz,
            scope: format!("container {}", name(&id, &kept.containers, names)),
            containers: kept.containers.clone(),
            samples,
            lost,
            drawn: Weight::default(),
        };
        (id, profile)
    })
}

/// How many samples of stacks a profile is made of, with those that were lost.
fn count(profile: &Profile) -> u64 {
    let weights = profile.samples.iter().map(|sample| sample.weight);
    weights.chain(profile.lost.values().copied()).map(|weight| weight.count).sum()
}

/// One container's profile for a receiver of OTLP.
fn otlp_request(
    id: &str,
    profile: &Profile,
    names: &Names,
    added: &[(String, String)],
) -> Option<Request> {
    let mut attributes: BTreeMap<String, String> = BTreeMap::new();
    let container = names.get(id);
    let name = name(id, &profile.containers, names);
    attributes.insert("service.name".to_owned(), name.clone());
    attributes.insert("container.name".to_owned(), name);
    attributes.insert("container.id".to_owned(), id.to_owned());
    let known = container.into_iter().flat_map(|container| of_container(container));
    attributes.extend(known.map(|(name, value)| (name.to_owned(), value)));
    attributes.extend(added.iter().cloned());
    let body = otlp::request(&attributes, &profile.message())?;
    Some(Request { body, samples: count(profile) })
}

/// What people call a container, also one that is forgotten by now.
fn name(id: &str, containers: &BTreeMap<Arc<str>, String>, names: &Names) -> String {
    let known = names.get(id).map(|container| container.qualified_name());
    let known = known.or_else(|| containers.get(id).cloned());
    known.unwrap_or_else(|| id.to_owned())
}

/// The labels of a container's metrics, and the two that receivers find series by.
fn labels_of(id: &str, profile: &Profile, names: &Names, added: &[(String, String)]) -> Vec<Label> {
    // What Go's own CPU profiles are called, by which receivers know what to show.
    let kind = profile.kind;
    let metric = if kind == ProfileKind::OnCpu { "process_cpu" } else { kind.name() };
    let name = name(id, &profile.containers, names);
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    labels.insert("__name__".to_owned(), metric.to_owned());
    labels.insert("service_name".to_owned(), name.clone());
    match names.get(id) {
        Some(container) => container_labels(container, &mut |name, value| {
            labels.insert(name.to_owned(), value.to_owned());
        }),
        None => {
            labels.insert("container".to_owned(), name);
            labels.insert("container_id".to_owned(), id.to_owned());
        }
    }
    for (name, value) in added {
        labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    labels.into_iter().map(|(name, value)| Label { name, value }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::kept_window;

    #[test]
    fn a_series_for_each_container_and_one_for_what_was_lost() {
        let directory = tempfile::tempdir().unwrap();
        let registry = crate::serve::tests::registry(&directory);
        let names = Names::of(&registry);
        let web =
            registry.containers(true, true).into_iter().find(|c| c.name.contains("we")).unwrap();
        let mut kept = kept_window(5_000, web.id.as_str(), &["a", "b", "a"]);
        let gone = kept_window(20_000, "gone", &["c"]);
        kept.append([gone]);
        kept.windows[1].lost.insert("ring full".to_owned(), Weight { count: 2, amount: 20 });
        let added = [("instance".to_owned(), "host-1".to_owned())];
        let mut seen = vec![];
        for window in &kept.windows {
            for (id, profile) in profiles_of(ProfileKind::OnCpu, &kept, window, &names) {
                let labels = labels_of(&id, &profile, &names, &added);
                assert!(labels.is_sorted(), "{labels:?}");
                let label = |name: &str| {
                    let mut all = labels.iter().filter(|label| label.name == name);
                    all.next().map_or("", |label| label.value.as_str()).to_owned()
                };
                assert_eq!(
                    (label("__name__"), label("instance")),
                    ("process_cpu".into(), "host-1".into())
                );
                seen.push((label("container_id"), label("service_name"), count(&profile)));
            }
        }
        let of = |id: &str| seen.iter().filter(|(of, ..)| of == id).map(|(.., n)| n).sum::<u64>();
        assert_eq!((of(web.id.as_str()), of("gone"), of("unattributed")), (3, 1, 2), "{seen:?}");
        assert!(seen.contains(&(web.id.as_str().to_owned(), web.qualified_name(), 3)), "{seen:?}");
    }
}
