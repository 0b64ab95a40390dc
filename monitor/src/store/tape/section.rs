//! Sections: how they are put one after the other, and found again.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    ops::Range,
};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};

use crate::store::bytes::{Damaged, checksum};

/// What this version writes. Raised when an older reader would misread a file, not when a kind of section is added.
pub const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"cgstape\n";
/// Magic, version and their checksum.
const FILE_HEAD_BYTES: usize = 16;
/// The first is in no text.
const MARK: [u8; 4] = [0xc6, b's', b'e', b'c'];
/// Mark, number, kind, length, checksum of the body, checksum of all these.
const HEAD_BYTES: usize = 24;
/// No body is longer: ten seconds of a host with a thousand containers take a hundredth of it.
const MAX_BODY_BYTES: usize = 64 << 20;
/// No body is longer when it is unpacked.
const MAX_UNPACKED_BYTES: u64 = 512 << 20;

/// What is in a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SectionKind {
    /// Of which host it is, since when.
    Facts,
    /// What the metrics of ticks mean.
    Metrics,
    /// Some seconds of measurements.
    Ticks,
    /// Who the containers are, and what they are called.
    Containers,
    /// A window of stack samples.
    Profiles,
    /// What the daemon says of itself and of the machine.
    Answers,
    /// The slowest operations of some seconds.
    Outliers,
    /// That it was ended and not cut off.
    End,
}

impl SectionKind {
    /// All of them. Their places are their numbers in the file, from 1.
    pub const ALL: [Self; 8] = [
        Self::Facts,
        Self::Metrics,
        Self::Ticks,
        Self::Containers,
        Self::Profiles,
        Self::Answers,
        Self::Outliers,
        Self::End,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Facts => "facts",
            Self::Metrics => "metrics",
            Self::Ticks => "ticks",
            Self::Containers => "containers",
            Self::Profiles => "profiles",
            Self::Answers => "answers",
            Self::Outliers => "outliers",
            Self::End => "end",
        }
    }

    fn code(self) -> u32 {
        Self::ALL.iter().position(|kind| *kind == self).map_or(0, |place| place as u32 + 1)
    }

    fn of(code: u32) -> Option<Self> {
        Self::ALL.get((code as usize).checked_sub(1)?).copied()
    }
}

/// The begin of a file.
pub fn file_head(version: u32) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&version.to_le_bytes());
    head.extend_from_slice(&checksum(&head).to_le_bytes());
    head
}

/// Appends a section; one that is too long is left out, and its number is missing.
pub fn put_section(out: &mut Vec<u8>, number: u32, kind: SectionKind, body: &[u8]) {
    if body.len() > MAX_BODY_BYTES {
        return;
    }
    let begin = out.len();
    out.extend_from_slice(&MARK);
    for field in [number, kind.code(), body.len() as u32, checksum(body)] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let sum = checksum(&out[begin..]);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(body);
}

/// Gives the sections of a file that was put together of parts the numbers of their places. All of them have to be whole.
pub fn renumber(file: &mut [u8]) {
    let (mut at, mut number) = (FILE_HEAD_BYTES, 0u32);
    while let Some(Head { length, .. }) = head(file, at) {
        let (fields, sum) = file[at..at + HEAD_BYTES].split_at_mut(HEAD_BYTES - 4);
        fields[MARK.len()..MARK.len() + 4].copy_from_slice(&number.to_le_bytes());
        sum.copy_from_slice(&checksum(fields).to_le_bytes());
        at += HEAD_BYTES + length;
        number += 1;
    }
}

/// A section that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What is in it; `None` for a kind that a later version has added.
    pub kind: Option<SectionKind>,
    /// Where its body is.
    pub body: Range<usize>,
}

/// What a look over a file found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The version, if the head is whole.
    pub version: Option<u32>,
    /// The sections that are whole, in their order.
    pub found: Vec<Found>,
    /// Sections whose head is whole and whose body is not, by kind.
    pub damaged: BTreeMap<&'static str, u64>,
    /// Numbers of sections that came not at all.
    pub missing: u64,
    /// Bytes that belong to nothing.
    pub skipped_bytes: u64,
    /// Whether the file ends within a section.
    pub is_torn: bool,
}

struct Head {
    number: u32,
    kind: Option<SectionKind>,
    length: usize,
    sum: u32,
}

/// Looks over a file.
pub fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan { version: version(bytes), ..Scan::default() };
    let mut at = FILE_HEAD_BYTES.min(bytes.len());
    let mut expected = 0u32;
    while at < bytes.len() {
        let Some(head) = head(bytes, at) else {
            let next = next_head(bytes, at + 1);
            scan.is_torn |= next.is_none() && bytes.len() - at < HEAD_BYTES;
            let next = next.unwrap_or(bytes.len());
            scan.skipped_bytes += (next - at) as u64;
            at = next;
            continue;
        };
        scan.missing += u64::from(head.number.saturating_sub(expected));
        expected = head.number.saturating_add(1).max(expected);
        let body = at + HEAD_BYTES..at + HEAD_BYTES + head.length;
        let name = head.kind.map_or("unknown", SectionKind::name);
        match bytes.get(body.clone()) {
            Some(text) if checksum(text) == head.sum => {
                scan.found.push(Found { kind: head.kind, body: body.clone() });
            }
            Some(_) => *scan.damaged.entry(name).or_default() += 1,
            None => {
                *scan.damaged.entry(name).or_default() += 1;
                scan.is_torn = true;
            }
        }
        at = body.end;
    }
    scan
}

/// The version of a file whose head is whole.
fn version(bytes: &[u8]) -> Option<u32> {
    let head = bytes.get(..FILE_HEAD_BYTES)?;
    let version = u32_at(head, MAGIC.len())?;
    (head == file_head(version)).then_some(version)
}

fn head(bytes: &[u8], at: usize) -> Option<Head> {
    let head = bytes.get(at..at + HEAD_BYTES)?;
    let (fields, _) = head.split_at(HEAD_BYTES - 4);
    if !fields.starts_with(&MARK) || u32_at(head, HEAD_BYTES - 4)? != checksum(fields) {
        return None;
    }
    let length = u32_at(head, 12)? as usize;
    let kind = SectionKind::of(u32_at(head, 8)?);
    let head = Head { number: u32_at(head, 4)?, kind, length, sum: u32_at(head, 16)? };
    (length <= MAX_BODY_BYTES).then_some(head)
}

fn next_head(bytes: &[u8], from: usize) -> Option<usize> {
    let marks = bytes.get(from..)?.windows(MARK.len()).enumerate();
    let mut marks = marks.filter(|(_, window)| *window == MARK).map(|(i, _)| from + i);
    marks.find(|at| head(bytes, *at).is_some())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_le_bytes)
}

/// Compresses a body.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(vec![], Compression::default());
    // A vector takes whatever is written to it.
    let written = encoder.write_all(bytes);
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}

/// What was compressed.
pub fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Damaged> {
    let mut out = vec![];
    let read = DeflateDecoder::new(bytes).take(MAX_UNPACKED_BYTES).read_to_end(&mut out);
    read.map(|_| out).map_err(|_| Damaged)
}
