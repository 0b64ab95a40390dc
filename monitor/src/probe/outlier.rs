//! Reading the ring of slow operations.

use aya::maps::{Map, MapData, RingBuf};
use monitor_common::outlier::OutlierRecord;

use super::{ProbeError, event::record, load::map_error};

/// The reading end of the ring.
pub struct OutlierReader {
    ring: RingBuf<MapData>,
}

impl OutlierReader {
    pub(super) fn new(map: Map) -> Result<Self, ProbeError> {
        Ok(Self { ring: RingBuf::try_from(map).map_err(map_error)? })
    }

    /// Hands over all that is there.
    pub fn drain(&mut self, mut take: impl FnMut(OutlierRecord)) {
        while let Some(item) = self.ring.next() {
            match record(&item) {
                Some(outlier) => take(outlier),
                None => tracing::warn!(bytes = item.len(), "a slow operation of unknown form"),
            }
        }
    }
}
