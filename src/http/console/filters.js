// A form whose fields are the query of the page's hash, so that every view can be linked.

import { el, pageHash } from './dom.js';

/** `fields` are {name, label, type: text|select|time|check, options}; `params` is the present query. */
export function filters(page, fields, params) {
  const form = el('form', { class: 'filters', 'aria-label': 'Filters' },
    fields.map((field) => control(field, params.get(field.name) ?? '')),
    el('div', { class: 'buttons' },
      el('button', { type: 'submit', class: 'first' }, 'Show'),
      el('a', { href: pageHash(page) }, 'Clear')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const chosen = {};
    for (const field of fields) {
      const input = form.elements.namedItem(field.name);
      chosen[field.name] = field.type === 'check' ? (input.checked ? 'yes' : '') : value(field, input.value.trim());
    }
    const hash = pageHash(page, chosen);
    if (hash === location.hash) window.dispatchEvent(new HashChangeEvent('hashchange'));
    else location.hash = hash;
  });
  return form;
}

function control(field, text) {
  if (field.type === 'check') {
    return el('label', { class: 'check' },
      el('input', { type: 'checkbox', name: field.name, checked: text !== '' }), field.label);
  }
  return el('label', { class: 'field' }, field.label, input(field, text));
}

function input(field, text) {
  if (field.type === 'select') {
    const all = el('option', { value: '' }, 'all');
    return el('select', { name: field.name }, all,
      field.options.map((word) => el('option', { value: word, selected: word === text }, word)));
  }
  if (field.type === 'time') {
    return el('input', { type: 'datetime-local', step: '1', name: field.name, value: localTime(text) });
  }
  return el('input', { type: 'text', name: field.name, value: text, autocomplete: 'off', spellcheck: 'false' });
}

/** The hash holds UTC; the field shows the zone of the reader. */
function localTime(text) {
  const date = new Date(text);
  if (!text || Number.isNaN(date.getTime())) return '';
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

function value(field, text) {
  if (field.type !== 'time' || !text) return text;
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? '' : date.toISOString();
}

/** The filters that are set, as parameters of the API. */
export function query(params, names) {
  return Object.fromEntries(names.map((name) => [name, params.get(name) ?? '']));
}
