//! What this kernel offers, which hook serves each family, what is missing and the remedy.

use std::time::Duration;

use crate::{
    analyze::audit::{AuditReport, CheckReport, TOLERANCE},
    container::Registry,
    kernel::{
        features::{self, Feature},
        host::{Health, SourceStatus},
    },
    metric::KtimeNs,
    probe::{Family, Probes, ProgramStatus, own},
    serve::{
        EngineOptions,
        duration::Span,
        report::{Check, CheckStatus, DoctorReport},
    },
    store::{History, profiles::Archive},
    unwind::UnwindStats,
};

/// Looks at everything anew.
pub(super) fn report(
    probes: &Probes,
    registry: &Registry,
    unwind: &UnwindStats,
    sources: &[SourceStatus],
    audit: &AuditReport,
    options: &EngineOptions,
    (history, archive): (Option<&History>, Option<&Archive>),
) -> DoctorReport {
    let mut checks = vec![identity(registry), unwind_tables(unwind)];
    checks.extend(super::history::checks(history));
    checks.extend(super::history::profile_checks(archive));
    checks.extend(sources.iter().map(source));
    checks.extend(audit.checks.iter().map(|check| audited(check, audit)));
    checks.extend(probes.programs.iter().map(program));
    let off = Family::ALL.iter().filter(|f| options.disabled.iter().any(|name| name == f.name()));
    checks.extend(off.map(|family| Check {
        name: format!("family {family}"),
        status: CheckStatus::Missing,
        detail: "switched off".into(),
        remedy: format!("leave out --disable {family}"),
        metrics_affected: metrics_of(*family),
    }));
    let is_asked = |f: &&Family| {
        f.is_default()
            || options.enabled.iter().chain(&options.disabled).any(|name| name == f.name())
    };
    checks.extend(Family::ALL.iter().filter(|family| !is_asked(family)).map(|family| Check {
        name: format!("family {family}"),
        status: CheckStatus::Ok,
        detail: format!("off unless asked for: --enable {family}"),
        remedy: String::new(),
        metrics_affected: vec![],
    }));
    checks.extend(probes.missing_members.iter().map(|member| Check {
        name: format!("kernel member {member}"),
        status: CheckStatus::Degraded,
        detail: "this kernel has no such member".into(),
        remedy: "none: what depends on it is shown as unknown".into(),
        metrics_affected: vec!["cgscope_sched_state_seconds_total".into()],
    }));
    checks.extend(losses(probes));
    checks.extend(features::features().into_iter().map(feature));
    DoctorReport { kernel: release(), checks }
}

/// What can be told without a running engine, for when it does not start.
pub fn without_engine(_: &EngineOptions) -> DoctorReport {
    DoctorReport {
        kernel: release(),
        checks: features::features().into_iter().map(feature).collect(),
    }
}

