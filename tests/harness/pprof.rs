//! A pprof file, read by the numbers of profile.proto: nothing here is shared with the writer.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result};

use crate::protobuf::{Field, fields, text};

/// A profile.
#[derive(Debug, Clone, Default)]
pub struct Pprof {
    /// Name and unit of each value of a sample.
    pub types: Vec<(String, String)>,
    /// Its samples.
    pub samples: Vec<PprofSample>,
    /// Its comments.
    pub comments: Vec<String>,
    /// Nanoseconds between two samples.
    pub period: u64,
    /// When it begins, since 1970.
    pub time_nanos: u64,
    /// How long it is.
    pub duration_nanos: u64,
}

/// A sample.
#[derive(Debug, Clone, Default)]
pub struct PprofSample {
    /// Leaf first.
    pub locations: Vec<PprofLocation>,
    /// One for each type.
    pub values: Vec<u64>,
    /// Its labels; numbers as text.
    pub labels: BTreeMap<String, String>,
}

/// A place in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PprofLocation {
    /// Its functions, the innermost first.
    pub functions: Vec<String>,
    /// 0 where not known.
    pub address: u64,
    /// The file, and its build id in hexadecimal.
    pub file: Option<(String, String)>,
}

impl Pprof {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not compressed, or names what is not there.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(file).read_to_end(&mut plain).context("gzip")?;
        let profile = fields(&plain);
        let strings: Vec<String> =
            profile.iter().filter(|f| f.number == 6).map(|f| text(&f.bytes)).collect();
        let string = |message: &[Field], number| {
            strings.get(one(message, number) as usize).cloned().context("a string")
        };
        let messages =
            |number| profile.iter().filter(move |f| f.number == number).map(|f| fields(&f.bytes));
        let by_id = |number| messages(number).map(|m| (one(&m, 1), m)).collect::<BTreeMap<_, _>>();
        let (mappings, functions) = (by_id(3), by_id(5));
        let mut locations = BTreeMap::new();
        for (id, location) in by_id(4) {
            let mut named = PprofLocation { address: one(&location, 3), ..Default::default() };
            for line in location.iter().filter(|field| field.number == 4) {
                let function =
                    functions.get(&one(&fields(&line.bytes), 1)).context("a function")?;
                named.functions.push(string(function, 2)?);
            }
            if one(&location, 2) > 0 {
                let mapping = mappings.get(&one(&location, 2)).context("a mapping")?;
                named.file = Some((string(mapping, 5)?, string(mapping, 6)?));
            }
            locations.insert(id, named);
        }
        let mut samples = Vec::new();
        for sample in messages(2) {
            let mut read = PprofSample { values: all(&sample, 2), ..Default::default() };
            for id in all(&sample, 1) {
                read.locations.push(locations.get(&id).context("a location")?.clone());
            }
            for label in sample.iter().filter(|field| field.number == 3) {
                let label = fields(&label.bytes);
                let value = match one(&label, 2) {
                    0 => one(&label, 3).to_string(),
                    _ => string(&label, 2)?,
                };
                read.labels.insert(string(&label, 1)?, value);
            }
            samples.push(read);
        }
        let types = messages(1).map(|t| Ok((string(&t, 1)?, string(&t, 2)?)));
        let comments = all(&profile, 13)
            .into_iter()
            .map(|at| strings.get(at as usize).cloned().context("a comment"));
        Ok(Self {
            types: types.collect::<Result<_>>()?,
            comments: comments.collect::<Result<_>>()?,
            samples,
            period: one(&profile, 12),
            time_nanos: one(&profile, 9),
            duration_nanos: one(&profile, 10),
        })
    }

    /// The sum of the values at `place`.
    pub fn total(&self, place: usize) -> u64 {
        self.samples.iter().filter_map(|sample| sample.values.get(place)).sum()
    }
}

fn one(message: &[Field], number: u32) -> u64 {
    message.iter().find(|field| field.number == number).map_or(0, |field| field.value)
}

fn all(message: &[Field], number: u32) -> Vec<u64> {
    message.iter().filter(|field| field.number == number).flat_map(Field::numbers).collect()
}
