//! One tick as bytes: what the journal keeps and what is open in memory.
//!
//! Contract: groups come in ascending order, each with its length, so that a reader skips those it does not want. A value
//! that is zero takes one bit. Two kilobytes a tick for a thousand busy series.

use super::{
    bytes::{Damaged, Reader, put_bytes, put_u64},
    id::{GroupId, SeriesId},
    point::{Gain, Points, Summary},
};
use crate::metric::Kind;

/// One measurement of a tick, as it is stored: what was gained since the tick before, except of gauges.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// How much a counter grew.
    Counter(u64),
    /// The gauge.
    Gauge(f64),
    /// What a distribution gained.
    Distribution(Gain),
}

impl Measured {
    fn is_zero(&self) -> bool {
        match self {
            Self::Counter(n) => *n == 0,
            Self::Gauge(value) => value.to_bits() == 0,
            Self::Distribution(gain) => gain.buckets.is_empty() && gain.sum_ns == 0,
        }
    }
}

/// When, and how long what is in the frame took to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Wall time, ms since the epoch.
    pub at_ms: u64,
    /// What the increases cover, ms of the monotonic clock; 0 for the first tick of a daemon.
    pub covered_ms: u64,
}

/// A tick in memory.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Counts up over restarts: which frames were sealed is told by it.
    pub sequence: u64,
    /// When.
    pub instant: Instant,
    groups: Box<[u8]>,
}

impl Frame {
    /// From measurements in the order of their series.
    pub fn new(sequence: u64, instant: Instant, measured: &[(SeriesId, Measured)]) -> Self {
        let mut groups = Vec::with_capacity(measured.len() * 2);
        let mut body = vec![];
        let mut last = 0;
        for group in measured.chunk_by(|(a, _), (b, _)| a.group() == b.group()) {
            let id = group[0].0.group();
            body.clear();
            put_group(&mut body, group);
            put_u64(&mut groups, u64::from(id.0 - last));
            put_bytes(&mut groups, &body);
            last = id.0;
        }
        Self { sequence, instant, groups: groups.into_boxed_slice() }
    }

    /// As one record of the journal.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.sequence);
        put_u64(out, self.instant.at_ms);
        put_u64(out, self.instant.covered_ms);
        out.extend_from_slice(&self.groups);
    }

    /// From a record of the journal.
    pub fn decode(record: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(record);
        let sequence = reader.u64()?;
        let instant = Instant { at_ms: reader.u64()?, covered_ms: reader.u64()? };
        Ok(Self { sequence, instant, groups: reader.0.into() })
    }

    /// Bytes it takes.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// How many measurements it has.
    pub fn samples(&self) -> Result<u64, Damaged> {
        let mut cursor = self.cursor();
        let mut samples = 0;
        while let Some((_, bytes)) = cursor.next()? {
            samples += u64::from(Reader(bytes).u64()?.count_ones());
        }
        Ok(samples)
    }

    /// Its groups from the first.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { reader: Reader(&self.groups), last: 0 }
    }
}

/// Walks the groups of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    reader: Reader<'a>,
    last: u32,
}

impl<'a> Cursor<'a> {
    /// The next group and its bytes; `None` at the end.
    pub fn next(&mut self) -> Result<Option<(GroupId, &'a [u8])>, Damaged> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        self.last = self.last.checked_add(self.reader.u32()?).ok_or(Damaged)?;
        Ok(Some((GroupId(self.last), self.reader.bytes()?)))
    }

    /// The bytes of `group` if it comes, leaving the cursor behind it.
    pub fn seek(&mut self, group: GroupId) -> Result<Option<&'a [u8]>, Damaged> {
        loop {
            let mut ahead = *self;
            match ahead.next()? {
                Some((found, bytes)) if found == group => {
                    *self = ahead;
                    return Ok(Some(bytes));
                }
                Some((found, _)) if found < group => *self = ahead,
                _ => return Ok(None),
            }
        }
    }
}

fn put_group(out: &mut Vec<u8>, group: &[(SeriesId, Measured)]) {
    let bits = |wanted: &dyn Fn(&Measured) -> bool| {
        let of_group = group.iter().filter(|(_, value)| wanted(value));
        of_group.fold(0u64, |bits, (id, _)| bits | 1 << id.slot())
    };
    put_u64(out, bits(&|_| true));
    put_u64(out, bits(&|value| !value.is_zero()));
    for (_, value) in group.iter().filter(|(_, value)| !value.is_zero()) {
        match value {
            Measured::Counter(n) => put_u64(out, *n),
            Measured::Gauge(value) => put_gauge(out, *value),
            Measured::Distribution(gain) => put_gain(out, gain),
        }
    }
}

