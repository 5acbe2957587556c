// Batches that run in the background.

import { curl, get, request } from './api.js';
import { command, el, facts, notice, operationLink, pagedTable, problemLink, state, time } from './dom.js';

export async function batches() {
  const input = el('input', { type: 'text', name: 'id', required: true, autocomplete: 'off', spellcheck: 'false' });
  const form = el('form', { class: 'plain' },
    el('label', { class: 'field' }, 'Id of a batch', input), el('button', { type: 'submit', class: 'first' }, 'Show'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    location.hash = `#/batches/${encodeURIComponent(input.value.trim().split('/').pop())}`;
  });
  return [
    el('h1', {}, 'Batches'),
    el('p', {}, 'A batch sent with ', el('code', {}, 'Prefer: respond-async'), ' names its page in ',
      el('code', {}, 'Location'), '. It is shown to its caller, and to callers who may operate all its systems.'),
    form,
  ];
}

export async function batch({ id, signal, reload }) {
  const path = `batches/${encodeURIComponent(id)}`;
  const shown = await get(path, { limit: 100 }, signal);
  const status = el('div', {});
  const cancel = el('button', {
    type: 'button', hidden: shown.state !== 'running', click: async () => {
      try {
        await request('DELETE', path);
        reload();
      } catch (error) {
        status.replaceChildren(notice('bad', error.message));
      }
    },
  }, 'Begin no further item');
  const operationOf = (item) => String(item.headers?.operation ?? '').split('/').pop();
  const list = await pagedTable('Its items', [
    ['Item', (one) => one.id], ['Status', (one) => one.status ?? 'not ended'],
    ['Operation', (one) => (operationOf(one) ? operationLink(operationOf(one)) : '')],
    ['Problem', (one) => problemLink(String(one.body?.type ?? '').split('/').pop())],
    ['Detail', (one) => one.body?.detail],
  ], (cursor) => (cursor ? get(path, { limit: 100, cursor }, signal) : Promise.resolve(shown)), 'It has no items.');
  return [
    el('h1', {}, 'Batch ', state(shown.state)),
    facts([
      ['Id', el('code', {}, shown.id)], ['Caller', shown.caller], ['Begun', time(shown.started_at)],
      ['Ended', shown.finished_at ? time(shown.finished_at) : '–'],
      ...Object.entries(shown.summary ?? {}),
    ]),
    el('p', { class: 'buttons' }, cancel, el('button', { type: 'button', click: () => reload() }, 'Refresh')),
    status, list, el('h2', {}, 'The same with curl'), command(curl('GET', path)),
  ];
}
