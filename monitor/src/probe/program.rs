//! Loading and attaching the programs of the object, and which hook each of them got.
//!
//! Contract: attach order is tp_btf, then raw_tp. Never two of our programs on one tracepoint: the first that the
//! kernel takes ends the list. Only while waits or events with a weight are recorded, the program of their stacks comes to that which
//! counts there.

use std::{
    collections::HashMap,
    io,
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, Iter, PerfEvent, Program, ProgramError, RawTracePoint, TracePoint,
        perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
};

use super::{
    Family, HookChoice,
    failure::chain,
    task::{FaultKind, Hook, Task},
};
use crate::kernel::cpus;

/// What became of one program.
#[derive(Clone, Debug)]
pub struct ProgramStatus {
    /// Its name in the object, or the first candidate's if none was taken.
    pub name: &'static str,
    /// Which family it is of.
    pub family: Family,
    /// The kind of hook, and what it is hooked to; `None` if no candidate was taken.
    pub hook: Option<(&'static str, &'static str)>,
    /// Why not, or why not by a better hook.
    pub refusals: Vec<String>,
}

/// A task on its way to a hook: which candidate is loaded, and what the kernel said of those before it.
pub(super) struct Pending {
    task: &'static Task,
    candidate: usize,
    refusals: Vec<String>,
}

/// The programs of one task.
type Candidates<'a> = HashMap<&'a str, &'a mut Program>;

/// At so many programs the kernel looks at once, where there are as many CPUs.
const MAX_LOADERS: usize = 4;

/// Loads the first candidate of each task that the kernel takes. Attaching comes after all are loaded, so that stock taking
/// and counting begin within microseconds of each other: verifying takes up to a second a program, 3.7 s for all, so several threads do it.
pub(super) fn load_all(
    ebpf: &mut Ebpf,
    btf: &Btf,
    tasks: impl Iterator<Item = &'static Task>,
    choice: HookChoice,
) -> Vec<Pending> {
    let mut programs: Candidates<'_> = ebpf.programs_mut().collect();
    let mut of_tasks: Vec<(Pending, Candidates<'_>)> = tasks
        .map(|task| {
            let names = task.candidates.iter().map(|(name, _)| *name);
            let candidates = names.filter_map(|name| programs.remove_entry(name)).collect();
            (Pending { task, candidate: 0, refusals: Vec::new() }, candidates)
        })
        .collect();
    let left = Mutex::new(of_tasks.iter_mut());
    let load = || loop {
        let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((pending, candidates)) = next else { return };
        pending.load_from(0, candidates, btf, choice);
    };
    let loaders = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_LOADERS);
    thread::scope(|scope| {
        for _ in 1..loaders {
            // What no thread can be had for, this one does.
            let _ = thread::Builder::new().spawn_scoped(scope, load);
        }
        load();
    });
    of_tasks.into_iter().map(|(pending, _)| pending).collect()
}

/// Attaches what is loaded; where the kernel refuses, the next candidate.
pub(super) fn attach_all(
    ebpf: &mut Ebpf,
    btf: &Btf,
    pending: Vec<Pending>,
    choice: HookChoice,
) -> Vec<ProgramStatus> {
    let mut statuses = Vec::new();
    for mut pending in pending {
        while let Some(&(name, hook)) = pending.task.candidates.get(pending.candidate) {
            match attach(ebpf, name, hook) {
                Ok(()) => break,
                Err(reason) => {
                    pending.refuse(hook, &reason);
                    let mut programs = ebpf.programs_mut().collect();
                    pending.load_from(pending.candidate + 1, &mut programs, btf, choice);
                }
            }
        }
        statuses.push(pending.into_status());
    }
    statuses
}

/// Takes stock a second time, after the hooks are attached: a thread that went to sleep between the first time and its hook
/// would otherwise count as running until it wakes.
pub(super) fn take_stock_again(ebpf: &mut Ebpf, statuses: &[ProgramStatus]) {
    for status in
        statuses.iter().filter(|status| status.hook.is_some_and(|(kind, _)| kind == "iter"))
    {
        if let Some(Err(error)) = ebpf.program_mut(status.name).map(run_iterator) {
            tracing::warn!(program = status.name, error, "stock was not taken again");
        }
    }
}

impl Pending {
    fn load_from(
        &mut self,
        first: usize,
        programs: &mut Candidates<'_>,
        btf: &Btf,
        choice: HookChoice,
    ) {
        self.candidate = first;
        while let Some(&(name, hook)) = self.task.candidates.get(self.candidate) {
            let is_wanted = match (choice, hook) {
                (HookChoice::TpBtf, Hook::RawTp(_)) => false,
                (HookChoice::RawTp, Hook::TpBtf(_)) => self.task.candidates.len() == 1,
                _ => true,
            };
            if is_wanted {
                match load(programs.get_mut(name), btf, hook) {
                    Ok(()) => return,
                    Err(reason) => self.refuse(hook, &reason),
                }
            }
            self.candidate += 1;
        }
    }

