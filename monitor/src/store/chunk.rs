//! The points of a group over a piece of time as one compressed blob, column by column.
//!
//! Contract: a checksum leads; what does not match it is [`Damaged`] as a whole. Instants are not in it: they are the piece's,
//! stored once for all groups. Measurements (tier 0) keep one number each, rolled-up points count, sum, min and max.

use super::{
    bytes::{
        Damaged, Reader, checksum, column, columns, put_bytes, put_column, put_columns, put_u64,
    },
    frame::Instant,
    id::GROUP_SERIES,
    point::{Amount, Gain, Points, Summary},
};
use crate::metric::Kind;

/// The points of each slot of a group; `None` for a slot without any.
pub type Slots = Vec<Option<Points>>;

/// A group without points.
pub fn no_slots() -> Slots {
    vec![None; GROUP_SERIES as usize]
}

/// The instants of a piece as bytes.
pub fn encode_instants(instants: &[Instant]) -> Vec<u8> {
    let mut body = vec![];
    put_column(&mut body, &instants.iter().map(|i| i.at_ms).collect::<Vec<_>>());
    put_column(&mut body, &instants.iter().map(|i| i.covered_ms).collect::<Vec<_>>());
    sealed(&body)
}

/// The instants of [`encode_instants`].
pub fn decode_instants(bytes: &[u8]) -> Result<Vec<Instant>, Damaged> {
    let mut reader = opened(bytes)?;
    let at: Vec<u64> = column(&mut reader)?;
    let covered: Vec<u64> = column(&mut reader)?;
    if at.len() != covered.len() {
        return Err(Damaged);
    }
    let pairs = at.into_iter().zip(covered);
    Ok(pairs.map(|(at_ms, covered_ms)| Instant { at_ms, covered_ms }).collect())
}

/// A group's points in a piece of `instants` instants as bytes.
pub fn encode(slots: &Slots, instants: usize, is_rolled: bool) -> Vec<u8> {
    let mut body = vec![u8::from(is_rolled)];
    let (mut counters, mut gauges, mut gains) = (vec![], vec![], vec![]);
    let there =
        || slots.iter().zip(0u8..).filter_map(|(points, slot)| Some((points.as_ref()?, slot)));
    let there = || there().filter(|(points, _)| points.len() > 0);
    body.push(there().count() as u8);
    for (points, slot) in there() {
        body.push(slot);
        match points {
            Points::Counter(points) => {
                put_instants(&mut body, points, instants);
                counters.push(points);
            }
            Points::Gauge(points) => {
                put_instants(&mut body, points, instants);
                gauges.push(points);
            }
            Points::Distribution(points) => {
                put_instants(&mut body, points, instants);
                gains.push(points);
            }
        }
    }
    // A group's series are of one kind.
    put_summaries(&mut body, &counters, is_rolled);
    put_summaries(&mut body, &gauges, is_rolled);
    for points in gains {
        let mut series = vec![];
        put_gains(&mut series, points, is_rolled);
        put_bytes(&mut body, &series);
    }
    sealed(&body)
}

/// The points of the slots in the bit set `wanted`.
pub fn decode(bytes: &[u8], kind: Kind, instants: usize, wanted: u32) -> Result<Slots, Damaged> {
    let mut reader = opened(bytes)?;
    let is_rolled = reader.byte()? != 0;
    let mut there = vec![];
    for _ in 0..reader.byte()? {
        there.push((usize::from(reader.byte()?), instants_of(&mut reader, instants)?));
    }
    let mut slots = no_slots();
    let points = match kind {
        Kind::Counter => each(&mut reader, &there, is_rolled, Points::Counter)?,
        Kind::Gauge => each(&mut reader, &there, is_rolled, Points::Gauge)?,
        Kind::Distribution => {
            for (slot, at) in there {
                let mut series = Reader(reader.bytes()?);
                let into = slots.get_mut(slot).ok_or(Damaged)?;
                if wanted & 1 << slot != 0 {
                    *into = Some(Points::Distribution(gains(&mut series, at, is_rolled)?));
                }
            }
            return Ok(slots);
        }
    };
    for ((slot, _), points) in there.into_iter().zip(points) {
        let into = slots.get_mut(slot).ok_or(Damaged)?;
        if wanted & 1 << slot != 0 {
            *into = Some(points);
        }
    }
    Ok(slots)
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = checksum(body).to_le_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn opened(bytes: &[u8]) -> Result<Reader<'_>, Damaged> {
    let (sum, body) = bytes.split_first_chunk::<4>().ok_or(Damaged)?;
    if u32::from_le_bytes(*sum) == checksum(body) { Ok(Reader(body)) } else { Err(Damaged) }
}

