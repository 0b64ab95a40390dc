//! The formats of other programs, read by rules of their own: none of the writers' types is used here.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use serde_json::Value;

use super::tests::{example, profile, sample, unknown, user};
use super::wire::{Field, fields, text};
use super::*;
use crate::symbol::{CodeMapping, CodePlace, Frame, Reason};

/// Each stack by its names, root first, with its weight.
pub type Weights = BTreeMap<Vec<String>, u64>;

/// A profile with an inlined frame, places, two containers, a process that ended, run-time code and loss.
fn rich() -> Profile {
    let mapping = Arc::new(CodeMapping {
        path: "/bin/a".into(),
        build_id: Some(Arc::from([0xab, 0xcd])),
        virtual_start: 0x1000,
        virtual_end: 0x9000,
        file_offset_bytes: 0x1000,
    });
    let place = |at| Some(CodePlace { mapping: Arc::clone(&mapping), virtual_address: at });
    let mut profile = example();
    let jit = Frame::User { name: "LazyCompile".into(), module: Some("[jit]".into()) };
    profile.samples.push(sample("node", vec![user("_start"), jit], 7));
    let nameless = Frame::Unresolved {
        reason: Reason::NoSymbols,
        address: 9,
        module: Some("/lib/libz".into()),
    };
    profile.samples.push(sample("web", vec![user("main"), nameless], 3));
    for sample in &mut profile.samples {
        let at = |(depth, frame): (usize, &Frame)| match frame {
            Frame::User { module: Some(module), .. } if &**module == "/bin/a" => {
                place(0x1010 + 0x10 * depth as u64)
            }
            // Inlined into `main`, which is below it.
            Frame::Inlined { .. } => place(0x1010 + 0x10 * (depth as u64 - 1)),
            _ => None,
        };
        sample.places = sample.frames.iter().enumerate().map(at).collect();
        sample.container = Some("c1".into());
    }
    profile.samples[4].container = Some("c2".into());
    profile.containers.insert("c1".into(), "shop/web".into());
    profile
}

/// The truth all formats are held to.
fn folded(profile: &Profile) -> Weights {
    let text = String::from_utf8(profile.render(Format::Folded).unwrap()).unwrap();
    let lines = folded::read(&text).unwrap();
    lines.into_iter().map(|line| (line.frames, line.weight)).collect()
}

fn plain(names: &[String]) -> Vec<String> {
    let strip = |name: &String| {
        ["_[k]", "_[i]", "_[j]"].iter().fold(name.clone(), |name, mark| name.replace(mark, ""))
    };
    names.iter().map(strip).collect()
}

