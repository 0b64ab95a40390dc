//! Tables held against an independent reading of the same files, row by row: `readelf --debug-dump=frames-interp`.

use std::{collections::HashMap, fs::File, path::Path, process::Command};

use monitor_common::unwind::{CfaKind, FrameKind, Row};

use super::{
    compile,
    elf::{ElfError, Image},
    table::Table,
};

/// What is at hand on most machines; each has something of its own: the C library signal frames and the end of threads,
/// OpenSSL hand-written assembly.
const FILES: [&str; 8] = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/x86_64-linux-gnu/libm.so.6",
    "/lib/x86_64-linux-gnu/libcrypto.so.3",
    "/lib/x86_64-linux-gnu/libstdc++.so.6",
    "/usr/bin/perl",
    "/usr/bin/python3.11",
];

/// A row as readelf reads it.
struct Read {
    address: u64,
    end: u64,
    cfa: String,
    frame: String,
    return_address: String,
    is_signal: bool,
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap_or_else(|_| panic!("not an address: {text}"))
}

/// All rows of a file, those of functions that only have the common part included.
fn read(path: &Path) -> Vec<Read> {
    let done =
        Command::new("readelf").arg("--debug-dump=frames-interp").arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let mut rows: Vec<Read> = Vec::new();
    let mut cies: HashMap<String, (bool, [String; 3])> = HashMap::new();
    let mut columns: Vec<&str> = Vec::new();
    let mut cie = String::new();
    let mut function: Option<(u64, u64)> = None;
    let mut has_rows = true;
    let finish = |rows: &mut Vec<Read>,
                  function: Option<(u64, u64)>,
                  has_rows,
                  cie: &str,
                  cies: &HashMap<_, (bool, [String; 3])>| {
        if let (Some((address, end)), false, Some((is_signal, [cfa, frame, ra]))) =
            (function, has_rows, cies.get(cie))
        {
            let (cfa, frame, return_address) = (cfa.clone(), frame.clone(), ra.clone());
            rows.push(Read { address, end, cfa, frame, return_address, is_signal: *is_signal });
        }
    };
    for line in text.lines() {
        // `r9 (r9)`: a register by its number and by its name.
        let words: Vec<&str> =
            line.split_whitespace().filter(|word| !word.starts_with('(')).collect();
        if words.get(3) == Some(&"CIE") {
            finish(&mut rows, function.take(), has_rows, &cie, &cies);
            cie = words[0].to_owned();
            cies.insert(cie.clone(), (words[4].contains('S'), Default::default()));
        } else if words.get(3) == Some(&"FDE") {
            finish(&mut rows, function.take(), has_rows, &cie, &cies);
            cie = words[4].trim_start_matches("cie=").to_owned();
            let (start, end) = words[5].trim_start_matches("pc=").split_once("..").unwrap();
            (function, has_rows) = (Some((hex(start), hex(end))), false);
        } else if words.first() == Some(&"LOC") {
            columns = words;
        } else if words.len() > 2 && words.len() == columns.len() && words[0].len() == 16 {
            let of = |name| columns.iter().position(|column| *column == name);
            let cell = |name| of(name).map_or("u", |at| words[at]).to_owned();
            let cells = [cell("CFA"), cell("rbp"), cell("ra")];
            match function {
                None => cies.get_mut(&cie).unwrap().1 = cells,
                Some((start, end)) => {
                    let address = hex(words[0]);
                    if has_rows {
                        rows.last_mut().unwrap().end = address;
                    }
                    assert!(address >= start);
                    has_rows = true;
                    let is_signal = cies[&cie].0;
                    let [cfa, frame, return_address] = cells;
                    rows.push(Read { address, end, cfa, frame, return_address, is_signal });
                }
            }
        }
    }
    finish(&mut rows, function, has_rows, &cie, &cies);
    rows
}