/// An empty column says that there is a point at every instant.
fn put_instants<P>(out: &mut Vec<u8>, points: &[(u32, P)], instants: usize) {
    let is_each = points.len() == instants && points.iter().zip(0..).all(|((at, _), i)| *at == i);
    let at: Vec<u64> =
        if is_each { vec![] } else { points.iter().map(|(at, _)| u64::from(*at)).collect() };
    put_column(out, &at);
}

fn instants_of(reader: &mut Reader<'_>, instants: usize) -> Result<Vec<u32>, Damaged> {
    let at: Vec<u64> = column(reader)?;
    if at.is_empty() {
        return Ok((0..instants as u32).collect());
    }
    if at.iter().any(|&at| at >= instants as u64) {
        return Err(Damaged);
    }
    Ok(at.into_iter().map(|at| at as u32).collect())
}

fn put_summaries<N: Amount>(
    out: &mut Vec<u8>,
    series: &[&Vec<(u32, Summary<N>)>],
    is_rolled: bool,
) {
    if series.is_empty() {
        return;
    }
    let of = |part: fn(&Summary<N>) -> N| columns_of(series, part);
    put_columns(out, &of(|s| s.sum));
    if is_rolled {
        put_columns(out, &columns_of(series, |s| s.count));
        put_columns(out, &of(|s| s.min));
        put_columns(out, &of(|s| s.max));
    }
}

fn columns_of<N, M>(
    series: &[&Vec<(u32, Summary<N>)>],
    part: impl Fn(&Summary<N>) -> M,
) -> Vec<Vec<M>> {
    series.iter().map(|points| points.iter().map(|(_, s)| part(s)).collect()).collect()
}

/// The points of each slot that is there.
fn each<N: Amount>(
    reader: &mut Reader<'_>,
    there: &[(usize, Vec<u32>)],
    is_rolled: bool,
    points: fn(Vec<(u32, Summary<N>)>) -> Points,
) -> Result<Vec<Points>, Damaged> {
    if there.is_empty() {
        return Ok(vec![]);
    }
    let lengths: Vec<usize> = there.iter().map(|(_, at)| at.len()).collect();
    let sums: Vec<Vec<N>> = columns(reader, &lengths)?;
    let ats = there.iter().map(|(_, at)| at);
    if !is_rolled {
        let of = |(at, sums): (&Vec<u32>, Vec<N>)| {
            points(at.iter().copied().zip(sums.into_iter().map(Summary::of)).collect())
        };
        return Ok(ats.zip(sums).map(of).collect());
    }
    let counts: Vec<Vec<u64>> = columns(reader, &lengths)?;
    let (least, most): (Vec<Vec<N>>, Vec<Vec<N>>) =
        (columns(reader, &lengths)?, columns(reader, &lengths)?);
    let mut all = vec![];
    for (((at, sums), counts), (least, most)) in
        ats.zip(sums).zip(counts).zip(least.iter().zip(most))
    {
        let parts = at.iter().zip(sums).zip(counts).zip(least.iter().zip(most));
        let summaries =
            parts.map(|(((&at, sum), count), (&min, max))| (at, Summary { count, sum, min, max }));
        all.push(points(summaries.collect()));
    }
    Ok(all)
}

fn put_gains(out: &mut Vec<u8>, points: &[(u32, Gain)], is_rolled: bool) {
    let flat = || points.iter().flat_map(|(_, gain)| &gain.buckets);
    put_column(out, &points.iter().map(|(_, g)| g.buckets.len() as u64).collect::<Vec<_>>());
    let buckets: Vec<u8> = flat().map(|&(bucket, _)| bucket).collect();
    put_u64(out, buckets.len() as u64);
    // Within a point buckets rise; their steps are small numbers.
    let steps = points.iter().flat_map(|(_, gain)| {
        let before = [0].into_iter().chain(gain.buckets.iter().map(|&(bucket, _)| bucket));
        gain.buckets.iter().zip(before).map(|(&(bucket, _), before)| u64::from(bucket - before))
    });
    put_column(out, &steps.collect::<Vec<_>>());
    put_column(out, &flat().map(|&(_, n)| n).collect::<Vec<_>>());
    put_column(out, &points.iter().map(|(_, gain)| gain.sum_ns).collect::<Vec<_>>());
    if is_rolled {
        put_column(out, &points.iter().map(|(_, gain)| gain.count).collect::<Vec<_>>());
    }
}

