// Presses "Execute" on every operation in Swagger UI, in Chromium: node swagger.mjs BASE_URL SCREENSHOT [SYSTEM]
//
// With a SYSTEM only its document is tried: all of them take several minutes.
//
// Nothing is typed but ids that only a response has, and the tag of a change. Every operation of the general document succeeds,
// and so does every one of each system's document that is about the system: `/docs/?system=NAME`. Fails on another status, an error
// in the console, and a request to another origin.

import assert from 'node:assert/strict';
import { launch, openPage } from './browser.mjs';

const [base, screenshot, only] = process.argv.slice(2);
assert.ok(base && screenshot, 'usage: node swagger.mjs BASE_URL SCREENSHOT [SYSTEM]');

const METHODS = ['get', 'post', 'patch', 'delete'];
const RECORD = '/records/{system}/{id}';
// An operation that has ended cannot be resolved by a person.
const OTHER_STATUS = { resolveOperation: 409 };

// The ids that have been deleted.
const gone = new Set();
const browser = await launch();

try {
  const { page, complaints } = await openPage(browser, base, { width: 1280, height: 1600 });
  // The browser writes a line to the console for every 4xx; the statuses are checked here.
  const reported = () => complaints.filter((line) => !/the server responded with a status of 4\d\d/.test(line));

  await assertPage(page, '/', ['href="docs/"', 'href="openapi.json"']);
  await assertPage(page, '/problems/precondition-failed', ['precondition-failed', '412']);

  const systems = (await json('/systems')).items.map((system) => system.name);
  assert.ok(systems.length >= 4, `systems: ${systems}`);
  // The documents of the systems first: the general one ends with deletes.
  for (const system of systems.filter((name) => only === undefined || name === only)) {
    const isAboutIt = (path) => path.includes('{system}') && !path.startsWith('/models/{model}/');
    await executeAll(page, `/docs/?system=${system}`, `/systems/${system}/openapi.json`, isAboutIt, system);
  }
  await changeWithTag(page);
  if (only === undefined) await executeAll(page, '/docs/', '/openapi.json', () => true, 'all');
  assert.deepEqual(reported(), []);
  console.log(`Chromium ${browser.version()}; screenshot: ${screenshot}`);
} finally {
  await browser.close();
}

/** Executes every chosen operation of a document as it is filled in; those that remove something come last. */
async function executeAll(page, docs, documentPath, isChosen, name) {
  const started = Date.now();
  const document = await json(documentPath);
  const operations = Object.entries(document.paths)
    .filter(([path]) => isChosen(path))
    .flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => ({ path, method, ...item[method] })))
    .sort((one, other) => METHODS.indexOf(one.method) - METHODS.indexOf(other.method));
  assert.ok(operations.some((operation) => operation.method === 'delete'), `${name} has operations that remove something`);
  await page.goto(`${base}${docs}`);
  await page.locator('.opblock').first().waitFor();
  const ids = { operations: await anOperation(), batches: await aBatch() };
  const failed = [];
  let executed = 0;
  for (const operation of operations) {
    const block = await open(page, operation);
    const collection = /^\/(operations|batches)\/\{id\}/.exec(operation.path)?.[1];
    if (collection) await fill(block, 'id', ids[collection]);
    const types = Object.keys(operation.requestBody?.content ?? {});
    // A patch has several media types; its preview, and a patch of a model, are the same request.
    const tried = operation.operationId === 'updateRecord' ? types : types.slice(0, 1);
    for (const type of tried.length ? tried : [null]) {
      if (tried.length > 1) await bodyType(block, type);
      if (operation.method === 'delete' && !collection) await spare(document, operation, block);
      const { status, text } = await execute(block);
      executed += 1;
      const other = OTHER_STATUS[operation.operationId];
      const isExpected = other === undefined ? status >= 200 && status < 300 : status === other;
      const detail = /"detail": "[^"]*"/.exec(text)?.[0] ?? '';
      if (!isExpected) failed.push(`${operation.operationId} ${type ?? ''}: ${status} ${detail}`);
      if (status === 202) await ended(text);
      if (status === 201) await remove(text);
    }
    await close(block);
  }
  assert.deepEqual(failed, [], `${name}: ${failed.length} of ${executed} examples fail`);
  console.log(`${name}: ${executed} examples of ${operations.length} operations succeed in ${Date.now() - started} ms`);
}

