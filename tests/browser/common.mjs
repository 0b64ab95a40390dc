// What the scripts share: the browser, what they were told, and how they ask for something.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

const require = createRequire(new URL('../../web/package.json', import.meta.url));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export const knows = JSON.parse(process.argv[2] ?? '{}');
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has something done outside of the browser. */
export async function want(what) {
  process.stdout.write(`${JSON.stringify({ wants: what })}\n`);
  await answers.next();
}

export const say = (text) => process.stdout.write(`${text}\n`);

/** Asks the daemon beside the page. */
export async function api(path) {
  const answer = await fetch(`${knows.url}/${path}`);
  assert.equal(answer.status, 200, path);
  return answer.json();
}

/** Opens the browser, runs `steps`, and says what they measured. A page that complains fails. */
export async function run(steps, options = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.CGSCOPE_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--no-proxy-server', '--disable-background-networking'],
  });
  const complaints = [];
  try {
    const context = await browser.newContext({
      viewport: { width: 1440, height: 900 },
      colorScheme: 'light',
      acceptDownloads: true,
      permissions: ['clipboard-read', 'clipboard-write'],
      ...options,
    });
    context.setDefaultTimeout(20_000);
    const page = await context.newPage();
    watch(page, complaints);
    const measured = await steps({ browser, context, page, complaints });
    const wrong = [...failures, ...complaints.map((text) => `the page: ${text}`), ...barriers];
    assert.equal(wrong.length, 0, wrong.join('\n'));
    process.stdout.write(`${JSON.stringify({ done: measured ?? {} })}\n`);
  } finally {
    await browser.close();
  }
  process.exit(0);
}

export function watch(page, complaints) {
  page.on('pageerror', (error) => complaints.push(String(error.stack ?? error)));
  page.on('console', (message) => {
    // That the daemon is gone is said by the browser itself, and is what some steps are about.
    const text = message.text();
    if (message.type() === 'error' && !/net::ERR_|Failed to load resource/.test(text)) complaints.push(text);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(knows.url) && !/^(data|blob):/.test(request.url()))
      complaints.push(`asks elsewhere: ${request.url()}`);
  });
}

const failures = [];

/** A part of the way that others do not build on: when it fails, they are tried all the same, and all is told at the end. */
export async function step(page, name, does) {
  say(name);
  try {
    await does();
  } catch (error) {
    failures.push(`${name}, at ${page.url()}: ${error.stack ?? error}`);
    say(`  failed: ${String(error).split('\n')[0]}`);
    await page.screenshot({ path: join(knows.pictures, `failed-${failures.length}.png`) }).catch(() => null);
  }
}

/** Until every part of the page that is on the screen has its answer, whatever it says. The others are not asked for. */
export async function settled(page) {
  const waiting = () =>
    page.locator('[role="status"].loading').evaluateAll((parts) => {
      const boxes = parts.map((part) => part.getBoundingClientRect());
      return boxes.filter(({ top, bottom }) => bottom > 0 && top < innerHeight).length;
    });
  await until('all answers', async () => (await waiting()) === 0);
}

/** A picture for people. */
export async function shot(page, name) {
  await settled(page);
  // Of what moves on its own, such as a bar that grows: the end, if it has one.
  await page.evaluate(() => {
    const ending = document.getAnimations().filter(({ effect }) => effect.getComputedTiming().endTime < 1e6);
    return Promise.all(ending.map(({ finished }) => finished.catch(() => null)));
  });
  await page.screenshot({ path: join(knows.pictures, `${name}.png`) });
}

/** What axe found on any page. */
const barriers = [];

/** Looks for serious violations of what axe knows; they fail at the end, all together. */
export async function accessible(page, where) {
  // Not by a script element: the policy refuses those, which is as it should be.
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = found.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const words = serious.map(
    ({ id, help, nodes }) =>
      `${id}: ${help}\n    ${nodes
        .slice(0, 4)
        .map(({ html, failureSummary }) => `${html.slice(0, 160)}\n      ${failureSummary?.split('\n')[1] ?? ''}`)
        .join('\n    ')}`,
  );
  if (words.length > 0) barriers.push(`${where}:\n  ${words.join('\n  ')}`);
}

/** Goes on when `check` gives something; the page is asked again and again. */
export async function until(what, check, patienceMs = 20_000) {
  const end = Date.now() + patienceMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${patienceMs} ms in vain for ${what}`);
    await new Promise((go) => setTimeout(go, 50));
  }
}

export { assert };
