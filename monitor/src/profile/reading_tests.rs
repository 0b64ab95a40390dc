//! Files of all kinds, sound and damaged.

use std::io::Write;

use proptest::prelude::*;

use super::perf_script::tests::PRINTED;
use super::tests::example;
use super::*;

fn refused(content: &[u8]) -> String {
    Recording::read("x", content).unwrap_err().to_string()
}

#[test]
fn the_content_says_what_a_file_is() {
    assert_eq!(Recording::read("x", b"a;b 3\n").unwrap().tree.total(), 3);
    assert_eq!(Recording::read("x", b"# cpu\na;b 3\n").unwrap().tree.total(), 3);
    let script = Recording::read("x", PRINTED.as_bytes()).unwrap();
    assert_eq!(script.tree.total(), 3);
    assert_eq!(script.notes, ["x: 1 samples of other events than cpu-clock:pppH were left out"]);
    let pprof = example().render(Format::Pprof).unwrap();
    assert_eq!(Recording::read("x", &pprof).unwrap().name, "x (container web)");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*pprof), &mut plain).unwrap();
    assert_eq!(Recording::read("x", &plain).unwrap().tree.total(), 125);
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(refused(b""), "it is empty");
    assert_eq!(refused(b" \n\n"), "it is empty");
    assert_eq!(refused(b"# only a comment\n"), "it is empty");
    assert!(refused(b"a;b 3\na;c\n").starts_with("line 2 has no weight"));
    assert!(refused(b"\nsome words\n").starts_with("line 2 is neither a folded line"));
    assert!(refused(b"\x7fELF\x02\x01\x01\0\0").starts_with("line 1 is neither"));
    assert!(refused(b"{\"kind\": 1}").contains("no profile in JSON of ours"));
    assert!(refused(b"\x1f\x8bnonsense").contains("gzip is damaged"));
    let json = br#"{"kind":"on-cpu","unit":"samples","frames":[],"nodes":[{"frame":0,"parent":null,"self":1}]}"#;
    assert!(refused(json).contains("node 0 names"), "{}", refused(json));
    let loops = br#"{"kind":"on-cpu","unit":"samples","frames":[{"name":"a","kind":"user"}],
        "nodes":[{"frame":0,"parent":0,"self":1}]}"#;
    assert!(refused(loops).contains("node 0 names"), "{}", refused(loops));
}

#[test]
fn gzip_that_swells_is_refused() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeroes = vec![0; 1 << 20];
    for _ in 0..513 {
        gzip.write_all(&zeroes).unwrap();
    }
    assert!(refused(&gzip.finish().unwrap()).contains("more than 512 MB"));
}

/// One sample of one location that stands 100 times in it, of 2,000,000 lines: 200 million frames.
#[test]
fn stacks_that_swell_are_refused() {
    let mut location = vec![0x08, 1];
    for _ in 0..2_000_000 {
        location.extend([0x22, 2, 0x08, 1]);
    }
    let mut file = vec![0x0a, 4, 0x08, 1, 0x10, 1, 0x12, 104, 0x0a, 100];
    file.extend([1; 100]);
    file.extend([0x10, 1]);
    file.push(0x22);
    let mut length = location.len();
    while length >= 0x80 {
        file.push(length as u8 | 0x80);
        length >>= 7;
    }
    file.push(length as u8);
    file.extend(location);
    assert!(refused(&file).contains("more than 100000000 frames"), "{}", refused(&file));
}

#[test]
fn doubt_is_told_from_the_labels() {
    let text =
        b"a;main 70\na;[unknown: unmapped];[unknown: no symbols in x];f 20\n[lost: full] 25\n\
          a;[truncated: too deep];f 10\n";
    let recording = Recording::read("x", text).unwrap();
    let doubt = recording.doubt();
    assert_eq!((doubt.total, doubt.lost, doubt.unknown, doubt.kept()), (125, 25, 20, 100));
    assert_eq!(doubt.missing, 10);
    assert_eq!(doubt.level(recording.unit), Level::Low);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn damaged_files_are_read_or_refused(
        kind in 0_usize..5,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let pprof = example().render(Format::Pprof).unwrap();
        let mut content = match kind {
            0 => example().render(Format::Folded).unwrap(),
            1 => example().render(Format::Json).unwrap(),
            2 => PRINTED.as_bytes().to_vec(),
            3 => pprof,
            _ => {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*pprof), &mut plain).unwrap();
                plain
            }
        };
        for (place, byte) in changes {
            let place = place.index(content.len());
            content[place] = byte;
        }
        if is_cut {
            content.truncate(cut.index(content.len()));
        }
        match Recording::read("x", &content) {
            Ok(recording) => {
                let doubt = recording.doubt();
                prop_assert!(doubt.lost <= doubt.total && doubt.unknown <= doubt.total);
                let diff = Diff::between(&recording, &recording, Scale::Total);
                if let Ok(diff) = diff {
                    for format in [DiffFormat::Svg, DiffFormat::Folded, DiffFormat::Json] {
                        diff.render(format).unwrap();
                    }
                }
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
