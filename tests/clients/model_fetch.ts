// Reads and changes the model `contact` in two systems with the same lines and typed members: model_fetch.js BASE_URL

import createClient from 'openapi-fetch';
import type { components, paths } from './gateway.js';

type Contact = components['schemas']['Contact'];

declare const process: { argv: string[] };
const client = createClient<paths>({ baseUrl: process.argv[2] ?? '' });
const people = [
  { system: 'crm', id: '20240601090000001a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5' },
  { system: 'sales', id: '55bb55bb-0000-4000-8000-66cc66cc66c1' },
] as const;

function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

async function get(path: (typeof people)[number]) {
  const { data } = await client.GET('/models/contact/{system}/{id}', { params: { path } });
  check(data !== undefined && data.etag !== null, data);
  return { etag: data.etag, fields: data.fields };
}

for (const path of people) {
  const before = await get(path);
  const fields: Contact = { ...before.fields, first_name: `${before.fields.first_name} C.`, email: 'another@example.com' };
  const change = { params: { path, header: { 'If-Match': before.etag } }, body: { fields } };
  const done = await client.PATCH('/models/contact/{system}/{id}', change);
  check(done.response.status === 204, done);
  const after = await get(path);
  const email: string | null | undefined = after.fields.email;
  check(email === 'another@example.com' && after.fields.first_name === fields.first_name, after);
  const stale = await client.PATCH('/models/contact/{system}/{id}', change);
  check(stale.response.status === 412 && stale.error?.type === '/problems/precondition-failed', stale);
}

console.log('openapi-typescript, openapi-fetch: one typed Contact in crm and sales: 200, 204, 200, typed 412');
