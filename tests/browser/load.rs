//! Containers that each do one thing: burn, wait for a disk, wait for the network, fight for CPUs, meet their quota, open files.

use std::process::Command;

use anyhow::Result;
use cgscope_tests::{Container, ContainerOptions, run_checked};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough for any test here; dropping them ends them.
const SECONDS: &str = "600";
/// As large as the writer takes it to be.
const FILE_BYTES: usize = 16 << 20;
const SERVER: &str = "10.78.0.2";

/// They run as long as this is held.
pub struct Load {
    pub burner: Container,
    pub disk: Container,
    pub client: Container,
    pub server: Container,
    pub contender: Container,
    pub limited: Container,
    pub reader: Container,
    _files: TempDir,
}

impl Load {
    /// Starts them all.
    pub fn start() -> Result<Self> {
        let files = TempDir::with_prefix_in("browser-", cgscope_tests::scratch_dir())?;
        // Real blocks, so that writing them again is only that.
        std::fs::write(files.path().join("file"), vec![1; FILE_BYTES])?;
        let named = || ContainerOptions::new().short_name();
        let burner = named().run("burner", &["burn", "--seconds", SECONDS])?;
        let disk = named().bind(files.path(), "/data").run(
            "writer",
            &["direct_io", "--file", "/data/file", "--writes", "100000000", "--seconds", SECONDS],
        )?;
        let contender =
            named().run("contender", &["contend", "--threads", "3", "--seconds", SECONDS])?;
        let limited = named()
            .cpu_quota(0.2)
            .run("limited", &["burn", "--threads", "2", "--seconds", SECONDS])?;
        // Opens what is in its image, and what it wrote itself.
        let reads = "while sleep 0.1; do dd if=/bin/busybox of=/copy bs=64k; cat /copy; done > /dev/null 2>&1";
        let reader = named().run("reader", &["sh", "-c", reads])?;
        let listen = ["net_peer", "--listen", "9000", "--seconds", SECONDS];
        let server = named().run("server", &listen)?;
        // It waits for the wire: a client without one would end.
        let gate = "/data/gate";
        let client = named().bind(files.path(), "/data").run(
            "client",
            &[
                "net_peer",
                "--connect",
                SERVER,
                "--port",
                "9000",
                "--connections",
                "1000000",
                "--messages",
                "200",
                "--bytes",
                "4096",
                "--gate",
                gate,
                "--seconds",
                SECONDS,
            ],
        )?;
        connect(&client, &server)?;
        std::fs::write(files.path().join("gate"), "")?;
        Ok(Self { burner, disk, client, server, contender, limited, reader, _files: files })
    }

    /// What a script is told of them.
    pub fn knows(&self) -> Value {
        let one = |container: &Container| json!({"id": container.id(), "name": container.name()});
        json!({
            "burner": one(&self.burner),
            "disk": one(&self.disk),
            "client": one(&self.client),
            "server": one(&self.server),
            "contender": one(&self.contender),
            "limited": one(&self.limited),
            "reader": one(&self.reader),
        })
    }
}

/// A wire between two containers that have no network; it goes with the first of them.
fn connect(client: &Container, server: &Container) -> Result<()> {
    let (near, far) = (client.host_pid()?.to_string(), server.host_pid()?.to_string());
    run_checked(Command::new("ip").args([
        "link", "add", "wire", "netns", &near, "type", "veth", "peer", "wire", "netns", &far,
    ]))?;
    for (pid, address) in [(&near, "10.78.0.1/24"), (&far, "10.78.0.2/24")] {
        for what in [
            vec!["address", "add", address, "dev", "wire"],
            vec!["link", "set", "lo", "up"],
            vec!["link", "set", "wire", "up"],
        ] {
            run_checked(Command::new("nsenter").args(["-t", pid, "-n", "ip"]).args(what))?;
        }
    }
    Ok(())
}
