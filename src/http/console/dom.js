// Elements of the page. Text from the API becomes text nodes and attribute values, never markup.

/** An element: `props` are attributes, or a listener where the value is a function. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  append(node, children);
  return node;
}

export function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

/** A link to a page of the console: `#/PATH?QUERY`. */
export function pageHash(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== '') query.set(name, value);
  }
  const text = query.toString();
  return `#/${path}${text ? `?${text}` : ''}`;
}

export function pageLink(text, path, params) {
  return el('a', { href: pageHash(path, params) }, text);
}

export function operationLink(id, text = id) {
  return pageLink(text, `operations/${encodeURIComponent(id)}`);
}

export function recordLink(system, id) {
  return id ? el('span', {}, system, ' ', pageLink(id, 'record', { system, id })) : (system ?? '');
}

export function problemLink(name) {
  return name ? el('a', { href: `../problems/${encodeURIComponent(name)}` }, name) : '';
}

/** A time in the zone of the reader and in UTC. */
export function time(text) {
  const date = new Date(text ?? NaN);
  if (Number.isNaN(date.getTime())) return text ? String(text) : '–';
  const two = (number) => String(number).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const local = `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const utc = date.toISOString().replace('T', ' ').replace(/\.\d+Z$/, ' UTC');
  if (utc === `${local} UTC`) return el('time', { datetime: date.toISOString() }, utc);
  return el('time', { datetime: date.toISOString() }, local, el('span', { class: 'utc' }, utc));
}

/** How long ago a time is: `3 min`. */
export function age(text) {
  return span((Date.now() - new Date(text).getTime()) / 1000);
}

function span(seconds) {
  if (Number.isNaN(seconds)) return '';
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.round(seconds))} s`;
}

const TONES = {
  applied: 'good', running: 'warn', 'not-applied': 'quiet', unknown: 'bad',
  closed: 'good', 'half-open': 'warn', open: 'bad', done: 'good', cancelled: 'warn',
};

/** A state as a coloured word. */
export function state(word) {
  return el('span', { class: `tag ${TONES[word] ?? 'quiet'}` }, word ?? '–');
}

export function notice(tone, ...children) {
  return el('div', { class: `notice ${tone}`, role: tone === 'bad' ? 'alert' : 'status' }, ...children);
}

/** Names with values; entries without a value are left out. */
export function facts(entries) {
  const isEmpty = (value) => value === undefined || value === null || value === '' || value.length === 0;
  const shown = entries.filter(([, value]) => !isEmpty(value));
  return el('dl', { class: 'facts' }, shown.map(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));
}

/** A table that becomes a list of cards on a narrow screen. `columns` are [title, cell of a row, class]. */
export function table(caption, columns, rows) {
  return el('table', { class: 'rows' },
    el('caption', {}, caption),
    el('thead', {}, el('tr', {}, columns.map(([title]) => el('th', { scope: 'col' }, title)))),
    el('tbody', {}, rows.map((row) => tableRow(columns, row))));
}

function tableRow(columns, row) {
  const tableCell = ([title, cell, kind]) => el('td', { 'data-label': title, class: kind }, cell(row) ?? '');
  return el('tr', {}, columns.map(tableCell));
}

/** A table of the API's pages: 100 rows, and more on demand. `load(cursor)` fetches one page. */
export async function pagedTable(caption, columns, load, empty) {
  const first = await load(undefined);
  if (first.items.length === 0 && !first.next) return el('p', { class: 'quiet' }, empty);
  const shown = table(caption, columns, first.items);
  const body = shown.querySelector('tbody');
  let cursor = first.next;
  const more = el('button', { type: 'button', hidden: !cursor }, 'More');
  const status = el('span', { class: 'quiet', role: 'status' });
  more.addEventListener('click', async () => {
    more.disabled = true;
    try {
      const page = await load(cursor);
      append(body, page.items.map((row) => tableRow(columns, row)));
      cursor = page.next;
      more.hidden = !cursor;
      status.textContent = `${body.children.length} rows`;
    } catch (error) {
      status.textContent = error.message;
    }
    more.disabled = false;
  });
  return el('div', {}, shown, el('p', { class: 'buttons' }, more, status));
}

/** A command to copy. */
export function command(text) {
  const button = el('button', { type: 'button' }, 'Copy');
  const code = el('pre', { tabindex: '0', 'aria-label': 'Command' }, text);
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      // Without the clipboard's permission the text is selected, to be copied by hand.
      getSelection()?.selectAllChildren(code);
      button.textContent = 'Selected';
    }
  });
  return el('div', {}, code, button);
}

/** JSON as text. */
export function json(value) {
  return typeof value === 'string' ? value : JSON.stringify(value, null, 2);
}
