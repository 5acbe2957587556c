// A person reads a record and changes it in Swagger UI, in Chromium: node swagger.mjs BASE_URL SCREENSHOT
//
// Fails on anything a person would call broken: another status than the right one, an error in the console, a page that
// asks any other machine for anything.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [base, screenshot] = process.argv.slice(2);
assert.ok(base && screenshot, 'usage: node swagger.mjs BASE_URL SCREENSHOT');

const PATH = '/records/{system}/{id}';
const SYSTEM = 'itsm';
const ID = 'SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e';

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ],
});

try {
  const complaints = [];
  const context = await browser.newContext({ viewport: { width: 1280, height: 1600 }, serviceWorkers: 'block' });
  context.setDefaultTimeout(15_000);
  await context.route('**', (route) => {
    const url = new URL(route.request().url());
    if (url.origin === base) return route.continue();
    complaints.push(`a request to another origin: ${url.href}`);
    return route.abort();
  });
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => complaints.push(`page: ${error.message}`));

  await readsAsAPage(page, '/', ['/docs/', '/openapi.json']);
  await readsAsAPage(page, '/problems/precondition-failed', ['precondition-failed', '412']);

  await page.goto(`${base}/docs/`);

  const get = await opened(page, 'get');
  await fill(get, 'system', SYSTEM);
  await fill(get, 'id', ID);
  const read = await executed(get);
  assert.equal(read.status, '200', `GET in Swagger UI: ${read.text}`);
  const etag = /^\s*etag: (".*")\s*$/im.exec(read.text)?.[1];
  assert.ok(etag, `no ETag is to be seen in: ${read.text}`);
  assert.match(read.text, /Facility Management/);

  const patch = await opened(page, 'patch');
  await fill(patch, 'system', SYSTEM);
  await fill(patch, 'id', ID);
  await fill(patch, 'If-Match', etag);
  await blank(patch, ['system', 'id', 'If-Match']);
  await bodyType(patch, 'application/merge-patch+json');
  await patch.locator('textarea.body-param__text').fill('{"fields": {"Description": "Facilities and rooms"}}');
  const written = await executed(patch);
  assert.equal(written.status, '204', `PATCH in Swagger UI: ${written.text}`);

  const again = await executed(get);
  assert.equal(again.status, '200');
  assert.match(again.text, /Facilities and rooms/);
  await get.evaluate((block) => block.scrollIntoView());
  await page.screenshot({ path: screenshot });

  // The stale tag, last: the browser itself writes a line to the console for every 4xx.
  assert.deepEqual(complaints, []);
  const stale = await executed(patch);
  assert.equal(stale.status, '412', `PATCH with the stale tag in Swagger UI: ${stale.text}`);
  assert.match(stale.text, /precondition-failed/);

  const version = browser.version();
  console.log(`Chromium ${version}: read (200, ETag ${etag}), changed (204), read again, refused a stale tag (412)`);
  console.log(`screenshot: ${screenshot}`);
} finally {
  await browser.close();
}

/** Opens one of the gateway's pages and looks for some words and links of it. */
async function readsAsAPage(page, path, expected) {
  const answer = await page.goto(`${base}${path}`);
  assert.equal(answer.status(), 200, path);
  assert.match(answer.headers()['content-type'] ?? '', /^text\/html/, path);
  assert.ok(await page.title(), `${path} has a title`);
  const text = await page.content();
  for (const words of expected) assert.ok(text.includes(words), `${path} shows ${words}`);
}

/** The operation's block in Swagger UI, unfolded, with "Try it out" pressed. */
async function opened(page, method) {
  const block = page.locator(`.opblock-${method}`).filter({ has: page.locator(`[data-path="${PATH}"]`) });
  await block.locator('.opblock-summary-control').click();
  const tryOut = block.locator('.try-out__btn');
  await tryOut.waitFor();
  if (!(await block.locator('.execute').isVisible())) await tryOut.click();
  await block.locator('.execute').waitFor();
  return block;
}

/** Fills in one parameter. */
async function fill(block, name, value) {
  const row = block.locator(`tr[data-param-name="${name}"]`);
  await row.locator('input').first().fill(value);
}

/** Empties the parameters that are not named: examples are filled in beforehand. */
async function blank(block, except) {
  for (const row of await block.locator('tr[data-param-name]').all()) {
    if (except.includes(await row.getAttribute('data-param-name'))) continue;
    const input = row.locator('input[type=text]');
    if (await input.count()) await input.first().fill('');
  }
}

/** Chooses the media type of the request's body. */
async function bodyType(block, type) {
  await block.locator('.opblock-section-request-body .content-type').first().selectOption(type);
}

/** Presses "Execute"; the status and the text of the answer, as they are shown. */
async function executed(block) {
  const clear = block.locator('.btn-clear');
  if (await clear.isVisible()) await clear.click();
  await block.locator('.execute').click();
  const shown = block.locator('.live-responses-table');
  await shown.waitFor();
  const status = await shown.locator('tbody .response-col_status').first().innerText();
  return { status: status.trim().split(/\s/)[0], text: await shown.innerText() };
}
