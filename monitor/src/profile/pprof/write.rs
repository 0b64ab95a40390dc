//! A profile to pprof.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use flate2::{Compression, write::GzEncoder};
use prost::Message;

use super::super::document::{Profile, Sample};
use super::super::facts::{PROGRAM, facts};
use super::super::kind::ProfileKind;
use super::super::label::{self, LabelKind};
use super::super::stacks::Weight;
use super::{KERNEL_FILE, key, schema};
use crate::symbol::{CodeMapping, CodePlace, Frame};

/// Where the name of a thread is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::profile) enum Threads {
    /// In a label of each sample, among others.
    Labels,
    /// The outermost frame; samples have no labels.
    Frames,
}

/// Writes the file.
pub(in crate::profile) fn write(profile: &Profile, threads: Threads) -> io::Result<Vec<u8>> {
    let bytes = message(profile, threads).encode_to_vec();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&bytes)?;
    gzip.finish()
}

/// What is in the file.
pub(in crate::profile) fn message(profile: &Profile, threads: Threads) -> schema::Profile {
    Writer::default().profile(profile, threads)
}

/// What makes a mapping one: code of a file, or the name of a file alone.
#[derive(Clone, PartialEq, Eq, Hash)]
enum MappingKey {
    Code(Arc<CodeMapping>),
    Name(Arc<str>),
}

#[derive(Default)]
struct Writer {
    strings: HashMap<String, i64>,
    string_table: Vec<String>,
    functions: HashMap<i64, u64>,
    function: Vec<schema::Function>,
    mappings: HashMap<MappingKey, u64>,
    mapping: Vec<schema::Mapping>,
    locations: HashMap<(u64, u64, Vec<u64>), u64>,
    location: Vec<schema::Location>,
}

