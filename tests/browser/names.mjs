// Names that are meant to do harm.

import { accessible, assert, knows, run, shot, until } from './common.mjs';

await run(async ({ page }) => {
  await page.goto(`${knows.url}/#/overview?all=1&sort=name&q=cgscope-test-`);
  await page.locator('[data-connection="live"]').waitFor();
  const shown = (name) => name.replaceAll('\u202e', '\\u202e');
  for (const name of knows.names) {
    await until(`the row of ${name}`, async () => {
      const texts = await page.locator('[data-container] a').allTextContents();
      return texts.some((text) => text.endsWith(shown(name)));
    });
  }
  await shot(page, 'hostile-names');
  await accessible(page, 'hostile names');
  assert.equal(await page.evaluate(() => globalThis.harmed), undefined);
  assert.equal(await page.locator('img[src="x"]').count(), 0);
  // And on the pages that such a name leads to.
  const links = await page
    .locator('[data-container] a')
    .evaluateAll((links) => links.map((link) => link.getAttribute('href')));
  for (const link of links) {
    await page.goto(`${knows.url}/${link}`);
    await page.getByRole('heading', { level: 1 }).waitFor();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${link} scrolls sideways by ${wide}`);
  }
  await shot(page, 'hostile-name');
  assert.equal(await page.evaluate(() => globalThis.harmed), undefined);
  return { names: knows.names.length };
});
