//! Starting the engine: from options to running threads, or a clear reason why not.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
    thread,
    time::Duration,
};

use super::{
    Engine, Shared, audit, history,
    recorder::{self, Keeper, Recorder},
    report::Costs,
};
use monitor_common::drops::DropReason;

use crate::{
    collect::Collector,
    container::Registry,
    kernel::{
        btf,
        cgroupfs::{CgroupTree, Hierarchy, HierarchyId},
        host::Host,
        memory::{give_memory_back, let_go_of_code},
    },
    probe::{Config, Family, HookChoice, Identity, ProbeError, Probes, own},
    serve::{
        Backend, BackendError, EngineOptions,
        intake::Intake,
        options::{Hook, IdentityChoice, KernelLog},
        push::{OtlpPush, ProfilePush, RemoteWrite},
        tape::FlightUse,
    },
    store::{Live, profiles::Archive},
    symbol::Symbols,
    unwind::Unwinder,
};

/// How long the names of the containers that are there may take before questions are answered.
const NAMES_PATIENCE: Duration = Duration::from_secs(2);

/// Loads the kernel half and starts to collect.
///
/// # Errors
/// What leaves nothing to run: privilege, missing types, options that cannot be.
pub fn start(options: &EngineOptions) -> Result<Arc<dyn Backend>, BackendError> {
    let tree = hierarchy(&options.identity)?;
    let config = config(options, &tree)?;
    // The order matters: births are announced from here on, then the tree is walked, then the ring is read, so that no
    // cgroup falls in between.
    let (probes, readers) = Probes::load(&config).map_err(failure)?;
    report_refusals(&probes);
    let registry = Arc::new(Registry::start(tree));
    let symbols = Symbols::start().map_err(|error| BackendError::Failed {
        what: error.to_string(),
        remedy: "free memory or raise the limit of threads, then start again".into(),
    })?;
    let collector = Collector::new(probes, readers.events, readers.outliers, Arc::clone(&registry));
    let of_mapped = symbols.clone();
    let cache = options.unwind_cache.as_deref();
    let unwinder = Unwinder::start(readers.unwind, cache, move |process| of_mapped.mapped(process))
        .map_err(|error| thread_failure("unwinder", &error))?;
    let history =
        history::start(options, &registry).map_err(|error| thread_failure("history", &error))?;
    let live = Live::default();
    let push = options
        .push
        .clone()
        .map(|options| RemoteWrite::start(options, &live, Arc::clone(&registry)))
        .transpose()
        .map_err(|error| thread_failure("remote write", &error))?;
    let otlp = options
        .otlp
        .clone()
        .map(|options| OtlpPush::start(options, &live, Arc::clone(&registry)))
        .transpose()
        .map_err(|error| thread_failure("push by OTLP", &error))?;
    let profile_push = options.profiles.as_ref().and_then(|profiles| profiles.push.clone());
    let profile_push = profile_push
        .map(|options| ProfilePush::start(options, Arc::clone(&registry)).map(Arc::new))
        .transpose()
        .map_err(|error| thread_failure("push of profiles", &error))?;
    let archive = options.profiles.as_ref().map(|o| Arc::new(Archive::new(o.archive.clone())));
    let shared = Arc::new(Shared {
        collector: Mutex::new(collector),
        host: Mutex::new(host(options)),
        auditor: Mutex::new(audit::Auditor::new()),
        registry: Arc::clone(&registry),
        live,
        history,
        archive: archive.clone(),
        push,
        otlp,
        intake: options.intake.as_ref().map(|intake| Arc::new(Intake::new(intake.max_series))),
        flight_use: options.flight_bytes.map(|bytes| Arc::new(FlightUse::new(bytes))),
        profile_push: profile_push.clone(),
        symbols: symbols.clone(),
        unwinder: unwinder.clone(),
        costs: Mutex::new(Costs::default()),
        options: options.clone(),
        is_ending: AtomicBool::new(false),
    });
    let losses = {
        let shared = Arc::clone(&shared);
        move || {
            let collector = shared.collector();
            let dropped = own::dropped(collector.probes()).into_iter();
            let of_stacks = dropped.filter(|(reason, _)| {
                matches!(reason, DropReason::StackRingFull | DropReason::StackNested)
            });
            of_stacks.map(|(_, count)| count).sum()
        }
    };
    let catch_up = {
        let shared = Arc::clone(&shared);
        move || shared.read_events()
    };
    let block = HierarchyId(shared.collector().probes().tunables.block_hierarchy_id);
    let parts = recorder::Parts { registry, symbols, unwinder, block };
    let slots = {
        let shared = Arc::clone(&shared);
        move || shared.collector().probes().slots.iter().collect()
    };
    let news = recorder::News {
        lost: Box::new(losses),
        catch_up: Box::new(catch_up),
        slots: Box::new(slots),
    };
    let samplers = recorder::Samplers {
        clock: readers.sampler,
        waits: readers.waits,
        weights: readers.weights,
    };
    let recorder = Recorder::start(readers.stacks, samplers, parts, news)
        .map_err(|error| thread_failure("recorder", &error))?;
    let keeper = match (archive, &options.profiles) {
        (Some(archive), Some(options)) => {
            let keeper = Keeper::start(&recorder, archive, profile_push, options.frequency_hz);
            Some(keeper.map_err(|error| thread_failure("keeper of profiles", &error))?)
        }
        _ => None,
    };
    if let Some(mut log) = readers.log {
        thread::Builder::new()
            .name("cgscope-kernlog".into())
            .spawn(move || {
                loop {
                    log.flush();
                    thread::sleep(super::EVENT_INTERVAL);
                }
            })
            .map_err(|error| thread_failure("kernel log", &error))?;
    }
    let collecting = thread::Builder::new()
        .name("cgscope-collect".into())
        .spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })
        .map_err(|error| thread_failure("collector", &error))?;
    // Whoever asks first asks by name. If the files are that slow, ids have to do until then.
    shared.registry.wait_for_names(NAMES_PATIENCE);
    // What only the start needed, most of it the kernel's types.
    give_memory_back();
    let_go_of_code();
    Ok(Arc::new(Engine { shared, recorder, keeper, collecting: Some(collecting) }))
}