    fn refuse(&mut self, hook: Hook, reason: &str) {
        self.refusals.push(format!("{} {}: {reason}", hook.name(), hook.target()));
    }

    fn into_status(self) -> ProgramStatus {
        let taken = self.task.candidates.get(self.candidate);
        ProgramStatus {
            name: taken.map_or(self.task.name, |&(name, _)| name),
            family: self.task.family,
            hook: taken.map(|&(_, hook)| (hook.name(), hook.target())),
            refusals: self.refusals,
        }
    }
}

fn load(program: Option<&mut &mut Program>, btf: &Btf, hook: Hook) -> Result<(), String> {
    let program: &mut Program = program.ok_or("the object has no such program")?;
    let result = match hook {
        Hook::TpBtf(target) | Hook::Waits(target) | Hook::Weight(target) => {
            <&mut BtfTracePoint>::try_from(program).and_then(|p| p.load(target, btf))
        }
        Hook::RawTp(_) | Hook::OnDemand => {
            <&mut RawTracePoint>::try_from(program).and_then(RawTracePoint::load)
        }
        Hook::Iter(target) | Hook::WaitStock(target) => {
            <&mut Iter>::try_from(program).and_then(|p| p.load(target, btf))
        }
        Hook::WeightEvent(_) => <&mut TracePoint>::try_from(program).and_then(TracePoint::load),
        Hook::PerfEvent | Hook::Fault(_) | Hook::WeightFault(_) => {
            <&mut PerfEvent>::try_from(program).and_then(PerfEvent::load)
        }
    };
    result.map_err(|error| shorten(&error))
}

fn attach(ebpf: &mut Ebpf, name: &str, hook: Hook) -> Result<(), String> {
    let program = ebpf.program_mut(name).ok_or("the object has no such program")?;
    let result = match hook {
        Hook::TpBtf(_) => {
            <&mut BtfTracePoint>::try_from(program).and_then(|p| p.attach().map(drop))
        }
        Hook::RawTp(target) => {
            <&mut RawTracePoint>::try_from(program).and_then(|p| p.attach(target).map(drop))
        }
        Hook::Iter(_) => return run_iterator(program),
        Hook::Fault(kind) => return attach_to_faults(program, kind),
        // A recording does it.
        Hook::PerfEvent | Hook::OnDemand | Hook::Waits(_) | Hook::WaitStock(_) => Ok(()),
        Hook::Weight(_) | Hook::WeightFault(_) | Hook::WeightEvent(_) => Ok(()),
    };
    result.map_err(|error| shorten(&error))
}

/// Each fault is an event: a period of 1. A CPU that refuses is a refusal of all: half the faults would be a wrong number.
fn attach_to_faults(program: &mut Program, kind: FaultKind) -> Result<(), String> {
    let program: &mut PerfEvent = program.try_into().map_err(|e: ProgramError| chain(&e))?;
    let event = match kind {
        FaultKind::Minor => SoftwareEvent::PageFaultsMin,
        FaultKind::Major => SoftwareEvent::PageFaultsMaj,
    };
    for cpu in cpus::online().map_err(|e| e.to_string())? {
        let scope = PerfEventScope::AllProcessesOneCpu { cpu };
        let config = PerfEventConfig::Software(event);
        if let Err(error) = program.attach(config, scope, SamplePolicy::Period(1), false) {
            // What is attached goes with the program.
            let reason = format!("CPU {cpu}: {}", shorten(&error));
            return program.unload().map_or_else(|e| Err(chain(&e)), |()| Err(reason));
        }
    }
    Ok(())
}

/// Runs an iterator over all there is, once, and detaches it.
fn run_iterator(program: &mut Program) -> Result<(), String> {
    let program: &mut Iter = program.try_into().map_err(|e: ProgramError| chain(&e))?;
    iterate(program)
}

/// The same of a program of which that is known.
pub(super) fn iterate(program: &mut Iter) -> Result<(), String> {
    let link = program.attach().and_then(|id| program.take_link(id)).map_err(|e| chain(&e))?;
    let mut file = link.into_file().map_err(|e| chain(&e))?;
    io::copy(&mut file, &mut io::sink()).map_err(|e| e.to_string())?;
    Ok(())
}

/// The kernel's reason in a few lines: the last words of the verifier's log, which can be megabytes.
fn shorten(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
        let last = lines.len().saturating_sub(4);
        return format!("{io_error}: {}", lines[last..].join(" | "));
    }
    chain(error)
}
