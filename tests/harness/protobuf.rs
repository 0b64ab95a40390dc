//! The wire format of protobuf, walked by hand: a reader that shares nothing with our writers.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>. For tests: what is malformed panics.

/// One field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number in the schema.
    pub number: u32,
    /// The number it holds, if it is one; of 64 bits of fixed length, as they are.
    pub value: u64,
    /// The bytes it holds, if it has a length.
    pub bytes: Vec<u8>,
}

impl Field {
    /// The numbers of a repeated field, packed or not.
    pub fn numbers(&self) -> Vec<u64> {
        if self.bytes.is_empty() {
            return vec![self.value];
        }
        let mut rest = &self.bytes[..];
        std::iter::from_fn(|| (!rest.is_empty()).then(|| varint(&mut rest))).collect()
    }
}

/// The fields of a message, in order.
pub fn fields(mut rest: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest);
        let number = u32::try_from(tag >> 3).unwrap();
        let (value, bytes) = match tag & 7 {
            0 => (varint(&mut rest), vec![]),
            1 => {
                let (bytes, after) = rest.split_first_chunk::<8>().unwrap();
                rest = after;
                (u64::from_le_bytes(*bytes), vec![])
            }
            2 => {
                let length = varint(&mut rest) as usize;
                let (bytes, after) = rest.split_at(length);
                rest = after;
                (0, bytes.to_vec())
            }
            other => panic!("none of the schemas that are read has wire type {other}"),
        };
        fields.push(Field { number, value, bytes });
    }
    fields
}

/// A string field.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for place in 0..10 {
        let (byte, after) = rest.split_first().unwrap();
        *rest = after;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a varint has ten bytes at most");
}
