//! The parts of the processed profile format that are written here.
//!
//! Source: `src/types/profile.ts` of the Firefox Profiler, and its list of changes of the format,
//! `docs-developer/CHANGELOG-formats.md`. Tables are columns of equal length.

use serde::Serialize;

/// Since 60 all threads share one table of stacks, frames and functions.
pub const PROCESSED_VERSION: u32 = 60;

#[derive(Serialize)]
pub struct File {
    pub meta: Meta,
    pub libs: Vec<Lib>,
    pub shared: Shared,
    pub threads: Vec<Thread>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub interval: f64,
    pub start_time: f64,
    pub profiling_start_time: f64,
    pub profiling_end_time: f64,
    pub process_type: u32,
    pub product: String,
    pub imported_from: &'static str,
    pub stackwalk: u32,
    pub debug: bool,
    pub version: u32,
    pub preprocessed_profile_version: u32,
    pub symbolicated: bool,
    pub symbolication_not_supported: bool,
    pub uses_only_one_stack_type: bool,
    pub source_code_is_not_on_searchfox: bool,
    pub oscpu: &'static str,
    pub marker_schema: [u8; 0],
    pub categories: Vec<Category>,
    pub extra: [Section; 1],
}

#[derive(Serialize)]
pub struct Section {
    pub label: &'static str,
    pub entries: Vec<Entry>,
}

#[derive(Serialize)]
pub struct Entry {
    pub label: &'static str,
    pub format: &'static str,
    pub value: String,
}

#[derive(Serialize)]
pub struct Category {
    pub name: &'static str,
    pub color: &'static str,
    pub subcategories: [&'static str; 1],
}

/// The places of the categories.
pub mod category {
    pub const OTHER: usize = 0;
    pub const USER: usize = 1;
    pub const KERNEL: usize = 2;
    pub const JIT: usize = 3;
    pub const UNKNOWN: usize = 4;
    pub const LOST: usize = 5;
}

/// All of them. One has to be grey: it is the default.
pub fn categories() -> Vec<Category> {
    let all = [
        ("Other", "grey"),
        ("User", "yellow"),
        ("Kernel", "orange"),
        ("Run-time code", "green"),
        ("Unknown", "darkgrey"),
        ("Lost", "purple"),
    ];
    all.map(|(name, color)| Category { name, color, subcategories: ["Other"] }).into()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lib {
    pub arch: &'static str,
    pub name: String,
    pub path: String,
    pub debug_name: String,
    pub debug_path: String,
    pub breakpad_id: String,
    pub code_id: Option<String>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shared {
    pub stack_table: StackTable,
    pub frame_table: FrameTable,
    pub func_table: FuncTable,
    pub resource_table: ResourceTable,
    pub native_symbols: NativeSymbols,
    pub string_array: Vec<String>,
    pub sources: Sources,
}

#[derive(Default, Serialize)]
pub struct StackTable {
    pub frame: Vec<usize>,
    pub prefix: Vec<Option<usize>>,
    pub length: usize,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FrameTable {
    /// Within the file; -1 where not known.
    pub address: Vec<i64>,
    pub inline_depth: Vec<u32>,
    pub category: Vec<usize>,
    pub subcategory: Vec<usize>,
    pub func: Vec<usize>,
    pub native_symbol: Vec<Option<usize>>,
    #[serde(rename = "innerWindowID")]
    pub inner_window_id: Vec<Option<u64>>,
    pub line: Vec<Option<u32>>,
    pub column: Vec<Option<u32>>,
    pub length: usize,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FuncTable {
    pub name: Vec<usize>,
    #[serde(rename = "isJS")]
    pub is_js: Vec<bool>,
    #[serde(rename = "relevantForJS")]
    pub relevant_for_js: Vec<bool>,
    /// -1 for none.
    pub resource: Vec<i64>,
    pub source: Vec<Option<usize>>,
    pub line_number: Vec<Option<u32>>,
    pub column_number: Vec<Option<u32>>,
    pub length: usize,
}

#[derive(Default, Serialize)]
pub struct ResourceTable {
    pub lib: Vec<usize>,
    pub name: Vec<usize>,
    pub host: Vec<Option<usize>>,
    pub r#type: Vec<u32>,
    pub length: usize,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeSymbols {
    pub lib_index: Vec<usize>,
    pub address: Vec<u64>,
    pub name: Vec<usize>,
    pub function_size: Vec<Option<u64>>,
    pub length: usize,
}

#[derive(Default, Serialize)]
pub struct Sources {
    pub uuid: Vec<String>,
    pub filename: Vec<usize>,
    pub length: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    pub process_type: &'static str,
    pub process_startup_time: f64,
    pub process_shutdown_time: Option<f64>,
    pub register_time: f64,
    pub unregister_time: Option<f64>,
    pub paused_ranges: [u8; 0],
    pub name: String,
    pub is_main_thread: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_name: Option<String>,
    pub pid: String,
    pub tid: String,
    pub samples: Samples,
    pub markers: Markers,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Samples {
    pub stack: Vec<Option<usize>>,
    pub time: Vec<f64>,
    pub weight: Vec<f64>,
    pub weight_type: &'static str,
    pub length: usize,
    /// Where the next one begins.
    #[serde(skip)]
    pub end_ms: f64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Markers {
    pub data: [u8; 0],
    pub name: [u8; 0],
    pub start_time: [u8; 0],
    pub end_time: [u8; 0],
    pub phase: [u8; 0],
    pub category: [u8; 0],
    pub length: usize,
}
