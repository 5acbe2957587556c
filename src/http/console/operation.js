// One write: what was intended, what was sent, its outcome, and what a person can do.

import { curl, get, getIfAllowed, request } from './api.js';
import { age, command, el, facts, notice, pageLink, problemLink, recordLink, state, table, time } from './dom.js';

const POLL = 2_000;
/** How often, and how long at most, the page looks for the result of a check. */
const CHECK_POLL = 300;
const CHECK_TIME = 12_000;
const NOT_FOUND_OUT = 'Checked: the record does not show whether the write was applied. '
  + 'Compare it with the vendor and resolve it below.';
/** How long a write may run before a person may decide it, in milliseconds. */
const DECIDABLE_AFTER = 60_000;

export async function operation({ id, signal, reload }) {
  const path = `operations/${encodeURIComponent(id)}`;
  const shown = await get(path, {}, signal);
  const entries = await getIfAllowed('ledger', { operation: id, limit: 100 }, signal);
  const tag = el('span', { class: 'quiet' }, 'reading …');
  readTag(shown, tag, signal);
  if (shown.state === 'running') pollUntilEnd(path, signal, reload);
  return [
    el('h1', {}, 'Operation ', state(shown.state)),
    facts([
      ['Id', el('code', {}, shown.id)], ['Action', shown.action], ['Record', recordLink(shown.system, shown.record)],
      ['Caller', shown.caller], ['Begun', time(shown.started_at)],
      ['Ended', shown.finished_at ? time(shown.finished_at) : `not yet, runs for ${age(shown.started_at)}`],
      ['Tag after it', shown.etag ? el('code', {}, shown.etag) : '–'], ['Tag now', tag], ['Seen', shown.observed],
      ['Batch', shown.batch], ['Resolved by', shown.resolved_by], ['Note', shown.note],
      ['History', pageLink('of this record', 'record', { system: shown.system, id: shown.record })],
    ]),
    ...problemPart(shown.problem), ...warningPart(shown.warnings),
    ...ledgerPart(entries), ...decisionPart(shown, path, signal, reload),
    el('h2', {}, 'The same with curl'), command(curl('GET', path)),
  ];
}

async function readTag(shown, holder, signal) {
  if (!shown.record) return holder.replaceChildren('–');
  const path = `records/${encodeURIComponent(shown.system)}/${encodeURIComponent(shown.record)}`;
  try {
    const { headers } = await request('HEAD', path, { signal });
    holder.replaceChildren(el('code', {}, headers.get('etag') ?? 'none'));
  } catch (error) {
    if (signal.aborted) return undefined;
    const failure = error.status ? `status ${error.status}` : error.message;
    const gone = error.status === 404 ? 'there is no such record now' : failure;
    holder.replaceChildren(gone);
  }
  return undefined;
}

async function pollUntilEnd(path, signal, reload) {
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, POLL));
    if (signal.aborted) return;
    const now = await get(path, {}, signal).catch(() => undefined);
    const isTyping = document.activeElement?.closest('form');
    if (now && now.state !== 'running' && !isTyping && !signal.aborted) return void reload();
  }
}

function problemPart(problem) {
  if (!problem) return [];
  const name = String(problem.type ?? '').split('/').pop();
  const { vendor } = problem;
  const vendorText = vendor && [vendor.status, vendor.code, vendor.message].filter(Boolean).join(' · ');
  return [
    el('h2', {}, 'Problem'),
    facts([
      ['Name', problemLink(name)], ['Status', problem.status], ['Detail', problem.detail], ['Vendor', vendorText],
    ]),
  ];
}

function warningPart(warnings) {
  if (!warnings?.length) return [];
  const columns = [['Code', (one) => one.code], ['Where', (one) => one.pointer], ['Detail', (one) => one.detail]];
  return [el('h2', {}, 'Warnings'), table('What else the write did', columns, warnings)];
}

