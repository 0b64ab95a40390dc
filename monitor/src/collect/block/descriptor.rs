//! What the family measures: for containers, and for disks as a whole under names of their own, so that a sum over
//! containers counts nothing twice.

use crate::metric::{Descriptor, descriptor};

const COMPLETE: &str = "tracepoint block:block_rq_complete";

/// The metrics of one scope.
pub(super) struct Set {
    pub operations: &'static Descriptor,
    pub bytes: &'static Descriptor,
    pub latency: &'static Descriptor,
    pub errors: &'static Descriptor,
}

descriptor!(
    pub(super) static OPERATIONS,
    "cgscope_block_operations_total",
    "disk operations",
    Count,
    Counter,
    Container,
    &["device", "operation"],
    COMPLETE,
    "5.8",
    "Requests it issued that a disk completed."
);
descriptor!(
    pub(super) static BYTES,
    "cgscope_block_bytes_total",
    "disk traffic",
    Bytes,
    Counter,
    Container,
    &["device", "operation"],
    COMPLETE,
    "5.8",
    "Bytes of the requests it issued that a disk completed."
);
descriptor!(
    pub(super) static LATENCY,
    "cgscope_block_latency_seconds",
    "disk latency",
    Seconds,
    Distribution,
    Container,
    &["device", "operation", "phase"],
    COMPLETE,
    "5.8",
    "How long its requests took: in the queue (allocated to issued), in service (issued to completed), in total. What a \
     quota held back before is not in it: the kernel does not tell."
);
descriptor!(
    pub(super) static ERRORS,
    "cgscope_block_errors_total",
    "disk errors",
    Count,
    Counter,
    Container,
    &["device"],
    COMPLETE,
    "5.8",
    "Requests it issued that ended with an error."
);
descriptor!(
    pub(super) static WAITED_FOR,
    "cgscope_block_waited_for_seconds_total",
    "disk waited for",
    Seconds,
    Counter,
    Container,
    &["device", "culprit_id"],
    "tracepoints block:block_rq_issue, block_rq_complete",
    "5.8",
    "Time its requests waited in the queue of a disk while the disk finished requests of the culprit; none where it finished \
     nobody's."
);
descriptor!(
    pub(super) static DISK_OPERATIONS,
    "cgscope_block_device_operations_total",
    "operations of all",
    Count,
    Counter,
    Host,
    &["device", "operation"],
    COMPLETE,
    "5.8",
    "Requests that a disk completed, of all who issued them."
);
descriptor!(
    pub(super) static DISK_BYTES,
    "cgscope_block_device_bytes_total",
    "traffic of all",
    Bytes,
    Counter,
    Host,
    &["device", "operation"],
    COMPLETE,
    "5.8",
    "Bytes of the requests that a disk completed, of all who issued them."
);
descriptor!(
    pub(super) static DISK_LATENCY,
    "cgscope_block_device_latency_seconds",
    "latency of all",
    Seconds,
    Distribution,
    Host,
    &["device", "operation", "phase"],
    COMPLETE,
    "5.8",
    "How long the requests of a disk took: in the queue, in service, in total."
);
descriptor!(
    pub(super) static DISK_ERRORS,
    "cgscope_block_device_errors_total",
    "errors of all",
    Count,
    Counter,
    Host,
    &["device"],
    COMPLETE,
    "5.8",
    "Requests of a disk that ended with an error."
);
descriptor!(
    pub(super) static IN_FLIGHT,
    "cgscope_block_device_in_flight",
    "in flight",
    Count,
    Gauge,
    Host,
    &["device"],
    "/sys/dev/block/*/inflight",
    "5.8",
    "Requests that a disk works on now."
);

/// Everything.
pub(in crate::collect) static DESCRIPTORS: &[&Descriptor] = &[
    &OPERATIONS,
    &BYTES,
    &LATENCY,
    &ERRORS,
    &WAITED_FOR,
    &DISK_OPERATIONS,
    &DISK_BYTES,
    &DISK_LATENCY,
    &DISK_ERRORS,
    &IN_FLIGHT,
];

/// Of a container.
pub(super) static OF_CONTAINER: Set =
    Set { operations: &OPERATIONS, bytes: &BYTES, latency: &LATENCY, errors: &ERRORS };
/// Of a disk, whoever uses it.
pub(super) static OF_DISK: Set = Set {
    operations: &DISK_OPERATIONS,
    bytes: &DISK_BYTES,
    latency: &DISK_LATENCY,
    errors: &DISK_ERRORS,
};
