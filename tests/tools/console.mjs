// Opens the front page and the console in Chromium: node console.mjs SETUP_JSON SCREENSHOT_FOLDER
//
// SETUP_JSON is a file with {open, keys, key, jwt, token, matrix42}: the addresses of three gateways in front of the same fake
// vendors, the credentials of two of them, and the address of the fake Matrix42.
//
// Fails on an error in the browser's console, a request to another origin, a serious finding of axe-core, a page that is wider
// than a narrow screen, and on text of others that becomes markup.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { launch, openPage } from './browser.mjs';

const [setupFile, folder] = process.argv.slice(2);
assert.ok(setupFile && folder, 'usage: node console.mjs SETUP_JSON SCREENSHOT_FOLDER');
const setup = JSON.parse(fs.readFileSync(setupFile, 'utf8'));
fs.mkdirSync(folder, { recursive: true });

const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const CANARY = '<img/src=x/onerror=window.canary=1><svg/onload=window.canary=1>';
const CLASS = 'SPSScCategoryClassBase';
const ID = `${CLASS}:7777780d-71a0-df11-708c-000c2968299e`;
const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 360, height: 740 };

const browser = await launch();
try {
  const { unknown, applied } = await seed();
  await testEveryPage(unknown, applied);
  await testOperationPage();
  await showMore();
  await showABatch();
  await testKeyPrompt();
  await testJwtAccess();
  await testDocsOfASystem();
  await probeAndResolve(unknown);
  console.log(`Chromium ${browser.version()}: every page in light, dark and at 360 px; screenshots in ${folder}`);
} finally {
  await browser.close();
}

/** Requests of callers, so that there is something to show; with text that would do harm as markup. */
async function seed() {
  await vendor('PUT', `records/${ID.replace(':', '/')}`, { Description: CANARY });
  const applied = await write(setup.keys, ID, { Description: `${CANARY}2` }, { 'if-match': '*' });
  assert.equal(applied.status, 204, await applied.text());
  await write(setup.open, ID, { Description: CANARY }, { 'if-match': '*' });
  const unknown = await sendLostWrite(`${CANARY}3`);
  return { unknown, applied: applied.headers.get('operation').split('/').pop() };
}

/** The vendor applies a write and responds neither to it nor to reads: its outcome is unknown. */
async function sendLostWrite(text) {
  const tag = (await fetch(`${setup.keys}/records/itsm/${ID}`, { headers: credentials(setup.keys) })).headers.get('etag');
  await vendor('POST', 'faults', { call: 'update', fault: 'hang_after' });
  await vendor('POST', 'faults', { call: 'read', fault: 'hang' });
  const lost = await write(setup.keys, ID, { Description: text }, { 'if-match': tag });
  assert.equal(lost.status, 504, await lost.clone().text());
  const id = String((await lost.json()).operation).split('/').pop();
  await waitFor(async () => (await read(setup.keys, `operations/${id}`)).state === 'unknown', 'the write to end unknown');
  await vendor('DELETE', 'faults');
  return id;
}

async function vendor(method, target, body) {
  const response = await fetch(`${setup.matrix42}/_sandbox/${target}`, {
    method, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body),
  });
  assert.ok(response.ok, `${method} ${target}: ${response.status} ${await response.text()}`);
}

function credentials(base) {
  return base === setup.keys ? { authorization: `Bearer ${setup.key}` } : {};
}

function write(base, id, fields, headers) {
  return fetch(`${base}/records/itsm/${id}`, {
    method: 'PATCH', body: JSON.stringify({ fields }),
    headers: { 'content-type': 'application/merge-patch+json', 'x-request-id': '<svg/onload=window.canary=1>', ...credentials(base), ...headers },
  });
}

async function read(base, target) {
  return (await fetch(`${base}/${target}`, { headers: credentials(base) })).json();
}

async function waitFor(check, what) {
  for (let tries = 0; tries < 300; tries += 1) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.fail(`waited too long for ${what}`);
}

async function testEveryPage(unknown, applied) {
  const canary = encodeURIComponent(CANARY);
  const pages = {
    home: '/', problem: '/problems/outcome-unknown', overview: '/console/#/', operations: '/console/#/operations',
    unresolved: '/console/#/operations?unresolved=yes', operation: `/console/#/operations/${applied}`,
    unknown: `/console/#/operations/${unknown}`, ledger: '/console/#/ledger?system=itsm', verify: '/console/#/verify',
    record: `/console/#/record?system=itsm&id=${encodeURIComponent(ID)}`, batches: '/console/#/batches',
    empty: `/console/#/operations?caller=${canary}&record=${canary}`, nowhere: `/console/#/${canary}`,
  };
  for (const [theme, viewport, options] of [
    ['light', WIDE, { colorScheme: 'light' }], ['dark', WIDE, { colorScheme: 'dark' }], ['narrow', NARROW, { colorScheme: 'light', timezoneId: 'America/New_York' }],
  ]) {
    const { page, complaints } = await openPage(browser, setup.keys, viewport, options);
    await withKey(page);
    for (const [name, target] of Object.entries(pages)) {
      await page.goto('about:blank');
      await page.goto(`${setup.keys}${target}`);
      await loaded(page);
      if (name === 'verify') await verify(page);
      await page.screenshot({ path: path.join(folder, `${name}-${theme}.png`), fullPage: true });
      await assertAccessible(page, `${name} in ${theme}`);
      assert.equal(await page.evaluate(() => window.canary), undefined, `${name}: text became a script`);
      assert.equal(await page.locator('main img, main svg, main script').count(), 0, `${name}: text became markup`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `${name} in ${theme} is ${wide} px too wide`);
    }
    assert.deepEqual(unexpected(complaints), []);
    await page.context().close();
  }
}

