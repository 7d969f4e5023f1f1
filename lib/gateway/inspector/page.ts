import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Html, html } from './html.ts'
import { STYLE } from './style.ts'

const SCRIPT = readFileSync(new URL('./client.js', import.meta.url), 'utf8')

/** Nothing but the page's own style and script, told by their digests: what a client has sent is never run. */
const POLICY = [
  "default-src 'none'",
  `script-src ${digestOf(SCRIPT)}`,
  `style-src ${digestOf(STYLE)}`,
  "connect-src 'self'",
  'img-src data:',
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'"
].join('; ')

/** The headers of every page. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': POLICY,
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin'
}

function digestOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}

/** The sections, as they are when the page is asked for. */
export interface Sections {
  readonly plugins: Html
  readonly latency: Html
  readonly chains: Html
  readonly requests: Html
}

/**
 * @param path of the page
 * @param search for routes
 * @param version which changes of the requests are in it
 */
export function inspectorPage(path: string, sections: Sections, search: string, version: number): string {
  return document(
    'Wasm filters',
    html`<body data-events="${path}/events?since=${version}">
    <a class="skip" href="#requests-title">Skip to the requests</a>
    <header>
      <h1>Wasm filters</h1>
      <p id="live" role="status">as of now; without the page's script, load it again</p>
      <button type="button" id="pause" aria-pressed="false" hidden>Pause</button>
      <form method="post" action="${path}/leave"><button type="submit">Sign out</button></form>
    </header>
    <main>
      <section aria-labelledby="plugins-title"><h2 id="plugins-title">Plugins</h2><div id="plugins">${sections.plugins}</div></section>
      <section aria-labelledby="latency-title" class="half"><h2 id="latency-title">Time in filters</h2><div id="latency">${sections.latency}</div></section>
      <section aria-labelledby="routes-title" class="half">
        <h2 id="routes-title">Chains of filters</h2>
        <form method="get" action="${path}#routes-title" role="search" class="search">
          <label for="route">Find a route</label><input id="route" name="route" type="search" value="${search}" autocomplete="off"><button type="submit">Find</button>
        </form>
        <div id="chains">${sections.chains}</div>
      </section>
      <section aria-labelledby="requests-title">
        <h2 id="requests-title" tabindex="-1">Last requests</h2>
        <div class="search" id="filter-box" hidden><label for="filter">Show those with</label><input id="filter" type="search" autocomplete="off" placeholder="path, status or plugin"></div>
        ${sections.requests}
        <p class="empty" id="no-requests">No request has met a filter since the start.</p>
        <p class="fine">The last 100 requests that met a filter, in the memory of this process. Bodies are not kept, and of what is secret (authorization, cookie, …) only that it was there.</p>
      </section>
    </main>
    <script type="module">${raw(SCRIPT)}</script>
  </body>`
  )
}

/** Asks for the key. */
export function loginPage(path: string, problem: string | undefined): string {
  return document(
    'Sign in',
    html`<body class="login">
    <main>
      <h1>Wasm filters</h1>
      <form method="post" action="${path}/enter">
        <label for="key">Key</label>
        <input id="key" name="key" type="password" required autofocus autocomplete="current-password"${problem !== undefined && html` aria-describedby="problem" aria-invalid="true"`}>
        ${problem !== undefined && html`<p id="problem" class="trap" role="alert">${problem}</p>`}
        <button type="submit">Sign in</button>
      </form>
    </main>
  </body>`
  )
}

/** Says why there is no page. */
export function refusalPage(reason: string): string {
  return document('Refused', html`<body class="login"><main><h1>Wasm filters</h1><p>${reason}</p></main></body>`)
}

function document(title: string, body: Html): string {
  return html`<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>${title}</title>
    <link rel="icon" href="data:,">
    <style>${raw(STYLE)}</style>
  </head>
  ${body}
</html>
`.text
}

/** Of the page itself, not of anybody else. */
function raw(text: string): Html {
  return new Html(text)
}
