//! Who may import what: the order of the stages in `monitor/src`, as data.

/// A folder of `monitor/src` and the other folders it may import.
pub const STAGES: [(&str, &[&str]); 13] = [
    ("metric", &[]),
    ("kernel", &["metric"]),
    ("container", &["kernel", "metric"]),
    ("probe", &["kernel", "metric"]),
    ("collect", &["probe", "container", "kernel", "metric"]),
    ("symbol", &["kernel", "metric"]),
    ("unwind", &["probe", "symbol", "kernel", "metric"]),
    ("profile", &["metric", "symbol"]),
    ("store", &["metric", "profile", "symbol"]),
    ("promql", &[]),
    ("analyze", &["metric", "profile"]),
    (
        "serve",
        &[
            "metric",
            "kernel",
            "container",
            "probe",
            "collect",
            "symbol",
            "unwind",
            "profile",
            "store",
            "promql",
            "analyze",
        ],
    ),
    (
        "show",
        &[
            "metric",
            "kernel",
            "container",
            "probe",
            "collect",
            "symbol",
            "unwind",
            "profile",
            "store",
            "promql",
            "analyze",
            "serve",
        ],
    ),
];

/// The files beside the folders, and the folder of the first. They know every stage, and no stage knows them.
pub const WIRING: [&str; 4] = ["daemon.rs", "daemon", "lib.rs", "main.rs"];

/// A crate and the folders or files of `monitor/src` that may name it.
pub const CRATES: [(&str, &[&str]); 16] = [
    ("aya", &["probe"]),
    ("aya_log", &["probe"]),
    ("aya_obj", &["probe"]),
    ("axum", &["serve"]),
    ("ratatui", &["show"]),
    ("crossterm", &["show"]),
    ("clap", &["show", "main.rs"]),
    ("inferno", &["profile"]),
    ("prost", &["profile", "serve"]),
    ("snap", &["serve"]),
    ("blazesym", &["symbol"]),
    ("gimli", &["unwind"]),
    ("rusqlite", &["store"]),
    ("pco", &["store"]),
    ("promql_parser", &["promql"]),
    ("regex", &["promql"]),
];
