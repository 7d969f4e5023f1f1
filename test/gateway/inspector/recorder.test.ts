import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApp, startUpstream, type TestApp } from '../../app.ts'
import { request } from '../../http.ts'
import { type Script, type Step, say, scripted, wantsRequestBody, wantsResponseBody } from '../script.ts'
import { answerBytes, open, until } from '../upstream/nodes.ts'

const inspector = { path: '/_wasm', key: 'the key' }

/** The page as text: what stands in it without its tags, entities and blanks. */
async function page({ url }: Pick<TestApp, 'url'>, query = ''): Promise<{ html: string; text: string }> {
  const { text: html } = await request(`${url}/_wasm${query}`, { headers: { 'x-api-key': 'the key' } })
  const body = html.replace(/<(script|style)>.*?<\/\1>/gs, '')
  const text = body
    .replace(/<[^>]*>/g, ' ')
    .replace(/&#39;/g, "'")
    .replace(/&quot;/g, '"')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&amp;/g, '&')
    .replace(/\s+/g, ' ')
  return { html, text }
}

async function start(t: Parameters<typeof startApp>[0], conf: Script, more: object = {}) {
  return startApp(t, { plugins: scripted('a', 'b'), inspector, ...more } as never, (app) => {
    app.post('/orders/:id', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'the answer body')
    app.get('/orders/:id', { config: { wasm: { plugins: { a: { conf } } } } }, async (_request, reply) =>
      reply.header('x-from', 'handler').send('the answer body')
    )
  })
}

test('a request is shown with the callbacks of its filters, their actions, header changes, logs and calls', async (t) => {
  const upstream = await startUpstream(t, (app) => app.get('/auth', async () => 'fine'))
  const started = await start(t, {
    request_headers: [
      { op: 'set', map: 'request', name: 'x-added', value: 'one' },
      { op: 'remove', map: 'request', name: 'x-gone' },
      say('hello from the filter'),
      { op: 'call', upstream: upstream.node, headers: [[':path', '/auth']] },
      { op: 'pause' }
    ],
    call: [
      { op: 'set', map: 'request', name: 'x-user', value: 'ann' },
      { op: 'continue', stream: 'request' }
    ],
    response_headers: [{ op: 'set', map: 'response', name: 'x-from', value: 'filter' }]
  })
  await request(`${started.url}/orders/7?page=2`, { headers: { 'x-gone': 'bye' } })
  await started.quiet()
  const { text } = await page(started)
  for (const part of [
    /200 GET \/orders\/7\?page=2 /,
    /route \/orders\/:id/,
    /a on_request_headers context 2 pauses [\d.]+ µs|ms [−+]/,
    / − removed: request x-gone : bye /,
    / \+ added: request x-added : one /,
    / a info hello from the filter /,
    new RegExp(` a calls GET ${upstream.node}/auth answered 200 `),
    /a on_http_call_response context 1 [\d.]+ (?:µs|ms) \+ added: request x-user : ann /,
    /a on_response_headers context 2 continues [\d.]+ (?:µs|ms) − removed: response x-from : handler \+ added: response x-from : filter /,
    /a on_done, on_log, on_delete context 2 /
  ]) {
    assert.match(text, part)
  }
})

test('neither secrets nor bodies are kept', async (t) => {
  const started = await start(t, {
    request_headers: [
      wantsRequestBody,
      { op: 'get', map: 'request', name: 'authorization' },
      { op: 'set', map: 'request', name: 'x-api-key', value: 'added-by-the-filter' },
      { op: 'set', map: 'request', name: 'authorization', value: 'Bearer of-the-filter' }
    ],
    request_body: [{ op: 'set_body', of: 'request', value: 'changed-request-body' }],
    response_headers: [wantsResponseBody, { op: 'add', map: 'response', name: 'set-cookie', value: 'sid=new-session' }],
    response_body: [{ op: 'prepend_body', of: 'response', value: 'changed-response-body' }]
  })
  const headers = {
    authorization: 'Bearer of-the-client',
    cookie: 'sid=old-session',
    'content-type': 'text/plain',
    'proxy-authorization': 'Basic cHJveHk='
  }
  const url = `${started.url}/orders/7?access_token=in-the-query`
  const answer = await request(url, { method: 'POST', headers, body: 'sent-request-body' })
  assert.equal(answer.status, 200)
  await started.quiet()
  const { html, text } = await page(started)
  assert.match(text, /\+ added: request x-api-key : •••/)
  assert.match(text, /access_token=•••/)
  assert.match(text, /request authorization=•••/, 'in the log')
  const secrets = [
    ...[
      'of-the-client',
      'of-the-filter',
      'added-by-the-filter',
      'old-session',
      'new-session',
      'in-the-query',
      'cHJveHk='
    ],
    ...['sent-request-body', 'changed-request-body', 'changed-response-body', 'the answer body']
  ]
  for (const secret of secrets) assert.ok(!html.includes(secret), secret)
})

