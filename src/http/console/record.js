// One record: its fields, its tag, its schema, and who changed it. There is no editing here.

import { curl, get, getIfAllowed, request } from './api.js';
import { command, el, facts, json, notice, pagedTable, problemLink, table } from './dom.js';
import { filters } from './filters.js';
import { COLUMNS_OF_ONE } from './ledger.js';

const FIELDS = [{ name: 'system', label: 'System' }, { name: 'id', label: 'Id' }];

export async function record({ params, signal }) {
  const [system, id] = [params.get('system'), params.get('id')];
  const head = [el('h1', {}, 'Record'), filters('record', FIELDS, params)];
  if (!system || !id) return [...head, el('p', { class: 'quiet' }, 'Name a system and an id.')];
  const path = `records/${encodeURIComponent(system)}/${encodeURIComponent(id)}`;
  const [state, history] = await Promise.all([present(path, signal), changes(system, id, signal)]);
  return [
    ...head, ...state, ...history, el('h2', {}, 'The same with curl'), command(curl('GET', path)),
    el('p', {}, 'To change it: ', el('a', { href: '../docs/' }, 'the API, to read and to try out'), '.'),
  ];
}

async function present(path, signal) {
  try {
    const { headers, text } = await request('GET', path, { signal });
    return [...values(headers, text), ...await schema(headers, signal)];
  } catch (error) {
    if (signal.aborted || error.status === 401) throw error;
    return [notice('bad', error.message, ' ', problemLink(error.name))];
  }
}

const warningText = (one) => `${one.code} ${one.pointer ?? ''} ${one.detail ?? ''}`;

function values(headers, text) {
  const shown = JSON.parse(text);
  const rows = Object.entries(shown.fields ?? {});
  const readOnly = new Set(shown.read_only ?? []);
  return [
    facts([
      ['Tag', el('code', {}, headers.get('etag') ?? 'none')],
      ['Running write', shown.pending_operation ? operationOf(shown.pending_operation) : undefined],
      ['Warnings', (shown.warnings ?? []).map((one) => el('div', {}, warningText(one)))],
    ]),
    table('Its fields', [
      ['Name', ([name]) => name],
      ['Value', ([, value]) => shownValue(value)],
      ['', ([name]) => (readOnly.has(`/fields/${name}`) ? 'read-only' : '')],
    ], rows),
  ];
}

function operationOf(path) {
  const id = String(path).split('/').pop();
  return el('a', { href: `#/operations/${encodeURIComponent(id)}` }, id);
}

/** The schema that the record's `Link` names, where there is one. */
async function schema(headers, signal) {
  const target = /<([^>]*)>\s*;[^,]*rel="?describedby"?/.exec(headers.get('link') ?? '')?.[1];
  if (!target) return [];
  // The link may be an address outside; its path below the gateway is what counts.
  const path = target.replace(/^.*?(?=systems\/)/, '');
  const found = await getIfAllowed(path, {}, signal).catch(() => undefined);
  if (!found) return [];
  const words = (one) => [one.type].flat().filter(Boolean).join(' or ');
  return [el('details', {}, el('summary', {}, `Schema: ${found.title ?? 'of the collection'}`),
    table('What its fields may hold', [
      ['Name', ([name]) => name], ['Type', ([, one]) => words(one)],
      ['Rules', ([, one]) => rules(one)], ['', ([, one]) => (one.readOnly ? 'read-only' : '')],
    ], Object.entries(found.properties ?? {})))];
}

function rules(one) {
  const names = ['format', 'pattern', 'minLength', 'maxLength', 'minimum', 'maximum', 'enum'];
  return names.filter((name) => one[name] !== undefined).map((name) => `${name} ${json(one[name])}`).join(', ');
}

async function changes(system, id, signal) {
  const load = (cursor) => get('ledger', { system, record: id, order: 'desc', limit: 100, cursor }, signal);
  try {
    const entries = await pagedTable('Newest first', COLUMNS_OF_ONE, load, 'The ledger has no entry for it.');
    return [el('h2', {}, 'History'), entries];
  } catch (error) {
    if (signal.aborted || error.status === 401) throw error;
    return [el('h2', {}, 'History'), notice('', error.message)];
  }
}


function shownValue(value) {
  if (value === null) return el('span', { class: 'quiet' }, 'null');
  return value === '' ? el('span', { class: 'quiet' }, 'empty text') : json(value);
}
