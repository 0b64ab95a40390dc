//! Numbers as bytes: what frames and chunks are written with.
//!
//! Contract: reading never panics and never takes more memory than the input has bytes for; what is no such number is
//! [`Damaged`].

use pco::{ChunkConfig, data_types::Number as PcoNumber, standalone};

/// What was read is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored bytes are damaged")]
pub struct Damaged;

/// Columns shorter than this are cheaper as plain numbers: the head of a compressed one takes some 25 bytes.
const PLAIN_BELOW: usize = 16;
/// Higher levels gain less than 2 % and take twice the time.
const LEVEL: usize = 4;
/// No column is longer: the ticks of a piece times the buckets of a distribution, with room to spare.
const MAX_COLUMN: usize = 1 << 24;

const EQUAL: u8 = 0;
const PLAIN: u8 = 1;
const PACKED: u8 = 2;

/// Appends `value` in 1 to 10 bytes.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// A number of [`put_u64`].
    pub fn u64(&mut self) -> Result<u64, Damaged> {
        let mut value = 0u64;
        for (i, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.0 = &self.0[i + 1..];
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    /// A number that must fit.
    pub fn u32(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.u64()?).map_err(|_| Damaged)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Damaged> {
        let (&byte, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(byte)
    }

    /// So many bytes.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Bytes of [`put_bytes`].
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.u64()?;
        self.take(usize::try_from(length).map_err(|_| Damaged)?)
    }

    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A number that columns are made of.
pub trait Number: PcoNumber + PartialEq {
    /// As 64 bits that [`Number::of_bits`] turns back.
    fn bits(self) -> u64;
    /// The number of its bits.
    fn of_bits(bits: u64) -> Self;
}

impl Number for u64 {
    fn bits(self) -> u64 {
        self
    }
    fn of_bits(bits: u64) -> Self {
        bits
    }
}

impl Number for f64 {
    /// Byte-swapped: whole numbers end in zero bits, which the variable length then saves.
    fn bits(self) -> u64 {
        self.to_bits().swap_bytes()
    }
    fn of_bits(bits: u64) -> Self {
        Self::from_bits(bits.swap_bytes())
    }
}

/// Appends a column, compressed if that is shorter.
pub fn put_column<N: Number>(out: &mut Vec<u8>, column: &[N]) {
    put_u64(out, column.len() as u64);
    let Some(&first) = column.first() else { return };
    // By their bits: NaN is not equal to itself.
    if column.iter().all(|n| n.bits() == first.bits()) {
        out.push(EQUAL);
        put_u64(out, first.bits());
        return;
    }
    let packed = (column.len() >= PLAIN_BELOW).then(|| {
        let config = ChunkConfig::default().with_compression_level(LEVEL);
        standalone::simple_compress(column, &config).ok()
    });
    let mut plain = Vec::with_capacity(column.len() * 2);
    column.iter().for_each(|n| put_u64(&mut plain, n.bits()));
    match packed.flatten() {
        Some(packed) if packed.len() < plain.len() => {
            out.push(PACKED);
            put_bytes(out, &packed);
        }
        _ => {
            out.push(PLAIN);
            out.extend_from_slice(&plain);
        }
    }
}

/// Reads a column.
pub fn column<N: Number>(reader: &mut Reader<'_>) -> Result<Vec<N>, Damaged> {
    let length = usize::try_from(reader.u64()?).map_err(|_| Damaged)?;
    match length {
        0 => return Ok(vec![]),
        1..=MAX_COLUMN => {}
        _ => return Err(Damaged),
    }
    match reader.byte()? {
        EQUAL => Ok(vec![N::of_bits(reader.u64()?); length]),
        PLAIN if length <= reader.0.len() => {
            (0..length).map(|_| Ok(N::of_bits(reader.u64()?))).collect()
        }
        PACKED => {
            let numbers = standalone::simple_decompress(reader.bytes()?).map_err(|_| Damaged)?;
            if numbers.len() == length { Ok(numbers) } else { Err(Damaged) }
        }
        _ => Err(Damaged),
    }
}

/// Appends several columns as one, but for those of one number: an answer of 100 series of an hour took 52 ms with a column each, and
/// 23 ms with one for twenty of them.
pub fn put_columns<N: Number>(out: &mut Vec<u8>, columns: &[Vec<N>]) {
    let mut joint = vec![];
    for column in columns {
        match column.first() {
            Some(first) if column.iter().all(|n| n.bits() == first.bits()) => {
                out.push(EQUAL);
                put_u64(out, first.bits());
            }
            _ => {
                out.push(PACKED);
                joint.extend_from_slice(column);
            }
        }
    }
    put_column(out, &joint);
}

/// Reads columns of these lengths.
pub fn columns<N: Number>(
    reader: &mut Reader<'_>,
    lengths: &[usize],
) -> Result<Vec<Vec<N>>, Damaged> {
    let equal = lengths.iter().map(|_| match reader.byte()? {
        EQUAL => Ok(Some(N::of_bits(reader.u64()?))),
        PACKED => Ok(None),
        _ => Err(Damaged),
    });
    let equal = equal.collect::<Result<Vec<_>, Damaged>>()?;
    let joint: Vec<N> = column(reader)?;
    let mut rest = &joint[..];
    let columns = equal.into_iter().zip(lengths).map(|(equal, &length)| match equal {
        Some(number) => Ok(vec![number; length]),
        None => {
            let (column, after) = rest.split_at_checked(length).ok_or(Damaged)?;
            rest = after;
            Ok(column.to_vec())
        }
    });
    let columns = columns.collect::<Result<Vec<_>, Damaged>>()?;
    if rest.is_empty() { Ok(columns) } else { Err(Damaged) }
}

/// What tells a whole record from a torn one.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn through<N: Number>(numbers: &[N]) -> Vec<N> {
        let mut out = vec![];
        put_column(&mut out, numbers);
        let mut reader = Reader(&out);
        let back = column(&mut reader).expect("what was written");
        assert!(reader.is_empty());
        back
    }

    proptest! {
        #[test]
        fn columns_come_back(
            small in prop::collection::vec(0u64..200, 0..300),
            any in prop::collection::vec(any::<u64>(), 0..40),
            bits in prop::collection::vec(any::<u64>(), 0..40),
        ) {
            prop_assert_eq!(through(&small), small);
            prop_assert_eq!(through(&any), any);
            let floats: Vec<f64> = bits.iter().map(|&b| f64::from_bits(b)).collect();
            let back = through(&floats);
            prop_assert_eq!(back.iter().map(|f| f.to_bits()).collect::<Vec<_>>(), bits);
        }

        #[test]
        fn damage_is_told_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = column::<u64>(&mut Reader(&bytes));
            let _ = column::<f64>(&mut Reader(&bytes));
        }
    }
}
