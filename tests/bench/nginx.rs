//! What a web server loses: requests a second of nginx under wrk on loopback, with the daemon as a user would start it and without.
//!
//! Contract: server and client share the CPUs, as they do on one host; which of the two comes first changes from round to round, so
//! that a drift of the machine is not taken for a loss.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Daemon, run_checked, scratch_dir, wait_until};
use tempfile::TempDir;

use crate::table::{Samples, ratio};

const ADDRESS: &str = "127.0.0.1:17078";
/// What is asked for: a small page.
const PAGE_BYTES: usize = 1_024;
const CONNECTIONS: &str = "32";
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

/// Measures and prints.
pub fn bench(rounds: u32, duration: Duration) -> Result<()> {
    let _server = Server::start()?;
    requests(WARM_UP)?;
    let mut rates = [Samples::default(), Samples::default()];
    let mut losses = Samples::default();
    for round in 0..rounds {
        let mut of_round = [0.0; 2];
        for i in 0..2 {
            let is_on = (round + i) % 2 == 1;
            let _daemon = is_on.then(|| Daemon::start(&[])).transpose()?;
            requests(WARM_UP)?;
            of_round[usize::from(is_on)] = requests(duration)?;
        }
        let [off, on] = of_round;
        rates[0].push(off);
        rates[1].push(on);
        losses.push(100.0 * (1.0 - on / off));
    }
    let [off, on] = &rates;
    println!("nginx, one worker, {CONNECTIONS} connections of wrk on loopback, {PAGE_BYTES} bytes");
    println!("  without   {} requests/s", off.summary(0));
    println!("  cgscope   {} requests/s, {} of it", on.summary(0), ratio(on, off));
    println!("  loss      {} % by round", losses.summary(2));
    Ok(())
}
