//! A small reader of the kernel's type information: where a member lies, what an enumerator is worth.
//!
//! Contract: tolerates what it does not need. Unknown kinds end the walk with an error that names them, since their length
//! is unknown; everything found before stays usable. Format: Documentation/bpf/btf.rst of the kernel.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Where the kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why types could not be read.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error(
        "{path}: {source}; cgscope reads kernel structures by their BTF: run a kernel with CONFIG_DEBUG_INFO_BTF=y \
         (>= 5.8 of any current distribution) or name a BTF file with --btf"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not BTF.
    #[error("{path}: not BTF ({what}); name the BTF of the running kernel with --btf")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The kernel has no such member.
    #[error("this kernel has no {structure}.{members}; report it with `uname -r`")]
    NoMember {
        /// The structure.
        structure: String,
        /// The names tried.
        members: String,
    },
}

const KIND_INT: u32 = 1;
const KIND_POINTER: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_CONST: u32 = 10;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
const LAST_KIND: u32 = KIND_ENUM64;

/// The types of one kernel.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    strings: usize,
    /// Byte offset of each type, by id; id 0 is `void`.
    types: Vec<u32>,
    /// Structures by name.
    structures: HashMap<String, u32>,
    /// Enumerations by name.
    enumerations: HashMap<String, u32>,
    /// Typedefs, whose names `btf_trace_*` say which tracepoints exist, and functions.
    others: HashMap<String, u32>,
}

impl Btf {
    /// Reads the types at `path`.
    pub fn open(path: &Path) -> Result<Self, BtfError> {
        let unreadable = |source| BtfError::Unreadable { path: path.to_owned(), source };
        let bytes = fs::read(path).map_err(unreadable)?;
        Self::parse(bytes).map_err(|what| BtfError::Malformed { path: path.to_owned(), what })
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let header = |at| word(&bytes, at).ok_or("shorter than its header");
        if header(0)? & 0xffff != 0xeb9f {
            return Err("no magic number".into());
        }
        let length = header(4)? as usize;
        let (type_offset, type_bytes) = (header(8)? as usize, header(12)? as usize);
        let strings = length + header(16)? as usize;
        let mut at = length + type_offset;
        let end = at + type_bytes;
        if end > bytes.len() || strings > bytes.len() {
            return Err("sections reach over its end".into());
        }
        let mut btf = Self {
            strings,
            types: vec![0],
            structures: HashMap::new(),
            enumerations: HashMap::new(),
            others: HashMap::new(),
            bytes,
        };
        while at < end {
            let info = btf.word(at + 4);
            let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            if kind == 0 || kind > LAST_KIND {
                return Err(format!("type {} is of unknown kind {kind}", btf.types.len()));
            }
            let id = btf.types.len() as u32;
            btf.types.push(at as u32);
            let by_name = match kind {
                KIND_STRUCT => Some(&mut btf.structures),
                KIND_ENUM | KIND_ENUM64 => Some(&mut btf.enumerations),
                KIND_TYPEDEF => Some(&mut btf.others),
                _ => None,
            };
            if let Some(by_name) = by_name {
                let name = string(&btf.bytes, strings, word(&btf.bytes, at).unwrap_or(0));
                if !name.is_empty() {
                    by_name.entry(name.to_owned()).or_insert(id);
                }
            }
            at += 12
                + match kind {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * members,
                    KIND_ENUM | KIND_FUNC_PROTO => 8 * members,
                    _ => 0,
                };
        }
        Ok(btf)
    }

