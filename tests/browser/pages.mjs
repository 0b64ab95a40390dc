// The way of somebody who looks for who stalls: from the overview to a container, to its stacks, to another window, to a file.

import { readFileSync } from 'node:fs';
import { accessible, api, assert, knows, run, shot, step, until, want } from './common.mjs';

const { load, url } = knows;
const row = (page, container) => page.locator(`[data-container="${container.id}"]`);
const range = (page) => page.getByTestId('range').textContent();
/** Whether the states of `container` were kept `seconds` ago. */
const measuredAgo = async (container, seconds) => {
  const end = Math.floor(Date.now() / 1000) - seconds;
  const query = new URLSearchParams({
    metric: 'cgscope_sched_state_seconds_total',
    match: `container_id=${container.id}`,
    by: 'state',
    step: '1s',
    start: String(end - 4),
    end: String(end),
  });
  const { series } = await api(`api/v1/query?${query}`);
  return series.some(({ values }) => values.some((value) => value !== null));
};
const isLive = (page) => page.locator('[data-connection="live"]').waitFor();

await run(async ({ browser, page }) => {
  const measured = {};
  const states = page.getByRole('region', { name: 'Thread states' });
  const compare = page.getByTestId('compare');
  const graph = page.getByRole('application');
  let seen = '';
  let profile = '';
  let [from, to] = [0, 0];

  await step(page, 'overview: names, states, ranks', async () => {
    await page.goto(url);
    await isLive(page);
    for (const one of Object.values(load)) {
      await row(page, one).waitFor();
      assert.equal(await row(page, one).locator('a').first().textContent(), one.name);
      const bar = row(page, one).getByRole('img');
      // The bar is whole: its parts fill it.
      const filled = await bar.evaluate(
        (bar) =>
          [...bar.children].reduce((sum, part) => sum + part.getBoundingClientRect().width, 0) /
          bar.getBoundingClientRect().width,
      );
      assert.ok(Math.abs(filled - 1) < 0.02, `${one.name}: ${filled} of the bar`);
    }
    const label = (one) => row(page, one).getByRole('img').getAttribute('aria-label');
    const shows = (one, words) => until(`${one.name} to show ${words}`, async () => (await label(one)).includes(words));
    await shows(load.burner, 'running, own code');
    await shows(load.disk, 'disk');
    await shows(load.client, 'network');
    await shows(load.limited, 'throttled');
    await shows(load.contender, 'waiting for a CPU');
    // The worst is first, as in the API's own words.
    const stalls = await page.locator('[data-container] .stall').allTextContents();
    const numbers = stalls.filter((text) => text !== '–').map((text) => (text.startsWith('<') ? 0 : Number(text)));
    assert.deepEqual(
      numbers,
      [...numbers].sort((a, b) => b - a),
    );
    // A later tick brings other numbers, in the same rows.
    const before = await row(page, load.burner).textContent();
    await until('the next tick', async () => (await row(page, load.burner).textContent()) !== before);
    await shot(page, 'overview-light');
    await accessible(page, 'overview');
  });

  await step(page, 'overview: search, groups, sort', async () => {
    await page.getByRole('searchbox').fill('writer');
    await until('one row', async () => (await page.locator('[data-container]').count()) === 1);
    assert.match(page.url(), /q=writer/);
    await page.getByRole('searchbox').fill('');
    await page.getByLabel('Group by').selectOption('runtime');
    await page
      .getByRole('row')
      .filter({ hasText: /^podman/ })
      .first()
      .waitFor();
    await page.goBack();
    await until('no groups', async () => (await page.getByLabel('Group by').inputValue()) === '');
    await page.getByRole('button', { name: 'CPU', exact: true }).click();
    assert.match(page.url(), /sort=cpu/);
  });

  await step(page, 'overview: dark, phone', async () => {
    await page.getByRole('button', { name: 'Dark' }).click();
    await shot(page, 'overview-dark');
    await accessible(page, 'overview in the dark');
    await page.getByRole('button', { name: 'Light' }).click();
    await page.setViewportSize({ width: 390, height: 844 });
    await shot(page, 'overview-phone');
    await accessible(page, 'overview on a phone');
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(sideways <= 0, `a phone scrolls sideways by ${sideways}`);
    await page.setViewportSize({ width: 1440, height: 900 });
  });

  await step(page, 'container: charts, heat maps', async () => {
    await row(page, load.contender).getByRole('link', { name: load.contender.name }).click();
    await page.getByRole('heading', { name: load.contender.name }).waitFor();
    await page.getByRole('button', { name: '2m', exact: true }).click();
    await states.locator('canvas').waitFor();
    await until('states in words', async () =>
      /waiting for a CPU/.test(await states.getByRole('img').getAttribute('aria-label')),
    );
    const waited = page.getByRole('region', { name: 'Who it waited for' });
    await waited.getByText(load.burner.name).waitFor();
    await shot(page, 'container-time');
    await accessible(page, 'container, time');
    for (const [tab, region] of [
      ['Latency', 'Run queue latency'],
      ['Disk', 'Queue'],
      ['Network', 'TCP bytes'],
      ['Memory', 'Use'],
      ['Files and layers', 'Image layers'],
      ['Limits and events', 'Throttled time'],
      ['Calls and interrupts', 'System calls'],
    ]) {
      await page.getByRole('tab', { name: tab }).click();
      await page.getByRole('region', { name: region, exact: true }).waitFor();
      await shot(page, `container-${tab.toLowerCase().replaceAll(' ', '-')}`);
      await accessible(page, `container, ${tab}`);
    }
  });

  await step(page, 'container: what was measured is there', async () => {
    const shownOf = async (one, tab, region) => {
      await page.goto(`${url}/#/container/${one.id}?t=2m&tab=${tab}`);
      const chart = page.getByRole('region', { name: region, exact: true });
      await chart.locator('canvas').waitFor();
      return chart.getByRole('img').first().getAttribute('aria-label');
    };
    assert.match(await shownOf(load.disk, 'disk', 'Disk bytes'), /write .*[KM]iB\/s/);
    await shot(page, 'container-writer-disk');
    const requests = page.getByRole('region', { name: 'Slowest requests', exact: true });
    await requests.locator('[data-outlier="block"]').first().waitFor();
    const latencies = await requests
      .locator('[data-outlier] td:first-child')
      .evaluateAll((cells) => cells.map(({ textContent }) => textContent.trim()));
    const ns = latencies.map((text) => parseFloat(text) * { ns: 1, µs: 1e3, ms: 1e6, s: 1e9 }[text.split(' ')[1]]);
    assert.ok(
      ns.every((value, i) => i === 0 || value <= ns[i - 1]),
      `the slowest is first: ${latencies}`,
    );
    // Who writes past the cache waits for it: the stack of that.
    await requests.getByRole('button', { name: 'direct_io' }).first().click();
    await requests.getByRole('list').getByText('pwrite64').first().waitFor();
    await requests.getByRole('button', { name: 'when' }).click();
    await requests.locator('th[aria-sort="descending"]').getByText('when').waitFor();
    assert.match(await shownOf(load.client, 'network', 'TCP bytes'), /sent .*iB\/s/);
    await shot(page, 'container-client-network');
    assert.match(await shownOf(load.limited, 'limits', 'Throttled time'), /throttled \d/);
    await page.goto(`${url}/#/container/${load.reader.id}?t=2m&tab=files`);
    const layers = page.getByRole('region', { name: 'Image layers', exact: true });
    // One of its image, and what it wrote itself.
    await layers.getByRole('rowheader', { name: 'its own writes (upper)' }).waitFor();
    assert.ok((await layers.getByRole('rowheader').count()) >= 2);
    await page.getByRole('region', { name: 'File operations', exact: true }).locator('canvas').waitFor();
    const slow = page.getByRole('region', { name: 'Slowest calls on files', exact: true });
    await slow.locator('[data-outlier="file"]').first().getByText('/').first().waitFor();
    await shot(page, 'container-reader-files');
  });

  await step(page, 'a window is dragged, and back undoes it', async () => {
    // What is dragged over was 48 s ago: a fast machine gets here sooner than that after the first measurement.
    await until('50 s of history', () => measuredAgo(load.contender, 50), 60_000);
    await page.goto(`${url}/#/container/${load.contender.id}?t=2m`);
    await states.locator('canvas').waitFor();
    assert.equal(await range(page), 'the last 2m');
    const box = await states.locator('.u-over').boundingBox();
    await page.mouse.move(box.x + box.width * 0.6, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.8, box.y + box.height / 2, { steps: 5 });
    await page.mouse.up();
    await until('a past window', async () => /–/.test(await range(page)));
    [from, to] = /t=([\d.]+)%7E([\d.]+)/.exec(page.url()).slice(1).map(Number);
    assert.ok(Math.abs(to - from - 24) < 3, `a fifth of two minutes: ${to - from} s`);
    await until('data of the window', async () =>
      /running/.test(await states.getByRole('img').getAttribute('aria-label')),
    );
    await shot(page, 'container-past');
  });

  await step(page, 'the file has what the API has', async () => {
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      (async () => {
        await states.getByLabel(/Save the data/).click();
        await states.getByRole('button', { name: 'CSV' }).click();
      })(),
    ]);
    assert.equal(download.suggestedFilename(), 'cgscope-thread-states.csv');
    const lines = readFileSync(await download.path(), 'utf8')
      .trim()
      .split('\r\n');
    // Only the names of columns have commas in them.
    const columns = [...lines[0].matchAll(/"([^"]*)"|([^,]+)/g)].map(([, quoted, plain]) => quoted ?? plain);
    const column = columns.indexOf('waiting for a CPU');
    const query = new URLSearchParams({
      metric: 'cgscope_sched_state_seconds_total',
      match: `container_id=${load.contender.id}`,
      by: 'state',
      step: '1s',
      start: String(from),
      end: String(to),
    });
    const truth = await api(`api/v1/query?${query}`);
    const values = truth.series.find(({ labels }) => labels.state === 'runnable').values;
    assert.equal(lines.length - 1, values.length);
    values.forEach((value, i) => assert.equal(lines[i + 1].split(',')[column], value === null ? '' : String(value)));
    for (const [format, start] of [
      ['JSON', '{'],
      ['PNG', '\u0089PNG'],
    ]) {
      const [file] = await Promise.all([
        page.waitForEvent('download'),
        (async () => {
          await states.getByLabel(/Save the data/).click();
          await states.getByRole('button', { name: format }).click();
        })(),
      ]);
      assert.equal(readFileSync(await file.path(), 'latin1').slice(0, start.length), start);
    }
    await page.goBack();
    await until('the range before', async () => (await range(page)) === 'the last 2m');
  });

  await step(page, 'two windows, and two containers', async () => {
    await page.goto(`${url}/#/container/${load.contender.id}?t=10s&vs=10s`);
    await until('two bars', async () => (await compare.getByRole('img').count()) === 2);
    await page.getByRole('columnheader', { name: 'difference' }).waitFor();
    await shot(page, 'compare-windows');
    await accessible(page, 'two windows');
    await page.goto(`${url}/#/container/${load.burner.id}?t=20s&other=${load.disk.id}`);
    await until('two bars', async () => (await compare.getByRole('img').count()) === 2);
    const [then, now] = await Promise.all(
      [0, 1].map((i) => compare.getByRole('img').nth(i).getAttribute('aria-label')),
    );
    assert.match(then, /disk/);
    assert.match(now, /running, own code/);
    await shot(page, 'compare-containers');
  });

  await step(page, 'a bucket is clicked', async () => {
    await page.goto(`${url}/#/container/${load.contender.id}?t=2m&tab=latency`);
    const heat = page.getByRole('region', { name: 'Run queue latency' }).locator('canvas');
    await heat.waitFor();
    const map = await heat.boundingBox();
    await until('a bucket that holds something', async () => {
      for (let y = 0.9; y > 0.1; y -= 0.04) {
        await page.mouse.click(map.x + map.width * 0.9, map.y + map.height * y);
        if (await page.getByText('Zoom to it').count()) return true;
      }
      return false;
    });
    await page.getByRole('link', { name: 'What ran then' }).waitFor();
    await shot(page, 'bucket');
  });

  await step(page, 'flame graph: the hot function, by search', async () => {
    await page.goto(`${url}/#/flame/${load.burner.id}`);
    await page.getByLabel('Seconds').fill('2');
    await page.getByRole('button', { name: 'Record', exact: true }).click();
    await page.getByText(/recording, \d+ s left/).waitFor();
    await graph.waitFor({ timeout: 30_000 });
    await page.getByLabel('Search frames').fill('burn_here');
    const share = Number(/^([\d.]+) %/.exec(await page.getByTestId('matches').textContent())[1]);
    assert.ok(share > 90, `burn_here is ${share} %`);
    measured.hot_function_percent = share;
    await shot(page, 'flame-search');
    await accessible(page, 'flame graph');
    seen = page.url();
  });

  await step(page, 'flame graph: by keys, zoom, and a link that restores the view', async () => {
    await graph.focus();
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowDown', 'Enter']) await page.keyboard.press(key);
    await page.getByRole('button', { name: 'Show all' }).waitFor();
    const zoomed = page.url();
    const other = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
    await other.goto(zoomed);
    await other.getByRole('application').waitFor();
    await other.getByRole('button', { name: 'Show all' }).waitFor();
    assert.equal(await other.getByTestId('matches').textContent(), await page.getByTestId('matches').textContent());
    await other.context().close();
    await page.goBack();
    await until('the view before', () => page.url() === seen);
  });

  await step(page, 'flame graph: callers and callees, folded, files', async () => {
    await page.getByRole('region', { name: 'Flame graph' }).waitFor();
    await page.getByRole('table', { name: 'Functions' }).getByRole('button', { name: 'burn_here' }).first().click();
    await page.getByText('callers above, callees below').waitFor();
    await shot(page, 'flame-sandwich');
    await accessible(page, 'callers and callees');
    await page.getByRole('button', { name: '← All stacks' }).click();
    await page.getByRole('button', { name: 'Copy folded' }).click();
    await page.getByText('copied').waitFor();
    const folded = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(folded, /^burn;.*burn_here \d+$/m);
    profile = /profile=([^&]+)/.exec(page.url())[1];
    for (const [format, is] of [
      ['svg', /^<\?xml/],
      ['firefox', /^\{/],
      ['speedscope', /^\{/],
      ['folded', /burn_here/],
    ]) {
      assert.match(await (await fetch(`${url}/api/v1/profiles/${profile}?format=${format}`)).text(), is);
    }
    const pprof = Buffer.from(await (await fetch(`${url}/api/v1/profiles/${profile}?format=pprof`)).arrayBuffer());
    assert.deepEqual([pprof[0], pprof[1]], [0x1f, 0x8b]);
  });

  await step(page, 'flame graph: waits, by state', async () => {
    await page.goto(`${url}/#/flame/${load.disk.id}?type=offcpu&record=2`);
    await page.getByRole('application').waitFor({ timeout: 30_000 });
    await page.getByRole('group', { name: 'States' }).getByRole('button', { name: /disk/ }).waitFor();
    await page.getByRole('button', { name: 'By state' }).click();
    await shot(page, 'flame-offcpu');
  });

  await step(page, 'flame graph: a difference with what vanished', async () => {
    await page.goto(`${url}/#/flame/${load.client.id}?record=3`);
    await page.getByRole('application').waitFor({ timeout: 30_000 });
    const later = /profile=([^&]+)/.exec(page.url())[1];
    await page.getByLabel('Search frames').fill('tcp_');
    await page.getByTestId('matches').waitFor();
    await shot(page, 'flame-client');
    await page.goto(`${url}/#/flame/${load.client.id}?profile=${later}&base=${profile}`);
    await page.getByText(/of A is gone/).waitFor();
    const gone = Number(/([\d.]+) % of A is gone/.exec(await page.getByText(/of A is gone/).textContent())[1]);
    assert.ok(gone > 90, `a burner has nothing of a client: ${gone} % gone`);
    await shot(page, 'flame-difference');
    await accessible(page, 'difference');
  });

  await step(page, 'interference, host, own cost, settings', async () => {
    await page.goto(`${url}/#/interference?t=2m`);
    const cell = page.getByRole('row', { name: new RegExp(load.contender.name) }).first();
    await cell.waitFor();
    await shot(page, 'interference');
    await accessible(page, 'interference');
    for (const tab of ['cpu', 'memory', 'disk', 'network', 'interrupts']) {
      await page.goto(`${url}/#/host?t=2m&tab=${tab}`);
      await page.getByRole('tabpanel').locator('canvas').first().waitFor();
      if (tab === 'disk') {
        const slow = page.getByRole('region', { name: 'Slowest operations', exact: true });
        await slow.getByRole('link', { name: load.disk.name }).first().waitFor();
      }
      await shot(page, `host-${tab}`);
      await accessible(page, `host, ${tab}`);
    }
    await page.goto(`${url}/#/own?t=2m`);
    await page
      .getByRole('row', { name: /sched_switch/ })
      .first()
      .waitFor();
    const audit = page.getByRole('region', { name: 'Audit', exact: true }).first();
    await audit.getByRole('rowheader', { name: 'cpu of containers' }).waitFor();
    await shot(page, 'own');
    await accessible(page, 'own cost');
    await page.goto(`${url}/#/settings`);
    await page
      .getByRole('row', { name: /meminfo/ })
      .first()
      .waitFor();
    // What this daemon was told, and not what is usual.
    await page.getByText('kept for 12h').waitFor();
    await shot(page, 'settings');
    await accessible(page, 'settings');
  });

  await step(page, 'the daemon ends, and comes back', async () => {
    await page.goto(`${url}/#/overview`);
    await isLive(page);
    await row(page, load.burner).waitFor();
    await want('kill');
    await page.getByRole('alert').filter({ hasText: 'Disconnected' }).waitFor();
    // What was seen last stays.
    assert.ok(await row(page, load.burner).isVisible());
    await shot(page, 'disconnected');
    await accessible(page, 'disconnected');
    // Of the other pages too; what was not seen before cannot be shown now.
    for (const [name, path] of [
      ['container', `container/${load.burner.id}`],
      ['flame', `flame/${load.burner.id}?profile=${profile}`],
      ['interference', 'interference'],
      ['host', 'host'],
      ['own', 'own'],
      ['settings', 'settings'],
    ]) {
      await page.goto(`${url}/#/${path}`);
      await page.getByText('The daemon does not answer').nth(1).waitFor();
      await shot(page, `disconnected-${name}`);
    }
    await page.goto(`${url}/#/overview`);
    await want('restart');
    await isLive(page);
    await until('no word of it', async () => (await page.getByRole('alert').count()) === 0);
    await row(page, load.burner).waitFor();
  });

  await step(page, 'a window of which nothing is kept leads to where history begins', async () => {
    const before = Math.floor(Date.now() / 1000) - 4 * 3600;
    await page.goto(`${url}/#/container/${load.burner.id}?t=${before - 600}~${before}`);
    const cpu = page.getByRole('region', { name: 'CPU', exact: true });
    await cpu.getByText('It did not run yet').waitFor();
    // Nothing is there to be saved.
    assert.equal(await cpu.getByLabel(/Save the data/).count(), 0);
    await shot(page, 'empty-before-its-start');
    await accessible(page, 'an empty window');
    await page.goto(`${url}/#/host?t=${before - 600}~${before}`);
    const pressure = page.getByRole('region', { name: 'Pressure', exact: true });
    await pressure.getByText('Nothing is kept of this window').waitFor();
    await shot(page, 'empty-before-history');
    await pressure.getByRole('button', { name: 'Go to where it begins' }).click();
    await pressure.locator('canvas').waitFor();
    await pressure.getByLabel(/Save the data/).waitFor();
    await page.goBack();
    await pressure.getByRole('button', { name: 'Back to live' }).click();
    await until('live', async () => (await range(page)) === 'the last 15m');
  });

  await step(page, 'what the kernel cannot give, and what is not there', async () => {
    await page.goto(`${url}/#/container/${load.burner.id}?tab=calls`);
    await page.getByText('start the daemon with --enable syscall').first().waitFor();
    await page.goto(`${url}/#/flame/${load.burner.id}?profile=none`);
    await page.getByText('was not found').waitFor();
    await page.goto(`${url}/#/overview?q=no-such-container`);
    await page.getByText('Nothing matches').waitFor();
    await shot(page, 'nothing-matches');
  });

  return measured;
});
