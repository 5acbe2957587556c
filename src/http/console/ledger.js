// Who changed what, when and with what outcome, newest first.

import { get } from './api.js';
import { el, operationLink, pagedTable, problemLink, recordLink, state, time } from './dom.js';
import { filters, query } from './filters.js';

const FIELDS = [
  { name: 'system', label: 'System' }, { name: 'record', label: 'Record' }, { name: 'caller', label: 'Caller' },
  { name: 'problem', label: 'Problem' }, { name: 'operation', label: 'Operation' },
  { name: 'since', label: 'Since', type: 'time' }, { name: 'until', label: 'Until', type: 'time' },
];

export const COLUMNS = [
  ['No.', (one) => one.seq],
  ['At', (one) => time(one.at)],
  ['Event', (one) => one.event, 'word'],
  ['Action', (one) => one.action, 'word'],
  ['Record', (one) => recordLink(one.system, one.record)],
  ['Caller', (one) => one.caller, 'word'],
  ['Paths', (one) => (one.paths ?? []).map((path) => el('div', {}, path)), 'path'],
  ['State', (one) => (one.state ? state(one.state) : '')],
  ['Problem', (one) => problemLink(one.problem)],
  ['Operation', (one) => (one.operation ? operationLink(one.operation) : '')],
];

export const COLUMNS_OF_ONE = COLUMNS.filter(([title]) => title !== 'Record');

export async function ledger({ params, signal }) {
  const sent = query(params, FIELDS.map((field) => field.name));
  const load = (cursor) => get('ledger', { ...sent, order: 'desc', limit: 100, cursor }, signal);
  const list = await pagedTable('Newest first', COLUMNS, load, 'No entry matches.');
  return [el('h1', {}, 'Ledger'), filters('ledger', FIELDS, params), list];
}
