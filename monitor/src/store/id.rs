//! Numbers of series. A series lives in a group of up to [`GROUP_SERIES`], which are compressed and read together.
//!
//! Contract: all series of a group are of one kind, which the number tells, so that a frame can be read without the
//! dictionary.

use crate::metric::Kind;

/// Series of one group: what is read at once when one of them is asked for. 20 give blobs of 5 to 20 KB.
pub const GROUP_SERIES: u32 = 20;

const SLOT_BITS: u32 = 5;
const KIND_BITS: u32 = 2;

/// A group: its ordinal number and, in the lowest two bits, its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The `ordinal`th group, of series of `kind`.
    pub fn new(ordinal: u32, kind: Kind) -> Self {
        Self(ordinal << KIND_BITS | code(kind))
    }

    /// Its place among all groups.
    pub fn ordinal(self) -> u32 {
        self.0 >> KIND_BITS
    }

    /// What its series are; `None` for a number that was never given.
    pub fn kind(self) -> Option<Kind> {
        kind_of(self.0 & ((1 << KIND_BITS) - 1))
    }
}

/// A series: its group and its slot in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

impl SeriesId {
    /// The `slot`th series of a group.
    pub fn new(group: GroupId, slot: u32) -> Self {
        Self(group.0 << SLOT_BITS | slot)
    }

    /// Where it lives.
    pub fn group(self) -> GroupId {
        GroupId(self.0 >> SLOT_BITS)
    }

    /// Its place there.
    pub fn slot(self) -> u32 {
        self.0 & ((1 << SLOT_BITS) - 1)
    }
}

/// The number a kind is stored under.
pub fn code(kind: Kind) -> u32 {
    match kind {
        Kind::Counter => 0,
        Kind::Gauge => 1,
        Kind::Distribution => 2,
    }
}

/// The kind of a stored number.
pub fn kind_of(code: u32) -> Option<Kind> {
    [Kind::Counter, Kind::Gauge, Kind::Distribution].get(code as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        for kind in [Kind::Counter, Kind::Gauge, Kind::Distribution] {
            for ordinal in [0, 1, 77, (1 << 25) - 1] {
                let group = GroupId::new(ordinal, kind);
                assert_eq!((group.ordinal(), group.kind()), (ordinal, Some(kind)));
                let series = SeriesId::new(group, GROUP_SERIES - 1);
                assert_eq!((series.group(), series.slot()), (group, GROUP_SERIES - 1));
            }
        }
    }
}
