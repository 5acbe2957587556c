// Starts Swagger UI with the general document, or with that of the system in `?system=`. Only
// callers read the document of a system: where they have keys, the page shows a field for one first. The key
// is the console's: it stays in this tab and is sent to this gateway only.

window.onload = () => {
  const KEY = 'records-gateway.key';
  const name = new URLSearchParams(location.search).get('system') ?? '';
  const isOfSystem = /^[a-z][a-z0-9-]*$/.test(name);
  const address = new URL(isOfSystem ? `../systems/${name}/openapi.json` : '../openapi.json', location.href).href;
  const key = () => sessionStorage.getItem(KEY) ?? '';
  const authorization = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

  function start() {
    window.ui = SwaggerUIBundle({
      dom_id: '#swagger-ui',
      url: address,
      deepLinking: true,
      displayOperationId: true,
      displayRequestDuration: true,
      tryItOutEnabled: true,
      // No badge of an external validator.
      validatorUrl: 'none',
      layout: 'StandaloneLayout',
      presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
      plugins: [SwaggerUIBundle.plugins.DownloadUrl],
      requestInterceptor: (request) => {
        if (request.loadSpec && request.url === address) Object.assign(request.headers, authorization());
        return request;
      },
      // As if it had been given to "Authorize".
      onComplete: () => key() && window.ui.preauthorizeApiKey('key', key()),
    });
  }

  /** Starts, or shows a field for the key of a caller who may read the document. */
  async function startWithKey() {
    const options = { headers: { Accept: 'application/json', ...authorization() }, credentials: 'omit', cache: 'no-store' };
    // Swagger UI shows every other failure.
    const response = await fetch(address, options).catch(() => undefined);
    if (response?.status !== 401 && response?.status !== 403) return start();
    const { detail = '' } = await response.json().catch(() => ({}));
    const reason = key() ? detail : '';
    if (response.status === 401) sessionStorage.removeItem(KEY);
    return askForKey(reason);
  }

  function askForKey(reason) {
    const input = create('input', { type: 'password', autocomplete: 'off', required: true });
    const form = create('form', {},
      create('label', {}, 'Key or token ', input), ' ',
      create('button', { type: 'submit', className: 'btn' }, 'Use it in this tab'),
      create('p', { role: 'alert' }, reason));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, input.value.trim());
      startWithKey();
    });
    const page = create('div', { className: 'wrapper information-container' },
      create('div', { className: 'info' },
        create('h1', { className: 'title' }, `API of ${name}`),
        create('p', {}, 'The gateway shows it to callers only. The key or token stays in this tab and is sent to this gateway only.'),
        form));
    document.getElementById('swagger-ui').replaceChildren(create('div', { className: 'swagger-ui' }, page));
    input.focus();
  }

  function create(tag, properties, ...content) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...content);
    return element;
  }

  if (isOfSystem) startWithKey();
  else start();
};
