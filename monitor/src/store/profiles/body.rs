//! Kept samples as bytes: dictionaries of texts, frames and stacks, then the windows as columns.
//!
//! Contract: what is read is what was written, or [`Damaged`]: every place is checked. Stacks are a tree, since callers are shared.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::{Read, Write};
use std::sync::Arc;

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use monitor_common::state::ThreadState;

use crate::{
    profile::{Kept, KeptStack, KeptThread, KeptWindow, Moment, Weight},
    store::bytes::{Damaged, Reader, column, put_bytes, put_column, put_u64},
    symbol::{CodeMapping, CodePlace, Frame, Reason, Tgid, WalkEnd},
};

/// What this version writes.
const VERSION: u8 = 1;
/// No body is longer when it is unpacked: an hour of a large host has a hundredth of it.
const MAX_BYTES: u64 = 256 << 20;
/// Frames of one stack: what the kernel half walks, with inlined ones.
const MAX_DEPTH: usize = 4096;

const KERNEL: u64 = 0;
const USER: u64 = 1;
const INLINED: u64 = 2;
const MISSING: u64 = 3;
const UNRESOLVED: u64 = 4;

/// Writes kept samples.
pub fn encode(kept: &Kept) -> Vec<u8> {
    let mut writer = Writer::default();
    let stacks: Vec<u64> = kept.stacks.iter().map(|stack| writer.stack(stack)).collect();
    let threads: Vec<[u64; 4]> = kept.threads.iter().map(|thread| writer.thread(thread)).collect();
    let containers = kept.containers.iter();
    let containers: Vec<[u64; 2]> =
        containers.map(|(id, name)| [writer.text(id), writer.text(name)]).collect();
    let mut windows = vec![];
    put_u64(&mut windows, kept.windows.len() as u64);
    for window in &kept.windows {
        writer.window(&mut windows, window);
    }
    let mut out = vec![];
    put_u64(&mut out, writer.texts.list.len() as u64);
    writer.texts.list.iter().for_each(|text| put_bytes(&mut out, text.as_bytes()));
    put_u64(&mut out, writer.mappings.list.len() as u64);
    for (path, build_id, numbers) in &writer.mappings.list {
        put_u64(&mut out, *path);
        put_bytes(&mut out, build_id);
        numbers.iter().for_each(|number| put_u64(&mut out, *number));
    }
    put_rows(&mut out, &writer.frames.list);
    put_rows(&mut out, &writer.nodes.list);
    put_column(&mut out, &stacks);
    put_rows(&mut out, &threads);
    put_rows(&mut out, &containers);
    out.extend_from_slice(&windows);
    pack(&out)
}

/// Reads kept samples.
///
/// # Errors
/// [`Damaged`] for what was not written so.
pub fn decode(bytes: &[u8]) -> Result<Kept, Damaged> {
    let bytes = unpack(bytes)?;
    let mut reader = Reader(&bytes);
    let texts = texts(&mut reader)?;
    let mappings = mappings(&mut reader, &texts)?;
    let frames: Vec<(Frame, Option<CodePlace>)> = rows::<6>(&mut reader)?
        .into_iter()
        .map(|row| frame(row, &texts, &mappings))
        .collect::<Result<_, _>>()?;
    let nodes = rows::<2>(&mut reader)?;
    let stacks = column::<u64>(&mut reader)?;
    let stacks = stacks
        .into_iter()
        .map(|node| stack(node, &nodes, &frames))
        .collect::<Result<Vec<_>, _>>()?;
    let threads = rows::<4>(&mut reader)?.into_iter().map(|row| thread(row, &texts));
    let threads = threads.collect::<Result<Vec<_>, _>>()?;
    let containers = rows::<2>(&mut reader)?
        .into_iter()
        .map(|[id, name]| Ok((Arc::clone(at(&texts, id)?), at(&texts, name)?.to_string())));
    let containers = containers.collect::<Result<_, Damaged>>()?;
    let count = reader.u64()?;
    let mut windows = vec![];
    for _ in 0..count {
        windows.push(window(&mut reader, &texts, (stacks.len(), threads.len()))?);
    }
    Ok(Kept { stacks, threads, containers, windows })
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut encoder = DeflateEncoder::new(&mut out, Compression::default());
    // A vector takes whatever is written to it.
    let _ = encoder.write_all(bytes).and_then(|()| encoder.finish().map(drop));
    out
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Damaged> {
    let Some((&VERSION, packed)) = bytes.split_first() else { return Err(Damaged) };
    let mut out = vec![];
    let read = DeflateDecoder::new(packed).take(MAX_BYTES).read_to_end(&mut out);
    read.map_err(|_| Damaged)?;
    Ok(out)
}

/// A list in which everything is once.
struct Dictionary<T> {
    places: HashMap<T, u64>,
    list: Vec<T>,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self { places: HashMap::new(), list: vec![] }
    }
}

