// A recording: said at the top, shown as if it were measured, and never "disconnected".

import { accessible, assert, knows, run, shot, until } from './common.mjs';

await run(async ({ page }) => {
  await page.goto(`${knows.url}/#/overview`);
  await page.locator('[data-connection="live"]').waitFor();
  const label = page.getByTestId('recorded');
  await label.waitFor();
  const text = await label.textContent();
  assert.ok(text.includes(knows.host), text);
  assert.ok(!text.includes('missing'), text);
  assert.equal((await page.getByRole('status').first().textContent()).trim(), 'recording');
  await until('the row of the container', async () => {
    const texts = await page.locator('[data-container] a').allTextContents();
    return texts.some((text) => text.endsWith(knows.name));
  });
  await shot(page, 'replay');
  await accessible(page, 'a recording');
  // Silence is no sign that the daemon went away here.
  await page.waitForTimeout(7_000);
  assert.equal(await page.locator('[data-connection="live"]').count(), 1);
  assert.equal(await page.getByText('Disconnected').count(), 0);
  // The last two minutes are those of the recording.
  await page.goto(`${knows.url}/#/container/${knows.id}?t=2m&tab=time`);
  await until('a chart', async () => (await page.locator('canvas').count()) > 0);
  await shot(page, 'replay-container');
  await page.goto(`${knows.url}/#/flame`);
  const record = page.getByRole('button', { name: 'Record', exact: true });
  await record.waitFor();
  assert.ok(await record.isDisabled());
  return {};
});
