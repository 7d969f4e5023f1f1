import assert from 'node:assert/strict'
import { copyFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { fixture } from '../app.ts'
import { request } from '../http.ts'
import { command, eventually, files, freePort, gateway, Running, takenPort, write } from './command.ts'

const listen = { port: 0 }
const log = { name: 'wasm_log', file: fixture('log') }
const c = { name: 'c', file: fixture('hello-c') }

/** An upstream that answers when it is told to, and counts what it was asked. */
async function upstream(t: TestContext, answer: (response: ServerResponse, url: string) => void) {
  let requests = 0
  const server = createServer((request, response) => {
    requests++
    answer(response, request.url!)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const node = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return { node, upstream: { nodes: { [node]: 1 } }, requests: () => requests }
}

test('files add up to a gateway that proxies, with filters, and answers what it has no route for as APISIX does', async (t) => {
  const { upstream: backend } = await upstream(t, (response, url) => response.end(`got ${url}`))
  const path = await files(t, {
    'config.yaml': `listen: { port: 0 }
apisix: { node_listen: 9080 }
wasm:
  plugins:
    - name: wasm_log
      file: ${log.file}
`,
    'apisix.yaml': { routes: [{ uri: '/api/*', plugins: { wasm_log: { conf: 'hello' } }, upstream: backend }] }
  })
  const running = await gateway(t, [path('config.yaml'), path('apisix.yaml')])
  const proxied = await request(`${running.url}/api/a?b=1`)
  assert.deepEqual([proxied.status, proxied.text], [200, 'got /api/a?b=1'])
  await running.logged('run plugin ctx 1 with conf hello in http ctx 2')
  await running.logged('sections of the configuration that have no effect here: apisix')

  const missing = await request(`${running.url}/other`, {
    method: 'POST',
    headers: { 'content-type': 'a/b' },
    body: 'x'
  })
  assert.deepEqual([missing.status, missing.text], [404, '{"error_msg":"404 Route Not Found"}'])
  assert.deepEqual((await request(`${running.url}/%zz`)).status, 400)

  running.process.kill('SIGTERM')
  const { code, stderr } = await running.ended
  assert.deepEqual([code, stderr], [0, ''])
  assert.ok(!running.stdout.includes('\x1b'))
  assert.ok(!running.stdout.includes('Admin API'))
})

test('a request is one line in the log, also one whose client has left', async (t) => {
  let seen = false
  const { upstream: backend } = await upstream(t, (response, url) => {
    seen = true
    if (url === '/begun') response.write('a')
    else if (url !== '/never') response.end('x')
  })
  const path = await files(t, { 'a.yaml': { listen, routes: [{ uri: '/*', upstream: backend }] } })
  const running = await gateway(t, [path('a.yaml')])
  await request(`${running.url}/a?b=1`)
  seen = false
  const never = connect(running.port, '127.0.0.1').end('GET /never HTTP/1.1\r\nhost: a\r\n\r\n')
  never.once('error', () => {})
  await eventually('the upstream has it', () => seen)
  never.resetAndDestroy()
  const begun = connect(running.port, '127.0.0.1')
  begun.write('GET /begun HTTP/1.1\r\nhost: a\r\n\r\n')
  await new Promise((resolve) => begun.once('data', resolve))
  begun.resetAndDestroy()
  await running.logged('cut off before its response')
  await running.logged('cut off in its response')
  type AccessLine = {
    req?: { method: string; url: string; remoteAddress: string }
    res?: { statusCode: number }
    msg: string
  }
  const lines = (running.lines as AccessLine[]).filter(({ req }) => req !== undefined)
  assert.deepEqual(
    lines.map(({ req, res, msg }) => [req?.method, req?.url, req?.remoteAddress, res?.statusCode, msg]),
    [
      ['GET', '/a?b=1', '127.0.0.1', 200, 'request completed'],
      ['GET', '/never', '127.0.0.1', undefined, 'request cut off before its response'],
      ['GET', '/begun', '127.0.0.1', 200, 'request cut off in its response']
    ]
  )
})

test('--log-level leaves out what is below it', async (t) => {
  const port = await freePort()
  const path = await files(t, {
    'a.yaml': {
      listen: { port },
      wasm: { plugins: [log] },
      routes: [{ uri: '/*', plugins: { wasm_log: { conf: 'hello' } } }]
    }
  })
  const running = new Running(['run', path('a.yaml'), '--log-level', 'warn'], {})
  t.after(() => running.process.kill('SIGKILL'))
  // Nothing says that it listens.
  let status = 0
  await eventually('it answers', () => {
    request(`http://127.0.0.1:${port}/`).then(
      (response) => {
        status = response.status
      },
      () => {}
    )
    return status !== 0
  })
  running.process.kill('SIGTERM')
  await running.ended
  assert.ok(running.lines.length > 0)
  for (const { level, msg } of running.lines) assert.ok(level >= 40, msg)
})

test('a signal lets a request that is under way finish, takes no other, and ends with 0', async (t) => {
  let slow: ServerResponse | undefined
  const { upstream: backend } = await upstream(t, (response) => {
    slow = response
  })
  const path = await files(t, {
    'a.yaml': {
      listen,
      wasm: { plugins: [c, log] },
      routes: [{ uri: '/*', plugins: { c: { conf: 'x' }, wasm_log: { conf: 'x' } }, upstream: backend }]
    }
  })
  const running = await gateway(t, [path('a.yaml')])
  // Browsers connect ahead: such a connection must not hold it.
  const idle = connect(running.port, '127.0.0.1')
  t.after(() => idle.destroy())
  await new Promise((resolve) => idle.once('connect', resolve))
  const pending = request(`${running.url}/slow`, { headers: { connection: 'keep-alive' } })
  await eventually('the upstream has it', () => slow !== undefined)
  running.process.kill('SIGTERM')
  await running.logged('SIGTERM: closing; requests under way: 1')
  await assert.rejects(request(`${running.url}/other`), { code: 'ECONNREFUSED' })
  slow!.end('at last')
  const { status, text, headers } = await pending
  assert.deepEqual([status, text, headers['x-c'], headers.connection], [200, 'at last', '1', 'close'])
  assert.equal((await running.ended).code, 0)
  // The plugin context has ended in order.
  assert.ok(running.stdout.includes('do clean up...'))
})

test('a response that a slow client has yet to read is sent to its end', async (t) => {
  const body = 'x'.repeat(8 * 1024 * 1024)
  const path = await files(t, {
    'a.yaml': {
      listen,
      wasm: { plugins: [{ name: 'fault', file: fixture('fault-injection') }] },
      routes: [{ uri: '/*', plugins: { fault: { conf: { http_status: 200, body } } } }]
    }
  })
  const running = await gateway(t, [path('a.yaml')])
  const socket = connect(running.port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await new Promise((resolve) => socket.once('readable', resolve))
  running.process.kill('SIGINT')
  await running.logged('SIGINT: closing; requests under way: 1')
  let size = 0
  for await (const chunk of socket) size += chunk.length
  assert.ok(size > body.length, String(size))
  assert.equal((await running.ended).code, 0)
})

test('a second signal ends it at once', async (t) => {
  const asked = await upstream(t, () => {})
  const path = await files(t, { 'a.yaml': { listen, routes: [{ uri: '/*', upstream: asked.upstream }] } })
  const running = await gateway(t, [path('a.yaml')])
  const cut = assert.rejects(request(running.url))
  await eventually('the upstream has it', () => asked.requests() === 1)
  // The first of them are one: npm sends on what a terminal has sent already.
  const again = setInterval(() => running.process.kill('SIGTERM'), 50)
  const { code } = await running.ended
  clearInterval(again)
  assert.equal(code, 143)
  await cut
})

test('what takes longer than --drain-timeout is cut off, and the code is 1', async (t) => {
  const asked = await upstream(t, () => {})
  const path = await files(t, { 'a.yaml': { listen, routes: [{ uri: '/*', upstream: asked.upstream }] } })
  const running = await gateway(t, [path('a.yaml')], ['--drain-timeout', '0.1'])
  const cut = assert.rejects(request(running.url))
  await eventually('the upstream has it', () => asked.requests() === 1)
  running.process.kill('SIGTERM')
  assert.equal((await running.ended).code, 1)
  assert.ok(running.stdout.includes('after 0.1 s, requests that are cut off: 1'))
  await cut
})

test('SIGHUP reads files and modules again; a file that is not valid changes nothing, and its places are logged', async (t) => {
  const { upstream: backend } = await upstream(t, (response) => response.end('x'))
  const config = (routes: object[]) => ({ listen, wasm: { plugins: [{ name: 'p', file: 'p.wasm' }] }, routes })
  const route = { uri: '/*', plugins: { p: { conf: 'x' } }, upstream: backend }
  const path = await files(t, { 'a.yaml': config([route]) })
  await copyFile(fixture('log'), path('p.wasm'))
  const running = await gateway(t, [path('a.yaml')])
  assert.equal((await request(running.url)).headers['x-c'], undefined)

  await copyFile(fixture('hello-c'), path('p.wasm'))
  running.process.kill('SIGHUP')
  await running.logged('the configuration is loaded')
  assert.equal((await request(running.url)).headers['x-c'], '1')

  await write(path('a.yaml'), config([{ ...route, upstream_id: 'none' }, { uri: 'nowhere' }]))
  running.process.kill('SIGHUP')
  // The module may have been seen half copied, and refused, before.
  await running.logged('routes.arr_2')
  assert.match(running.stdout, /routes\.arr_1\b.*routes\.arr_2: the uri \\"nowhere\\" must begin with \//)
  assert.equal((await request(running.url)).headers['x-c'], '1')
})

test('a file that is changed is put into effect without a signal', async (t) => {
  const { upstream: backend } = await upstream(t, (response) => response.end('x'))
  const path = await files(t, { 'a.yaml': { listen, routes: [] } })
  const running = await gateway(t, [path('a.yaml')])
  assert.equal((await request(running.url)).status, 404)
  await write(path('a.yaml'), { listen, routes: [{ uri: '/*', upstream: backend }] })
  await running.logged('the configuration is loaded')
  assert.equal((await request(running.url)).status, 200)
})

test('a port that is in use is an error in one line', async (t) => {
  const port = await takenPort(t)
  const path = await files(t, {
    'own.yaml': { listen: { port } },
    'admin.yaml': { listen, admin: { key: 'k', listen: { port } } }
  })
  for (const name of ['own.yaml', 'admin.yaml']) {
    const { code, stderr } = await command(['run', path(name)])
    assert.equal(code, 1)
    assert.equal(
      stderr,
      `fastify-wasm-gateway: 127.0.0.1:${port} is in use: something listens there already (EADDRINUSE)\n`
    )
  }
})

test('files that are not valid are refused with every place, and no stack', async (t) => {
  const path = await files(t, {
    'a.yaml': { listen: { port: 'x' }, routes: [{ uri: 1 }], nonsense: true },
    'b.yaml': 'routes: [',
    'c.yaml': {
      wasm: { plugins: [log] },
      routes: [
        { uri: '/*', plugins: { nobody: { conf: 'x' } } },
        { uri: '/*', upstream_id: 'u' }
      ]
    },
    'd.yaml': { wasm: { plugins: [{ name: 'gone', file: 'gone.wasm' }] } },
    'e.yaml': { nonsense: 1, routes: [{ uri: '/*', plugins: { nobody: { conf: 'x' } } }] }
  })
  const expected: [string[], RegExp[]][] = [
    [
      ['a.yaml', 'b.yaml', 'none.yaml'],
      [
        /a\.yaml: listen\.port: /,
        /a\.yaml: routes\[0\]\.uri: /,
        /a\.yaml: nonsense: is no known key/,
        /b\.yaml cannot be read: .*line 1/s,
        /none\.yaml cannot be read: ENOENT/
      ]
    ],
    [
      ['c.yaml'],
      [/ routes\.arr_1\.plugins\.nobody: unknown plugin/, / routes\.arr_2\.upstream_id: there is no upstream/]
    ],
    [['e.yaml'], [/e\.yaml: nonsense: is no known key/, / routes\.arr_1\.plugins\.nobody: unknown plugin/]],
    [['d.yaml'], [/plugin \[gone\]: the file .*gone\.wasm cannot be read/]]
  ]
  for (const [names, places] of expected) {
    const { code, stderr } = await command(['run', ...names.map(path)])
    assert.equal(code, 1)
    for (const place of places) assert.match(stderr, place)
    assert.doesNotMatch(stderr, /^ {4}at /m)
    for (const line of stderr
      .trimEnd()
      .split('\n')
      .filter((line) => !/^\s|^$/.test(line))) {
      assert.match(line, /^fastify-wasm-gateway: |^routes: /, line)
    }
  }
})

test('the Admin API has a listener of its own, and changes what the gateway does', async (t) => {
  const { upstream: backend } = await upstream(t, (response) => response.end('from a route of its own'))
  const path = await files(t, { 'a.yaml': { listen, admin: { key: 'secret', listen: { port: 0 } } } })
  const running = await gateway(t, [path('a.yaml')])
  const [, admin] = /Admin API listening at (http:[^"]+)/.exec(running.stdout)!
  const headers = { 'x-api-key': 'secret' }
  const body = JSON.stringify({ uri: '/new', upstream: backend })
  assert.equal((await request(`${admin}/apisix/admin/routes/1`, { method: 'PUT', headers, body })).status, 201)
  assert.equal((await request(`${running.url}/new`)).text, 'from a route of its own')
  assert.equal((await request(`${running.url}/apisix/admin/routes`, { headers })).status, 404)
})

test('an Admin API without a listener is not put on the one of the gateway', async (t) => {
  const path = await files(t, { 'a.yaml': { listen, admin: { key: 'secret' } } })
  const running = new Running(['run', path('a.yaml')], {})
  t.after(() => running.process.kill('SIGKILL'))
  // Where it listens, unless something else does so here.
  const said = () => running.stdout + running.stderr
  await eventually('it listens, or cannot', () => said().includes('127.0.0.1:9180'))
})

test('metrics and the inspector stand apart from what clients reach', async (t) => {
  const path = await files(t, {
    'apart.json': { listen, metrics: { path: '/metrics', listen } },
    'admin.json': {
      listen,
      admin: { key: 'secret', listen },
      metrics: { path: '/metrics' },
      inspector: { path: '/_wasm' }
    },
    'open.json': { listen, inspector: { path: '/_wasm', key: 'secret' } },
    'nowhere.json': { listen, metrics: {} }
  })
  const headers = { 'x-api-key': 'secret' }
  const apart = await gateway(t, [path('apart.json')])
  const metrics = /Metrics listening at (http:[^"]+)/.exec(apart.stdout)![1]
  assert.equal((await request(`${metrics}/metrics`)).status, 200)
  assert.equal((await request(`${apart.url}/metrics`)).status, 404)

  const both = await gateway(t, [path('admin.json')])
  const admin = /Admin API listening at (http:[^"]+)/.exec(both.stdout)![1]
  for (const page of ['/metrics', '/_wasm']) {
    assert.equal((await request(admin + page, { headers })).status, 200, page)
    assert.equal((await request(both.url + page, { headers })).status, 404, page)
  }

  const open = await command(['run', path('open.json')])
  assert.equal(open.code, 1)
  assert.match(open.stderr, /inspector: it stands on the listener of the Admin API, and there is no admin/)
  const nowhere = await command(['run', path('nowhere.json')])
  assert.match(nowhere.stderr, /metrics: property "path" is required/)
})
