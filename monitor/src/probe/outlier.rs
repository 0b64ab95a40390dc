//! Reading the ring of slow operations.

use aya::maps::{Map, MapData, RingBuf};
use monitor_common::outlier::{OUTLIER_STACK, OutlierRecord};

use super::{ProbeError, event::record, load::map_error};

/// What the ring carries.
#[derive(Clone, Debug, PartialEq)]
pub enum SlowNews<'a> {
    /// An operation, and what follows it: of a file its [`monitor_common::path::FilePath`].
    Operation(OutlierRecord, &'a [u8]),
    /// See [`monitor_common::outlier::OutlierStack`].
    Stack {
        /// The thread.
        tid: u32,
        /// When the wait began, `CLOCK_MONOTONIC` ns.
        since_ns: u64,
        /// When it was over.
        until_ns: u64,
        /// Addresses of the kernel, innermost first.
        frames: Vec<u64>,
    },
}

/// The reading end of the ring.
pub struct OutlierReader {
    ring: RingBuf<MapData>,
}

impl OutlierReader {
    pub(super) fn new(map: Map) -> Result<Self, ProbeError> {
        Ok(Self { ring: RingBuf::try_from(map).map_err(map_error)? })
    }

    /// Hands over all that is there.
    pub fn drain(&mut self, mut take: impl FnMut(SlowNews<'_>)) {
        while let Some(item) = self.ring.next() {
            match decode(&item) {
                Some(news) => take(news),
                None => tracing::warn!(bytes = item.len(), "a slow operation of unknown form"),
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Option<SlowNews<'_>> {
    if record::<u32>(bytes)? != OUTLIER_STACK {
        return Some(SlowNews::Operation(record(bytes)?, &bytes[size_of::<OutlierRecord>()..]));
    }
    let [_, tid] = record::<[u32; 2]>(bytes)?;
    let [since_ns, until_ns] = record::<[u64; 2]>(bytes.get(8..)?)?;
    let frames = bytes.get(24..)?.chunks_exact(8).filter_map(record).collect();
    Some(SlowNews::Stack { tid, since_ns, until_ns, frames })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_records_are_refused_and_stacks_are_told_apart() {
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0; 87]), None);
        let zeros = [0; 90];
        assert_eq!(decode(&zeros), Some(SlowNews::Operation(OutlierRecord::default(), &[0, 0])));
        let words = [u64::from(OUTLIER_STACK) | 7 << 32, 100, 200, 0xf1, 0xf2];
        let bytes = words.map(u64::to_ne_bytes).concat();
        let expected =
            SlowNews::Stack { tid: 7, since_ns: 100, until_ns: 200, frames: vec![0xf1, 0xf2] };
        assert_eq!(decode(&bytes), Some(expected));
        assert_eq!(decode(&bytes[..23]), None);
    }
}
