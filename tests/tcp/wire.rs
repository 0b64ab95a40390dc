//! A wire between two containers, packets that are lost on it, and the kernel's own counters at its ends.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{Container, run_captured};

/// The address of the first end, the client's.
pub const CLIENT: &str = "10.77.0.1";
/// The address of the second end, the server's.
pub const SERVER: &str = "10.77.0.2";
/// The same in IPv6.
pub const SERVER_V6: &str = "fd77::2";

/// Connects two containers that have no network. The kernel removes the wire with the first namespace that ends.
pub fn connect(client: &Container, server: &Container) -> Result<()> {
    let (near, far) = (client.host_pid()?.to_string(), server.host_pid()?.to_string());
    let pair =
        ["link", "add", "wire", "netns", &near, "type", "veth", "peer", "wire", "netns", &far];
    run(Command::new("ip").args(pair))?;
    for (pid, v4, v6) in [(&near, CLIENT, "fd77::1"), (&far, SERVER, SERVER_V6)] {
        let ip = |arguments: &[&str]| inside(pid, &[&["ip"], arguments].concat());
        ip(&["address", "add", &format!("{v4}/24"), "dev", "wire"])?;
        ip(&["address", "add", &format!("{v6}/64"), "dev", "wire", "nodad"])?;
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "set", "wire", "up"])?;
    }
    Ok(())
}

/// Loses what arrives at a container and matches: one packet of every `every`.
pub fn lose(container: &Container, matching: &[&str], every: u32) -> Result<()> {
    let every = every.to_string();
    let nth =
        ["-m", "statistic", "--mode", "nth", "--every", &every, "--packet", "0", "-j", "DROP"];
    let rule = [&["iptables", "-A", "INPUT", "-i", "wire"], matching, &nth].concat();
    inside(&container.host_pid()?.to_string(), &rule).map(drop)
}

/// How many packets were lost by [`lose`].
pub fn lost_packets(container: &Container) -> Result<u64> {
    let pid = container.host_pid()?.to_string();
    let list = ["iptables", "-n", "-v", "-x", "-L", "INPUT"];
    let listed = inside(&pid, &list)?;
    let rules = listed.lines().filter(|line| line.contains("DROP"));
    let counts = rules.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

/// A counter of `/proc/PID/net/snmp`: of the network namespace that a container has for itself.
pub fn kernel_counter(container: &Container, group: &str, name: &str) -> Result<u64> {
    let path = format!("/proc/{}/net/snmp", container.host_pid()?);
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let mut both = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = both.find(|(known, _)| *known == name).with_context(|| name.to_owned())?;
    Ok(value.parse()?)
}

/// How many TCP sockets a namespace has in a state, by the number of `/proc/PID/net/tcp`.
pub fn kernel_sockets(container: &Container, state: u32) -> Result<u64> {
    let mut count = 0;
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{}/net/{table}", container.host_pid()?))?;
        let states = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(3));
        count += states.filter(|s| u32::from_str_radix(s, 16) == Ok(state)).count() as u64;
    }
    Ok(count)
}

/// Runs a command of this machine in the network of a process.
fn inside(pid: &str, command: &[&str]) -> Result<String> {
    run(Command::new("nsenter").args(["--target", pid, "--net"]).args(command))
}

fn run(command: &mut Command) -> Result<String> {
    let done = run_captured(command)?;
    ensure!(done.success(), "{command:?}: {}", done.stderr);
    Ok(done.stdout)
}
