// The console: which page the hash names, and the key.

import { ApiError, get, keepKey, key } from './api.js';
import { el, notice, problemLink } from './dom.js';
import { batch, batches } from './batches.js';
import { ledger } from './ledger.js';
import { operation } from './operation.js';
import { operations } from './operations.js';
import { overview } from './overview.js';
import { record } from './record.js';
import { verify } from './verify.js';

const PAGES = { '': overview, operations, ledger, verify, record, batches };
const PAGES_OF_ONE = { operations: operation, batches: batch };

const main = document.getElementById('main');
const forget = document.getElementById('forget');
let current = new AbortController();
let isFirst = true;

forget.addEventListener('click', () => {
  keepKey('');
  show();
});
window.addEventListener('hashchange', show);
show();

/** Shows the page of the hash. A page that is left stops its requests. */
async function show() {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const [path, text] = (location.hash.slice(2) || '').split('?', 2);
  const [name, id] = path.split('/', 2);
  const page = id ? PAGES_OF_ONE[name] : PAGES[name];
  markCurrent(name);
  forget.hidden = !key();
  main.replaceChildren(el('p', { class: 'quiet', role: 'status' }, 'Loading …'));
  const context = { id: decode(id), params: new URLSearchParams(text ?? ''), signal, reload: show };
  try {
    const shown = page ? await page(context) : el('h1', {}, 'There is no such page');
    if (!signal.aborted) main.replaceChildren(...[shown].flat());
  } catch (error) {
    if (!signal.aborted) main.replaceChildren(...failure(error));
  }
  if (signal.aborted) return;
  document.title = `${main.querySelector('h1')?.textContent ?? 'console'} · records-gateway`;
  // A keyboard user who follows a link continues in the content.
  if (!isFirst) main.focus({ preventScroll: true });
  isFirst = false;
}

function decode(text) {
  try {
    return decodeURIComponent(text ?? '');
  } catch {
    return text;
  }
}

function markCurrent(name) {
  for (const link of document.querySelectorAll('#pages a')) {
    const isCurrent = link.getAttribute('href') === `#/${name}`;
    if (isCurrent) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function failure(error) {
  if (error instanceof ApiError && error.status === 401) return keyForm(error);
  const name = error instanceof ApiError ? problemLink(error.name) : '';
  const id = error.problem?.request_id;
  const more = [name ? [' ', name] : '', id ? ` (request ${id})` : ''];
  return [el('h1', {}, 'This cannot be shown'), notice('bad', error.message, more)];
}

function keyForm(error) {
  const input = el('input', { type: 'password', name: 'key', autocomplete: 'off', required: true });
  const status = el('p', { role: 'alert', class: 'bad' }, key() ? error.message : '');
  const form = el('form', { class: 'plain' },
    el('label', { class: 'field' }, 'Key or token', input),
    el('button', { type: 'submit', class: 'first' }, 'Use it in this tab'), status);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    keepKey(input.value.trim());
    try {
      await get('systems');
      show();
    } catch (failed) {
      keepKey('');
      status.textContent = failed.message;
    }
  });
  return [
    el('h1', {}, 'Who are you?'),
    el('p', {}, 'This gateway shows nothing without the key or token of a caller. ',
      'It stays in this tab and is sent to this gateway only.'),
    form,
  ];
}
