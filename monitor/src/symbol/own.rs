//! What the symbol stage holds, and what became of what it was asked, as metrics of cgscope itself.

use std::borrow::Cow;

use super::SymbolStats;
use crate::metric::{Descriptor, Sample, Subject, Value, descriptor};

descriptor!(
    static HELD,
    "cgscope_own_symbol_held",
    "held for names",
    Count,
    Gauge,
    Own,
    &["kind"],
    "symbolizer",
    "5.8",
    "What is kept to name the frames of stacks: memory maps of processes (processes), files that are known (files), of those open (open) \
     and parsed (parsed), and addresses with their frames (addresses)."
);
descriptor!(
    static OUTCOMES,
    "cgscope_own_symbol_outcomes_total",
    "outcomes of naming",
    Count,
    Counter,
    Own,
    &["outcome"],
    "symbolizer",
    "5.8",
    "What became of naming: addresses of files that were known (address_known) or looked up (address_looked_up), functions of Python \
     that were named (function_named) or gone by then (function_gone), stacks left without names for want of time or room \
     (stack_late), processes looked at again for a sample in code they did not have before (process_renewed) or not looked at for \
     want of room (process_refused), files given up as damaged (file_damaged), and what was dropped to make room (evicted)."
);

/// What is measured of the symbol stage.
pub static DESCRIPTORS: &[&Descriptor] = &[&HELD, &OUTCOMES];

/// Appends what is held and happened so far.
pub fn collect(stats: &SymbolStats, samples: &mut Vec<Sample>) {
    let mut push = |metric, label: &'static str, value| {
        let labels = [Cow::Borrowed(label)].into();
        samples.push(Sample { metric, subject: Subject::Host, labels, value });
    };
    let held = [
        ("processes", stats.processes),
        ("files", stats.objects),
        ("open", stats.objects_open),
        ("parsed", stats.objects_parsed),
        ("addresses", stats.cached_addresses),
    ];
    for (kind, count) in held {
        push(&HELD, kind, Value::Gauge(count as f64));
    }
    let outcomes = [
        ("address_known", stats.cache_hits),
        ("address_looked_up", stats.cache_misses),
        ("function_named", stats.functions_named),
        ("function_gone", stats.functions_gone),
        ("stack_late", stats.stacks_behind),
        ("process_renewed", stats.looks_renewed),
        ("process_refused", stats.looks_dropped),
        ("file_damaged", stats.objects_damaged),
        ("evicted", stats.evicted),
    ];
    for (outcome, count) in outcomes {
        push(&OUTCOMES, outcome, Value::Counter(count));
    }
}
