//! What the family measures.

use crate::metric::{Descriptor, Kind, Scope, Unit};

const HARD_HOOKS: &str = "tracepoints irq:irq_handler_entry, irq_handler_exit";
const SOFT_HOOKS: &str = "tracepoints irq:softirq_entry, softirq_exit";
const ALL_HOOKS: &str = "tracepoints irq:irq_handler_*, softirq_*";

macro_rules! descriptor {
    ($static:ident, $name:literal, $title:literal, $unit:ident, $scope:ident, $labels:expr, $source:ident, $help:literal) => {
        pub(super) static $static: Descriptor = Descriptor {
            name: $name,
            help: $help,
            title: $title,
            unit: Unit::$unit,
            kind: Kind::Counter,
            scope: Scope::$scope,
            labels: $labels,
            source: $source,
            kernel_floor: "5.8",
        };
    };
}

descriptor!(
    HARD,
    "cgscope_host_irq_handlers_total",
    "interrupts",
    Count,
    Host,
    &["cpu", "irq", "device"],
    HARD_HOOKS,
    "Handlers of hardware interrupts that ran, by CPU and line. Interrupts of the CPUs themselves, such as their timers and those \
     they send each other, have no such handler."
);
descriptor!(
    HARD_TIME,
    "cgscope_host_irq_seconds_total",
    "interrupt time",
    Seconds,
    Host,
    &["cpu", "irq", "device"],
    HARD_HOOKS,
    "Time in handlers of hardware interrupts, by CPU and line."
);
descriptor!(
    SOFT,
    "cgscope_host_softirq_runs_total",
    "softirq runs",
    Count,
    Host,
    &["cpu", "kind"],
    SOFT_HOOKS,
    "Softirqs that ran, by CPU and kind."
);
descriptor!(
    SOFT_TIME,
    "cgscope_host_softirq_seconds_total",
    "softirq time",
    Seconds,
    Host,
    &["cpu", "kind"],
    SOFT_HOOKS,
    "Time in softirqs, by CPU and kind, without that of hardware interrupts in the middle of them."
);
descriptor!(
    INTERRUPTIONS,
    "cgscope_irq_interruptions_total",
    "interruptions",
    Count,
    Container,
    &["kind"],
    ALL_HOOKS,
    "How often a hardware interrupt (hard) or a softirq of each kind ran in the time of its threads, whomever it was for. The kernel's \
     own threads that run softirqs are among kernel."
);
descriptor!(
    STOLEN,
    "cgscope_irq_stolen_seconds_total",
    "interrupted",
    Seconds,
    Container,
    &["kind"],
    ALL_HOOKS,
    "How long they took of that time. It is a part of its CPU time unless the kernel accounts for interrupts apart."
);

/// Everything.
pub(in crate::collect) static DESCRIPTORS: &[&Descriptor] =
    &[&HARD, &HARD_TIME, &SOFT, &SOFT_TIME, &INTERRUPTIONS, &STOLEN];