/// Whole numbers, which most gauges are, as such; the rest as their eight bytes behind a 1.
fn put_gauge(out: &mut Vec<u8>, value: f64) {
    let whole = value as u64;
    if value >= 1.0 && value < (1u64 << 53) as f64 && whole as f64 == value {
        put_u64(out, whole << 1);
    } else {
        out.push(1);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn gauge(reader: &mut Reader<'_>) -> Result<f64, Damaged> {
    let number = reader.u64()?;
    if number != 1 {
        return Ok((number >> 1) as f64);
    }
    let bytes = reader.take(8)?.try_into().map_err(|_| Damaged)?;
    Ok(f64::from_le_bytes(bytes))
}

fn put_gain(out: &mut Vec<u8>, gain: &Gain) {
    put_u64(out, gain.sum_ns);
    put_u64(out, gain.buckets.len() as u64);
    let mut last = 0;
    for &(bucket, count) in &gain.buckets {
        out.push(bucket - last);
        put_u64(out, count);
        last = bucket;
    }
}

fn gain(reader: &mut Reader<'_>) -> Result<Gain, Damaged> {
    let sum_ns = reader.u64()?;
    let length = reader.u64()?;
    let mut last = 0u8;
    let buckets = (0..length.min(256)).map(|_| {
        last = last.checked_add(reader.byte()?).ok_or(Damaged)?;
        Ok((last, reader.u64()?))
    });
    Ok(Gain { count: 1, sum_ns, buckets: buckets.collect::<Result<_, Damaged>>()? })
}

/// Adds the values of a group's bytes, which are of the `instant`th frame, to the points of its slots.
pub fn read_group(
    bytes: &[u8],
    kind: Kind,
    instant: u32,
    slots: &mut [Option<Points>],
) -> Result<(), Damaged> {
    let mut reader = Reader(bytes);
    let (present, nonzero) = (reader.u64()?, reader.u64()?);
    let mut rest = present;
    while rest != 0 {
        let slot = rest.trailing_zeros();
        rest &= rest - 1;
        let is_zero = nonzero & (1 << slot) == 0;
        let points = slots.get_mut(slot as usize).ok_or(Damaged)?;
        let points = points.get_or_insert_with(|| Points::none(kind));
        match points {
            Points::Counter(points) => {
                let value = if is_zero { 0 } else { reader.u64()? };
                points.push((instant, Summary::of(value)));
            }
            Points::Gauge(points) => {
                let value = if is_zero { 0.0 } else { gauge(&mut reader)? };
                points.push((instant, Summary::of(value)));
            }
            Points::Distribution(points) => {
                let value =
                    if is_zero { Gain { count: 1, ..Gain::default() } } else { gain(&mut reader)? };
                points.push((instant, value));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::id::GROUP_SERIES;

    fn instant() -> Instant {
        Instant { at_ms: 1_700_000_000_123, covered_ms: 1_001 }
    }

    #[test]
    fn what_was_measured_comes_back() {
        let counters = GroupId::new(0, Kind::Counter);
        let gauges = GroupId::new(3, Kind::Gauge);
        let latencies = GroupId::new(9, Kind::Distribution);
        let gain = Gain { count: 1, sum_ns: 77, buckets: vec![(0, 3), (100, 1), (193, 9)] };
        let values = [0.0, -0.0, 1.0, 0.5, -3.0, 1e300, (1u64 << 52) as f64, f64::INFINITY];
        let mut measured = vec![
            (SeriesId::new(counters, 2), Measured::Counter(0)),
            (SeriesId::new(counters, 19), Measured::Counter(u64::MAX)),
        ];
        for (slot, value) in values.into_iter().enumerate() {
            measured.push((SeriesId::new(gauges, slot as u32), Measured::Gauge(value)));
        }
        measured.push((SeriesId::new(latencies, 0), Measured::Distribution(gain.clone())));
        let mut record = vec![];
        Frame::new(7, instant(), &measured).encode(&mut record);
        let frame = Frame::decode(&record).expect("a frame");
        assert_eq!((frame.sequence, frame.instant), (7, instant()));

        let read = |group: GroupId| {
            let mut slots = vec![None; GROUP_SERIES as usize];
            let bytes = frame.cursor().seek(group).expect("whole").expect("there");
            read_group(bytes, group.kind().expect("a kind"), 5, &mut slots).expect("whole");
            slots
        };
        let slots = read(counters);
        assert_eq!(slots[2], Some(Points::Counter(vec![(5, Summary::of(0))])));
        assert_eq!(slots[19], Some(Points::Counter(vec![(5, Summary::of(u64::MAX))])));
        assert_eq!(slots.iter().flatten().count(), 2);
        for (slot, value) in read(gauges).iter().zip(values) {
            assert_eq!(slot, &Some(Points::Gauge(vec![(5, Summary::of(value))])));
        }
        assert_eq!(read(latencies)[0], Some(Points::Distribution(vec![(5, gain)])));
        let missing = GroupId::new(4, Kind::Gauge);
        assert_eq!(frame.cursor().seek(missing), Ok(None));
    }

    proptest! {
        #[test]
        fn damage_is_told_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let Ok(frame) = Frame::decode(&bytes) else { return Ok(()) };
            let mut cursor = frame.cursor();
            while let Ok(Some((group, bytes))) = cursor.next() {
                let mut slots = vec![None; GROUP_SERIES as usize];
                if let Some(kind) = group.kind() {
                    let _ = read_group(bytes, kind, 0, &mut slots);
                }
            }
        }
    }
}
