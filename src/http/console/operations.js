// The writes, newest first.

import { get } from './api.js';
import { el, operationLink, pagedTable, problemLink, recordLink, state, time } from './dom.js';
import { filters, query } from './filters.js';

const STATES = ['running', 'applied', 'not-applied', 'unknown'];
const FIELDS = [
  { name: 'system', label: 'System' }, { name: 'record', label: 'Record' }, { name: 'caller', label: 'Caller' },
  { name: 'state', label: 'State', type: 'select', options: STATES },
  { name: 'action', label: 'Action', type: 'select', options: ['create', 'update', 'delete'] },
  { name: 'since', label: 'Since', type: 'time' }, { name: 'until', label: 'Until', type: 'time' },
  { name: 'unresolved', label: 'unresolved only', type: 'check' },
];

export const COLUMNS = [
  ['Begun', (one) => time(one.started_at)],
  ['State', (one) => state(one.state)],
  ['Action', (one) => one.action, 'word'],
  ['Record', (one) => recordLink(one.system, one.record)],
  ['Caller', (one) => one.caller, 'word'],
  ['Problem', (one) => problemLink(String(one.problem?.type ?? '').split('/').pop())],
  ['Operation', (one) => operationLink(one.id)],
];

export async function operations({ params, signal }) {
  const sent = query(params, ['system', 'record', 'caller', 'state', 'action', 'since', 'until']);
  const lists = await Promise.all(states(params).map((word) => list({ ...sent, state: word }, signal)));
  const none = el('p', { class: 'quiet' }, 'No unresolved operation is in this state.');
  return [el('h1', {}, 'Operations'), filters('operations', FIELDS, params), ...(lists.length ? lists : [none])];
}

/** The states to list; unresolved is what runs and what ended unknown. */
function states(params) {
  const chosen = params.get('state') ?? '';
  if (!params.get('unresolved')) return [chosen];
  return ['running', 'unknown'].filter((word) => !chosen || word === chosen);
}

function list(sent, signal) {
  const load = (cursor) => get('operations', { ...sent, order: 'desc', limit: 100, cursor }, signal);
  const caption = sent.state ? `Newest first: ${sent.state}` : 'Newest first';
  return pagedTable(caption, COLUMNS, load, `No operation matches${sent.state ? ` (${sent.state})` : ''}.`);
}
