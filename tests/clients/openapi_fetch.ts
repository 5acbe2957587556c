// Reads and changes a record with openapi-typescript and openapi-fetch, under `tsc --strict`: openapi_fetch.js BASE_URL

import createClient from 'openapi-fetch';
import type { components, paths } from './gateway.js';

type Problem = components['schemas']['Problem'];
type StoredRecord = components['schemas']['StoredRecord'];

declare const process: { argv: string[] };
const base = process.argv[2] ?? '';
const client = createClient<paths>({ baseUrl: base });
const path = { system: 'itsm', id: 'SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e' };

function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

async function get(): Promise<StoredRecord & { etag: string }> {
  const { data, response } = await client.GET('/records/{system}/{id}', { params: { path } });
  check(data !== undefined && data.etag !== null && data.etag === response.headers.get('etag'), data);
  return { ...data, etag: data.etag };
}

function patch(description: string, etag: string, prefer?: string) {
  const header = { 'If-Match': etag, ...(prefer === undefined ? {} : { Prefer: prefer }) };
  return client.PATCH('/records/{system}/{id}', { params: { path, header }, body: { fields: { Description: description } } });
}

const first = await get();
const done = await patch('Facilities, by openapi-fetch', first.etag);
check(done.response.status === 204, done);

const shown = await patch('Facilities and rooms', (await get()).etag, 'return=representation');
check(shown.response.status === 200 && shown.data !== undefined && 'fields' in shown.data, shown);
check(shown.data.fields['Description'] === 'Facilities and rooms', shown.data);

const stale = await patch('never', first.etag);
const problem: Problem | undefined = stale.error;
check(stale.response.status === 412 && problem?.type === '/problems/precondition-failed', stale);

const operations: components['schemas']['JsonPatch'] = [{ op: 'replace', path: '/fields/Description', value: 'Facilities, by a JSON Patch' }];
const patched = await client.PATCH('/records/{system}/{id}', {
  params: { path, header: { 'If-Match': '*' } },
  headers: { 'Content-Type': 'application/json-patch+json' },
  body: operations,
});
check(patched.response.status === 204, patched);
check((await get()).fields['Description'] === 'Facilities, by a JSON Patch', 'the JSON Patch');

const accepted = await patch('Facilities, later', '*', 'respond-async');
check(accepted.response.status === 202 && accepted.data !== undefined && 'state' in accepted.data, accepted);

const filter = { Name: 'Facility Management' };
const query = { collection: 'SPSScCategoryClassBase', filter };
const listed = await client.GET('/records/{system}', { params: { path: { system: path.system }, query } });
check(listed.data?.items.length === 1 && listed.data.items[0]?.id === path.id, listed);

console.log('openapi-typescript, openapi-fetch: 200, 204, 200 with the record, typed 412, JSON Patch, 202, a filtered list');