    /// Whether the tracepoint exists with typed arguments.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.others.contains_key(&format!("btf_trace_{name}"))
    }

    /// How many arguments a typed tracepoint has; `None` if there is no such tracepoint.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<u32> {
        let id = self.resolve(*self.others.get(&format!("btf_trace_{name}"))?);
        let pointer = *self.types.get(id as usize)? as usize;
        if self.word(pointer + 4) >> 24 & 0x1f != KIND_POINTER {
            return None;
        }
        let function = *self.types.get(self.word(pointer + 8) as usize)? as usize;
        let info = self.word(function + 4);
        let is_function = info >> 24 & 0x1f == KIND_FUNC_PROTO;
        // The first parameter is the hook's own.
        is_function.then(|| (info & 0xffff).saturating_sub(1))
    }

    /// The value of an enumerator of an enumeration that has no name.
    pub fn unnamed_enumerator(&self, name: &str) -> Option<u32> {
        self.types.iter().skip(1).find_map(|&at| {
            let at = at as usize;
            let info = self.word(at + 4);
            if info >> 24 & 0x1f != KIND_ENUM || self.word(at) != 0 {
                return None;
            }
            let entries = (0..(info & 0xffff) as usize).map(|i| at + 12 + 8 * i);
            entries.into_iter().find(|&e| self.name(e) == name).map(|e| self.word(e + 4))
        })
    }

    /// Where a member lies, in bits from the start of the structure; `a.b` goes into a member structure. The first of
    /// `members` that exists counts.
    pub fn member_bits(&self, structure: &str, members: &[&str]) -> Result<u32, BtfError> {
        self.structures
            .get(structure)
            .and_then(|&id| members.iter().find_map(|path| self.path_bits(id, path)))
            .ok_or_else(|| BtfError::NoMember {
                structure: structure.to_owned(),
                members: members.join(" or ."),
            })
    }

    /// The value of an enumerator.
    pub fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        self.enumerators(enumeration).find(|&(known, _)| known == name).map(|(_, value)| value)
    }

    /// The names and values of an enumeration; none if there is no such enumeration.
    pub fn enumerators(&self, enumeration: &str) -> impl Iterator<Item = (&str, u32)> {
        let at = self.enumerations.get(enumeration).map(|&id| self.types[id as usize] as usize);
        at.into_iter().flat_map(|at| {
            let info = self.word(at + 4);
            let size = if info >> 24 & 0x1f == KIND_ENUM64 { 12 } else { 8 };
            let entries = (0..(info & 0xffff) as usize).map(move |i| at + 12 + size * i);
            entries.map(|entry| (self.name(entry), self.word(entry + 4)))
        })
    }

    fn path_bits(&self, structure: u32, path: &str) -> Option<u32> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
        let (bits, member) = self.find_member(structure, first)?;
        match rest {
            None => Some(bits),
            Some(rest) => Some(bits + self.path_bits(self.resolve(member), rest)?),
        }
    }

    /// A member's offset and type, also inside unnamed structures and unions.
    fn find_member(&self, structure: u32, name: &str) -> Option<(u32, u32)> {
        let at = *self.types.get(structure as usize)? as usize;
        let info = self.word(at + 4);
        if !matches!(info >> 24 & 0x1f, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let has_bit_fields = info >> 31 != 0;
        for i in 0..(info & 0xffff) as usize {
            let entry = at + 12 + 12 * i;
            let (member_type, offset) = (self.word(entry + 4), self.word(entry + 8));
            let bits = if has_bit_fields { offset & 0x00ff_ffff } else { offset };
            let member = self.name(entry);
            if member == name {
                return Some((bits, member_type));
            }
            if member.is_empty()
                && let Some((inner, found)) = self.find_member(self.resolve(member_type), name)
            {
                return Some((bits + inner, found));
            }
        }
        None
    }

    /// Through typedefs and qualifiers to the type itself.
    fn resolve(&self, mut id: u32) -> u32 {
        for _ in 0..32 {
            let Some(&at) = self.types.get(id as usize) else { return 0 };
            let kind = self.word(at as usize + 4) >> 24 & 0x1f;
            if !(KIND_TYPEDEF..=KIND_CONST + 1).contains(&kind) && kind != 18 {
                break;
            }
            id = self.word(at as usize + 8);
        }
        id
    }

    fn name(&self, at: usize) -> &str {
        string(&self.bytes, self.strings, self.word(at))
    }

    /// A word inside a section whose bounds were checked; 0 beyond the end.
    fn word(&self, at: usize) -> u32 {
        word(&self.bytes, at).unwrap_or(0)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn string(bytes: &[u8], strings: usize, offset: u32) -> &str {
    let rest = bytes.get(strings + offset as usize..).unwrap_or_default();
    let end = rest.iter().position(|&b| b == 0).unwrap_or(0);
    std::str::from_utf8(&rest[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_the_running_kernel() {
        let btf = Btf::open(Path::new(VMLINUX)).unwrap();
        let pid = btf.member_bits("task_struct", &["pid"]).unwrap();
        let tgid = btf.member_bits("task_struct", &["tgid"]).unwrap();
        assert_eq!(tgid, pid + 32, "they are neighbours on every kernel");
        assert_eq!(btf.member_bits("task_struct", &["no_such", "pid"]).unwrap(), pid);
        let runqueue = btf.member_bits("task_struct", &["se.cfs_rq"]).unwrap();
        assert!(runqueue > btf.member_bits("task_struct", &["se"]).unwrap());
        assert_eq!(btf.enumerator("cgroup_subsys_id", "cpuset_cgrp_id"), Some(0));
        assert!(btf.has_tracepoint("sched_switch") && !btf.has_tracepoint("sched_no_such"));
        assert_eq!(btf.tracepoint_arguments("cgroup_mkdir"), Some(2), "on every kernel");
        assert_eq!(btf.tracepoint_arguments("sched_no_such"), None);
        assert_eq!(btf.unnamed_enumerator("NO_SUCH_ENUMERATOR"), None);
    }

    #[test]
    fn a_missing_member_is_named() {
        let btf = Btf::open(Path::new(VMLINUX)).unwrap();
        let error = btf.member_bits("task_struct", &["old", "new"]).unwrap_err().to_string();
        assert!(error.contains("task_struct.old or .new"), "{error}");
    }

    #[test]
    fn what_is_not_btf_is_refused_and_named() {
        let error = Btf::open(Path::new("/no/such/btf")).unwrap_err().to_string();
        assert!(
            error.contains("/no/such/btf") && error.contains("CONFIG_DEBUG_INFO_BTF"),
            "{error}"
        );
        assert!(Btf::parse(vec![]).is_err());
        assert!(
            Btf::parse(b"\x9f\xeb\x01\0\x18\0\0\0\0\0\0\0\xff\xff\0\0\0\0\0\0\0\0\0\0".to_vec())
                .is_err()
        );
    }

    #[test]
    fn a_truncated_file_never_panics() {
        let whole = fs::read(VMLINUX).unwrap();
        for length in [0, 3, 23, 24, 100, whole.len() / 2, whole.len() - 1] {
            let _ = Btf::parse(whole[..length].to_vec());
        }
    }
}
