//! The messages of OTLP that carry profiles, as far as they are used.
//!
//! Schema: <https://github.com/open-telemetry/opentelemetry-proto>, `profiles/v1development/profiles.proto` of version 1.11. It is no stable
//! one: a field may be given another number. The first entry of each table is empty by decree, and 0 stands for nothing.

use prost::Message;

use crate::serve::push::otlp::message::{AnyValue, Resource, Scope};

/// `ExportProfilesServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct ExportRequest {
    /// Profiles of each.
    #[prost(message, repeated, tag = "1")]
    pub resource_profiles: Vec<ResourceProfiles>,
    /// What they refer to.
    #[prost(message, optional, tag = "2")]
    pub dictionary: Option<Dictionary>,
}

/// `ProfilesDictionary`.
#[derive(Clone, PartialEq, Message)]
pub struct Dictionary {
    /// Files.
    #[prost(message, repeated, tag = "1")]
    pub mapping_table: Vec<Mapping>,
    /// Places in files.
    #[prost(message, repeated, tag = "2")]
    pub location_table: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "3")]
    pub function_table: Vec<Function>,
    /// Nothing but the empty one.
    #[prost(message, repeated, tag = "4")]
    pub link_table: Vec<Link>,
    /// Texts.
    #[prost(string, repeated, tag = "5")]
    pub string_table: Vec<String>,
    /// What is said of samples, places and files.
    #[prost(message, repeated, tag = "6")]
    pub attribute_table: Vec<Attribute>,
    /// Stacks.
    #[prost(message, repeated, tag = "7")]
    pub stack_table: Vec<Stack>,
}

/// `ResourceProfiles`.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceProfiles {
    /// Of what.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// By whom: always one.
    #[prost(message, repeated, tag = "2")]
    pub scope_profiles: Vec<ScopeProfiles>,
}

/// `ScopeProfiles`.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeProfiles {
    /// Who sampled.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<Scope>,
    /// The profiles.
    #[prost(message, repeated, tag = "2")]
    pub profiles: Vec<Profile>,
}

/// `Profile`.
#[derive(Clone, PartialEq, Message)]
pub struct Profile {
    /// What values are.
    #[prost(message, optional, tag = "1")]
    pub sample_type: Option<ValueType>,
    /// The samples.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// When it begins, ns since 1970.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// How long it is.
    #[prost(uint64, tag = "4")]
    pub duration_nano: u64,
    /// What is between two samples.
    #[prost(message, optional, tag = "5")]
    pub period_type: Option<ValueType>,
    /// How much of it.
    #[prost(int64, tag = "6")]
    pub period: i64,
}

/// `ValueType`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ValueType {
    /// Its name.
    #[prost(int32, tag = "1")]
    pub type_strindex: i32,
    /// Its unit.
    #[prost(int32, tag = "2")]
    pub unit_strindex: i32,
}

/// `Sample`.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// Where.
    #[prost(int32, tag = "1")]
    pub stack_index: i32,
    /// Who.
    #[prost(int32, repeated, tag = "2")]
    pub attribute_indices: Vec<i32>,
    /// How much: one value.
    #[prost(int64, repeated, tag = "4")]
    pub values: Vec<i64>,
}

/// `Mapping`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Mapping {
    /// Where it begins.
    #[prost(uint64, tag = "1")]
    pub memory_start: u64,
    /// Where it ends.
    #[prost(uint64, tag = "2")]
    pub memory_limit: u64,
    /// Where in the file that is.
    #[prost(uint64, tag = "3")]
    pub file_offset: u64,
    /// The file.
    #[prost(int32, tag = "4")]
    pub filename_strindex: i32,
    /// Its build id.
    #[prost(int32, repeated, tag = "5")]
    pub attribute_indices: Vec<i32>,
}

/// `Stack`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Stack {
    /// Leaf first.
    #[prost(int32, repeated, tag = "1")]
    pub location_indices: Vec<i32>,
}

/// `Location`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Location {
    /// In which file.
    #[prost(int32, tag = "1")]
    pub mapping_index: i32,
    /// Where.
    #[prost(uint64, tag = "2")]
    pub address: u64,
    /// Inlined functions first, the function they were inlined into last.
    #[prost(message, repeated, tag = "3")]
    pub lines: Vec<Line>,
    /// Whether it is of the kernel.
    #[prost(int32, repeated, tag = "4")]
    pub attribute_indices: Vec<i32>,
}

/// `Line`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Line {
    /// The function.
    #[prost(int32, tag = "1")]
    pub function_index: i32,
}

/// `Function`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Function {
    /// Its name.
    #[prost(int32, tag = "1")]
    pub name_strindex: i32,
}

/// `Link`.
#[derive(Clone, PartialEq, Message)]
pub struct Link {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
}

/// `KeyValueAndUnit`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Attribute {
    /// Its name.
    #[prost(int32, tag = "1")]
    pub key_strindex: i32,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}
