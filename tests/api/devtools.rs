//! Chromium without a screen, steered over its debugging pipe: JSON messages that end in a zero byte.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cgscope_tests::{scratch_dir, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page. Dropping it ends it.
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: String,
    last_id: u64,
    /// What the page and the browser complained about.
    pub complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// Opens `url` in a browser with a fresh profile.
    pub fn open(url: &str) -> Result<Self> {
        let profile = TempDir::with_prefix_in("chromium-", scratch_dir())?;
        let pipe = |name: &str| profile.path().join(name);
        let made = Command::new("mkfifo").args([pipe("to"), pipe("from")]).status()?;
        ensure!(made.success(), "mkfifo: {made}");
        // The browser reads descriptor 3 and writes 4. Opened for both directions, neither side waits for the other.
        let script = r#"to=$1 from=$2; shift 2; exec timeout 90 chromium "$@" 3<>"$to" 4<>"$from""#;
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([pipe("to"), pipe("from")])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--no-proxy-server"])
            .args(["--disable-component-update", "--disable-sync", "--window-size=1280,800"])
            .arg(format!("--user-data-dir={}", pipe("profile").display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(scratch_dir().join("chromium.log"))?)
            .spawn()
            .context("the browser test needs chromium (apt install chromium)")?;
        let open = |name: &str| File::options().read(true).write(true).open(pipe(name));
        let mut browser = Self {
            child,
            to: open("to")?,
            from: BufReader::new(open("from")?),
            session: String::new(),
            last_id: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attached = browser.call(
            "Target.attachToTarget",
            &json!({"targetId": target["targetId"], "flatten": true}),
        )?;
        attached["sessionId"].as_str().context("a session")?.clone_into(&mut browser.session);
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            browser.call(domain, &json!({}))?;
        }
        browser.call("Page.navigate", &json!({"url": url}))?;
        Ok(browser)
    }

    /// Calls a method and waits for its result.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes())?;
        loop {
            // We hold the pipe open ourselves: its end would never be seen. `timeout` ends a browser that hangs.
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("chromium ended with {status}: see target/tests/chromium.log");
            }
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes)?;
            bytes.pop();
            let answer: Value = serde_json::from_slice(&bytes)?;
            if answer["id"] == id {
                ensure!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let is_complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => params["entry"]["level"] == "error",
            Some("Runtime.consoleAPICalled") => params["type"] == "error",
            _ => false,
        };
        if is_complaint {
            self.complaints.push(params.to_string());
        }
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let params = json!({"expression": expression, "returnByValue": true});
        let result = self.call("Runtime.evaluate", &params)?;
        ensure!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        Ok(result["result"]["value"].clone())
    }

    /// Waits until an expression is true in the page.
    pub fn wait_for(&mut self, expression: &str) -> Result<()> {
        wait_until(expression, Duration::from_secs(20), || {
            let is_true = self.evaluate(expression)? == true;
            if !is_true {
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(is_true.then_some(()))
        })
    }

    /// The page as PNG.
    pub fn screenshot(&mut self) -> Result<Vec<u8>> {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png"}))?;
        base64(shot["data"].as_str().context("data")?)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked first, so that its helpers end with it.
        self.session.clear();
        let asked = self.to.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let ended =
            wait_until("chromium to end", Duration::from_secs(5), || Ok(self.child.try_wait()?));
        if asked.is_err() || ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for digit in text.bytes().filter(|&byte| byte != b'=') {
        let value = DIGITS.iter().position(|&d| d == digit).context("not base64")?;
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Ok(bytes)
}