/** The browser itself writes a line for each response that is no success. */
function unexpected(complaints) {
  return complaints.filter((line) => !/Failed to load resource: the server responded with a status of 4\d\d/.test(line));
}

async function loaded(page) {
  await page.locator('h1').first().waitFor();
  await page.waitForLoadState('networkidle');
}

async function assertAccessible(page, name) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = found.violations.filter((one) => ['serious', 'critical'].includes(one.impact));
  const shown = serious.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).join(' | ')}`);
  assert.deepEqual(shown, [], name);
}

async function verify(page) {
  await page.getByRole('button', { name: 'Verify' }).click();
  await page.getByText(/The chain is whole: \d+ entries/).waitFor();
  assert.equal(await page.locator('progress').evaluate((bar) => bar.value === bar.max), true);
}

/** With the keyboard and the mouse, in open access: no key is needed. */
async function testOperationPage() {
  const { page, complaints } = await openPage(browser, setup.open, WIDE);
  await page.goto(`${setup.open}/`);
  assert.match(await page.locator('main').innerText(), /itsm/);
  await page.getByRole('link', { name: 'Console' }).click();
  await loaded(page);
  assert.match(await page.locator('main').innerText(), /crm[\s\S]*architecture[\s\S]*itsm/);
  await page.getByRole('link', { name: 'Operations' }).click();
  await page.getByRole('heading', { name: 'Operations' }).waitFor();
  await page.getByLabel('System').fill('itsm');
  await page.getByLabel('State').selectOption('applied');
  await page.keyboard.press('Tab');
  await page.getByRole('button', { name: 'Show' }).press('Enter');
  await page.waitForURL(/#\/operations\?system=itsm&state=applied$/);
  await page.locator('td[data-label=Operation] a').first().click();
  await page.getByRole('heading', { name: 'Operation applied' }).waitFor();
  assert.match(await page.locator('main').innerText(), /intent[\s\S]*outcome/);
  await page.getByRole('link', { name: 'of this record' }).click();
  await page.getByRole('heading', { name: 'History' }).waitFor();
  assert.match(await page.locator('main').innerText(), /Facility Management/);
  assert.ok((await page.locator('main').innerText()).includes(CANARY), 'the value is shown as it is');
  await page.goBack();
  await page.getByRole('heading', { name: 'Operation applied' }).waitFor();
  assert.deepEqual(complaints, []);
  const cookies = await page.context().cookies();
  assert.deepEqual(cookies, []);
  await page.context().close();
}

/** A list shows 100 rows at first, whatever there is. */
async function showMore() {
  for (let number = 0; number < 104; number += 1) {
    const written = await write(setup.open, ID, { Description: `text ${number}` }, { 'if-match': '*' });
    assert.equal(written.status, 204, await written.text());
  }
  const { page, complaints } = await openPage(browser, setup.open, WIDE);
  await page.goto(`${setup.open}/console/#/operations?system=itsm&action=update`);
  await loaded(page);
  const rows = page.locator('main tbody tr');
  assert.equal(await rows.count(), 100);
  await page.getByRole('button', { name: 'More' }).click();
  await page.getByText('105 rows').waitFor();
  assert.equal(await rows.count(), 105);
  assert.equal(await page.getByRole('button', { name: 'More' }).isVisible(), false);
  assert.deepEqual(complaints, []);
  await page.context().close();
}

async function showABatch() {
  const items = [
    { id: 'change', method: 'PATCH', path: `/records/itsm/${ID}`, headers: { 'If-Match': '*' }, body: { fields: { Description: CANARY } } },
    { id: 'missing', method: 'GET', path: '/records/itsm/none:none' },
  ];
  const sent = await fetch(`${setup.open}/batch`, {
    method: 'POST', body: JSON.stringify({ items }),
    headers: { 'content-type': 'application/json', prefer: 'respond-async' },
  });
  const { id } = await sent.json();
  await waitFor(async () => (await read(setup.open, `batches/${id}`)).state === 'done', 'the batch to end');
  const { page, complaints } = await openPage(browser, setup.open, WIDE);
  await page.goto(`${setup.open}/console/#/batches`);
  await page.getByLabel('Id of a batch').fill(id);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Batch done' }).waitFor();
  assert.match(await page.locator('main').innerText(), /change[\s\S]*missing[\s\S]*record-not-found/);
  await assertAccessible(page, 'a batch');
  await page.locator('td[data-label=Operation] a').first().click();
  await page.getByRole('heading', { name: 'Operation applied' }).waitFor();
  assert.deepEqual(complaints, []);
  await page.context().close();
}