const REGISTERS: [&str; 16] = [
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// Whether a row of ours says what readelf says.
fn agrees(row: Row, read: &Read) -> bool {
    let is = |kind: CfaKind| row.cfa() == kind as u8;
    if read.is_signal {
        return is(CfaKind::Signal);
    }
    match read.return_address.as_str() {
        "u" => return is(CfaKind::End),
        "c-8" => {}
        _ => return is(CfaKind::Unsupported),
    }
    let expressions = [
        CfaKind::Linkage,
        CfaKind::StackWord,
        CfaKind::FrameWord,
        CfaKind::LeafIndexedWord,
        CfaKind::Unsupported,
    ];
    let cfa = match read.cfa.split_once(['+', '-']) {
        None => expressions.into_iter().any(is),
        Some((register, offset)) => {
            let offset: i64 = offset.parse().unwrap();
            let offset = if read.cfa.contains('-') { -offset } else { offset };
            let number = REGISTERS.iter().position(|name| *name == register).unwrap() as i64;
            match register {
                "rsp" => is(CfaKind::Stack) && row.wide() == offset,
                "rbp" => is(CfaKind::Frame) && row.wide() == offset,
                _ => is(CfaKind::Leaf) && row.parameter() == offset && row.addend() == number,
            }
        }
    };
    let frame = match read.frame.as_str() {
        "u" | "s" => row.frame() == FrameKind::Same as u8,
        "exp" => row.frame() == FrameKind::AtFrame as u8 || row.frame() == FrameKind::Lost as u8,
        at => match at.strip_prefix('c') {
            Some(offset) => {
                row.frame() == FrameKind::AtCfa as u8
                    && row.frame_offset() == offset.parse::<i64>().unwrap()
            }
            None => row.frame() == FrameKind::Lost as u8,
        },
    };
    cfa && (frame || is(CfaKind::Unsupported))
}

#[test]
fn every_row_is_what_readelf_reads() {
    let mut files = 0;
    let mut total = 0;
    let (mut table_bytes_all, mut frame_bytes_all) = (0, 0);
    for path in FILES.map(Path::new).into_iter().filter(|path| path.exists()) {
        let image = Image::read(&File::open(path).unwrap()).unwrap();
        let table = compile::table(&image).unwrap();
        let rows = read(path);
        let entry = table.find(image.entry).filter(|row| row.cfa() == CfaKind::End as u8);
        let mut unlike = Vec::new();
        for read in rows.iter().filter(|read| read.address < read.end) {
            if entry.is_some() && table.find(read.address) == entry {
                continue;
            }
            for address in [read.address, read.end - 1] {
                let row = table.find(address).unwrap();
                if !agrees(row, read) {
                    unlike.push(format!(
                        "{address:#x}: {row:x?} is not {} {} {}",
                        read.cfa, read.frame, read.return_address
                    ));
                }
            }
        }
        assert!(
            unlike.is_empty(),
            "{}: {} of {}: {:#?}",
            path.display(),
            unlike.len(),
            rows.len(),
            &unlike[..unlike.len().min(10)]
        );
        let unsupported =
            table.rows.iter().filter(|row| row.cfa() == CfaKind::Unsupported as u8).count();
        assert!(
            unsupported * 1000 <= table.rows.len(),
            "{}: {unsupported} of {} rows",
            path.display(),
            table.rows.len()
        );
        let ratio = table_bytes(&table) as f64 / image.frame.len() as f64;
        eprintln!("{}: {} rows, {ratio:.2} of .eh_frame", path.display(), table.rows.len());
        table_bytes_all += table_bytes(&table);
        frame_bytes_all += image.frame.len();
        files += 1;
        total += rows.len();
    }
    assert!(files >= 3 && total > 20_000, "{total} rows of {files} files: nothing was compared");
    // What a machine holds is a mixture; a file of many short functions that save many registers is above it.
    let ratio = table_bytes_all as f64 / frame_bytes_all as f64;
    assert!(ratio <= 1.4, "{ratio:.2} times .eh_frame");
}

fn table_bytes(table: &Table) -> usize {
    8 * (table.rows.len() + table.pages())
}

#[test]
fn what_is_no_elf_is_an_error() {
    let error = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        Image::read(&file).unwrap_err()
    };
    assert!(matches!(error(b""), ElfError::Damaged));
    assert!(matches!(error(&[0; 4096]), ElfError::Damaged));
    let mut bytes = std::fs::read("/bin/true").unwrap();
    bytes[18] = 183;
    assert!(matches!(error(&bytes), ElfError::OtherMachine));
}
