//! HTTP by hand, for what a well-behaved client cannot send: any method, any path, any `Host`, and reading slowly.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::Daemon;

const PATIENCE: Duration = Duration::from_secs(20);

/// An answer: status, headers in lower case, body.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// Sends a request and leaves its answer in the socket, behind the head.
pub fn open(
    daemon: &Daemon,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<(u16, BTreeMap<String, String>, BufReader<TcpStream>)> {
    let mut socket = TcpStream::connect(daemon.address())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the body ends with the connection, and is in no chunks.
    let mut request = format!("{method} {path} HTTP/1.0\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    socket.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("not HTTP: {line:?}"))?;
    let mut received = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        received.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok((status, received, reader))
}

/// Sends a request and reads its whole answer.
pub fn request(
    daemon: &Daemon,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response> {
    let (status, headers, mut reader) = open(daemon, method, path, headers)?;
    let mut body = String::new();
    reader.read_to_string(&mut body)?;
    Ok(Response { status, headers, body })
}

/// `GET` with a `Host` that is right.
pub fn get(daemon: &Daemon, path: &str) -> Result<Response> {
    request(daemon, "GET", path, &[("Host", &daemon.address())])
}
