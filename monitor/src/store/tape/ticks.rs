//! Some ticks as bytes: the series that are in them, then tick by tick what changed.
//!
//! Contract: ticks come back exactly, the order of their samples included. Reading never panics and takes no more memory than a
//! constant times the bytes it is given.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use monitor_common::bucket;

use super::{
    describe::{Metrics, Numbers},
    section::{pack, unpack},
};
use crate::{
    metric::{
        Histogram, Kind, KtimeNs, LabelValues, Sample, SampleRef, Subject, Tick, Value, WallTimeNs,
    },
    store::{
        bytes::{Damaged, Reader, put_bytes, put_u64},
        id::{code, kind_of},
    },
};

/// Labels of one series: more than any metric has.
const MAX_LABELS: u64 = 64;

/// Ticks that follow each other.
#[derive(Debug)]
pub struct Block {
    /// The number of the first of them in the tape.
    pub first: u64,
    /// They.
    pub ticks: Vec<Tick>,
    /// Samples of metrics that nothing describes: left out.
    pub undescribed: u64,
}

/// When the ticks of a block were, without their samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSpan {
    /// The number of the first of them in the tape.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// The instant of the first.
    pub begins: KtimeNs,
}

/// Writes ticks, the first of which is the `first`th of the tape.
pub fn encode(ticks: &[Arc<Tick>], first: u64, numbers: &mut Numbers) -> Vec<u8> {
    let mut table = Table::default();
    let mut body = vec![];
    let mut before = (0, 0);
    for tick in ticks {
        put_signed(&mut body, tick.at.0.wrapping_sub(before.0));
        put_signed(&mut body, tick.taken.0.wrapping_sub(before.1));
        before = (tick.at.0, tick.taken.0);
        let mut expected = 0;
        let places: Vec<usize> = tick
            .samples()
            .map(|sample| {
                let place = table.place(sample, expected, numbers);
                expected = place + 1;
                place
            })
            .collect();
        put_runs(&mut body, &places);
        for (place, sample) in places.into_iter().zip(tick.samples()) {
            put_value(&mut body, table.last.get_mut(place), sample.value);
        }
    }
    let mut out = vec![];
    put_u64(&mut out, first);
    put_u64(&mut out, ticks.len() as u64);
    put_u64(&mut out, ticks.first().map_or(0, |tick| tick.taken.0));
    put_u64(&mut out, table.texts.list.len() as u64);
    table.texts.list.iter().for_each(|text| put_bytes(&mut out, text.as_bytes()));
    put_u64(&mut out, table.rows.len() as u64);
    out.extend_from_slice(&table.rows.concat());
    out.extend_from_slice(&body);
    pack(&out)
}

/// When the ticks of a block were.
pub fn span(bytes: &[u8]) -> Result<BlockSpan, Damaged> {
    let bytes = unpack(bytes)?;
    span_of(&mut Reader(&bytes))
}

fn span_of(reader: &mut Reader<'_>) -> Result<BlockSpan, Damaged> {
    Ok(BlockSpan { first: reader.u64()?, count: reader.u64()?, begins: KtimeNs(reader.u64()?) })
}

/// Reads ticks.
pub fn decode(bytes: &[u8], metrics: &Metrics) -> Result<Block, Damaged> {
    let bytes = unpack(bytes)?;
    let mut reader = Reader(&bytes);
    let BlockSpan { first, count, .. } = span_of(&mut reader)?;
    let texts = list(&mut reader, |reader| {
        std::str::from_utf8(reader.bytes()?).map(Arc::<str>::from).map_err(|_| Damaged)
    })?;
    let mut series = list(&mut reader, |reader| Series::read(reader, &texts, metrics))?;
    let mut block = Block { first, ticks: vec![], undescribed: 0 };
    let mut before = (0u64, 0u64);
    for _ in 0..count {
        before.0 = before.0.wrapping_add(signed(&mut reader)?);
        before.1 = before.1.wrapping_add(signed(&mut reader)?);
        let places = runs(&mut reader, series.len())?;
        let mut samples = Vec::with_capacity(places.len());
        for place in places {
            let series = series.get_mut(place).ok_or(Damaged)?;
            read_value(&mut reader, &mut series.last)?;
            let Some(metric) = series.metric else {
                block.undescribed += 1;
                continue;
            };
            samples.push(Sample {
                metric,
                subject: series.subject.clone(),
                labels: series.labels.clone(),
                value: series.last.clone(),
            });
        }
        let (at, taken) = (WallTimeNs(before.0), KtimeNs(before.1));
        let tick = Tick::after(block.ticks.last(), at, taken, samples);
        block.ticks.push(tick);
    }
    if reader.is_empty() { Ok(block) } else { Err(Damaged) }
}

