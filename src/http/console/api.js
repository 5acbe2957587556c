// Requests to the gateway. Paths are relative to the console, because a proxy may serve the gateway
// under a prefix. The key stays in this tab.

const KEY = 'records-gateway.key';
const ROOT = new URL('..', document.baseURI);

export function key() {
  return sessionStorage.getItem(KEY) ?? '';
}

export function keepKey(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

/** A response that is no success: the problem document, where there is one. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? problem?.title ?? `the gateway responded with status ${status}`);
    this.status = status;
    this.problem = problem ?? {};
    this.name = String(this.problem.type ?? '').split('/').pop();
  }
}

/** The address of a path of the API, with its query. */
export function url(path, params = {}) {
  const address = new URL(path, ROOT);
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== '') address.searchParams.set(name, value);
  }
  return address;
}

/** Sends a request; the response's body as text is in `text`, as JSON in `body`. */
export async function request(method, path, { params, body, signal } = {}) {
  const headers = { accept: 'application/json' };
  if (key()) headers.authorization = `Bearer ${key()}`;
  if (body !== undefined) headers['content-type'] = 'application/json';
  const response = await fetch(url(path, params), {
    method, headers, signal, credentials: 'omit', cache: 'no-store', referrerPolicy: 'no-referrer',
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch((error) => {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, { detail: 'the gateway does not respond' });
  });
  const text = await response.text();
  const parsed = parse(text);
  if (!response.ok) throw new ApiError(response.status, parsed);
  return { status: response.status, headers: response.headers, text, body: parsed };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export async function get(path, params, signal) {
  return (await request('GET', path, { params, signal })).body;
}

/** The same, or undefined where the caller may not see it or this gateway has no such path. */
export async function getIfAllowed(path, params, signal) {
  try {
    return await get(path, params, signal);
  } catch (error) {
    if (error.status === 403 || error.status === 404) return undefined;
    throw error;
  }
}

/** The request as a command for a shell; the key is a variable of the shell. */
export function curl(method, path, body) {
  const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;
  const parts = ['curl', '-i'];
  if (method !== 'GET') parts.push('-X', method);
  if (key()) parts.push('-H "Authorization: Bearer $KEY"');
  if (body !== undefined) {
    parts.push('-H', quoted('Content-Type: application/json'), '-d', quoted(JSON.stringify(body)));
  }
  parts.push(quoted(url(path)));
  return parts.join(' ');
}
