// How fast the page is: until the first data, while a flame graph of 100,000 boxes is moved, and while charts come anew.

import { assert, knows, run, say, until } from './common.mjs';

/** A profile of so many boxes, as the daemon writes it; for drawing only. */
function large(boxes) {
  const frames = Array.from({ length: 2_000 }, (_, i) => ({
    name: `function_${i}`,
    kind: i % 5 === 0 ? 'kernel' : 'user',
    module: `/lib/${i % 40}.so`,
  }));
  const nodes = [{ frame: 0, parent: null, value: 0, self: 0 }];
  let seed = 7;
  const random = (most) => (seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff) % most;
  const depth = [0];
  const path = [0];
  while (nodes.length < boxes) {
    // In preorder: below the last box, or below one of those above it.
    while (path.length > 1 && (path.length > 60 || random(4) === 0)) path.pop();
    const parent = path[path.length - 1];
    nodes.push({ frame: random(2_000), parent, value: 0, self: 1 + random(3) });
    depth.push(path.length);
    path.push(nodes.length - 1);
  }
  for (let i = nodes.length - 1; i >= 0; i -= 1) {
    nodes[i].value += nodes[i].self;
    if (nodes[i].parent !== null) nodes[nodes[i].parent].value += nodes[i].value;
  }
  return {
    kind: 'on-cpu',
    unit: 'samples',
    scope: 'host',
    started_at_ns: Date.now() * 1e6,
    duration_ns: 1e10,
    frequency_hz: 99,
    total: nodes[0].value,
    lost: {},
    confidence: {
      level: 'high',
      sample_count: nodes[0].value,
      lost_share: 0,
      unresolved_share: 0,
      truncated_share: 0,
      doubts: [],
    },
    frames,
    nodes,
  };
}

const POINTS = 3_600;
/** As many charts as the promise is about. */
const CHARTS = 12;
/** Of each update, on a machine of one's own, ms. */
const PROMISED_MS = 30;

/** An answer as the daemon gives it, of so many points up to now; for drawing only. */
function long(metric) {
  const end = Math.floor(Date.now() / 1_000);
  const values = Array.from({ length: POINTS }, (_, i) => Math.round(900 + 800 * Math.sin((end + i) / 90)));
  return {
    metric,
    kind: 'counter',
    unit: 'count',
    fn: 'rate',
    start_ns: (end - POINTS) * 1e9,
    end_ns: end * 1e9,
    step_ns: 1e9,
    resolution_ns: 1e9,
    series: [{ labels: { direction: 'sent' }, merged: 1, values }],
  };
}

/** Time of the main thread in each of so many seconds, ms: all of it, also what has nothing to do with charts. */
async function busyMs(page, seconds) {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const read = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration').value * 1_000;
  };
  const spent = [];
  let before = await read();
  for (let i = 0; i < seconds; i += 1) {
    await page.waitForTimeout(1_000);
    const now = await read();
    spent.push(now - before);
    before = now;
  }
  return spent.sort((a, b) => a - b);
}

