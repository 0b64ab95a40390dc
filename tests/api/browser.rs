//! The page in a real browser: it shows a running container and where its time goes, and draws its distributions.

use std::time::Duration;

use anyhow::{Context, Result};
use cgscope_tests::{Container, Daemon, scratch_dir, wait_until};
use serde_json::json;

use crate::devtools::Browser;

#[test]
fn the_page_shows_a_running_container_and_its_states() -> Result<()> {
    let container = Container::run("shown", &["burn", "--seconds", "120"])?;
    let daemon = Daemon::start(&[])?;
    wait_until("a measurement of the container", Duration::from_secs(10), || {
        let detail = daemon.get(&format!("/api/v1/containers/{}", container.id()))?;
        Ok(detail["activity"]["cpu_cores"].as_f64().filter(|cores| *cores > 0.0))
    })?;
    let mut browser = Browser::open(&daemon.url())?;
    let row = format!(
        "[...document.querySelectorAll('#containers tr')].find(tr => tr.cells[0].textContent === {})",
        json!(container.name())
    );
    browser.wait_for("document.body?.dataset.connection === 'live'")?;
    browser.wait_for(&format!("!!{row}"))?;
    browser.wait_for(&format!("!!{row}.querySelector('.bar .state-running-user')"))?;
    // The bar is seen, says in words what its colours say, and is as wide as its shares together.
    let width =
        browser.evaluate(&format!("{row}.querySelector('.bar').getBoundingClientRect().width"))?;
    assert!(width.as_f64() > Some(100.0), "the bar is {width} wide");
    let label =
        browser.evaluate(&format!("{row}.querySelector('.bar').getAttribute('aria-label')"))?;
    assert!(label.as_str().is_some_and(|label| label.contains("running.user ")), "{label}");
    let filled = browser.evaluate(&format!(
        "(bar => [...bar.children].reduce((sum, part) => sum + part.getBoundingClientRect().width, 0) \
         / bar.getBoundingClientRect().width)({row}.querySelector('.bar'))"
    ))?;
    assert!(filled.as_f64().is_some_and(|part| (part - 1.0).abs() < 0.02), "{filled} of the bar");
    let cpu = browser.evaluate(&format!("Number({row}.cells[2].textContent)"))?;
    assert!(cpu.as_f64() > Some(0.0), "it burns, and the page says {cpu} CPUs");

    // A later tick brings other numbers.
    let text = format!("{row}.textContent");
    let first = browser.evaluate(&text)?;
    browser.wait_for(&format!("{text} !== {first}"))?;

    browser.evaluate(&format!("{row}.querySelector('button').click()"))?;
    browser.wait_for("document.querySelectorAll('#detail-body figure .fill').length > 3")?;
    let png = browser.screenshot()?;
    assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{} bytes", png.len());
    std::fs::write(scratch_dir().join("page.png"), png).context("target/tests/page.png")?;
    assert_eq!(browser.complaints, Vec::<String>::new(), "of the page");
    Ok(())
}

#[test]
fn the_page_says_when_the_daemon_is_gone() -> Result<()> {
    let mut daemon = Daemon::start(&[])?;
    let mut browser = Browser::open(&daemon.url())?;
    browser.wait_for("document.body?.dataset.connection === 'live'")?;
    daemon.terminate()?;
    browser.wait_for("document.body?.dataset.connection === 'lost'")?;
    let said = browser.evaluate("document.getElementById('connection').textContent")?;
    assert!(said.as_str().is_some_and(|text| text.contains("old")), "{said}");
    Ok(())
}