fn release() -> String {
    // Every Linux has the file; without /proc nothing of this would run.
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn identity(registry: &Registry) -> Check {
    let tree = registry.tree();
    Check {
        name: "container identity".into(),
        status: CheckStatus::Ok,
        detail: format!("{} at {}: {}", tree.hierarchy, tree.mount.display(), tree.reason),
        remedy: String::new(),
        metrics_affected: vec![],
    }
}

/// How much of their room the unwind tables have, and whether it was enough so far.
fn unwind_tables(stats: &UnwindStats) -> Check {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut detail = format!(
        "{} tables in {:.1} of {:.1} MiB",
        stats.tables,
        mib(stats.used_bytes),
        mib(stats.limit_bytes)
    );
    if stats.is_active {
        detail += &format!(", for {} processes", stats.processes);
    }
    if stats.evicted > 0 {
        detail += &format!(", {} dropped for others", stats.evicted);
    }
    if stats.cache_bytes > 0 {
        detail += &format!(", {:.1} MiB kept on disk", mib(stats.cache_bytes));
    }
    if stats.cache_damaged + stats.cache_not_written > 0 {
        detail += &format!(
            " ({} of them damaged or of another version, {} not written)",
            stats.cache_damaged, stats.cache_not_written
        );
    }
    let is_short = stats.refused > 0;
    if is_short {
        detail += &format!(", {} found no room", stats.refused);
    }
    let when_short = |text: &str| if is_short { text.to_owned() } else { String::new() };
    Check {
        name: "unwind tables".into(),
        status: if is_short { CheckStatus::Degraded } else { CheckStatus::Ok },
        detail,
        remedy: when_short("raise --unwind-table-size"),
        metrics_affected: if is_short { vec!["flame graphs".into()] } else { vec![] },
    }
}

/// A file that is read again and again, or several.
fn source(source: &SourceStatus) -> Check {
    let every = match source.interval_ns {
        0 => "each tick".to_owned(),
        interval_ns => format!("every {}", Span(Duration::from_nanos(interval_ns))),
    };
    let age_ms = source.last_read.map(|at| KtimeNs::now().since(at).as_millis() as u64);
    let read = age_ms.map_or_else(
        || "not read yet".to_owned(),
        |ms| format!("last {} ago", Span(Duration::from_millis(ms))),
    );
    let (status, detail) = match source.health {
        Health::Ok => (CheckStatus::Ok, format!("read {every}, {read}")),
        Health::Failing => (CheckStatus::Degraded, format!("read {every}, {read}")),
        Health::Disabled => (CheckStatus::Ok, "switched off".to_owned()),
        Health::Absent => (CheckStatus::Missing, "this machine does not have it".to_owned()),
    };
    Check {
        name: format!("source {}", source.name),
        status,
        detail,
        remedy: source.last_error.clone().unwrap_or_default(),
        metrics_affected: vec![],
    }
}

/// A figure of ours beside the kernel's own.
fn audited(check: &CheckReport, audit: &AuditReport) -> Check {
    let CheckReport { metric, against, counted, expected, error_ratio, .. } = check;
    let seconds = check.subjects.iter().map(|one| one.span_ns).max().unwrap_or(0) / 1_000_000_000;
    let round_us = audit.spent_ns / audit.rounds.max(1) / 1_000;
    let mut detail = format!(
        "{:.2} % off in {seconds} s: {metric} rose by {counted:.3}, {against} by {expected:.3}; a round takes {round_us} us",
        error_ratio * 100.0
    );
    let is_off = *error_ratio > TOLERANCE && !check.is_sampled;
    if is_off && let Some(worst) = check.subjects.first() {
        detail += &format!(", furthest off is {} by {:.3}", worst.subject, worst.error);
    }
    Check {
        name: format!("audit {}", check.name),
        status: if is_off { CheckStatus::Degraded } else { CheckStatus::Ok },
        detail,
        remedy: if is_off {
            "look for losses above; without any, report it with /api/v1/audit".into()
        } else {
            String::new()
        },
        metrics_affected: if is_off { vec![metric.clone()] } else { vec![] },
    }
}

fn program(program: &ProgramStatus) -> Check {
    let refusals = program.refusals.join("; ");
    let (status, detail) = match program.hook {
        Some((kind, target)) if refusals.is_empty() => {
            (CheckStatus::Ok, format!("{kind} {target}"))
        }
        Some((kind, target)) => {
            (CheckStatus::Degraded, format!("{kind} {target}, since {refusals}"))
        }
        None => (CheckStatus::Missing, refusals),
    };
    let is_missing = status == CheckStatus::Missing;
    Check {
        name: format!("program {}", program.name),
        status,
        detail,
        remedy: if is_missing {
            "report it with the kernel's release".into()
        } else {
            String::new()
        },
        metrics_affected: if is_missing { metrics_of(program.family) } else { vec![] },
    }
}

fn metrics_of(family: Family) -> Vec<String> {
    match family {
        Family::Profile => vec!["flame graphs".into()],
        Family::Cgroup => vec!["names of containers that live less than five seconds".into()],
        Family::Sched
        | Family::Process
        | Family::Block
        | Family::Tcp
        | Family::Memory
        | Family::Syscall
        | Family::Files
        | Family::Irq
        | Family::Limits => {
            let prefix = format!("cgscope_{family}_");
            let is_of_family = |name: &String| {
                name.starts_with(&prefix)
                    || family == Family::Tcp && name.starts_with("cgscope_udp_")
                    || family == Family::Irq && name.contains("_host_") && name.contains("irq_")
            };
            let descriptors = crate::collect::DESCRIPTORS.iter().copied().flatten();
            let names = descriptors.map(|metric| metric.name.to_owned());
            names.filter(is_of_family).collect()
        }
    }
}

/// Each kind of loss that has happened.
fn losses(probes: &Probes) -> Vec<Check> {
    own::dropped(probes)
        .into_iter()
        .filter(|&(_, count)| count > 0)
        .map(|(reason, count)| Check {
            name: format!("loss {}", reason.name()),
            status: CheckStatus::Degraded,
            detail: format!("{count} since the start"),
            remedy: reason.remedy().into(),
            metrics_affected: vec!["cgscope_own_dropped_total".into()],
        })
        .collect()
}

fn feature(feature: Feature) -> Check {
    let status = match feature.is_present {
        Some(true) => CheckStatus::Ok,
        Some(false) => CheckStatus::Missing,
        None => CheckStatus::Degraded,
    };
    let is_well = status == CheckStatus::Ok;
    Check {
        name: feature.name.to_owned(),
        status,
        detail: feature.detail,
        remedy: if is_well { String::new() } else { feature.remedy },
        metrics_affected: if is_well {
            vec![]
        } else {
            feature.needed_for.into_iter().map(Into::into).collect()
        },
    }
}
