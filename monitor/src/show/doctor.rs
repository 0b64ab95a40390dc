//! `cgscope doctor`: what this kernel offers, what is missing, what cgscope costs and loses.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    arguments::DoctorArguments,
    client::{Client, path},
    failure::Failure,
    number,
    output::{print, print_json},
    program::Engine,
    table::{self, Side},
    text::clean,
};
use crate::serve::{
    EngineOptions,
    report::{Check, CheckStatus, DoctorReport, ProbesReport},
};

/// What `doctor --json` prints.
#[derive(Debug, Serialize, Deserialize)]
struct Examination {
    doctor: DoctorReport,
    /// Absent when the engine could not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<ProbesReport>,
}

pub fn doctor(engine: Engine, arguments: &DoctorArguments) -> Result<(), Failure> {
    let options = arguments.engine.options(EngineOptions::default().frequency_hz);
    let client = match Client::daemon(&arguments.connect) {
        Some(daemon) => Ok(daemon),
        None => (engine.start)(&options)
            .map_err(Failure::from)
            .and_then(|backend| Client::local(backend, options.frequency_hz)),
    };
    let (examination, refused) = match client {
        Ok(client) => {
            let doctor = client.get(&path(&["doctor"], &[]), Duration::ZERO)?;
            let probes = client.get(&path(&["probes"], &[]), Duration::ZERO)?;
            (Examination { doctor, probes: Some(probes) }, None)
        }
        // What can be told without the engine is worth most when it does not start.
        Err(refused) => {
            let doctor = (engine.doctor)(&options);
            (Examination { doctor, probes: None }, Some(refused))
        }
    };
    if arguments.json {
        print_json(&examination)?;
    } else {
        print(&draw(&examination))?;
    }
    refused.map_or(Ok(()), Err)
}

fn draw(examination: &Examination) -> String {
    let doctor = &examination.doctor;
    let mut text = format!("Kernel {}\n\n", clean(&doctor.kernel));
    for check in &doctor.checks {
        text.push_str(&draw_check(check));
    }
    if let Some(probes) = &examination.probes {
        text.push_str(&draw_programs(probes));
        text.push_str(&draw_cost(probes));
        text.push_str(&draw_losses(probes));
    }
    text
}

fn draw_check(check: &Check) -> String {
    let sign = match check.status {
        CheckStatus::Ok => "ok      ",
        CheckStatus::Degraded => "degraded",
        CheckStatus::Missing => "missing ",
    };
    let mut text = format!("{sign}  {}: {}\n", clean(&check.name), clean(&check.detail));
    if !check.remedy.is_empty() {
        text.push_str(&format!("          remedy: {}\n", clean(&check.remedy)));
    }
    if !check.metrics_affected.is_empty() {
        text.push_str(&format!("          affects: {}\n", check.metrics_affected.join(", ")));
    }
    text
}

fn draw_programs(probes: &ProbesReport) -> String {
    let unknown = || number::UNKNOWN.to_owned();
    let rows: Vec<Vec<String>> = probes
        .programs
        .iter()
        .map(|program| {
            vec![
                clean(&program.name),
                clean(&program.family),
                program.attached.as_deref().map_or_else(|| "off".to_owned(), clean),
                program.calls.map_or_else(unknown, number::count),
                program.ns_per_call.map_or_else(unknown, |ns| format!("{ns:.0}")),
                program.recursion_misses.map_or_else(unknown, number::count),
                program.error.as_deref().map(clean).unwrap_or_default(),
            ]
        })
        .collect();
    let heading = [
        ("PROGRAM", Side::Left),
        ("FAMILY", Side::Left),
        ("HOOK", Side::Left),
        ("CALLS", Side::Right),
        ("NS/CALL", Side::Right),
        ("MISSED", Side::Right),
        ("WHY NOT", Side::Left),
    ];
    format!("\n{}", table::draw(&heading, &rows))
}

fn draw_cost(probes: &ProbesReport) -> String {
    let bytes = |bytes: Option<u64>| {
        bytes.map_or(number::UNKNOWN.to_owned(), |bytes| number::bytes(bytes as f64))
    };
    format!(
        "\nmemory {}, kernel maps {}, CPU time {}\n",
        bytes(probes.memory.rss_bytes),
        bytes(probes.memory.maps_bytes),
        probes.cpu_seconds.map_or(number::UNKNOWN.to_owned(), number::seconds),
    )
}

fn draw_losses(probes: &ProbesReport) -> String {
    let lost: Vec<Vec<String>> = probes
        .drops
        .iter()
        .filter(|drop| drop.count > 0)
        .map(|drop| vec![drop.reason.clone(), number::count(drop.count), drop.remedy.clone()])
        .collect();
    if lost.is_empty() {
        return "nothing was lost\n".to_owned();
    }
    let heading = [("LOST", Side::Left), ("COUNT", Side::Right), ("REMEDY", Side::Left)];
    format!("\n{}", table::draw(&heading, &lost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::report::{DropReport, ProgramReport};

    #[test]
    fn what_is_missing_is_told_with_its_remedy() {
        let examination = Examination {
            doctor: DoctorReport {
                kernel: "6.18.0".to_owned(),
                checks: vec![Check {
                    name: "BTF".to_owned(),
                    status: CheckStatus::Missing,
                    detail: "/sys/kernel/btf/vmlinux is missing".to_owned(),
                    remedy: "use --btf".to_owned(),
                    metrics_affected: vec!["cgscope_sched_threads".to_owned()],
                }],
            },
            probes: Some(ProbesReport {
                programs: vec![ProgramReport {
                    name: "sched_switch".to_owned(),
                    family: "sched".to_owned(),
                    ..ProgramReport::default()
                }],
                drops: vec![
                    DropReport {
                        reason: "no_slot".to_owned(),
                        count: 3,
                        remedy: "raise --max-cgroups".to_owned(),
                    },
                    DropReport { reason: "clock_skew".to_owned(), count: 0, remedy: String::new() },
                ],
                ..ProbesReport::default()
            }),
        };
        let text = draw(&examination);
        for part in [
            "missing   BTF: /sys",
            "remedy: use --btf",
            "sched_switch",
            "off",
            "no_slot      3  raise --max-cgroups",
            "memory -",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("clock_skew"), "{text}");
    }
}
