// Reads and changes a record in Swagger UI, in Chromium: node swagger.mjs BASE_URL SCREENSHOT
//
// Fails on an unexpected status, an error in the console, and a request to another origin.

import assert from 'node:assert/strict';
import { launch, openPage } from './browser.mjs';

const [base, screenshot] = process.argv.slice(2);
assert.ok(base && screenshot, 'usage: node swagger.mjs BASE_URL SCREENSHOT');

const PATH = '/records/{system}/{id}';
const SYSTEM = 'itsm';
const ID = 'SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e';

const browser = await launch();

try {
  const { page, complaints } = await openPage(browser, base, { width: 1280, height: 1600 });

  await assertPage(page, '/', ['href="docs/"', 'href="openapi.json"']);
  await assertPage(page, '/problems/precondition-failed', ['precondition-failed', '412']);

  await page.goto(`${base}/docs/`);

  const get = await open(page, 'get');
  await fill(get, 'system', SYSTEM);
  await fill(get, 'id', ID);
  const read = await execute(get);
  assert.equal(read.status, '200', `GET in Swagger UI: ${read.text}`);
  const etag = /^\s*etag: (".*")\s*$/im.exec(read.text)?.[1];
  assert.ok(etag, `no ETag is shown in: ${read.text}`);
  assert.match(read.text, /Facility Management/);

  const patch = await open(page, 'patch');
  await fill(patch, 'system', SYSTEM);
  await fill(patch, 'id', ID);
  await fill(patch, 'If-Match', etag);
  await blank(patch, ['system', 'id', 'If-Match']);
  await bodyType(patch, 'application/merge-patch+json');
  await patch.locator('textarea.body-param__text').fill('{"fields": {"Description": "Facilities and rooms"}}');
  const written = await execute(patch);
  assert.equal(written.status, '204', `PATCH in Swagger UI: ${written.text}`);

  const again = await execute(get);
  assert.equal(again.status, '200');
  assert.match(again.text, /Facilities and rooms/);
  await get.evaluate((block) => block.scrollIntoView());
  await page.screenshot({ path: screenshot });

  // The stale ETag comes last: the browser writes a line to the console for every 4xx.
  assert.deepEqual(complaints, []);
  const stale = await execute(patch);
  assert.equal(stale.status, '412', `PATCH with the stale ETag in Swagger UI: ${stale.text}`);
  assert.match(stale.text, /precondition-failed/);

  const version = browser.version();
  console.log(`Chromium ${version}: read (200, ETag ${etag}), changed (204), read again, rejected a stale ETag (412)`);
  console.log(`screenshot: ${screenshot}`);
} finally {
  await browser.close();
}

/** Opens a page of the gateway and checks that it contains these words and links. */
async function assertPage(page, path, expected) {
  const response = await page.goto(`${base}${path}`);
  assert.equal(response.status(), 200, path);
  assert.match(response.headers()['content-type'] ?? '', /^text\/html/, path);
  assert.ok(await page.title(), `${path} has a title`);
  const text = await page.content();
  for (const words of expected) assert.ok(text.includes(words), `${path} shows ${words}`);
}

/** Opens the operation's block in Swagger UI and presses "Try it out". */
async function open(page, method) {
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

/** Clears the other parameters, which Swagger UI fills with examples. */
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

/** Presses "Execute" and returns status and text of the shown response. */
async function execute(block) {
  const clear = block.locator('.btn-clear');
  if (await clear.isVisible()) await clear.click();
  await block.locator('.execute').click();
  const shown = block.locator('.live-responses-table');
  await shown.waitFor();
  const status = await shown.locator('tbody .response-col_status').first().innerText();
  return { status: status.trim().split(/\s/)[0], text: await shown.innerText() };
}