impl<T: Clone + Eq + Hash> Dictionary<T> {
    fn place(&mut self, item: T) -> u64 {
        *self.places.entry(item).or_insert_with_key(|item| {
            self.list.push(item.clone());
            self.list.len() as u64 - 1
        })
    }
}

/// The dictionaries, while they grow. In what may be missing, 0 is nothing and the rest is one higher.
#[derive(Default)]
struct Writer {
    texts: Dictionary<Arc<str>>,
    /// Path, build id or nothing, and start, end and offset.
    mappings: Dictionary<(u64, Vec<u8>, [u64; 3])>,
    /// Kind, name, module, address, mapping, address in it.
    frames: Dictionary<[u64; 6]>,
    /// Caller and frame.
    nodes: Dictionary<[u64; 2]>,
}

impl Writer {
    fn text(&mut self, text: &str) -> u64 {
        match self.texts.places.get(text) {
            Some(place) => *place,
            None => self.texts.place(text.into()),
        }
    }

    fn maybe_text(&mut self, text: Option<&str>) -> u64 {
        text.map_or(0, |text| self.text(text) + 1)
    }

    fn stack(&mut self, stack: &KeptStack) -> u64 {
        let mut node = 0;
        for (depth, frame) in stack.frames.iter().enumerate() {
            let place = stack.places.get(depth).and_then(Option::as_ref);
            let frame = self.frame(frame, place);
            node = self.nodes.place([node, frame]) + 1;
        }
        node
    }

    fn frame(&mut self, frame: &Frame, place: Option<&CodePlace>) -> u64 {
        let [kind, name, module, address] = match frame {
            Frame::Kernel { name } => [KERNEL, self.text(name), 0, 0],
            Frame::User { name, module } => {
                [USER, self.text(name), self.maybe_text(module.as_deref()), 0]
            }
            Frame::Inlined { name, module } => {
                [INLINED, self.text(name), self.maybe_text(module.as_deref()), 0]
            }
            Frame::Missing { end } => [MISSING, *end as u64, 0, 0],
            Frame::Unresolved { reason, address, module } => {
                let reason = Reason::ALL.iter().position(|r| r == reason).unwrap_or_default();
                [UNRESOLVED, reason as u64, self.maybe_text(module.as_deref()), *address]
            }
        };
        let [mapping, within] =
            place.map_or([0, 0], |place| [self.mapping(&place.mapping) + 1, place.virtual_address]);
        self.frames.place([kind, name, module, address, mapping, within])
    }

    fn mapping(&mut self, mapping: &CodeMapping) -> u64 {
        let CodeMapping { path, build_id, virtual_start, virtual_end, file_offset_bytes } = mapping;
        let build_id = build_id.as_deref().unwrap_or_default().to_vec();
        let path = self.text(path);
        self.mappings.place((path, build_id, [*virtual_start, *virtual_end, *file_offset_bytes]))
    }

    fn thread(&mut self, thread: &KeptThread) -> [u64; 4] {
        let KeptThread { tgid, comm, container, state } = thread;
        let comm = self.text(comm);
        [tgid.0.into(), comm, self.maybe_text(container.as_deref()), self.maybe_text(*state)]
    }

    fn window(&mut self, out: &mut Vec<u8>, window: &KeptWindow) {
        put_u64(out, window.started_ms);
        put_u64(out, window.duration_ms.into());
        put_u64(out, window.frequency_hz.map_or(0, |hz| u64::from(hz) + 1));
        let lost = window.lost.iter();
        let lost: Vec<[u64; 3]> =
            lost.map(|(why, weight)| [self.text(why), weight.count, weight.amount]).collect();
        put_rows(out, &lost);
        let moments = window.moments.iter();
        let rows: Vec<[u64; 5]> = moments
            .map(|moment| {
                let Moment { after_ms, stack, thread, weight } = *moment;
                [after_ms.into(), stack.into(), thread.into(), weight.count, weight.amount]
            })
            .collect();
        put_rows(out, &rows);
    }
}

