//! What is not served is refused with a 4xx that says why and what to do, whoever asks and however wildly.

use anyhow::Result;
use cgscope_tests::Daemon;
use serde_json::Value;

use crate::http::{Response, get, request};

/// A refusal: JSON with the error, the remedy and its kind, and nothing of the inside.
#[track_caller]
fn assert_refused(answer: &Response, status: u16, word: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: not JSON: {answer:?}"));
    for member in ["error", "remedy", "kind"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {body}");
    }
    assert!(body["error"].as_str().is_some_and(|error| error.contains(word)), "{word}: {body}");
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(!answer.body.contains("src/") && !answer.body.contains("panicked"), "{body}");
}

#[test]
fn senseless_parameters() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    for (path, word) in [
        ("/api/v1/containers?bogus=1", "bogus"),
        ("/api/v1/containers?duration=x", "no length of time"),
        ("/api/v1/containers?duration=0", "cannot be measured"),
        ("/api/v1/containers?duration=-1s", "no length of time"),
        ("/api/v1/containers?all=maybe", "all"),
        ("/api/v1/containers?duration=1s&duration=2s", "duplicate"),
        ("/api/v1/host?duration=11m", "cannot be measured"),
        ("/api/v1/host?duration=%ff", "no length of time"),
        ("/api/v1/host/states?frequency=1", "frequency"),
        ("/api/v1/probes?x=1", "x"),
        ("/api/v1/stream?x=1", "x"),
        ("/metrics?x=1", "x"),
        ("/api/v1/flamegraph?frequency=0", "0 Hz"),
        ("/api/v1/flamegraph?frequency=1000000", "1000000 Hz"),
        ("/api/v1/flamegraph?frequency=many", "frequency"),
        ("/api/v1/flamegraph?format=png", "png"),
        ("/api/v1/flamegraph?pid=0", "0 is no process id"),
        ("/api/v1/flamegraph?pid=99999999999", "pid"),
        ("/api/v1/flamegraph?pid=1&container=web", "a container or"),
        ("/api/v1/processes/0/states", "no process id"),
        ("/api/v1/processes/-1/states", "no process id"),
        ("/api/v1/processes/self/latency", "no process id"),
        ("/api/v1/processes/%ff/latency", "UTF-8"),
        ("/api/v1/containers/%ff", "UTF-8"),
        ("/api/v1/containers/%ff/states", "UTF-8"),
    ] {
        let answer = get(&daemon, path)?;
        assert_refused(&answer, 400, word);
    }
    Ok(())
}

#[test]
fn what_is_not_there() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    let long = format!("/api/v1/containers/{}", "a".repeat(10 << 10));
    for (path, word) in [
        ("/api/v1/containers/nosuch", "nosuch"),
        ("/api/v1/containers/nosuch/latency?duration=1s", "nosuch"),
        ("/api/v1/containers/..%2f..%2fetc%2fpasswd", "../../etc/passwd"),
        ("/api/v1/containers/..%2f..%2fetc/latency", "../../etc"),
        ("/api/v1/containers/../../etc/passwd", "path"),
        ("/api/v1/containers/%00", "\\0"),
        ("/api/v1/containers/web%00/states", "\\0"),
        ("/api/v1/containers/%1b%5b2J", "\\u{1b}"),
        ("/api/v1/containers/%20", "container"),
        ("/api/v1/flamegraph?container=nosuch", "nosuch"),
        ("/api/v1/flamegraph?container=..%2f", "../"),
        ("/api/v1/nothing", "/api/v1/nothing"),
        ("/api/v2/containers", "/api/v2/containers"),
        ("/etc/passwd", "/etc/passwd"),
        ("/../etc/passwd", "etc/passwd"),
        ("/assets/", "/assets/"),
        ("/assets/nothing.js", "nothing.js"),
        ("/assets/..%2f..%2fetc%2fpasswd", "passwd"),
        (&long, "aaaa"),
    ] {
        assert_refused(&get(&daemon, path)?, 404, word);
    }
    // What is longer than any request should be is refused before it is read.
    let endless = format!("/api/v1/containers/{}", "a".repeat(200 << 10));
    let status = get(&daemon, &endless)?.status;
    assert!((400..500).contains(&status), "{status}");
    assert_refused(&get(&daemon, "/api/v1/processes/4194303/states")?, 410, "4194303");
    assert_refused(&get(&daemon, "/api/v1/flamegraph?pid=4194303")?, 410, "4194303");
    Ok(())
}

#[test]
fn methods_that_change_things() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "NONSENSE"] {
        for path in ["/", "/metrics", "/api/v1/containers", "/api/v1/flamegraph", "/api/v1/stream"]
        {
            let answer = request(&daemon, method, path, &[("Host", "localhost")])?;
            assert_refused(&answer, 405, method);
            assert_eq!(answer.headers.get("allow").map(String::as_str), Some("GET,HEAD"));
        }
    }
    let head = request(&daemon, "HEAD", "/api/v1/containers", &[("Host", "localhost")])?;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    Ok(())
}

#[test]
fn names_that_lead_here_by_deceit() -> Result<()> {
    let daemon = Daemon::start(&[])?;
    for host in ["evil.example", "evil.example:7070", "127.0.0.1.evil.example", "", "10.0.0.1"] {
        for path in ["/", "/metrics", "/api/v1/containers", "/api/v1/stream"] {
            assert_refused(&request(&daemon, "GET", path, &[("Host", host)])?, 421, "loopback");
        }
    }
    assert_refused(&request(&daemon, "GET", "/", &[])?, 421, "loopback");
    for host in ["localhost", "127.0.0.1:7070", "[::1]:7070"] {
        assert_eq!(request(&daemon, "GET", "/", &[("Host", host)])?.status, 200, "{host}");
    }
    let from_elsewhere = [("Host", "localhost"), ("Sec-Fetch-Site", "cross-site")];
    for path in ["/api/v1/containers", "/api/v1/flamegraph?duration=60s", "/api/v1/stream"] {
        assert_refused(&request(&daemon, "GET", path, &from_elsewhere)?, 403, "other sites");
    }
    Ok(())
}

#[test]
fn the_daemon_survives_all_of_it() -> Result<()> {
    use std::io::Write;
    let daemon = Daemon::start(&[])?;
    for garbage in [&b"\0\0\0\0"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", &[0xff; 70_000]] {
        let mut socket = std::net::TcpStream::connect(daemon.address())?;
        // The daemon may hang up before it has all.
        let _ = socket.write_all(garbage);
    }
    // Requests that never end hold nobody up.
    let unfinished: Vec<_> = (0..50)
        .map(|_| {
            let mut socket = std::net::TcpStream::connect(daemon.address())?;
            socket.write_all(b"GET / HTTP/1.1\r\nHost: loc")?;
            Ok(socket)
        })
        .collect::<Result<_>>()?;
    assert!(daemon.get("/api/v1/containers")?["containers"].is_array());
    drop(unfinished);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    Ok(())
}