impl Writer {
    fn profile(mut self, profile: &Profile, threads: Threads) -> schema::Profile {
        // The first string is empty by decree.
        self.string("");
        let (count, value, unit) = profile.kind.in_pprof();
        let sample_type = vec![self.value_type(count, "count"), self.value_type(value, unit)];
        let mut sample: Vec<_> =
            profile.samples.iter().map(|sample| self.sample(profile, sample)).collect();
        if threads == Threads::Frames {
            for (sample, of) in sample.iter_mut().zip(&profile.samples) {
                sample.label.clear();
                let thread = self.function(&label::Label::thread(&of.comm).name);
                sample.location_id.push(self.location(0, 0, vec![thread]));
            }
            sample = merged(sample);
        }
        for (reason, weight) in &profile.lost {
            sample.push(self.lost(reason, *weight));
        }
        let mut comment = vec![self.string(&format!("written by: {PROGRAM}"))];
        for (name, text) in facts(profile) {
            comment.push(self.string(&format!("{name}: {text}")));
        }
        // Readers take the first for the program: neither a library nor what is no file.
        let strings = &self.string_table;
        self.mapping.sort_by_key(|mapping| {
            let name = &strings[mapping.filename as usize];
            (name.starts_with('['), name.contains(".so"))
        });
        let since_epoch = profile.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let period = profile.frequency_hz.map_or(1, |hz| 1_000_000_000 / i64::from(hz.max(1)));
        schema::Profile {
            sample_type,
            sample,
            time_nanos: i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX),
            duration_nanos: signed(profile.duration_ns),
            period_type: Some(self.value_type(value, unit)),
            period,
            comment,
            default_sample_type: self.string(value),
            mapping: self.mapping,
            location: self.location,
            function: self.function,
            string_table: self.string_table,
        }
    }

    fn sample(&mut self, profile: &Profile, sample: &Sample) -> schema::Sample {
        let mut label = vec![self.text(key::COMM, &sample.comm)];
        if let Some(id) = &sample.container {
            label.push(self.text(key::CONTAINER, profile.container_name(sample).unwrap_or(id)));
            label.push(self.text(key::CONTAINER_ID, id));
        }
        label.push(self.number(key::PID, sample.tgid.0));
        label.extend(sample.tid.map(|tid| self.number(key::TID, tid.0)));
        if let Some(state) = sample.state {
            label.push(self.text(key::STATE, state));
        } else if profile.kind == ProfileKind::OnCpu && !sample.frames.is_empty() {
            let state = match sample.frames.last() {
                Some(Frame::Kernel { .. }) => "running.kernel",
                _ => "running.user",
            };
            label.push(self.text(key::STATE, state));
        }
        if let Some(waker) = &sample.waker {
            let waker = label::Label::waker(waker, |id| profile.name_of(id));
            label.push(self.text(key::WAKER, &waker.name));
        }
        schema::Sample { location_id: self.stack(sample), value: value(sample.weight), label }
    }

    fn lost(&mut self, reason: &str, weight: Weight) -> schema::Sample {
        let name = label::Label::lost(reason).name;
        let function = self.function(&name);
        schema::Sample {
            location_id: vec![self.location(0, 0, vec![function])],
            value: value(weight),
            label: vec![self.text(key::LOST, reason)],
        }
    }

    /// The locations of a stack, leaf first: a function with what was inlined into it is one.
    fn stack(&mut self, sample: &Sample) -> Vec<u64> {
        let mut locations = Vec::with_capacity(sample.frames.len());
        let mut lines = Vec::new();
        let mut last_unknown = None;
        for (index, frame) in sample.frames.iter().enumerate().rev() {
            let label = label::Label::from(frame);
            lines.push(self.function(&label.name));
            // An inlined frame at the root has nothing it could be inlined into.
            if label.kind == LabelKind::Inlined && index > 0 {
                continue;
            }
            let place = sample.places.get(index).and_then(Option::as_ref);
            let lines = std::mem::take(&mut lines);
            // Nameless callers of nameless callers are one, as in the other formats, unless they have
            // an address, by which somebody may still name them.
            let unknown = (label.kind == LabelKind::Unknown && lines.len() == 1 && place.is_none())
                .then(|| label.clone());
            if unknown.is_none() || unknown != last_unknown {
                locations.push(self.frame(&label, place, lines));
            }
            last_unknown = unknown;
        }
        locations
    }

    fn frame(&mut self, label: &label::Label, place: Option<&CodePlace>, lines: Vec<u64>) -> u64 {
        let (mapping, address) = match place {
            Some(place) => {
                let mapping = self.mapping(MappingKey::Code(Arc::clone(&place.mapping)));
                (mapping, place.virtual_address)
            }
            // No address of the kernel: it would tell everybody who reads the file where it lies.
            None if label.kind == LabelKind::Kernel => {
                (self.mapping(MappingKey::Name(KERNEL_FILE.into())), 0)
            }
            None => match &label.module {
                Some(module) => (self.mapping(MappingKey::Name(Arc::clone(module))), 0),
                None => (0, 0),
            },
        };
        self.location(mapping, address, lines)
    }

    fn mapping(&mut self, key: MappingKey) -> u64 {
        if let Some(known) = self.mappings.get(&key) {
            return *known;
        }
        let id = self.mapping.len() as u64 + 1;
        let mut mapping = schema::Mapping {
            id,
            has_functions: true,
            has_inline_frames: true,
            ..schema::Mapping::default()
        };
        match &key {
            MappingKey::Name(name) => mapping.filename = self.string(name),
            MappingKey::Code(code) => {
                mapping.filename = self.string(&code.path);
                mapping.memory_start = code.virtual_start;
                mapping.memory_limit = code.virtual_end;
                mapping.file_offset = code.file_offset_bytes;
                let build_id = code.build_id.as_deref().unwrap_or_default();
                let hex: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
                mapping.build_id = self.string(&hex);
            }
        }
        self.mapping.push(mapping);
        self.mappings.insert(key, id);
        id
    }

    fn location(&mut self, mapping_id: u64, address: u64, functions: Vec<u64>) -> u64 {
        let line: Vec<_> =
            functions.iter().map(|id| schema::Line { function_id: *id, line: 0 }).collect();
        let location = &mut self.location;
        *self.locations.entry((mapping_id, address, functions)).or_insert_with(|| {
            let id = location.len() as u64 + 1;
            location.push(schema::Location { id, mapping_id, address, line });
            id
        })
    }

    fn function(&mut self, name: &str) -> u64 {
        let name = self.string(name);
        let function = &mut self.function;
        *self.functions.entry(name).or_insert_with(|| {
            let id = function.len() as u64 + 1;
            function.push(schema::Function { id, name, system_name: name, filename: 0 });
            id
        })
    }

    fn value_type(&mut self, name: &str, unit: &str) -> schema::ValueType {
        schema::ValueType { r#type: self.string(name), unit: self.string(unit) }
    }

    fn text(&mut self, key: &str, text: &str) -> schema::Label {
        schema::Label { key: self.string(key), str: self.string(text), ..Default::default() }
    }

    fn number(&mut self, key: &str, number: u32) -> schema::Label {
        schema::Label { key: self.string(key), num: i64::from(number), ..Default::default() }
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(known) = self.strings.get(text) {
            return *known;
        }
        let place = self.string_table.len() as i64;
        self.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), place);
        place
    }
}

/// Stacks that are alike as one, in the order of the first of each.
fn merged(samples: Vec<schema::Sample>) -> Vec<schema::Sample> {
    let mut places: HashMap<Vec<u64>, usize> = HashMap::new();
    let mut merged: Vec<schema::Sample> = vec![];
    for sample in samples {
        let place = *places.entry(sample.location_id.clone()).or_insert(merged.len());
        match merged.get_mut(place) {
            None => merged.push(sample),
            Some(same) => {
                for (sum, value) in same.value.iter_mut().zip(&sample.value) {
                    *sum = sum.saturating_add(*value);
                }
            }
        }
    }
    merged
}

fn value(weight: Weight) -> Vec<i64> {
    vec![signed(weight.count), signed(weight.amount)]
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