test('what is secret is hidden under other names, and where filters call', async (t) => {
  const upstream = await startUpstream(t, (app) => app.get('/introspect/*', async () => 'fine'))
  const started = await start(t, {
    request_headers: [
      { op: 'set', map: 'request', name: 'x-raw', value: 'of-the-client' },
      { op: 'call', upstream: upstream.node, headers: [[':path', '/introspect/of-the-client']] },
      { op: 'pause' }
    ],
    call: [{ op: 'continue', stream: 'request' }]
  })
  await request(`${started.url}/orders/7`, { headers: { authorization: 'Bearer of-the-client' } })
  await started.quiet()
  const { html, text } = await page(started)
  assert.match(text, /\+ added: request x-raw : •••/)
  assert.match(text, /\/introspect\/••• answered 200/)
  assert.ok(!html.includes('of-the-client'))
})

test('what an answer brings, and what a callback sets, is hidden in what filters log of it', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async (_request, reply) => {
      reply.header('x-auth-token', 'minted-by-the-server')
      return 'fine'
    })
  })
  const started = await start(t, {
    request_headers: [
      { op: 'set', map: 'request', name: 'authorization', value: 'Bearer minted-by-the-filter' },
      say('it is minted-by-the-filter'),
      { op: 'call', upstream: upstream.node, headers: [] },
      { op: 'pause' }
    ],
    call: [say('it is minted-by-the-server'), { op: 'continue', stream: 'request' }]
  })
  await request(`${started.url}/orders/7`)
  await started.quiet()
  const { html, text } = await page(started)
  assert.equal(text.match(/it is •••/g)?.length, 2)
  assert.ok(!html.includes('minted-by'))
})

test('what clients and filters send is text on the page, and nothing else', async (t) => {
  const evil = `<img src=x onerror="alert('1')">&`
  const steps: Step[] = [{ op: 'set', map: 'request', name: 'x-evil', value: evil }, say(evil)]
  const started = await start(t, { request_headers: steps })
  await request(`${started.url}/orders/7?${encodeURI('<script>')}"'`)
  await started.quiet()
  const { html, text } = await page(started, `?route=${encodeURIComponent('"><script>alert(1)</script>')}`)
  assert.ok(!html.includes('<img') && !html.includes('<script>alert'))
  assert.ok(text.includes(`a info ${evil}`))
  assert.ok(text.includes(`x-evil : ${evil}`))
})

test('a local response, a trap and a client that left are shown as what they are', async (t) => {
  const when = (value: string, ...steps: Step[]): Step => ({
    op: 'if_header',
    map: 'request',
    name: 'x-do',
    value,
    steps
  })
  const started = await start(t, {
    request_headers: [
      when('reply', { op: 'reply', status: 403, headers: [], body: 'no' }),
      when('panic', { op: 'panic', text: 'oh no' }),
      when('close', { op: 'close', stream: 'request' })
    ]
  })
  for (const what of ['reply', 'panic']) await request(`${started.url}/orders/${what}`, { headers: { 'x-do': what } })
  await assert.rejects(request(`${started.url}/orders/close`, { headers: { 'x-do': 'close' } }))
  await started.quiet()
  const { text } = await page(started)
  assert.match(text, /403 GET \/orders\/reply .* answers itself/)
  assert.match(text, /503 GET \/orders\/panic .* on_request_headers context \d+ failed /)
  assert.match(text, /cut GET \/orders\/close .*, cut off: .* resets/)
  assert.match(text, /failures 1 .* UTC proxy_on_request_headers failed: /)
})

