//! The profile as JSON for profiler.firefox.com, in its processed format of version 60, which every
//! later version of the profiler upgrades by itself.
//!
//! Each thread is a track under its process. Samples are kept as sums, without their instants: those
//! of a thread are laid one after another from the beginning of the window, each as long as what it
//! stands for. Call tree and flame graph are exact, the order along the timeline means nothing. What was
//! lost is a track of its own. Totals and confidence are in the window that `Profile Info` opens.

mod schema;
mod shared;

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use self::schema::{
    Entry, File, Markers, Meta, PROCESSED_VERSION, Samples, Section, Thread, categories,
};
use self::shared::Interner;
use super::document::Profile;
use super::facts::{PROGRAM, facts};
use super::kind::Unit;
use super::label::Label;
use crate::symbol::{Tgid, Tid};

/// Tracks beyond this share one: the page draws each of them.
const THREADS_MAX: usize = 20_000;

/// What makes a track: process, thread, and the name, which a thread may change.
type ThreadKey<'a> = (Tgid, Option<Tid>, &'a str);

/// Writes the file.
pub(super) fn render(profile: &Profile) -> Result<Vec<u8>, serde_json::Error> {
    let mut interner = Interner::default();
    let mut threads: BTreeMap<ThreadKey<'_>, Thread> = BTreeMap::new();
    let mut rest = track("other threads".to_owned(), "0".to_owned(), "0".to_owned());
    for sample in &profile.samples {
        let key = (sample.tgid, sample.tid, &*sample.comm);
        let waker = sample.waker.as_ref().map(|w| Label::waker(w, |id| profile.name_of(id)));
        let stack = interner.stack(sample, waker.as_ref());
        let is_room = threads.len() < THREADS_MAX || threads.contains_key(&key);
        let thread = if is_room {
            threads.entry(key).or_insert_with(|| {
                let tid = sample.tid.map_or(sample.tgid.0, |tid| tid.0);
                let mut thread =
                    track(sample.comm.to_string(), sample.tgid.to_string(), tid.to_string());
                thread.is_main_thread = tid == sample.tgid.0;
                thread.process_name = profile.container_name(sample).map(str::to_owned);
                thread
            })
        } else {
            &mut rest
        };
        add(&mut thread.samples, profile, stack, profile.value(sample.weight));
    }
    let mut threads: Vec<_> = threads.into_values().collect();
    if rest.samples.length > 0 {
        threads.push(rest);
    }
    let mut lost = track("[lost]".to_owned(), "lost".to_owned(), "lost".to_owned());
    for (reason, weight) in &profile.lost {
        let value = profile.value(*weight);
        if value > 0 {
            let stack = interner.lost(&Label::lost(reason));
            add(&mut lost.samples, profile, Some(stack), value);
        }
    }
    if lost.samples.length > 0 {
        threads.push(lost);
    }
    let (libs, shared) = interner.finish();
    serde_json::to_vec(&File { meta: meta(profile), libs, shared, threads })
}

fn meta(profile: &Profile) -> Meta {
    let since_epoch = profile.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let entry = |(label, value): (&'static str, String)| Entry { label, format: "string", value };
    Meta {
        interval: interval_ms(profile),
        start_time: since_epoch.as_secs_f64() * 1e3,
        profiling_start_time: 0.0,
        profiling_end_time: profile.duration_ns as f64 / 1e6,
        process_type: 0,
        product: format!("{PROGRAM}: {} {}", profile.kind.title(), profile.scope),
        imported_from: "cgscope",
        stackwalk: 1,
        debug: false,
        version: 33,
        preprocessed_profile_version: PROCESSED_VERSION,
        symbolicated: true,
        symbolication_not_supported: true,
        uses_only_one_stack_type: true,
        source_code_is_not_on_searchfox: true,
        oscpu: "Linux",
        marker_schema: [],
        categories: categories(),
        extra: [Section {
            label: "cgscope",
            entries: facts(profile).into_iter().map(entry).collect(),
        }],
    }
}

fn interval_ms(profile: &Profile) -> f64 {
    profile.frequency_hz.map_or(1.0, |hz| 1e3 / f64::from(hz.max(1)))
}

fn track(name: String, pid: String, tid: String) -> Thread {
    Thread {
        process_type: "default",
        process_startup_time: 0.0,
        process_shutdown_time: None,
        register_time: 0.0,
        unregister_time: None,
        paused_ranges: [],
        name,
        is_main_thread: false,
        process_name: None,
        pid,
        tid,
        samples: Samples::default(),
        markers: Markers::default(),
    }
}

fn add(samples: &mut Samples, profile: &Profile, stack: Option<usize>, value: u64) {
    let (weight, length_ms) = match profile.kind.unit() {
        Unit::Samples => (value as f64, value as f64 * interval_ms(profile)),
        Unit::Nanoseconds => (value as f64 / 1e6, value as f64 / 1e6),
        // A place on the timeline, which means nothing: a millisecond for a thousand.
        Unit::Bytes | Unit::Events => (value as f64, value as f64 / 1e3),
    };
    samples.weight_type = match profile.kind.unit() {
        Unit::Samples | Unit::Events => "samples",
        Unit::Bytes => "bytes",
        Unit::Nanoseconds => "tracing-ms",
    };
    samples.time.push(samples.end_ms);
    samples.stack.push(stack);
    samples.weight.push(weight);
    samples.length += 1;
    samples.end_ms += length_ms;
}