await run(async ({ page }) => {
  // Once, so that the browser itself is warm; then as one who comes anew.
  await page.goto(knows.url);
  await page.locator('[data-container]').first().waitFor();
  const firsts = [];
  for (let i = 0; i < 3; i += 1) {
    await page.goto('about:blank');
    const start = Date.now();
    await page.goto(knows.url, { waitUntil: 'commit' });
    await page.locator('[data-container]').first().waitFor();
    firsts.push(Date.now() - start);
  }
  firsts.sort((a, b) => a - b);
  say(`first data after ${firsts} ms`);

  const body = JSON.stringify(large(100_000));
  await page.route('**/api/v1/profiles/large', (route) => route.fulfill({ body, contentType: 'application/json' }));
  await page.goto(`${knows.url}/#/flame?profile=large`);
  const graph = page.getByRole('application');
  await graph.waitFor();
  const box = await graph.boundingBox();
  // Somewhere inside, so that there is something to move on both sides.
  await page.mouse.move(box.x + box.width / 2, box.y + 200);
  await page.keyboard.down('Control');
  for (let i = 0; i < 6; i += 1) await page.mouse.wheel(0, -100);
  await page.keyboard.up('Control');
  const frames = page.evaluate(
    () =>
      new Promise((done) => {
        const times = [];
        const step = (at) => {
          times.push(at);
          if (at - times[0] < 2_500) requestAnimationFrame(step);
          else done(times);
        };
        requestAnimationFrame(step);
      }),
  );
  await page.mouse.down();
  for (let i = 0; i < 120; i += 1) {
    await page.mouse.move(box.x + box.width / 2 + Math.sin(i / 8) * 300, box.y + 200 + (i % 40));
    await page.waitForTimeout(12);
  }
  await page.mouse.up();
  const times = await frames;
  const gaps = times
    .slice(1)
    .map((at, i) => at - times[i])
    .sort((a, b) => a - b);
  const perSecond = ((times.length - 1) * 1_000) / (times[times.length - 1] - times[0]);

  // The charts of everything that a container does, those on the screen asked for and drawn anew at each tick.
  const asked = new Map();
  const drawn = (question) => {
    const metric = new URL(question, knows.url).searchParams.get('metric');
    // What is a list and no chart is left empty.
    if (/oom_kills|layer/.test(metric)) return { ...long(metric), series: [] };
    asked.set(metric, (asked.get(metric) ?? 0) + 1);
    return long(metric);
  };
  const answer = (route, body) => route.fulfill({ body: JSON.stringify(body), contentType: 'application/json' });
  await page.route('**/api/v1/query?*', (route) => answer(route, drawn(route.request().url())));
  await page.route('**/api/v1/batch?*', (route) => {
    const asks = new URL(route.request().url()).searchParams.getAll('ask');
    // Heat maps are no part of this: none of them is on the screen.
    const one = (ask) => (ask.startsWith('query?') ? { status: 200, body: drawn(ask) } : { status: 404, body: {} });
    return answer(route, { answers: asks.map(one) });
  });
  await page.setViewportSize({ width: 1440, height: 1_600 });
  await page.goto(`${knows.url}/#/container/${knows.container}?t=2m&tab=all`);
  const first = page.getByRole('region', { name: 'TCP bytes', exact: true });
  await first.waitFor();
  await first.evaluate((card) => card.scrollIntoView({ block: 'start' }));
  await until('the charts', async () => (await page.locator('.u-over').count()) >= CHARTS);
  await page.waitForTimeout(3_000);
  asked.clear();
  const spent = await busyMs(page, 15);
  const charts = asked.size;
  const rounds = [...asked.values()].sort((a, b) => a - b)[Math.floor(charts / 2)];
  /** In proportion, for as many charts as are promised. */
  const ofCharts = (ms) => Math.round((ms * CHARTS) / charts);
  say(`${charts} charts: the main thread is busy for ${spent.map(Math.round)} ms a second`);
  assert.ok(charts >= CHARTS && rounds > 5, `${charts} charts came anew ${rounds} times in 15 s`);

  const result = {
    first_data_ms: firsts[1],
    charts_seen: charts,
    charts_update_ms: ofCharts(spent[Math.floor(spent.length / 2)]),
    charts_update_least_ms: ofCharts(spent[0]),
    charts_updates: Math.round(rounds),
    frames_per_second: Math.round(perSecond),
    slowest_frame_ms: Math.round(gaps[gaps.length - 1]),
  };
  say(JSON.stringify(result));
  // Promised on a machine of one's own; a test beside others only sees that it is of that order.
  assert.ok(firsts[1] < 3_000, `first data after ${firsts[1]} ms`);
  assert.ok(perSecond > 10, `${perSecond} frames a second`);
  // Time on the CPU, and the least of many: what others do hardly adds to it. Twice the promise is a fault of ours.
  assert.ok(ofCharts(spent[0]) <= 2 * PROMISED_MS, `an update of ${CHARTS} charts takes ${ofCharts(spent[0])} ms`);
  return result;
});
