//! Profiles as a receiver of OTLP has them: decoded by the numbers of the public schema, `profiles/v1development` of version 1.11, and held
//! against the CPU time that the kernel accounts to the container.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, ensure};
use cgscope_tests::protobuf::{Field, fields, text};
use cgscope_tests::{Container, Daemon, wait_until};

use crate::http::{Http, Posted, Reply};
use crate::otlp::{attributes, messages, number, part, string};
use crate::profiles::{FREQUENCY_HZ, PATIENCE, TAKEN, Usage, own, usage_at};

type Attributes = BTreeMap<String, String>;

/// A place in a stack.
#[derive(Clone, Debug, Default)]
struct Place {
    functions: Vec<String>,
    attributes: Attributes,
    file: String,
    of_file: Attributes,
}

#[derive(Debug)]
struct Sample {
    /// Leaf first.
    places: Vec<Place>,
    attributes: Attributes,
    value: u64,
}

/// A profile of a request, and whose it is.
#[derive(Debug)]
struct Profile {
    resource: Attributes,
    types: [(String, String); 2],
    period: u64,
    begin_s: f64,
    end_s: f64,
    samples: Vec<Sample>,
}

/// What profiles refer to. The first of each table is empty.
struct Dictionary {
    strings: Vec<String>,
    attributes: Vec<(String, String)>,
    places: Vec<Place>,
    stacks: Vec<Vec<Place>>,
}

/// The numbers of a field that is packed or not there.
fn list(message: &[Field], of: u32) -> Vec<u64> {
    part(message, of).flat_map(Field::numbers).collect()
}

impl Dictionary {
    fn read(message: &[Field]) -> Result<Self> {
        let strings: Vec<String> = part(message, 5).map(|field| text(&field.bytes)).collect();
        ensure!(strings.first().is_some_and(String::is_empty), "the first text");
        for table in [1, 2, 3, 6, 7] {
            let first = part(message, table).next().context("a table")?;
            ensure!(first.bytes.is_empty(), "the first of table {table} is not empty");
        }
        let links = messages(message, 4);
        ensure!(links.len() == 1, "{links:?}");
        let mut made = Self { strings, attributes: vec![], places: vec![], stacks: vec![] };
        for attribute in messages(message, 6) {
            let value = messages(&attribute, 2).pop().unwrap_or_default();
            let value = match part(&value, 3).next() {
                Some(number) => number.value.to_string(),
                None => string(&value, 1),
            };
            made.attributes.push((made.string(&attribute, 1)?, value));
        }
        let functions = messages(message, 3);
        let mappings = messages(message, 1);
        for location in messages(message, 2) {
            let mapping = mappings.get(number(&location, 1) as usize).context("a mapping")?;
            let mut place = Place {
                attributes: made.attributes(&location, 4)?,
                file: made.string(mapping, 4)?,
                of_file: made.attributes(mapping, 5)?,
                ..Place::default()
            };
            for line in messages(&location, 3) {
                let function = functions.get(number(&line, 1) as usize).context("a function")?;
                place.functions.push(made.string(function, 1)?);
            }
            made.places.push(place);
        }
        for stack in messages(message, 7) {
            let places = list(&stack, 1);
            let place = |at: u64| made.places.get(at as usize).cloned().context("a location");
            made.stacks.push(places.into_iter().map(place).collect::<Result<_>>()?);
        }
        Ok(made)
    }

    fn string(&self, message: &[Field], of: u32) -> Result<String> {
        self.strings.get(number(message, of) as usize).cloned().context("a text")
    }

    fn attributes(&self, message: &[Field], of: u32) -> Result<Attributes> {
        let mut all = Attributes::new();
        for at in list(message, of) {
            let (name, value) =
                self.attributes.get(at as usize).cloned().context("an attribute")?;
            ensure!(all.insert(name.clone(), value).is_none(), "{name} is there twice");
        }
        Ok(all)
    }

    fn value_type(&self, message: &[Field], of: u32) -> Result<(String, String)> {
        let of = messages(message, of).pop().context("a type")?;
        Ok((self.string(&of, 1)?, self.string(&of, 2)?))
    }
}

/// By the numbers of `ExportProfilesServiceRequest`.
fn profiles(posted: &Posted) -> Result<Vec<Profile>> {
    ensure!(posted.path == "/v1development/profiles", "{}", posted.path);
    ensure!(posted.header("content-type") == Some("application/x-protobuf"));
    ensure!(posted.header("content-encoding") == Some("gzip"));
    let mut plain = vec![];
    flate2::read::GzDecoder::new(&posted.body[..]).read_to_end(&mut plain)?;
    let request = fields(&plain);
    let dictionary = messages(&request, 2).pop().context("a dictionary")?;
    let dictionary = Dictionary::read(&dictionary)?;
    let mut all = vec![];
    for of_resource in messages(&request, 1) {
        let resource = messages(&of_resource, 1).pop().context("a resource")?;
        for scope in messages(&of_resource, 2) {
            let who = messages(&scope, 1).pop().context("a scope")?;
            ensure!(string(&who, 1) == "cgscope");
            for profile in messages(&scope, 2) {
                let mut samples = vec![];
                for sample in messages(&profile, 2) {
                    let stack = number(&sample, 1) as usize;
                    let [value] = list(&sample, 4)[..] else { anyhow::bail!("{sample:?}") };
                    samples.push(Sample {
                        places: dictionary.stacks.get(stack).context("a stack")?.clone(),
                        attributes: dictionary.attributes(&sample, 2)?,
                        value,
                    });
                }
                let begin_ns = number(&profile, 3);
                all.push(Profile {
                    resource: attributes(&resource, 1),
                    types: [
                        dictionary.value_type(&profile, 1)?,
                        dictionary.value_type(&profile, 5)?,
                    ],
                    period: number(&profile, 6),
                    begin_s: begin_ns as f64 / 1e9,
                    end_s: (begin_ns + number(&profile, 4)) as f64 / 1e9,
                    samples,
                });
            }
        }
    }
    Ok(all)
}