/// A list whose entries take a byte at least.
fn list<T>(
    reader: &mut Reader<'_>,
    mut entry: impl FnMut(&mut Reader<'_>) -> Result<T, Damaged>,
) -> Result<Vec<T>, Damaged> {
    let count = reader.u64()?;
    if count > reader.0.len() as u64 {
        return Err(Damaged);
    }
    (0..count).map(|_| entry(reader)).collect()
}

/// Texts, each once.
#[derive(Default)]
struct Texts {
    places: HashMap<Arc<str>, u64>,
    list: Vec<Arc<str>>,
}

impl Texts {
    fn place(&mut self, text: &str) -> u64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let (text, place) = (Arc::<str>::from(text), self.list.len() as u64);
        self.list.push(Arc::clone(&text));
        self.places.insert(text, place);
        place
    }
}

type Key = (u32, u32, Subject, LabelValues);

/// The series of a block while it is written.
#[derive(Default)]
struct Table {
    texts: Texts,
    places: HashMap<Key, usize>,
    keys: Vec<Key>,
    /// As they are written.
    rows: Vec<Vec<u8>>,
    last: Vec<Value>,
}

impl Table {
    /// The place of a sample's series, which is `expected` while nothing is born or dies.
    fn place(&mut self, sample: SampleRef<'_>, expected: usize, numbers: &mut Numbers) -> usize {
        let metric = numbers.of(sample.metric);
        let kind = code(kind_of_value(sample.value));
        let is_it = |key: &Key| {
            key.0 == metric && key.1 == kind && key.2 == *sample.subject && key.3 == *sample.labels
        };
        if self.keys.get(expected).is_some_and(is_it) {
            return expected;
        }
        let key = (metric, kind, sample.subject.clone(), sample.labels.clone());
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let mut row = vec![];
        put_u64(&mut row, metric.into());
        put_u64(&mut row, kind.into());
        put_u64(
            &mut row,
            match sample.subject {
                Subject::Host => 0,
                Subject::Container(id) => self.texts.place(id) + 1,
            },
        );
        put_u64(&mut row, sample.labels.len() as u64);
        for label in sample.labels.iter() {
            put_u64(&mut row, self.texts.place(label));
        }
        self.rows.push(row);
        self.last.push(nothing(kind_of_value(sample.value)));
        self.keys.push(key.clone());
        self.places.insert(key, self.keys.len() - 1);
        self.keys.len() - 1
    }
}

fn kind_of_value(value: &Value) -> Kind {
    match value {
        Value::Counter(_) => Kind::Counter,
        Value::Gauge(_) => Kind::Gauge,
        Value::Distribution(_) => Kind::Distribution,
    }
}

/// What a series counts from in each block.
fn nothing(kind: Kind) -> Value {
    match kind {
        Kind::Counter => Value::Counter(0),
        Kind::Gauge => Value::Gauge(0.0),
        Kind::Distribution => Value::Distribution(Arc::default()),
    }
}

/// A series of a block while it is read.
struct Series {
    /// `None` if nothing describes it.
    metric: Option<&'static crate::metric::Descriptor>,
    subject: Subject,
    labels: LabelValues,
    last: Value,
}

impl Series {
    fn read(
        reader: &mut Reader<'_>,
        texts: &[Arc<str>],
        metrics: &Metrics,
    ) -> Result<Self, Damaged> {
        let text = |place: u64| {
            usize::try_from(place).ok().and_then(|place| texts.get(place)).ok_or(Damaged)
        };
        let metric = metrics.get(reader.u32()?);
        let kind = kind_of(reader.u32()?).ok_or(Damaged)?;
        let subject = match reader.u64()? {
            0 => Subject::Host,
            place => Subject::Container(Arc::clone(text(place - 1)?)),
        };
        let count = reader.u64()?;
        if count > MAX_LABELS {
            return Err(Damaged);
        }
        let labels = (0..count).map(|_| Ok(Cow::Owned(text(reader.u64()?)?.to_string())));
        let labels = labels.collect::<Result<LabelValues, Damaged>>()?;
        Ok(Self { metric, subject, labels, last: nothing(kind) })
    }
}

