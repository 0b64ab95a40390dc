//! A receiver over HTTP on a free port of 127.0.0.1 that keeps what it is sent and answers as it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// What was posted.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The path.
    pub path: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Posted {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn ok() -> Self {
        Self { status: 200, body: vec![] }
    }
}

/// A running receiver; it takes connections until the test ends.
pub struct Http {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    posted: Vec<Posted>,
    reply: Reply,
    is_holding: bool,
}

impl Http {
    pub fn start(reply: Reply) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(Mutex::new(State { posted: vec![], reply, is_holding: false }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // A connection that ends in the middle is the other side's affair.
                thread::spawn(move || drop(serve(&connection, &state)));
            }
        });
        Ok(Self { port, state })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on.
    pub fn answer(&self, reply: Reply) {
        lock(&self.state).reply = reply;
    }

    /// Reads what is posted and answers nothing, until it is told otherwise.
    pub fn hold(&self, is_holding: bool) {
        lock(&self.state).is_holding = is_holding;
    }

    /// All that was taken: posted and answered with a status of success.
    pub fn taken(&self) -> Vec<Posted> {
        lock(&self.state).posted.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(connection: &TcpStream, state: &Mutex<State>) -> Result<()> {
    let mut reader = BufReader::new(connection);
    while let Some(posted) = read(&mut reader)? {
        while lock(state).is_holding {
            sleep(Duration::from_millis(5));
        }
        let reply = {
            let mut state = lock(state);
            if state.reply.status == 200 {
                state.posted.push(posted);
            }
            state.reply.clone()
        };
        let head = format!(
            "HTTP/1.1 {} as told\r\nContent-Length: {}\r\n\r\n",
            reply.status,
            reply.body.len()
        );
        let mut writer = connection;
        writer.write_all(&[head.as_bytes(), &reply.body].concat())?;
    }
    Ok(())
}

fn read(reader: &mut impl BufRead) -> Result<Option<Posted>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    ensure!(words.next() == Some("POST"), "{line}");
    let path = words.next().context("a path")?.to_owned();
    let mut headers = vec![];
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut posted = Posted { path, headers, body: vec![] };
    let length = posted.header("content-length").context("content-length")?.parse()?;
    posted.body = vec![0; length];
    reader.read_exact(&mut posted.body)?;
    Ok(Some(posted))
}