function ledgerPart(page) {
  if (!page) return [notice('', 'Its intent and its vendor requests are shown to callers with the permission ledger.')];
  const callText = (call) => `${call.call} ${call.status ?? 'no response'} (${call.ms} ms)`;
  const calls = (entry) => (entry.calls ?? []).map((call) => el('div', {}, callText(call)));
  return [
    el('h2', {}, 'Ledger'),
    table('Its entries', [
      ['No.', (one) => one.seq], ['At', (one) => time(one.at)], ['Event', (one) => one.event, 'word'],
      ['Precondition', (one) => one.precondition],
      ['Paths', (one) => (one.paths ?? []).map((path) => el('div', {}, path)), 'path'],
      ['Losses', (one) => (one.losses ?? []).join(', ')], ['Vendor requests', calls],
      ['State', (one) => (one.state ? state(one.state) : '')], ['Problem', (one) => problemLink(one.problem)],
      ['Request', (one) => one.request_id],
    ], page.items),
  ];
}

/** Has the write checked once more, and waits for what is found. Returns whether something was. */
async function checkAgain(shown, path, signal) {
  await request('POST', `${path}/settle`, {});
  const until = Date.now() + CHECK_TIME;
  let now;
  do {
    await new Promise((resolve) => setTimeout(resolve, CHECK_POLL));
    now = await get(path, {}, signal);
  } while (now.state === shown.state && Date.now() < until && !signal.aborted);
  return now.state !== shown.state;
}

function decisionPart(shown, path, signal, reload) {
  const isUnresolved = shown.state === 'running' || shown.state === 'unknown';
  if (!isUnresolved) return [];
  const status = el('div', {});
  const attempt = async (action) => {
    try {
      const isChanged = await action();
      if (signal.aborted) return;
      if (isChanged === false) status.replaceChildren(notice('', NOT_FOUND_OUT));
      else reload();
    } catch (error) {
      status.replaceChildren(notice('bad', error.message, ' ', problemLink(error.name)));
    }
  };
  const act = (method, target, body) => attempt(() => request(method, target, { body }));
  const check = el('button', {
    type: 'button', class: 'first', click: () => {
      status.replaceChildren(notice('', 'The record is read again …'));
      attempt(() => checkAgain(shown, path, signal));
    },
  }, 'Check again now');
  return [
    el('h2', {}, 'Check it again'),
    el('p', {}, 'The gateway reads the record again and decides by what it shows. ',
      'Nothing is written that it would not write by itself.'),
    el('p', { class: 'buttons' }, check), command(curl('POST', `${path}/settle`)),
    el('h2', {}, 'Resolve it'), ...resolveForm(shown, path, act), status,
  ];
}

function resolveForm(shown, path, act) {
  const isYoung = shown.state === 'running' && Date.now() - new Date(shown.started_at).getTime() < DECIDABLE_AFTER;
  if (isYoung) {
    return [el('p', {}, 'The gateway still reconciles it. A person can decide it when it has run for a minute.')];
  }
  const choice = (value, text) => el('label', { class: 'check' },
    el('input', { type: 'radio', name: 'state', value, required: true }), text);
  const note = el('textarea', { name: 'note', rows: '3', maxlength: '500', required: true });
  const form = el('form', { class: 'plain' },
    el('p', {}, 'Compare the record with the vendor first. ',
      'Your verdict becomes the outcome and is recorded in the ledger under your name.'),
    el('fieldset', {}, el('legend', {}, 'The vendor'),
      choice('applied', 'has applied the write'), choice('not-applied', 'has not applied it')),
    el('label', { class: 'field' }, 'What you have seen, 1 to 500 characters', note),
    el('button', { type: 'submit' }, 'Resolve'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    act('POST', `${path}/resolve`, { state: new FormData(form).get('state'), note: note.value.trim() });
  });
  return [form, command(curl('POST', `${path}/resolve`, { state: 'applied', note: 'seen at the vendor' }))];
}