fn of(http: &Http, container: &Container) -> Result<Vec<Profile>> {
    let mut all = vec![];
    for posted in http.taken() {
        all.extend(profiles(&posted)?);
    }
    all.retain(|profile| {
        profile.resource.get("container.id").is_some_and(|id| id == container.id())
    });
    Ok(all)
}

#[test]
fn a_receiver_of_otlp_gets_each_container_as_it_ran() -> Result<()> {
    let http = Http::start(Reply::ok())?;
    let daemon = Daemon::start(&[
        "--keep-profiles",
        "99",
        "--push-profiles",
        &http.url(),
        "--push-profiles-to",
        "otlp",
        "--push-profiles-label",
        "deployment.environment.name=test",
    ])?;
    let container = Container::run("shares", &["shares", "--seconds", "180"])?;
    let usage = Usage::follow(&container)?;
    let _bystander = Container::run("burn", &["burn", "--seconds", "180"])?;
    // Its first window is not whole; two more are.
    wait_until("three windows of the container", PATIENCE, || {
        Ok((of(&http, &container)?.len() >= 3).then_some(()))
    })?;
    let seen_usage = usage.end();
    let mut of_it = of(&http, &container)?;
    of_it.retain(|profile| {
        usage_at(&seen_usage, profile.begin_s).is_some()
            && usage_at(&seen_usage, profile.end_s).is_some()
    });
    ensure!(of_it.len() >= 2, "{} whole windows", of_it.len());
    let (mut value, mut truth_s) = (0, 0.0);
    let mut by_function: BTreeMap<&str, u64> = BTreeMap::new();
    for profile in &of_it {
        let cpu = ("cpu".to_owned(), "nanoseconds".to_owned());
        ensure!(profile.types == [cpu.clone(), cpu], "{:?}", profile.types);
        ensure!(profile.period == 1_000_000_000 / FREQUENCY_HZ as u64, "{}", profile.period);
        for (name, expected) in [
            ("service.name", container.name()),
            ("container.name", container.name()),
            ("container.runtime", "podman"),
            ("deployment.environment.name", "test"),
        ] {
            let found = profile.resource.get(name);
            ensure!(found.is_some_and(|found| found == expected), "{:?}", profile.resource);
        }
        ensure!(profile.resource.contains_key("host.name"), "{:?}", profile.resource);
        let at = |at| usage_at(&seen_usage, at).context("cpu.stat");
        truth_s += at(profile.end_s)? - at(profile.begin_s)?;
        for sample in &profile.samples {
            value += sample.value;
            ensure!(
                sample.attributes.get("thread.name").is_some_and(|name| name == "shares"),
                "{sample:?}"
            );
            for place in &sample.places {
                let frame_type = place.attributes.get("profile.frame.type").map(String::as_str);
                for function in ["hot_sixty", "hot_thirty", "hot_ten"] {
                    if place.functions.iter().any(|name| name == function) {
                        *by_function.entry(function).or_default() += sample.value;
                        ensure!(frame_type == Some("native"), "{place:?}");
                        ensure!(place.file.ends_with("shares"), "{place:?}");
                        let build_id = place.of_file.get("process.executable.build_id.gnu");
                        ensure!(build_id.is_some_and(|id| id.len() == 40), "{place:?}");
                    }
                }
                ensure!(
                    (place.file == "[kernel.kallsyms]") == (frame_type == Some("kernel")),
                    "{place:?}"
                );
            }
        }
    }
    let time_s = value as f64 / 1e9;
    let samples = time_s * FREQUENCY_HZ;
    eprintln!("{time_s:.3} s in {} windows; cpu.stat {truth_s:.3} s", of_it.len());
    // Of n samples taken at instants that have nothing to do with who runs, the standard deviation is at most the root of n.
    let bound = 4.0 * samples.sqrt() / FREQUENCY_HZ;
    ensure!((time_s - truth_s).abs() <= bound, "{time_s} s pushed, {truth_s} s by cpu.stat");
    for (function, share) in [("hot_sixty", 0.6), ("hot_thirty", 0.3), ("hot_ten", 0.1)] {
        let part = *by_function.get(function).unwrap_or(&0) as f64 / value as f64;
        let deviation = (share * (1.0f64 - share) / samples).sqrt();
        ensure!((part - share).abs() <= 4.0 * deviation, "{function}: {part:.4}, not {share}");
    }
    wait_until("the count of what was taken", PATIENCE, || {
        Ok((own(&daemon, TAKEN)? > samples).then_some(()))
    })?;
    ensure!(own(&daemon, "cgscope_own_push_dropped_total")? == 0.0);

    // `ExportProfilesServiceResponse` that one profile was rejected, because of "full".
    http.answer(Reply { status: 200, body: b"\x0a\x08\x08\x01\x12\x04full".to_vec() });
    wait_until("a refusal", PATIENCE, || {
        let refused = [("protocol", "profiles"), ("reason", "refused")];
        let refused = daemon.scrape()?.sum("cgscope_own_push_dropped_total", &refused);
        // That of one who always runs, of ten seconds, among them.
        Ok((refused >= 100.0).then_some(()))
    })?;
    ensure!(daemon.log().contains("full"), "{}", daemon.log());
    Ok(())
}