/// Rows, a column after the other.
fn put_rows<const N: usize>(out: &mut Vec<u8>, rows: &[[u64; N]]) {
    for i in 0..N {
        put_column(out, &rows.iter().map(|row| row[i]).collect::<Vec<_>>());
    }
}

fn rows<const N: usize>(reader: &mut Reader<'_>) -> Result<Vec<[u64; N]>, Damaged> {
    let columns: Vec<Vec<u64>> = (0..N).map(|_| column(reader)).collect::<Result<_, _>>()?;
    let length = columns.first().map_or(0, Vec::len);
    if columns.iter().any(|column| column.len() != length) {
        return Err(Damaged);
    }
    Ok((0..length).map(|i| std::array::from_fn(|of| columns[of][i])).collect())
}

fn at<T>(list: &[T], place: u64) -> Result<&T, Damaged> {
    usize::try_from(place).ok().and_then(|place| list.get(place)).ok_or(Damaged)
}

fn maybe_at<T>(list: &[T], place: u64) -> Result<Option<&T>, Damaged> {
    place.checked_sub(1).map(|place| at(list, place)).transpose()
}

fn texts(reader: &mut Reader<'_>) -> Result<Vec<Arc<str>>, Damaged> {
    let count = reader.u64()?;
    (0..count)
        .map(|_| std::str::from_utf8(reader.bytes()?).map(Arc::from).map_err(|_| Damaged))
        .collect()
}

fn mappings(reader: &mut Reader<'_>, texts: &[Arc<str>]) -> Result<Vec<Arc<CodeMapping>>, Damaged> {
    let count = reader.u64()?;
    let mapping = |_| {
        let path = Arc::clone(at(texts, reader.u64()?)?);
        let build_id = reader.bytes()?;
        Ok(Arc::new(CodeMapping {
            path,
            build_id: (!build_id.is_empty()).then(|| Arc::from(build_id)),
            virtual_start: reader.u64()?,
            virtual_end: reader.u64()?,
            file_offset_bytes: reader.u64()?,
        }))
    };
    (0..count).map(mapping).collect()
}

fn frame(
    [kind, name, module, address, mapping, within]: [u64; 6],
    texts: &[Arc<str>],
    mappings: &[Arc<CodeMapping>],
) -> Result<(Frame, Option<CodePlace>), Damaged> {
    let text = || at(texts, name).cloned();
    let module = maybe_at(texts, module)?.cloned();
    let frame = match kind {
        KERNEL => Frame::Kernel { name: text()? },
        USER => Frame::User { name: text()?, module },
        INLINED => Frame::Inlined { name: text()?, module },
        MISSING => {
            let end = u32::try_from(name).ok().and_then(WalkEnd::of).ok_or(Damaged)?;
            Frame::Missing { end }
        }
        UNRESOLVED => Frame::Unresolved { reason: *at(&Reason::ALL, name)?, address, module },
        _ => return Err(Damaged),
    };
    let place = maybe_at(mappings, mapping)?;
    Ok((frame, place.map(|m| CodePlace { mapping: Arc::clone(m), virtual_address: within })))
}

fn stack(
    mut node: u64,
    nodes: &[[u64; 2]],
    frames: &[(Frame, Option<CodePlace>)],
) -> Result<KeptStack, Damaged> {
    let mut path = vec![];
    while let Some([caller, frame]) = maybe_at(nodes, node)? {
        // A caller is written before those it calls, so that no circle can be read.
        if *caller >= node || path.len() >= MAX_DEPTH {
            return Err(Damaged);
        }
        path.push(at(frames, *frame)?);
        node = *caller;
    }
    path.reverse();
    let is_placed = path.iter().any(|(_, place)| place.is_some());
    let places = path.iter().filter(|_| is_placed).map(|(_, place)| place.clone());
    Ok(KeptStack {
        places: places.collect(),
        frames: path.iter().map(|(frame, _)| frame.clone()).collect(),
    })
}

