//! What the family measures.

use crate::metric::{Descriptor, descriptor};

const HARD_HOOKS: &str = "tracepoints irq:irq_handler_entry, irq_handler_exit";
const SOFT_HOOKS: &str = "tracepoints irq:softirq_entry, softirq_exit";
const ALL_HOOKS: &str = "tracepoints irq:irq_handler_*, softirq_*";

descriptor!(
    pub(super) static HARD,
    "cgscope_host_irq_handlers_total",
    "interrupts",
    Count,
    Counter,
    Host,
    &["cpu", "irq", "device"],
    HARD_HOOKS,
    "5.8",
    "Handlers of hardware interrupts that ran, by CPU and line. Interrupts of the CPUs themselves, such as their timers and those \
     they send each other, have no such handler."
);
descriptor!(
    pub(super) static HARD_TIME,
    "cgscope_host_irq_seconds_total",
    "interrupt time",
    Seconds,
    Counter,
    Host,
    &["cpu", "irq", "device"],
    HARD_HOOKS,
    "5.8",
    "Time in handlers of hardware interrupts, by CPU and line."
);
descriptor!(
    pub(super) static SOFT,
    "cgscope_host_softirq_runs_total",
    "softirq runs",
    Count,
    Counter,
    Host,
    &["cpu", "kind"],
    SOFT_HOOKS,
    "5.8",
    "Softirqs that ran, by CPU and kind."
);
descriptor!(
    pub(super) static SOFT_TIME,
    "cgscope_host_softirq_seconds_total",
    "softirq time",
    Seconds,
    Counter,
    Host,
    &["cpu", "kind"],
    SOFT_HOOKS,
    "5.8",
    "Time in softirqs, by CPU and kind, without that of hardware interrupts in the middle of them."
);
descriptor!(
    pub(super) static INTERRUPTIONS,
    "cgscope_irq_interruptions_total",
    "interruptions",
    Count,
    Counter,
    Container,
    &["kind"],
    ALL_HOOKS,
    "5.8",
    "How often a hardware interrupt (hard) or a softirq of each kind ran in the time of its threads, whomever it was for. The kernel's \
     own threads that run softirqs are among kernel."
);
descriptor!(
    pub(super) static STOLEN,
    "cgscope_irq_stolen_seconds_total",
    "interrupted",
    Seconds,
    Counter,
    Container,
    &["kind"],
    ALL_HOOKS,
    "5.8",
    "How long they took of that time. It is a part of its CPU time unless the kernel accounts for interrupts apart."
);

/// Everything.
pub(in crate::collect) static DESCRIPTORS: &[&Descriptor] =
    &[&HARD, &HARD_TIME, &SOFT, &SOFT_TIME, &INTERRUPTIONS, &STOLEN];
