//! What the family measures.

use crate::metric::{Descriptor, descriptor};

const CALLS: &str = "tracepoints raw_syscalls:sys_enter, sys_exit";

descriptor!(
    pub(super) static OPERATIONS,
    "cgscope_files_operations_total",
    "file operations",
    Count,
    Counter,
    Container,
    &["operation"],
    CALLS,
    "5.8",
    "Calls of its threads that opened something by name, or that read, wrote or synced a regular file. Only with --enable files."
);
descriptor!(
    pub(super) static ERRORS,
    "cgscope_files_errors_total",
    "failed file operations",
    Count,
    Counter,
    Container,
    &["operation"],
    CALLS,
    "5.8",
    "Those of them that failed, such as opens of what is not there. Only with --enable files."
);
descriptor!(
    pub(super) static BYTES,
    "cgscope_files_bytes_total",
    "file traffic",
    Bytes,
    Counter,
    Container,
    &["operation"],
    CALLS,
    "5.8",
    "Bytes that its threads read from regular files and wrote to them by calls, from the page cache or not. Only with --enable files."
);
descriptor!(
    pub(super) static LATENCY,
    "cgscope_files_latency_seconds",
    "file latency",
    Seconds,
    Distribution,
    Container,
    &["operation"],
    CALLS,
    "5.8",
    "How long each of these calls took, waiting included. Only with --enable files."
);
descriptor!(
    pub(super) static LAYER_OPENS,
    "cgscope_files_layer_opens_total",
    "opens by layer",
    Count,
    Counter,
    Container,
    &["layer"],
    "tracepoints raw_syscalls:sys_enter, sys_exit; /proc/PID/mountinfo",
    "6.5",
    "Opens of files in an overlay, by the layer they were found in: upper for what the container wrote itself, else the directory of \
     the image's layer. Only with --enable files, and where overlayfs is not a module."
);
descriptor!(
    pub(super) static LAYER_TIME,
    "cgscope_files_layer_open_seconds_total",
    "open time by layer",
    Seconds,
    Counter,
    Container,
    &["layer"],
    "tracepoints raw_syscalls:sys_enter, sys_exit; /proc/PID/mountinfo",
    "6.5",
    "How long these opens took."
);

/// Everything.
pub(in crate::collect) static DESCRIPTORS: &[&Descriptor] =
    &[&OPERATIONS, &ERRORS, &BYTES, &LATENCY, &LAYER_OPENS, &LAYER_TIME];