fn gains(
    reader: &mut Reader<'_>,
    at: Vec<u32>,
    is_rolled: bool,
) -> Result<Vec<(u32, Gain)>, Damaged> {
    let lengths: Vec<u64> = column(reader)?;
    let total = reader.u64()?;
    let (steps, counts): (Vec<u64>, Vec<u64>) = (column(reader)?, column(reader)?);
    let sums: Vec<u64> = column(reader)?;
    let merged: Vec<u64> = if is_rolled { column(reader)? } else { vec![1; at.len()] };
    if [lengths.len(), sums.len(), merged.len()] != [at.len(); 3]
        || [steps.len() as u64, counts.len() as u64] != [total; 2]
    {
        return Err(Damaged);
    }
    let mut flat = steps.into_iter().zip(counts);
    let points = at.into_iter().zip(lengths).zip(sums.into_iter().zip(merged));
    let points = points.map(|((at, length), (sum_ns, count))| {
        let mut bucket = 0u64;
        let buckets = flat.by_ref().take(length as usize).map(|(step, n)| {
            bucket = bucket.saturating_add(step);
            Ok((u8::try_from(bucket).map_err(|_| Damaged)?, n))
        });
        let buckets = buckets.collect::<Result<Vec<_>, Damaged>>()?;
        Ok((at, Gain { count, sum_ns, buckets }))
    });
    points.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gain() -> impl Strategy<Value = Gain> {
        let buckets = prop::collection::btree_map(0u8..194, 1u64..1 << 40, 0..20);
        (1u64..9, any::<u64>(), buckets).prop_map(|(count, sum_ns, buckets)| Gain {
            count,
            sum_ns,
            buckets: buckets.into_iter().collect(),
        })
    }

    fn summary() -> impl Strategy<Value = Summary<u64>> {
        (1u64..9, any::<u64>(), any::<u64>(), any::<u64>())
            .prop_map(|(count, sum, min, max)| Summary { count, sum, min, max })
    }

    fn some<T: std::fmt::Debug>(
        value: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Vec<(u32, T)>> {
        prop::collection::vec(prop::option::weighted(0.8, value), 40).prop_map(|points| {
            let points = points.into_iter().zip(0..);
            points.filter_map(|(value, at)| Some((at, value?))).collect()
        })
    }

    proptest! {
        #[test]
        fn rolled_points_come_back(counters in some(summary()), gains in some(gain())) {
            let mut slots = no_slots();
            slots[3] = Some(Points::Counter(counters.clone()));
            let bytes = encode(&slots, 40, true);
            let back = decode(&bytes, Kind::Counter, 40, u32::MAX).expect("whole");
            prop_assert_eq!(back[3].clone().unwrap_or(Points::Counter(vec![])), Points::Counter(counters));

            let mut slots = no_slots();
            slots[19] = Some(Points::Distribution(gains.clone()));
            let bytes = encode(&slots, 40, true);
            let back = decode(&bytes, Kind::Distribution, 40, 1 << 19).expect("whole");
            prop_assert_eq!(back[19].clone().unwrap_or(Points::Distribution(vec![])), Points::Distribution(gains));
        }

        #[test]
        fn a_changed_bit_is_told(counters in some(summary()), at in any::<prop::sample::Index>()) {
            let mut slots = no_slots();
            slots[0] = Some(Points::Counter(counters));
            let mut bytes = encode(&slots, 40, true);
            let at = at.index(bytes.len());
            bytes[at] ^= 1;
            prop_assert_eq!(decode(&bytes, Kind::Counter, 40, u32::MAX), Err(Damaged));
        }

        #[test]
        fn bytes_with_a_right_sum_do_not_panic(body in prop::collection::vec(any::<u8>(), 0..99)) {
            for kind in [Kind::Counter, Kind::Gauge, Kind::Distribution] {
                let _ = decode(&sealed(&body), kind, 40, u32::MAX);
            }
            let _ = decode_instants(&sealed(&body));
        }
    }

    #[test]
    fn measurements_and_instants_come_back() {
        let mut slots = no_slots();
        let gauges: Vec<_> = (0..40).map(|i| (i, Summary::of(f64::from(i) * 0.5))).collect();
        slots[1] = Some(Points::Gauge(gauges));
        let bytes = encode(&slots, 40, false);
        assert_eq!(decode(&bytes, Kind::Gauge, 40, u32::MAX), Ok(slots));
        assert_eq!(decode(&bytes, Kind::Gauge, 40, 1), Ok(no_slots()), "it was not wanted");
        let instants: Vec<_> = (0..40)
            .map(|i| Instant { at_ms: 1_700_000_000_000 + i * 1_001, covered_ms: 1_000 + i % 3 })
            .collect();
        assert_eq!(decode_instants(&encode_instants(&instants)), Ok(instants));
    }
}