/// The folded truth without the marks of kinds, which other formats tell otherwise.
fn unmarked(profile: &Profile) -> Weights {
    let mut weights = Weights::new();
    for (names, weight) in folded(profile) {
        *weights.entry(plain(&names)).or_default() += weight;
    }
    weights
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// A pprof file by the numbers of profile.proto alone.
struct Walked {
    profile: Vec<Field>,
    strings: Vec<String>,
}

impl Walked {
    fn of(profile: &Profile) -> Self {
        let profile = fields(&gunzip(&profile.render(Format::Pprof).unwrap()));
        let strings = profile.iter().filter(|f| f.number == 6).map(|f| text(&f.bytes)).collect();
        Self { profile, strings }
    }

    fn messages(&self, number: u32) -> Vec<Vec<Field>> {
        self.profile.iter().filter(|f| f.number == number).map(|f| fields(&f.bytes)).collect()
    }

    fn string(&self, message: &[Field], number: u32) -> &str {
        &self.strings[one(message, number) as usize]
    }

    /// Messages by their id, which is field 1.
    fn by_id(&self, number: u32) -> BTreeMap<u64, Vec<Field>> {
        self.messages(number).into_iter().map(|message| (one(&message, 1), message)).collect()
    }
}

/// A number, 0 if it is not there.
fn one(message: &[Field], number: u32) -> u64 {
    message.iter().find(|field| field.number == number).map_or(0, |field| field.value)
}

fn all(message: &[Field], number: u32) -> Vec<u64> {
    message.iter().filter(|field| field.number == number).flat_map(Field::numbers).collect()
}

#[test]
fn pprof_holds_the_stacks_of_the_folded_lines() {
    let profile = rich();
    let walked = Walked::of(&profile);
    assert_eq!(walked.strings[0], "");
    let types: Vec<_> = walked
        .messages(1)
        .iter()
        .map(|t| (walked.string(t, 1).to_owned(), walked.string(t, 2).to_owned()))
        .collect();
    let type_ = |name: &str, unit: &str| (name.to_owned(), unit.to_owned());
    assert_eq!(types, [type_("samples", "count"), type_("cpu", "nanoseconds")]);
    let (locations, functions) = (walked.by_id(4), walked.by_id(5));
    let mappings = walked.by_id(3);
    let mut weights = Weights::new();
    for sample in walked.messages(2) {
        let mut names = Vec::new();
        for id in all(&sample, 1) {
            let location = &locations[&id];
            let mapping = one(location, 2);
            assert!(mapping == 0 || mappings.contains_key(&mapping));
            for line in location.iter().filter(|field| field.number == 4) {
                let function = &functions[&one(&fields(&line.bytes), 1)];
                names.push(walked.string(function, 2).to_owned());
            }
        }
        let labels: Vec<_> =
            sample.iter().filter(|f| f.number == 3).map(|f| fields(&f.bytes)).collect();
        let comm = labels.iter().find(|label| walked.string(label, 1) == "comm");
        names.extend(comm.map(|label| walked.string(label, 2).to_owned()));
        names.reverse();
        let values = all(&sample, 2);
        assert_eq!(values.len(), 2, "a value for each type");
        *weights.entry(names).or_default() += values[0];
    }
    assert_eq!(weights, unmarked(&profile));
}

#[test]
fn pprof_says_where_code_lies_and_whose_it_is() {
    let walked = Walked::of(&rich());
    let mappings = walked.messages(3);
    let file = |name: &str| {
        mappings.iter().find(|m| walked.string(m, 5) == name && one(m, 2) > 0).cloned()
    };
    let mapping = file("/bin/a").unwrap();
    assert_eq!(walked.string(&mapping, 6), "abcd");
    assert_eq!((one(&mapping, 2), one(&mapping, 3), one(&mapping, 4)), (0x1000, 0x9000, 0x1000));
    let inside = walked.messages(4).into_iter().filter(|l| one(l, 2) == one(&mapping, 1));
    let places: Vec<_> =
        inside.map(|l| (one(&l, 3), l.iter().filter(|f| f.number == 4).count())).collect();
    // `main` with `get` inlined, `main` alone, `_start`, and `main` at the root.
    assert!(places.contains(&(0x1020, 2)) && places.contains(&(0x1020, 1)), "{places:?}");
    assert!(places.iter().all(|(at, _)| (0x1000..0x9000).contains(at)), "{places:?}");
    let kernel = mappings.iter().find(|m| walked.string(m, 5) == "[kernel.kallsyms]").unwrap();
    let of_kernel = walked.messages(4).into_iter().filter(|l| one(l, 2) == one(kernel, 1));
    assert!(of_kernel.map(|l| one(&l, 3)).all(|at| at == 0), "no address of the kernel");
    let labels: Vec<BTreeMap<String, String>> = walked
        .messages(2)
        .iter()
        .map(|sample| {
            let labels = sample.iter().filter(|f| f.number == 3).map(|f| fields(&f.bytes));
            labels
                .map(|label| {
                    let value = match one(&label, 2) {
                        0 => one(&label, 3).to_string(),
                        place => walked.strings[place as usize].clone(),
                    };
                    (walked.string(&label, 1).to_owned(), value)
                })
                .collect()
        })
        .collect();
    let first = &labels[0];
    for (key, value) in [
        ("container", "shop/web"),
        ("container_id", "c1"),
        ("comm", "web"),
        ("pid", "1"),
        ("tid", "2"),
        ("state", "running.kernel"),
    ] {
        assert_eq!(first.get(key).map(String::as_str), Some(value), "{first:?}");
    }
    assert_eq!(labels[4]["container"], "c2", "an unknown name is the id");
    assert_eq!(labels.last().unwrap()["lost"], "ring full");
    let comments: Vec<_> = all(&walked.profile, 13)
        .into_iter()
        .map(|at| walked.strings[at as usize].as_str())
        .collect();
    for comment in ["scope: container web", "total: 110 samples", "confidence: low"] {
        assert!(comments.contains(&comment), "{comments:?}");
    }
    assert!(comments.iter().any(|c| c.starts_with("lost: 25 samples")), "{comments:?}");
    assert_eq!(walked.strings[one(&walked.profile, 14) as usize], "cpu");
    assert_eq!(one(&walked.profile, 12), 10_101_010);
    assert_eq!(one(&walked.profile, 10), 5_000_000_000);
}

/// The rules of <https://www.speedscope.app/file-format-schema.json> for what is written here.
fn check_speedscope(file: &Value) {
    assert_eq!(file["$schema"], "https://www.speedscope.app/file-format-schema.json");
    let frames = file["shared"]["frames"].as_array().expect("shared.frames");
    for frame in frames {
        let frame = frame.as_object().expect("a frame is an object");
        assert!(frame["name"].is_string(), "{frame:?}");
        assert!(frame.get("file").is_none_or(Value::is_string), "{frame:?}");
        assert!(["line", "col"].iter().all(|key| frame.get(*key).is_none_or(Value::is_number)));
    }
    assert!(file["name"].is_string() && file["exporter"].is_string());
    let profiles = file["profiles"].as_array().expect("profiles");
    assert!(file["activeProfileIndex"].as_u64().unwrap() < profiles.len() as u64);
    for profile in profiles {
        assert_eq!(profile["type"], "sampled");
        assert!(profile["name"].is_string());
        let unit = profile["unit"].as_str().unwrap();
        assert!(
            ["none", "nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"]
                .contains(&unit)
        );
        let (start, end) = (&profile["startValue"], &profile["endValue"]);
        assert!(start.as_f64().unwrap() <= end.as_f64().unwrap());
        let samples = profile["samples"].as_array().unwrap();
        assert_eq!(samples.len(), profile["weights"].as_array().unwrap().len());
        let places = samples.iter().flat_map(|sample| sample.as_array().unwrap());
        for place in places {
            assert!(place.as_u64().unwrap() < frames.len() as u64);
        }
        let sum: u64 =
            profile["weights"].as_array().unwrap().iter().map(|w| w.as_u64().unwrap()).sum();
        assert_eq!(sum, end.as_u64().unwrap() - start.as_u64().unwrap());
    }
}

fn speedscope_weights(file: &Value, profile: &Value) -> Weights {
    let name = |place: &Value| {
        file["shared"]["frames"][place.as_u64().unwrap() as usize]["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let samples = profile["samples"].as_array().unwrap();
    let mut weights = Weights::new();
    for (sample, weight) in samples.iter().zip(profile["weights"].as_array().unwrap()) {
        let names = sample.as_array().unwrap().iter().map(name).collect();
        *weights.entry(names).or_default() += weight.as_u64().unwrap();
    }
    weights
}

#[test]
fn speedscope_keeps_to_its_schema_and_to_the_folded_lines() {
    let mut profile = rich();
    let file: Value = serde_json::from_slice(&profile.render(Format::Speedscope).unwrap()).unwrap();
    check_speedscope(&file);
    assert_eq!(speedscope_weights(&file, &file["profiles"][0]), folded(&profile));
    let names: Vec<_> =
        file["profiles"].as_array().unwrap()[1..].iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["shop/web", "c2"]);
    assert_eq!(file["profiles"][2]["endValue"], 3);
    assert_eq!(file["cgscope"]["total"], 135);
    assert_eq!(file["cgscope"]["lost"]["ring full"], 25);
    assert_eq!(file["cgscope"]["confidence"]["level"], "low");
    profile.kind = ProfileKind::OffCpu;
    let file: Value = serde_json::from_slice(&profile.render(Format::Speedscope).unwrap()).unwrap();
    check_speedscope(&file);
    assert_eq!(file["profiles"][0]["unit"], "nanoseconds");
    assert_eq!(file["profiles"][0]["endValue"], 110_000_000);
}

/// The members `src/types/profile.ts` of the Firefox Profiler asks for at version 60, columns of equal length, and
/// places that lead somewhere.
fn check_firefox(file: &Value) {
    let meta = file["meta"].as_object().expect("meta");
    for key in [
        "interval",
        "startTime",
        "processType",
        "version",
        "preprocessedProfileVersion",
        "stackwalk",
    ] {
        assert!(meta[key].is_number(), "{key}");
    }
    assert_eq!(meta["preprocessedProfileVersion"], 60);
    assert!(meta["product"].is_string() && meta["markerSchema"].is_array());
    let categories = meta["categories"].as_array().unwrap();
    assert!(categories.iter().any(|c| c["color"] == "grey"), "the default category is grey");
    assert!(categories.iter().all(|c| c["subcategories"][0] == "Other"));
    let libs = file["libs"].as_array().expect("libs");
    for lib in libs {
        for key in ["arch", "name", "path", "debugName", "debugPath", "breakpadId"] {
            assert!(lib[key].is_string(), "{key} of {lib}");
        }
    }
    let shared = &file["shared"];
    let length = |table: &Value| table["length"].as_u64().unwrap();
    for (table, columns) in [
        ("stackTable", &["frame", "prefix"][..]),
        (
            "frameTable",
            &[
                "address",
                "inlineDepth",
                "category",
                "subcategory",
                "func",
                "nativeSymbol",
                "innerWindowID",
                "line",
                "column",
            ],
        ),
        (
            "funcTable",
            &["name", "isJS", "relevantForJS", "resource", "source", "lineNumber", "columnNumber"],
        ),
        ("resourceTable", &["lib", "name", "host", "type"]),
        ("nativeSymbols", &["libIndex", "address", "name", "functionSize"]),
        ("sources", &["uuid", "filename"]),
    ] {
        check_columns(&shared[table], columns, table);
    }
    let below = |table: &str, column: &str, bound: u64| {
        for value in shared[table][column].as_array().unwrap() {
            let is_none = value.is_null() || value == -1;
            assert!(is_none || value.as_u64().unwrap() < bound, "{table}.{column}: {value}");
        }
    };
    below("stackTable", "frame", length(&shared["frameTable"]));
    below("frameTable", "func", length(&shared["funcTable"]));
    below("frameTable", "category", categories.len() as u64);
    below("funcTable", "name", shared["stringArray"].as_array().unwrap().len() as u64);
    below("funcTable", "resource", length(&shared["resourceTable"]));
    below("resourceTable", "lib", libs.len() as u64);
    for (place, prefix) in shared["stackTable"]["prefix"].as_array().unwrap().iter().enumerate() {
        assert!(prefix.as_u64().is_none_or(|prefix| prefix < place as u64), "parents come first");
    }
    for thread in file["threads"].as_array().expect("threads") {
        for key in ["processType", "name", "pid", "tid"] {
            assert!(thread[key].is_string(), "{key} of {thread}");
        }
        assert!(thread["isMainThread"].is_boolean() && thread["pausedRanges"].is_array());
        assert!(["processStartupTime", "registerTime"].iter().all(|key| thread[*key].is_number()));
        let samples = &thread["samples"];
        check_columns(samples, &["stack", "time", "weight"], "samples");
        assert!(
            ["samples", "tracing-ms", "bytes"].contains(&samples["weightType"].as_str().unwrap())
        );
        let times: Vec<_> =
            samples["time"].as_array().unwrap().iter().map(|t| t.as_f64().unwrap()).collect();
        assert!(times.is_sorted());
        check_columns(
            &thread["markers"],
            &["data", "name", "startTime", "endTime", "phase", "category"],
            "markers",
        );
    }
}

fn check_columns(table: &Value, columns: &[&str], name: &str) {
    let length = table["length"].as_u64().unwrap_or_else(|| panic!("{name} has a length")) as usize;
    for column in columns {
        let found = table[*column].as_array().unwrap_or_else(|| panic!("{name}.{column}"));
        assert_eq!(found.len(), length, "{name}.{column}");
    }
}

fn firefox_weights(file: &Value) -> BTreeMap<Vec<String>, f64> {
    let shared = &file["shared"];
    let at = |table: &str, column: &str, place: u64| &shared[table][column][place as usize];
    let mut weights = BTreeMap::new();
    for thread in file["threads"].as_array().unwrap() {
        let samples = &thread["samples"];
        let stacks = samples["stack"].as_array().unwrap();
        for (stack, weight) in stacks.iter().zip(samples["weight"].as_array().unwrap()) {
            let mut names = Vec::new();
            let mut stack = stack.as_u64();
            while let Some(place) = stack {
                let frame = at("stackTable", "frame", place).as_u64().unwrap();
                let func = at("frameTable", "func", frame).as_u64().unwrap();
                let name = at("funcTable", "name", func).as_u64().unwrap();
                names.push(shared["stringArray"][name as usize].as_str().unwrap().to_owned());
                stack = at("stackTable", "prefix", place).as_u64();
            }
            if thread["pid"] != "lost" {
                names.push(thread["name"].as_str().unwrap().to_owned());
            }
            names.reverse();
            *weights.entry(names).or_default() += weight.as_f64().unwrap();
        }
    }
    weights
}

#[test]
fn firefox_has_what_it_must_and_the_weights_of_the_folded_lines() {
    let mut profile = rich();
    let file: Value = serde_json::from_slice(&profile.render(Format::Firefox).unwrap()).unwrap();
    check_firefox(&file);
    let truth = |profile: &Profile, unit: f64| -> BTreeMap<Vec<String>, f64> {
        unmarked(profile).into_iter().map(|(names, weight)| (names, weight as f64 / unit)).collect()
    };
    assert_eq!(firefox_weights(&file), truth(&profile, 1.0));
    let entries = file["meta"]["extra"][0]["entries"].as_array().unwrap();
    let said =
        |label: &str| entries.iter().find(|e| e["label"] == label).map(|e| e["value"].clone());
    assert_eq!(said("confidence"), Some("low".into()));
    assert!(said("lost").unwrap().as_str().unwrap().starts_with("25 samples"));
    let lib = &file["libs"][0];
    assert_eq!((&lib["path"], &lib["codeId"]), (&"/bin/a".into(), &"abcd".into()));
    let thread = &file["threads"][0];
    assert_eq!((&thread["processName"], &thread["tid"]), (&"shop/web".into(), &"2".into()));
    profile.kind = ProfileKind::OffCpu;
    let file: Value = serde_json::from_slice(&profile.render(Format::Firefox).unwrap()).unwrap();
    check_firefox(&file);
    assert_eq!(firefox_weights(&file), truth(&profile, 1e6));
    assert_eq!(file["threads"][0]["samples"]["weightType"], "tracing-ms");
}

#[test]
fn what_was_written_is_read_back() {
    for kind in ProfileKind::ALL {
        let mut profile = rich();
        profile.kind = kind;
        for format in [Format::Folded, Format::Json, Format::Pprof] {
            let read = Recording::read("x", &profile.render(format).unwrap()).unwrap();
            let mut weights = Weights::new();
            for (path, weight) in read.tree.paths() {
                let names = path.iter().map(|label| label.marked()).collect();
                *weights.entry(names).or_default() += weight;
            }
            assert_eq!(weights, folded(&profile), "{format:?}");
            if format != Format::Folded {
                assert_eq!((read.kind, read.unit), (Some(kind), kind.unit()));
            }
        }
    }
}

/// Whom it woke and who did it are in the stack of every format, and read back from those that are read.
#[test]
fn wakers_are_in_every_format() {
    let mut profile = rich();
    profile.kind = ProfileKind::Wakeup;
    profile.containers = [("c1".into(), "shop/web".to_owned())].into();
    for (place, sample) in profile.samples.iter_mut().enumerate() {
        sample.container = Some("c1".into());
        sample.state = Some("blocked.pipe");
        let comm = "feeder".into();
        let thread = Waker::Thread { comm, container: Some("c1".into()) };
        sample.waker = Some(if place == 0 { Waker::Interrupt } else { thread });
    }
    let stacks = folded(&profile);
    let begins = |waker: &str| {
        let is_so = |names: &&Vec<String>| names.get(2).is_some_and(|name| name == waker);
        stacks.keys().filter(is_so).count()
    };
    assert!(begins("[interrupt]") > 0 && begins("[waker: shop/web/feeder]") > 0, "{stacks:?}");
    for format in [Format::Folded, Format::Json, Format::Pprof] {
        let read = Recording::read("x", &profile.render(format).unwrap()).unwrap();
        let mut weights = Weights::new();
        for (path, weight) in read.tree.paths() {
            let names = path.iter().map(|label| label.marked()).collect();
            *weights.entry(names).or_default() += weight;
        }
        assert_eq!(weights, stacks, "{format:?}");
    }
    for format in [Format::Svg, Format::Firefox, Format::Speedscope] {
        let text = String::from_utf8(profile.render(format).unwrap()).unwrap();
        assert!(text.contains("[waker: shop/web/feeder]"), "{format:?}");
    }
}

#[test]
fn an_empty_profile_is_sound_in_every_format() {
    let profile = profile(vec![], &[]);
    assert!(Walked::of(&profile).messages(2).is_empty());
    check_speedscope(
        &serde_json::from_slice(&profile.render(Format::Speedscope).unwrap()).unwrap(),
    );
    check_firefox(&serde_json::from_slice(&profile.render(Format::Firefox).unwrap()).unwrap());
}

#[test]
fn deep_stacks_and_strange_names_keep_to_the_schemas() {
    let mut frames: Vec<_> = (0..3000).map(|depth| user(&format!("f{depth}"))).collect();
    frames.push(user("\"</script>\u{0}\u{ffff};\n"));
    frames.push(unknown(Reason::Unmapped, 7));
    let profile = profile(vec![sample("\u{1b}[31m", frames, 1)], &[("\u{0}", 1)]);
    check_speedscope(
        &serde_json::from_slice(&profile.render(Format::Speedscope).unwrap()).unwrap(),
    );
    check_firefox(&serde_json::from_slice(&profile.render(Format::Firefox).unwrap()).unwrap());
    assert_eq!(Walked::of(&profile).messages(2).len(), 2);
    let read = Recording::read("x", &profile.render(Format::Pprof).unwrap()).unwrap();
    assert_eq!(read.tree.paths().map(|(path, _)| path.len()).max(), Some(3003));
}
