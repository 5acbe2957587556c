// What state the systems and the gateway are in.

import { get, getIfAllowed } from './api.js';
import { age, el, facts, notice, pageLink, state, time } from './dom.js';

const REFRESH = 15_000;
const MAX_LISTED = 1000;

export async function overview({ signal }) {
  const holder = el('div');
  await fill(holder, signal);
  const refresh = el('button', { type: 'button' }, 'Refresh');
  const status = el('span', { class: 'quiet', role: 'status' });
  const again = async () => {
    try {
      await fill(holder, signal);
      status.textContent = '';
    } catch (error) {
      if (!signal.aborted) status.textContent = error.message;
    }
  };
  refresh.addEventListener('click', again);
  const timer = setInterval(() => document.hidden || holder.contains(document.activeElement) || again(), REFRESH);
  signal.addEventListener('abort', () => clearInterval(timer));
  return [el('h1', {}, 'Overview'), el('p', { class: 'buttons' }, refresh, status), holder];
}

async function fill(holder, signal) {
  const listed = { state: 'running', order: 'asc', limit: MAX_LISTED };
  const [systems, status, running] = await Promise.all([
    get('systems', {}, signal), getIfAllowed('status', {}, signal), getIfAllowed('operations', listed, signal),
  ]);
  const cards = systems.items.map((system) => card(system, running));
  const none = 'You have no permission on any system.';
  holder.replaceChildren(
    el('ul', { class: 'cards' }, cards), ...(cards.length ? [] : [el('p', { class: 'quiet' }, none)]),
    ...gateway(status));
}

function card(system, running) {
  const { health = {} } = system;
  const failed = health.last_failure;
  return el('li', { class: 'card' },
    el('h2', {}, pageLink(system.name, 'operations', { system: system.name }), ' ', state(health.circuit)),
    el('p', { class: 'quiet' }, system.vendor),
    facts([
      ['In flight', health.in_flight], ['Queue', health.queued],
      ['Last success', health.last_success ? time(health.last_success) : '–'],
      ['Last failure', failed ? [time(failed.at), ': ', failed.reason] : '–'],
      ['Token until', health.token_expires ? time(health.token_expires) : undefined],
      ['Key until', health.key_expires ? time(health.key_expires) : undefined],
      ['Running', runningWrites(system.name, running)],
      ['Outcome unknown', unknownWrites(system.name, health)],
      ['Schemas', words(system.schemas)],
    ]));
}

/** How many writes have an unknown outcome, and since when: the metric writes_unknown. */
function unknownWrites(system, { writes_unknown: number, oldest_unknown: oldest }) {
  if (!number) return String(number ?? 0);
  const text = oldest ? `${number}, the oldest for ${age(oldest)}` : String(number);
  return pageLink(text, 'operations', { system, unresolved: 'yes' });
}

/** How many writes of a system run, and since when. */
function runningWrites(system, page) {
  if (!page) return undefined;
  const found = page.items.filter((operation) => operation.system === system);
  const number = page.next ? `${found.length}+` : found.length;
  if (!found.length) return String(number);
  const text = `${number}, the oldest for ${age(found[0].started_at)}`;
  return pageLink(text, 'operations', { system, state: 'running' });
}

function words(value) {
  if (value === undefined || value === null || typeof value !== 'object') return value;
  return Object.entries(value).map(([name, part]) => `${name} ${part ?? '–'}`).join(', ');
}

function gateway(status) {
  if (!status) {
    return [notice('', 'What the gateway itself does is shown to callers with the permission operate.')];
  }
  const { config = {}, build = {} } = status;
  const version = typeof build === 'object' ? [build.version, build.revision].filter(Boolean).join(' ') : build;
  const callers = status.callers ?? [];
  const dates = (caller) => [caller.not_after].flat().filter(Boolean);
  return [
    el('h2', {}, 'Gateway'),
    config.last_error ? notice('bad', 'The changed configuration is refused: ', words(config.last_error)) : '',
    facts([
      ['Build', version], ['Started', time(status.started_at)], ['Store', words(status.store)],
      ['Durability', status.durability], ['Replicas', words(status.replicas)],
      ['Configuration', config.fingerprint ? el('code', {}, config.fingerprint) : undefined],
      ['Loaded', config.loaded_at ? time(config.loaded_at) : undefined], ['Systems', status.systems],
    ]),
    callers.length ? el('h2', {}, 'Callers') : '',
    callers.length
      ? el('ul', {}, callers.map((caller) => el('li', {}, pageLink(caller.name, 'operations', { caller: caller.name }),
        ' last used ', caller.last_used ? time(caller.last_used) : 'never since the start',
        dates(caller).length ? [', valid until ', dates(caller).map((date) => [time(date), ' '])] : '')))
      : '',
  ].filter((part) => part !== '');
}