/// Places as runs of such as follow each other.
fn put_runs(out: &mut Vec<u8>, places: &[usize]) {
    let runs: Vec<&[usize]> = places.chunk_by(|a, b| a + 1 == *b).collect();
    put_u64(out, runs.len() as u64);
    for run in runs {
        put_u64(out, run.first().map_or(0, |place| *place as u64));
        put_u64(out, run.len() as u64);
    }
}

fn runs(reader: &mut Reader<'_>, series: usize) -> Result<Vec<usize>, Damaged> {
    let mut places = vec![];
    for _ in 0..reader.u64()? {
        let start = usize::try_from(reader.u64()?).map_err(|_| Damaged)?;
        let length = usize::try_from(reader.u64()?).map_err(|_| Damaged)?;
        let end = start.checked_add(length).filter(|end| *end <= series).ok_or(Damaged)?;
        // Each sample takes a byte at least.
        if length == 0 || places.len() + length > reader.0.len() {
            return Err(Damaged);
        }
        places.extend(start..end);
    }
    Ok(places)
}

/// A difference of either sign in few bytes.
fn put_signed(out: &mut Vec<u8>, difference: u64) {
    let signed = difference as i64;
    put_u64(out, ((signed << 1) ^ (signed >> 63)) as u64);
}

fn signed(reader: &mut Reader<'_>) -> Result<u64, Damaged> {
    let coded = reader.u64()?;
    Ok((coded >> 1) ^ (coded & 1).wrapping_neg())
}

/// A value by what differs from the last one of its series.
fn put_value(out: &mut Vec<u8>, last: Option<&mut Value>, now: &Value) {
    // Each place has one.
    let Some(last) = last else { return };
    match (&*last, now) {
        (Value::Counter(last), Value::Counter(now)) => put_signed(out, now.wrapping_sub(*last)),
        // Byte-swapped: whole numbers end in zero bits, which the variable length then saves.
        (Value::Gauge(last), Value::Gauge(now)) => {
            put_u64(out, (last.to_bits() ^ now.to_bits()).swap_bytes());
        }
        (Value::Distribution(last), Value::Distribution(now)) => put_histogram(out, last, now),
        // The kind is part of what a series is told by.
        _ => {}
    }
    *last = now.clone();
}

fn put_histogram(out: &mut Vec<u8>, last: &Histogram, now: &Histogram) {
    let changed: Vec<(usize, u64)> = (0..bucket::COUNT)
        .map(|i| (i, now.count_in(i).wrapping_sub(last.count_in(i))))
        .filter(|&(_, difference)| difference != 0)
        .collect();
    put_u64(out, changed.len() as u64);
    put_signed(out, now.sum_ns.wrapping_sub(last.sum_ns));
    let mut next = 0;
    for (i, difference) in changed {
        put_u64(out, (i - next) as u64);
        put_signed(out, difference);
        next = i + 1;
    }
}

fn read_value(reader: &mut Reader<'_>, last: &mut Value) -> Result<(), Damaged> {
    match last {
        Value::Counter(value) => *value = value.wrapping_add(signed(reader)?),
        Value::Gauge(value) => {
            *value = f64::from_bits(value.to_bits() ^ reader.u64()?.swap_bytes());
        }
        Value::Distribution(histogram) => {
            let count = reader.u64()?;
            let sum_ns = signed(reader)?;
            if count == 0 && sum_ns == 0 {
                return Ok(());
            }
            let histogram = Arc::make_mut(histogram);
            histogram.sum_ns = histogram.sum_ns.wrapping_add(sum_ns);
            histogram.change(|counts| {
                let mut next = 0usize;
                for _ in 0..count.min(bucket::COUNT as u64) {
                    let gap = usize::try_from(reader.u64()?).map_err(|_| Damaged)?;
                    let i = next.checked_add(gap).ok_or(Damaged)?;
                    let bucket = counts.get_mut(i).ok_or(Damaged)?;
                    *bucket = bucket.wrapping_add(signed(reader)?);
                    next = i + 1;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}
