// Walks the ledger's hash chain in steps.

import { get } from './api.js';
import { el, facts, notice, time } from './dom.js';

const STEP = 10_000;

export async function verify({ params, signal }) {
  const head = await get('ledger/head', {}, signal);
  const value = params.get('head') ?? '';
  const kept = el('input', { type: 'text', name: 'kept', autocomplete: 'off', spellcheck: 'false', value });
  const bar = el('progress', { max: '1', value: '0', 'aria-label': 'Entries checked' });
  const status = el('p', { role: 'status' });
  const result = el('div', {});
  const start = el('button', { type: 'submit', class: 'first' }, 'Verify');
  const form = el('form', { class: 'plain' },
    el('label', { class: 'field' }, 'A head that you kept, to compare (optional)', kept), start);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    start.disabled = true;
    result.replaceChildren();
    try {
      result.replaceChildren(await walk({ bar, status, signal, kept: kept.value.trim() }));
    } catch (error) {
      if (!signal.aborted) result.replaceChildren(notice('bad', error.message));
    }
    start.disabled = false;
  });
  return [
    el('h1', {}, 'Verify'),
    el('p', {}, 'Every entry of the ledger holds the hash of the one before it. This computes all of them again.'),
    headFacts(head), form, bar, status, result,
  ];
}

function headFacts(head) {
  return facts([
    ['Last entry', head.seq ?? 'none'], ['Written', head.at ? time(head.at) : undefined],
    ['Head', head.hash ? el('code', {}, head.hash) : undefined],
  ]);
}

async function walk({ bar, status, signal, kept }) {
  const head = await get('ledger/head', {}, signal);
  const last = head.seq ?? 0;
  const seen = { kept: false, head: undefined };
  bar.max = Math.max(1, last);
  let from = 0;
  while (from <= last && !signal.aborted) {
    const step = await get('ledger/verify', from ? { from, limit: STEP } : { limit: STEP }, signal);
    if (step.first_broken) {
      return notice('bad', `Entry ${step.first_broken.seq} is broken: ${step.first_broken.why}`);
    }
    if (!step.ok) return notice('bad', `The chain is broken between ${step.from} and ${step.to}.`);
    seen.head = step.head ?? seen.head;
    seen.kept ||= step.head === kept;
    if (!(step.to >= from) || step.to === null) break;
    from = step.to + 1;
    bar.value = Math.min(step.to, last);
    status.textContent = `${Math.min(step.to, last)} of ${last} entries`;
  }
  bar.value = bar.max;
  return verdict(head, seen, kept);
}

function verdict(head, seen, kept) {
  if (!kept) return notice('good', `The chain is whole: ${head.seq ?? 0} entries.`);
  if (seen.kept || head.hash === kept) {
    return notice('good', 'The chain is whole, and the head that you kept is its head.');
  }
  return notice('warn', 'The chain is whole. The head that you kept is not its present head: compare with ',
    el('code', {}, `records-gateway ledger verify --head ${kept}`), ', which looks for it among all entries.');
}
