//! A pprof file to stacks: of ours, or of anybody who keeps to the schema.
//!
//! Contract: a file is refused with what is wrong in it, never trusted: references are checked, and what
//! a small file could swell to is bounded.

use std::collections::HashMap;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use prost::Message;
use thiserror::Error;

use super::super::document::merge_unknown;
use super::super::kind::{ProfileKind, Unit};
use super::super::label::{Label, LabelKind};
use super::super::tree::CallTree;
use super::{KERNEL_FILE, key, schema};
use crate::symbol::JIT_MODULE;

/// The largest file after decompression.
const BYTES_MAX: u64 = 512 << 20;
/// The most frames of all samples together: a location may be named again and again.
const FRAMES_MAX: usize = 100_000_000;

/// Why a file is no pprof that can be read.
#[derive(Debug, Error)]
pub enum PprofError {
    /// It cannot be decompressed.
    #[error("its gzip is damaged: {0}")]
    Gzip(io::Error),
    /// It swells beyond bounds.
    #[error("it holds more than {} MB", BYTES_MAX >> 20)]
    TooLarge,
    /// It is no protobuf of this schema.
    #[error("it is no pprof: {0}")]
    Schema(#[from] prost::DecodeError),
    /// A sample names what is not there, or has no value.
    #[error("sample {sample} {what}")]
    Sample {
        /// Counted from 1.
        sample: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// No value of it can be drawn.
    #[error("it holds no values")]
    NoValues,
    /// Its stacks are longer than can be held.
    #[error("its stacks have more than {FRAMES_MAX} frames together")]
    TooManyFrames,
}

/// What was read.
#[derive(Debug)]
pub struct Pprof {
    pub tree: CallTree,
    pub kind: Option<ProfileKind>,
    pub unit: Unit,
    pub scope: Option<String>,
}

/// Whether bytes begin as gzip does.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Reads a file, compressed or not.
pub fn read(bytes: &[u8]) -> Result<Pprof, PprofError> {
    let mut plain = Vec::new();
    if is_gzip(bytes) {
        let limited = MultiGzDecoder::new(bytes).take(BYTES_MAX + 1);
        io::BufReader::new(limited).read_to_end(&mut plain).map_err(PprofError::Gzip)?;
        if plain.len() as u64 > BYTES_MAX {
            return Err(PprofError::TooLarge);
        }
    } else {
        plain.extend_from_slice(bytes);
    }
    let file = schema::Profile::decode(&*plain)?;
    drop(plain);
    Reader::new(&file).read()
}

struct Reader<'a> {
    file: &'a schema::Profile,
    /// The labels of each location, leaf first.
    locations: HashMap<u64, Vec<Label>>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a schema::Profile) -> Self {
        let text = |place: i64| text(file, place);
        let functions: HashMap<u64, &str> =
            file.function.iter().map(|function| (function.id, text(function.name))).collect();
        let mappings: HashMap<u64, &str> =
            file.mapping.iter().map(|mapping| (mapping.id, text(mapping.filename))).collect();
        let labels = |location: &schema::Location| {
            let module = mappings.get(&location.mapping_id).copied().unwrap_or_default();
            if location.line.is_empty() {
                return vec![Label::from_marked(&unnamed(module), false)];
            }
            let last = location.line.len() - 1;
            let lines = location.line.iter().enumerate();
            lines
                .map(|(place, line)| {
                    let name = functions.get(&line.function_id).copied().unwrap_or_default();
                    let mut label = Label::from_marked(name, false);
                    if label.kind == LabelKind::User {
                        label.kind = match module {
                            KERNEL_FILE => LabelKind::Kernel,
                            _ if place < last => LabelKind::Inlined,
                            JIT_MODULE => LabelKind::Jit,
                            _ => LabelKind::User,
                        };
                    }
                    label
                })
                .collect()
        };
        let locations =
            file.location.iter().map(|location| (location.id, labels(location))).collect();
        Self { file, locations }
    }

    fn read(&self) -> Result<Pprof, PprofError> {
        let (place, unit, kind) = self.value()?;
        let mut tree = CallTree::default();
        let mut frames = 0_usize;
        for (index, sample) in self.file.sample.iter().enumerate() {
            let wrong = |what| PprofError::Sample { sample: index + 1, what };
            let value = sample.value.get(place).ok_or_else(|| wrong("has too few values"))?;
            let value = u64::try_from(*value).map_err(|_| wrong("has a negative value"))?;
            let mut path = Vec::new();
            for id in &sample.location_id {
                let labels = self.locations.get(id);
                let labels = labels.ok_or_else(|| wrong("names a location that is not there"))?;
                frames = frames.saturating_add(labels.len().max(1));
                if frames > FRAMES_MAX {
                    return Err(PprofError::TooManyFrames);
                }
                path.extend(labels.iter().cloned());
            }
            let waker = self.text_of(sample, key::WAKER);
            path.extend(waker.map(|waker| Label::from_marked(waker, false)));
            path.extend(self.text_of(sample, key::STATE).and_then(Label::known_state));
            path.extend(self.text_of(sample, key::COMM).map(|comm| match waker {
                Some(_) => Label::woken(self.text_of(sample, key::CONTAINER), comm),
                None => Label::thread(&comm.into()),
            }));
            path.reverse();
            merge_unknown(&mut path);
            tree.add(path, value);
        }
        let scope =
            self.file.comment.iter().find_map(|c| text(self.file, *c).strip_prefix("scope: "));
        Ok(Pprof { tree, kind, unit, scope: scope.map(str::to_owned) })
    }

    /// Which value is drawn: counts of what was sampled, time of what was measured, else the default.
    fn value(&self) -> Result<(usize, Unit, Option<ProfileKind>), PprofError> {
        let types = &self.file.sample_type;
        let named = |name: &str| types.iter().position(|t| text(self.file, t.r#type) == name);
        if let (Some(place), Some(_)) = (named("samples"), named("cpu")) {
            return Ok((place, Unit::Samples, Some(ProfileKind::OnCpu)));
        }
        let measured = ProfileKind::ALL.into_iter().filter(|kind| *kind != ProfileKind::OnCpu);
        for kind in measured {
            let (count, value, _) = kind.in_pprof();
            if let (Some(_), Some(place)) = (named(count), named(value)) {
                return Ok((place, kind.unit(), Some(kind)));
            }
        }
        let default = text(self.file, self.file.default_sample_type);
        let place = named(default).or(types.len().checked_sub(1)).ok_or(PprofError::NoValues)?;
        let unit = match text(self.file, types[place].unit) {
            "nanoseconds" => Unit::Nanoseconds,
            "bytes" => Unit::Bytes,
            _ => Unit::Samples,
        };
        Ok((place, unit, None))
    }

    fn text_of(&self, sample: &schema::Sample, key: &str) -> Option<&'a str> {
        let is_it = |label: &&schema::Label| text(self.file, label.key) == key;
        sample.label.iter().find(is_it).map(|label| text(self.file, label.str))
    }
}

fn unnamed(module: &str) -> String {
    match module.rsplit('/').next() {
        Some("") | None => "[unknown]".to_owned(),
        Some(file) => format!("[unknown: no symbols in {file}]"),
    }
}

fn text(file: &schema::Profile, place: i64) -> &str {
    let place = usize::try_from(place).ok();
    place.and_then(|place| file.string_table.get(place)).map_or("", String::as_str)
}