/// The sources of the host, at the intervals that were asked for.
fn host(options: &EngineOptions) -> Host {
    let mut host = Host::new();
    for (name, interval) in &options.source_intervals {
        // Names were checked where they were given.
        host.set_interval(name, *interval);
    }
    host
}

pub(super) fn thread_failure(what: &str, error: &std::io::Error) -> BackendError {
    BackendError::Failed {
        what: format!("the thread of the {what} cannot start: {error}"),
        remedy: "raise the limit of threads (ulimit -u)".into(),
    }
}

fn hierarchy(choice: &IdentityChoice) -> Result<CgroupTree, BackendError> {
    let tree = match choice {
        IdentityChoice::Auto => CgroupTree::detect(),
        IdentityChoice::V2 => CgroupTree::with(&Hierarchy::V2),
        IdentityChoice::V1(controller) => {
            CgroupTree::with(&Hierarchy::V1 { controller: controller.clone() })
        }
    };
    tree.map_err(|error| BackendError::Unsupported {
        what: "identity of containers".into(),
        why: error.to_string(),
    })
}

fn config(options: &EngineOptions, tree: &CgroupTree) -> Result<Config, BackendError> {
    let mut named = options.disabled.iter().chain(&options.enabled);
    if let Some(unknown) =
        named.find(|name| !Family::ALL.iter().any(|family| family.name() == **name))
    {
        let names: Vec<_> = Family::ALL.iter().map(|family| family.name()).collect();
        return Err(BackendError::Invalid {
            what: format!("there is no family {unknown:?}"),
            remedy: format!("name one of {}", names.join(", ")),
        });
    }
    let is_in = |names: &[String], family: &Family| names.iter().any(|n| n == family.name());
    let is_on = |family: &Family| {
        (family.is_default() || is_in(&options.enabled, family))
            && !is_in(&options.disabled, family)
    };
    Ok(Config {
        families: Family::ALL.into_iter().filter(is_on).collect(),
        max_cgroups: options.max_cgroups,
        max_threads: options.max_threads.unwrap_or(0),
        event_ring_bytes: options.event_ring_bytes,
        stack_ring_bytes: options.stack_ring_bytes.unwrap_or(0),
        unwind_table_bytes: options.unwind_table_bytes,
        single_calls: options.single_calls.clone(),
        hook: match options.hook {
            Hook::Auto => HookChoice::Auto,
            Hook::TpBtf => HookChoice::TpBtf,
            Hook::RawTp => HookChoice::RawTp,
        },
        identity: match &tree.hierarchy {
            Hierarchy::V2 => Identity::V2,
            Hierarchy::V1 { controller } => Identity::V1 {
                controller: kernel_name(controller).to_owned(),
                hierarchy_id: tree.hierarchy_id.0,
            },
        },
        btf: options.btf.clone().unwrap_or_else(|| PathBuf::from(btf::VMLINUX)),
        kernel_log_level: match options.kernel_log {
            KernelLog::Off => 0,
            KernelLog::Error => 1,
            KernelLog::Warn => 2,
            KernelLog::Info => 3,
            KernelLog::Debug => 4,
        },
    })
}

/// A v1 controller's name in the kernel's `cgroup_subsys_id`; the mount option of one of them differs.
fn kernel_name(controller: &str) -> &str {
    if controller == "blkio" { "io" } else { controller }
}

fn failure(error: ProbeError) -> BackendError {
    let text = error.to_string();
    match error {
        ProbeError::Privilege { what, source } => BackendError::NeedsPrivilege {
            what: format!("cannot {what} ({source})"),
            remedy: "run it with sudo, or give it CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN".into(),
        },
        ProbeError::Btf(_) | ProbeError::NoController { .. } | ProbeError::Refused { .. } => {
            BackendError::Unsupported { what: "the kernel half".into(), why: text }
        }
        ProbeError::RingSize { .. } => {
            BackendError::Invalid { what: text, remedy: "give a size like 256K or 4M".into() }
        }
        ProbeError::NoObject | ProbeError::Machine { .. } => {
            BackendError::Failed { what: text, remedy: "`cgscope doctor` says more".into() }
        }
    }
}

fn report_refusals(probes: &Probes) {
    for program in &probes.programs {
        for refusal in &program.refusals {
            let is_replaced = program.hook.is_some();
            tracing::warn!(program = program.name, is_replaced, "the kernel refuses {refusal}");
        }
    }
}
