//! A profile in the words of OpenTelemetry: one resource, one profile, and a dictionary of what it refers to.
//!
//! Contract: stacks and values are those of the pprof file; what is a label of a sample there is an attribute here, but for the container,
//! which is the resource.

mod message;
mod table;

use std::collections::{BTreeMap, HashMap};

use self::{
    message::{
        Attribute, Dictionary, ExportRequest, Function, Line, Link, Location, Mapping, Profile,
        ResourceProfiles, Sample, ScopeProfiles, Stack, ValueType,
    },
    table::Table,
};
use crate::{
    profile::{KERNEL_FILE, PprofMapping, PprofMessage, pprof_key as key},
    serve::push::otlp::{
        self, compressed,
        message::{AnyValue, KeyValue, Resource, Scope},
    },
};

/// What OpenTelemetry calls the labels of our samples: <https://opentelemetry.io/docs/specs/semconv/registry/attributes/>. Two are ours.
const NAMES: [(&str, &str); 6] = [
    (key::COMM, "thread.name"),
    (key::PID, "process.pid"),
    (key::TID, "thread.id"),
    (key::STATE, "cgscope.state"),
    (key::WAKER, "cgscope.waker"),
    (key::LOST, "cgscope.lost"),
];
const BUILD_ID: &str = "process.executable.build_id.gnu";
const FRAME_TYPE: &str = "profile.frame.type";

/// The body of a request: the profile of whoever has the attributes.
pub fn request(attributes: &BTreeMap<String, String>, file: &PprofMessage) -> Option<Vec<u8>> {
    let mut tables = Tables::new();
    let profile = tables.profile(file);
    let attributes = attributes.iter().map(|(name, value)| KeyValue::new(name, value)).collect();
    let scope = Scope { name: "cgscope".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    compressed(&ExportRequest {
        resource_profiles: vec![ResourceProfiles {
            resource: Some(Resource { attributes }),
            scope_profiles: vec![ScopeProfiles { scope: Some(scope), profiles: vec![profile] }],
        }],
        dictionary: Some(tables.dictionary()),
    })
}

/// Whether an answer says that the profile was not taken, and why. It counts profiles, and there is one in a request: none of its samples was.
pub fn refused(answer: &[u8]) -> Option<(u64, String)> {
    otlp::refused(answer).map(|(_, why)| (u64::MAX, why))
}

/// The dictionary while it is made.
struct Tables {
    strings: Table<String>,
    mappings: Table<Mapping>,
    locations: Table<Location>,
    functions: Table<Function>,
    attributes: Table<Attribute>,
    stacks: Table<Stack>,
}

impl Tables {
    fn new() -> Self {
        Self {
            strings: Table::new(),
            mappings: Table::new(),
            locations: Table::new(),
            functions: Table::new(),
            attributes: Table::new(),
            stacks: Table::new(),
        }
    }

    fn dictionary(self) -> Dictionary {
        Dictionary {
            mapping_table: self.mappings.list(),
            location_table: self.locations.list(),
            function_table: self.functions.list(),
            link_table: vec![Link { trace_id: vec![0; 16], span_id: vec![0; 8] }],
            string_table: self.strings.list(),
            attribute_table: self.attributes.list(),
            stack_table: self.stacks.list(),
        }
    }

    fn profile(&mut self, file: &PprofMessage) -> Profile {
        let functions: HashMap<u64, i32> = file
            .function
            .iter()
            .map(|function| {
                let name_strindex = self.string(file, function.name);
                (function.id, self.functions.place(Function { name_strindex }))
            })
            .collect();
        let mappings: HashMap<u64, (i32, Vec<i32>)> =
            file.mapping.iter().map(|mapping| (mapping.id, self.mapping(file, mapping))).collect();
        let mut locations = HashMap::new();
        for location in &file.location {
            let (mapping_index, attribute_indices) =
                mappings.get(&location.mapping_id).cloned().unwrap_or_default();
            let lines = location.line.iter().filter_map(|line| functions.get(&line.function_id));
            let place = self.locations.place(Location {
                mapping_index,
                address: location.address,
                lines: lines.map(|function| Line { function_index: *function }).collect(),
                attribute_indices,
            });
            locations.insert(location.id, place);
        }
        let samples = file.sample.iter().map(|sample| {
            let places = sample.location_id.iter().filter_map(|id| locations.get(id).copied());
            let stack = Stack { location_indices: places.collect() };
            let labels = sample.label.iter().filter_map(|label| {
                let name = file.string_table.get(label.key as usize)?;
                let (_, name) = NAMES.iter().find(|(ours, _)| ours == name)?;
                let value = match file.string_table.get(label.str as usize) {
                    Some(text) if label.str > 0 => AnyValue::text(text),
                    _ => AnyValue::number(label.num),
                };
                Some(self.attribute(name, value))
            });
            let attribute_indices = labels.collect();
            Sample {
                stack_index: self.stacks.place(stack),
                attribute_indices,
                // The first is their count, which the period tells.
                values: sample.value.last().copied().into_iter().collect(),
            }
        });
        let samples = samples.collect();
        let kind = file.sample_type.last().map(|kind| (kind.r#type, kind.unit));
        let value_type = kind.map(|(name, unit)| ValueType {
            type_strindex: self.string(file, name),
            unit_strindex: self.string(file, unit),
        });
        Profile {
            sample_type: value_type,
            samples,
            time_unix_nano: file.time_nanos as u64,
            duration_nano: file.duration_nanos as u64,
            period_type: value_type,
            period: file.period,
        }
    }

    /// A file, and what is said of all places in it.
    fn mapping(&mut self, file: &PprofMessage, mapping: &PprofMapping) -> (i32, Vec<i32>) {
        let name = text(file, mapping.filename);
        let frame_type = match name {
            KERNEL_FILE => Some("kernel"),
            name if name.starts_with('[') => None,
            _ => Some("native"),
        };
        let build_id = text(file, mapping.build_id);
        let build_id = (!build_id.is_empty()).then(|| AnyValue::text(build_id));
        let attribute_indices = build_id.map(|id| self.attribute(BUILD_ID, id));
        let place = self.mappings.place(Mapping {
            memory_start: mapping.memory_start,
            memory_limit: mapping.memory_limit,
            file_offset: mapping.file_offset,
            filename_strindex: self.strings.place(name.to_owned()),
            attribute_indices: attribute_indices.into_iter().collect(),
        });
        let of_places = frame_type.map(|name| self.attribute(FRAME_TYPE, AnyValue::text(name)));
        (place, of_places.into_iter().collect())
    }

    fn attribute(&mut self, name: &str, value: AnyValue) -> i32 {
        let key_strindex = self.strings.place(name.to_owned());
        self.attributes.place(Attribute { key_strindex, value: Some(value) })
    }

    fn string(&mut self, file: &PprofMessage, place: i64) -> i32 {
        self.strings.place(text(file, place).to_owned())
    }
}

fn text(file: &PprofMessage, place: i64) -> &str {
    file.string_table.get(place as usize).map_or("", String::as_str)
}
