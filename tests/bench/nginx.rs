//! What a web server loses: requests a second of nginx under wrk on loopback, with the daemon as a user would start it, with tools of
//! libbpf-tools that do a part of it, and without any.
//!
//! Contract: server and client share the CPUs, as they do on one host; which of them comes first changes from round to round, so
//! that a drift of the machine is not taken for a loss.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::peer::AttachedPeer;
use cgscope_tests::{Daemon, run_checked, scratch_dir, wait_until};
use tempfile::TempDir;

use crate::table::{Samples, ratio};

const ADDRESS: &str = "127.0.0.1:17078";
/// What is asked for: a small page.
const PAGE_BYTES: usize = 1_024;
const CONNECTIONS: &str = "32";
/// A part of what the daemon does: waits for a CPU, disks, connections, interrupts.
const PEERS: [&str; 4] = ["runqlat", "biolatency", "tcplife", "softirqs"];
/// So long until connections are open and code is warm.
const WARM_UP: Duration = Duration::from_secs(1);

/// A server of our own, with one worker. Gone with the handle.
struct Server {
    process: Child,
    _directory: TempDir,
}

impl Server {
    fn start() -> Result<Self> {
        let directory = TempDir::with_prefix_in("nginx-", scratch_dir())?;
        let path = directory.path();
        fs::write(path.join("index.html"), vec![b'x'; PAGE_BYTES])?;
        let root = path.display();
        let config = format!(
            "daemon off; worker_processes 1; user root; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {root}/body; \
             proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; \
             scgi_temp_path {root}/scgi; server {{ listen {ADDRESS}; root {root}; }} }}\n"
        );
        fs::write(path.join("config"), config)?;
        let process = Command::new("nginx")
            .arg("-c")
            .arg(path.join("config"))
            .spawn()
            .context("this bench needs nginx and wrk (apt install nginx-light wrk)")?;
        let server = Self { process, _directory: directory };
        wait_until("nginx", Duration::from_secs(10), || {
            Ok(TcpStream::connect(ADDRESS).is_ok().then_some(()))
        })?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: kill takes plain integers; the child is ours and not yet reaped. Killed hard, its worker would stay.
        unsafe { libc::kill(self.process.id() as i32, libc::SIGTERM) };
        // Nothing else to do with one that does not end.
        let _ = self.process.wait();
    }
}

/// Requests a second.
fn requests(duration: Duration) -> Result<f64> {
    let seconds = format!("{}s", duration.as_secs());
    let url = format!("http://{ADDRESS}/");
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--connections", CONNECTIONS, "--duration", &seconds, &url]);
    let said = run_checked(&mut wrk)?;
    let rate = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    rate.and_then(|rate| rate.trim().parse().ok()).with_context(|| format!("wrk said {said}"))
}

/// Who watches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watcher {
    Nobody,
    Cgscope,
    Peers,
}

impl Watcher {
    const ALL: [Self; 3] = [Self::Nobody, Self::Cgscope, Self::Peers];

    /// Requests a second meanwhile.
    fn rate(self, duration: Duration) -> Result<f64> {
        let _daemon = (self == Self::Cgscope).then(|| Daemon::start(&[])).transpose()?;
        let peers = if self == Self::Peers { &PEERS[..] } else { &[] };
        let _peers: Vec<AttachedPeer> =
            peers.iter().map(|name| AttachedPeer::start(name, &[])).collect::<Result<_>>()?;
        requests(WARM_UP)?;
        requests(duration)
    }
}

/// Measures and prints.
pub fn bench(rounds: u32, duration: Duration) -> Result<()> {
    let _server = Server::start()?;
    requests(WARM_UP)?;
    let mut rates = Watcher::ALL.map(|_| Samples::default());
    let mut losses = Watcher::ALL.map(|_| Samples::default());
    for round in 0..rounds as usize {
        let mut of_round = Watcher::ALL.map(|_| 0.0);
        for turn in 0..of_round.len() {
            let place = (round + turn) % of_round.len();
            of_round[place] = Watcher::ALL[place].rate(duration)?;
        }
        for (place, rate) in of_round.into_iter().enumerate() {
            rates[place].push(rate);
            losses[place].push(100.0 * (1.0 - rate / of_round[0]));
        }
    }
    let [nobody, ..] = &rates;
    println!("nginx, one worker, {CONNECTIONS} connections of wrk on loopback, {PAGE_BYTES} bytes");
    println!("  without   {} requests/s", nobody.summary(0));
    for (place, name) in [(1, "cgscope".to_owned()), (2, PEERS.join(" + "))] {
        let rate = &rates[place];
        println!("  {name}: {} requests/s, {} of it", rate.summary(0), ratio(rate, nobody));
        println!("  {name}: loss {} % by round", losses[place].summary(2));
    }
    Ok(())
}
