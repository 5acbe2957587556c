// Reads and changes a record with the typescript-fetch client of openapi-generator: openapi_generator_fetch.js BASE_URL

import { Configuration, ProblemFromJSON, ProblemTypeEnum, RecordsApi, ResponseError } from './client/index';

declare const process: { argv: string[] };
const base = process.argv[2] ?? '';
const records = new RecordsApi(new Configuration({ basePath: base }));
const place = { system: 'itsm', id: 'SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e' };

function check(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

async function get() {
  const record = await records.getRecord(place);
  check(record.etag !== null, record);
  return { ...record, etag: record.etag };
}

function patch(description: string, ifMatch: string, prefer?: string) {
  const mergePatch = { fields: { Description: description } };
  return records.updateRecordRaw({ ...place, ifMatch, mergePatch, ...(prefer === undefined ? {} : { prefer }) });
}

async function main() {
  const first = await get();
  const done = await patch('Facilities, by openapi-generator (fetch)', first.etag);
  check(done.raw.status === 204, done.raw.status);

  const shown = await patch('Facilities and rooms', (await get()).etag, 'return=representation');
  const record = await shown.value();
  check(shown.raw.status === 200 && record?.fields['Description'] === 'Facilities and rooms', record);

  const stale = await patch('never', first.etag).catch((error: unknown) => error);
  check(stale instanceof ResponseError && stale.response.status === 412, stale);
  const problem = ProblemFromJSON(await stale.response.json());
  check(problem.type === ProblemTypeEnum.PRECONDITION_FAILED, problem);

  // Of the media types of a body openapi-generator uses the first alone, here the merge patch. Its
  // method therefore takes no JSON Patch; an override of the request sends one.
  const operations = [{ op: 'replace', path: '/fields/Description', value: 'Facilities, by a JSON Patch' }];
  const patched = await records.updateRecordRaw({ ...place, ifMatch: '*', mergePatch: {} }, async ({ init }) => ({
    headers: { ...init.headers, 'Content-Type': 'application/json-patch+json' },
    // The client turns it into JSON.
    body: operations as unknown as BodyInit,
  }));
  check(patched.raw.status === 204, patched.raw.status);
  check((await get()).fields['Description'] === 'Facilities, by a JSON Patch', 'the JSON Patch');

  const accepted = await patch('Facilities, later', '*', 'respond-async');
  check(accepted.raw.status === 202, accepted.raw.status);

  console.log('openapi-generator, typescript-fetch: 200, 204, 200 with the record, typed 412, JSON Patch, 202');
}

void main();