async function testKeyPrompt() {
  const { page, complaints } = await openPage(browser, setup.keys, WIDE);
  await page.goto(`${setup.keys}/console/`);
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
  await assertAccessible(page, 'the form for the key');
  await page.screenshot({ path: path.join(folder, 'key.png') });
  await page.getByLabel('Key or token').fill('a wrong key');
  await page.getByRole('button', { name: 'Use it in this tab' }).click();
  await page.getByText('this gateway does not know the key').waitFor();
  await page.getByLabel('Key or token').fill(setup.key);
  await page.getByRole('button', { name: 'Use it in this tab' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  assert.ok(!page.url().includes(setup.key), 'the key is in no address');
  await page.reload();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await page.getByRole('button', { name: 'Forget the key' }).click();
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.deepEqual(unexpected(complaints), []);
  await page.context().close();
}

async function testJwtAccess() {
  const { page, complaints } = await openPage(browser, setup.jwt, WIDE);
  await page.goto(`${setup.jwt}/console/#/operations`);
  await page.getByLabel('Key or token').fill(setup.token);
  await page.getByRole('button', { name: 'Use it in this tab' }).click();
  await page.getByRole('heading', { name: 'Operations' }).waitFor();
  assert.deepEqual(unexpected(complaints), []);
  await page.context().close();
}

/** The typed document of a system, with every kind of access. */
async function testDocsOfASystem() {
  for (const [name, base, credential] of [['open', setup.open], ['keys', setup.keys, setup.key], ['jwt', setup.jwt, setup.token]]) {
    const { page, complaints } = await openPage(browser, base, WIDE);
    await page.goto(`${base}/docs/?system=itsm`);
    if (credential) await giveKeyForDocs(page, name, credential);
    await page.getByRole('heading', { name: /records-gateway: itsm/ }).waitFor();
    const read = page.locator('.opblock[id$="-getRecord"]');
    await read.locator('.opblock-summary-control').click();
    await read.locator('.execute').click();
    const status = read.locator('.live-responses-table tbody .response-col_status');
    assert.match(await status.first().innerText(), /^200/, `${name}: a record is read`);
    await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: path.join(folder, `docs-${name}.png`) });
    assert.equal(page.url().split('#')[0], `${base}/docs/?system=itsm`, 'the key is in no address');
    assert.deepEqual(unexpected(complaints), []);
    await page.context().close();
  }
}

async function giveKeyForDocs(page, name, credential) {
  const input = page.getByLabel('Key or token');
  const use = page.getByRole('button', { name: 'Use it in this tab' });
  await input.waitFor();
  await assertAccessible(page, 'the form for the key of a document');
  await page.screenshot({ path: path.join(folder, `docs-key-${name}.png`) });
  await input.fill('a wrong key');
  await use.click();
  await page.getByRole('alert').filter({ hasText: /\w/ }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0, 'a wrong key is not kept');
  await input.fill(credential);
  await use.click();
}

/** What a person on call does with a write whose outcome is unknown. */
async function probeAndResolve(id) {
  const { page, complaints } = await openPage(browser, setup.keys, WIDE);
  await withKey(page);
  // The vendor responds again: one more check is enough.
  const other = await sendLostWrite('lost, and found again');
  await page.goto(`${setup.keys}/console/#/operations/${other}`);
  await page.getByRole('button', { name: 'Check again now' }).click();
  await page.getByRole('heading', { name: 'Operation applied' }).waitFor();
  // Others have written the record since: only a person can decide.
  await page.goto(`${setup.keys}/console/#/`);
  await page.getByRole('link', { name: /^1, the oldest for/ }).click();
  await page.getByRole('link', { name: id }).click();
  await page.getByRole('heading', { name: 'Resolve it' }).waitFor();
  await page.getByRole('button', { name: 'Check again now' }).click();
  await page.getByText(/^Checked: the record does not show/).waitFor();
  await page.getByLabel('has applied the write').check();
  await page.getByLabel(/What you have seen/).fill('the vendor shows it');
  await page.getByRole('button', { name: 'Resolve' }).click();
  await page.getByRole('heading', { name: 'Operation applied' }).waitFor();
  assert.match(await page.locator('main').innerText(), /tester[\s\S]*the vendor shows it[\s\S]*resolved/);
  await page.screenshot({ path: path.join(folder, 'resolved.png'), fullPage: true });
  assert.equal((await read(setup.keys, `operations/${id}`)).state, 'applied');
  assert.deepEqual(unexpected(complaints), []);
  await page.context().close();
}

/** As if the key had been given in this tab before. */
function withKey(page) {
  const keep = (key) => location.protocol === 'http:' && sessionStorage.setItem('records-gateway.key', key);
  return page.addInitScript(keep, setup.key);
}
