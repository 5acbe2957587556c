// Chromium for the tests of the pages: it reaches the gateway and nothing else.

import { chromium } from 'playwright-core';

const ARGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGS });
}

/** A page that reports requests to other origins than `base`, errors in the console and exceptions. */
export async function openPage(browser, base, viewport, options = {}) {
  const complaints = [];
  const context = await browser.newContext({ viewport, serviceWorkers: 'block', ...options });
  context.setDefaultTimeout(15_000);
  await context.route('**', (route) => {
    const url = new URL(route.request().url());
    if (url.origin === base) return route.continue();
    complaints.push(`a request to another origin: ${url.href}`);
    return route.abort();
  });
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => complaints.push(`page: ${error.message}`));
  return { page, complaints };
}