/** A record that other examples need is not deleted: the id of a new one is filled in. */
async function spare(document, operation, block) {
  const value = (name) => block.locator(`tr[data-param-name="${name}"]`).locator('input, select').first().inputValue();
  const shown = document.paths[operation.path].get.parameters.find((parameter) => parameter.name === 'id').example;
  const isLast = operation.operationId === 'deleteRecord' && document.info.title === 'records-gateway';
  const id = await value('id');
  if (!gone.has(id) && (id !== shown || isLast)) {
    gone.add(id);
    return;
  }
  const system = await value('system');
  const collectionPath = operation.path.replace('/{id}', '');
  const content = document.paths[collectionPath].post.requestBody.content['application/json'];
  const body = content.example ?? Object.values(content.examples)[0].value;
  const model = document.paths[operation.path].delete.parameters.find((parameter) => parameter.name === 'model')?.example;
  const path = collectionPath.replace('{system}', system).replace('{model}', model);
  const made = await fetch(`${base}${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body).replace('A new text', `New ${performance.now()}`).replace('Meeting room', `Room ${performance.now()}`),
  });
  assert.equal(made.status, 201, `${path}: ${await made.clone().text()}`);
  const record = await made.json();
  if (system === 'architecture') await disable(record.id);
  await fill(block, 'id', record.id);
}

/** BlueDolphin deletes only disabled definitions. */
async function disable(id) {
  const disabled = await fetch(`${base}/records/architecture/${id}`, {
    method: 'PATCH',
    headers: { 'If-Match': '*', 'Content-Type': 'application/merge-patch+json', Prefer: 'wait=5' },
    body: '{"fields":{"status":"disabled"}}',
  });
  assert.ok(disabled.ok && disabled.status !== 202, await disabled.text());
}

/** Reads a record, changes it with its tag, and cannot change it with the same tag again. */
async function changeWithTag(page) {
  await page.goto(`${base}/docs/?system=itsm`);
  const paths = (await json('/systems/itsm/openapi.json')).paths[RECORD];
  const created = await fetch(`${base}/records/itsm`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{"collection":"SPSScCategoryClassBase","fields":{"Name":"Facilities"}}',
  });
  const { id } = await created.json();
  const get = await open(page, { method: 'get', path: RECORD, ...paths.get });
  await fill(get, 'id', id);
  const read = await execute(get);
  assert.equal(read.status, 200, read.text);
  const etag = /^\s*etag: (".*")\s*$/im.exec(read.text)?.[1];
  assert.ok(etag, `no ETag is shown in: ${read.text}`);
  const patch = await open(page, { method: 'patch', path: RECORD, ...paths.patch });
  await fill(patch, 'id', id);
  await fill(patch, 'If-Match', etag);
  await bodyType(patch, 'application/merge-patch+json');
  await patch.locator('textarea.body-param__text').fill('{"fields": {"Description": "Facilities and rooms"}}');
  const written = await execute(patch);
  assert.equal(written.status, 204, written.text);
  const again = await execute(get);
  assert.match(again.text, /Facilities and rooms/);
  await get.evaluate((block) => block.scrollIntoView());
  await page.screenshot({ path: screenshot });
  const stale = await execute(patch);
  assert.equal(stale.status, 412, stale.text);
  assert.match(stale.text, /precondition-failed/);
}

async function json(path) {
  const response = await fetch(`${base}${path}`);
  assert.equal(response.status, 200, path);
  return response.json();
}

/** The id of an operation that has ended. */
async function anOperation() {
  const response = await fetch(`${base}/records/itsm/SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299f`, {
    method: 'PATCH',
    headers: { 'If-Match': '*', 'Content-Type': 'application/merge-patch+json' },
    body: JSON.stringify({ fields: { Description: `Changed at ${performance.now()}` } }),
  });
  assert.equal(response.status, 204, await response.text());
  return response.headers.get('operation').split('/').pop();
}

/** The id of a stored batch. */
async function aBatch() {
  const response = await fetch(`${base}/batch`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Prefer: 'respond-async' },
    body: JSON.stringify({ items: [{ method: 'GET', path: '/records/architecture/object-definitions:640b3d7d4a28b925fcf8b9a2' }] }),
  });
  assert.equal(response.status, 202, await response.text());
  return response.headers.get('location').split('/').pop();
}

/** Deletes what an example has made: another example may make the same, and some names are unique. */
async function remove(text) {
  const path = /^\s*location: (\S+)\s*$/im.exec(text)?.[1];
  assert.ok(path, `no Location is shown in: ${text}`);
  const system = path.split('/').at(-2);
  if (system === 'architecture') await disable(decodeURIComponent(path.split('/').at(-1)));
  const gone = await fetch(new URL(path, base), {
    method: 'DELETE',
    headers: { 'If-Match': '*', 'Accept-Loss': 'dependent-objects', Prefer: 'wait=5' },
  });
  assert.equal(gone.status, 204, `${path}: ${await gone.text()}`);
}

/** Waits for the end of a queued write: another one is refused until then. */
async function ended(text) {
  const operation = /\/operations\/[0-9a-f-]{36}/.exec(text)?.[0];
  for (let tries = 0; operation && tries < 100; tries += 1) {
    if ((await json(operation)).state !== 'running') return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
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

/** Opens the operation's block in Swagger UI, ready to try out. */
async function open(page, { operationId }) {
  const block = page.locator(`.opblock[id^="operations-"][id$="-${operationId}"]`).first();
  await block.locator('.opblock-summary-control').click();
  await block.locator('.try-out__btn').waitFor();
  if (!(await block.locator('.execute').isVisible())) await block.locator('.try-out__btn').click();
  await block.locator('.execute').waitFor();
  return block;
}

async function close(block) {
  await block.locator('.opblock-summary-control').click();
}

/** Fills in one parameter. */
async function fill(block, name, value) {
  await block.locator(`tr[data-param-name="${name}"]`).locator('input').first().fill(value);
}

/** Chooses the media type of the request's body. */
async function bodyType(block, type) {
  await block.locator('.opblock-section-request-body .content-type').first().selectOption(type);
}

/** Presses "Execute" and returns status and text of the shown response; 0 if Swagger UI sends nothing. */
async function execute(block) {
  const clear = block.locator('.btn-clear');
  if (await clear.isVisible()) await clear.click();
  await block.locator('.execute').click();
  const shown = block.locator('.live-responses-table');
  const isShown = await shown.waitFor().then(() => true, () => false);
  if (!isShown) return { status: 0, text: 'a required parameter or the body is missing' };
  const status = await shown.locator('tbody .response-col_status').first().innerText();
  return { status: Number(status.trim().split(/\s/)[0]), text: await shown.innerText() };
}