fn thread(
    [tgid, comm, container, state]: [u64; 4],
    texts: &[Arc<str>],
) -> Result<KeptThread, Damaged> {
    let state = maybe_at(texts, state)?.map(|name| {
        let state = ThreadState::ALL.into_iter().find(|state| state.name() == &**name);
        state.map(ThreadState::name).ok_or(Damaged)
    });
    Ok(KeptThread {
        tgid: Tgid(u32::try_from(tgid).map_err(|_| Damaged)?),
        comm: Arc::clone(at(texts, comm)?),
        container: maybe_at(texts, container)?.cloned(),
        state: state.transpose()?,
    })
}

fn window(
    reader: &mut Reader<'_>,
    texts: &[Arc<str>],
    (stacks, threads): (usize, usize),
) -> Result<KeptWindow, Damaged> {
    let started_ms = reader.u64()?;
    let duration_ms = reader.u32()?;
    let frequency_hz = reader.u32()?.checked_sub(1);
    let lost = rows::<3>(reader)?
        .into_iter()
        .map(|[why, count, amount]| Ok((at(texts, why)?.to_string(), Weight { count, amount })));
    let lost = lost.collect::<Result<_, Damaged>>()?;
    let narrow = |number: u64, limit: usize| {
        u32::try_from(number).ok().filter(|n| (*n as usize) < limit).ok_or(Damaged)
    };
    let moments = rows::<5>(reader)?.into_iter().map(|[after, stack, thread, count, amount]| {
        Ok(Moment {
            after_ms: u32::try_from(after).map_err(|_| Damaged)?,
            stack: narrow(stack, stacks)?,
            thread: narrow(thread, threads)?,
            weight: Weight { count, amount },
        })
    });
    let moments = moments.collect::<Result<_, Damaged>>()?;
    Ok(KeptWindow { started_ms, duration_ms, frequency_hz, lost, moments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::kept_window;

    fn varied() -> Kept {
        let mapping = Arc::new(CodeMapping {
            path: "/usr/bin/app".into(),
            build_id: Some(Arc::from([1, 2, 3])),
            virtual_start: 0x1000,
            virtual_end: 0x9000,
            file_offset_bytes: 0x1000,
        });
        let module = Some(Arc::clone(&mapping.path));
        let place = |at| Some(CodePlace { mapping: Arc::clone(&mapping), virtual_address: at });
        let frames = [
            Frame::User { name: "main".into(), module: module.clone() },
            Frame::Inlined { name: "inner".into(), module: module.clone() },
            Frame::Unresolved { reason: Reason::NoSymbols, address: 0x77, module },
            Frame::Missing { end: WalkEnd::NoRow },
            Frame::Kernel { name: "schedule".into() },
        ];
        let places = [place(0x1010), place(0x1010), place(0x2020), None, None];
        let mut kept = kept_window(1_700_000_000_000, "web", &["a", "b", "a"]);
        kept.stacks.push(KeptStack { frames: frames.into(), places: places.into() });
        kept.stacks.push(KeptStack { frames: Arc::from([]), places: Arc::from([]) });
        let state = Some(ThreadState::ALL[0].name());
        kept.threads.push(KeptThread { tgid: Tgid(9), comm: "x".into(), container: None, state });
        kept.containers.insert("web".into(), "shop/web".into());
        let weight = Weight { count: 3, amount: u64::MAX };
        kept.windows[0].lost.insert("ring full".into(), weight);
        kept.windows[0].moments.push(Moment { after_ms: 9_999, stack: 2, thread: 1, weight });
        kept.windows[0].moments.push(Moment { after_ms: 9_999, stack: 3, thread: 1, weight });
        kept
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        for kept in [Kept::default(), varied()] {
            assert_eq!(decode(&encode(&kept)).unwrap(), kept);
        }
        let mut joined = varied();
        joined.append([varied(), kept_window(5, "db", &["z"; 40])]);
        assert_eq!(decode(&encode(&joined)).unwrap(), joined);
    }

    #[test]
    fn damage_is_told_and_never_a_crash() {
        let whole = encode(&varied());
        for length in 0..whole.len() {
            let _ = decode(&whole[..length]);
        }
        let plain = unpack(&whole).unwrap();
        let mut told = 0;
        for at in 0..plain.len() {
            for bit in 0..8 {
                let mut bytes = plain.clone();
                bytes[at] ^= 1 << bit;
                told += usize::from(decode(&pack(&bytes)).is_err());
            }
        }
        assert!(told > plain.len(), "{told} of {} changed bits", plain.len() * 8);
        assert!(decode(&[VERSION + 1]).is_err());
    }
}