test('a hundred requests are kept, and of each not more than it may', async (t) => {
  const lines = Array.from({ length: 400 }, (_, i) => say(`line ${i} ${'x'.repeat(1000)}`))
  const started = await start(t, {
    request_headers: [{ op: 'if_header', map: 'request', name: 'x-do', value: 'much', steps: lines }]
  })
  await request(`${started.url}/orders/first`, { headers: { 'x-do': 'much' } })
  await started.quiet()
  const much = await page(started)
  assert.match(much.text, /More has happened than is kept\./)
  assert.ok(much.html.length < 250_000, String(much.html.length))
  assert.ok(much.text.includes('line 0') && !much.text.includes('line 399'))
  for (let i = 0; i < 100; i++) await request(`${started.url}/orders/${i}`)
  const { html } = await page(started)
  assert.equal(html.match(/<li id="request-/g)?.length, 100)
  assert.ok(!html.includes('/orders/first'))
})

test('the chain of a route is shown in its order, with where it comes from and where it leads', async (t) => {
  const conf = { tick: [] }
  const options = {
    plugins: scripted({ name: 'a', fail: 'open' }, { name: 'b', http_request_phase: 'rewrite' }),
    inspector,
    global_rules: [{ id: 1, plugins: { a: { conf } } }],
    routes: [
      {
        id: 'one',
        uri: '/one/*',
        methods: ['GET' as const],
        plugins: { b: { conf } },
        upstream: { nodes: { '10.0.0.1:80': 1 } }
      },
      { id: 'two', uri: '/two', host: 'two.test', upstream: { nodes: {} } }
    ]
  }
  const started = await startApp(t, options, () => {})
  const { text } = await page(started, '?route=one')
  const chain =
    'one GET /one/* 2 filters Request client b rewrite, priority 99 a access, priority 100 · global rule · fails open ' +
    'upstream 10.0.0.1:80 Response upstream 10.0.0.1:80 a global rule · fails open b client'
  assert.ok(text.includes(chain), text)
  assert.ok(!text.includes('two.test'))
  const all = await page(started)
  assert.ok(all.text.includes('two two.test /two 1 filter'))
  assert.ok(all.text.includes('every other request 1 filter'))
})

test('filters see the same, and do the same, whether they are watched or not', async (t) => {
  const conf: Script = {
    request_headers: [
      { op: 'pairs', map: 'request' },
      { op: 'set', map: 'response', name: 'x-early', value: '1' }
    ],
    response_headers: [
      { op: 'pairs', map: 'response' },
      { op: 'add', map: 'response', name: 'x-from', value: 'two' }
    ]
  }
  const seen = await Promise.all(
    [{}, { inspector: undefined }].map(async (more) => {
      const started = await start(t, conf, more)
      const answer = await request(`${started.url}/orders/1`, { headers: { host: 'same.test', 'x-a': '1' } })
      const { date: _, ...headers } = answer.headers
      return { log: started.filterLog(), headers, text: answer.text }
    })
  )
  assert.deepEqual(seen[0], seen[1])
  assert.equal(seen[0]!.headers['x-early'], '1')
})

test('a websocket is shown with 101, and is not cut off when it ends', async (t) => {
  const accept = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
  const node = await answerBytes(
    t,
    `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
    false
  )
  const plugins = { a: { conf: { request_headers: [say('upgrades')] } } }
  const upstream = { nodes: { [node.address]: 1 } }
  const routes = [{ id: 1, uri: '/chat', enable_websocket: true, plugins, upstream }]
  const started = await startApp(t, { plugins: scripted('a'), inspector, routes } as never, () => {})
  const client = open(
    t,
    started.port,
    'GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n' +
      'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  )
  await until(() => client.received().startsWith('HTTP/1.1 101'), 'the websocket is open')
  client.end()
  await started.quiet()
  const { text } = await page(started)
  assert.match(text, / 101 GET \/chat /)
  assert.doesNotMatch(text, /cut off/)
})
