import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'
import { scripted } from './script.ts'

test('what hooks of the application change in request.headers is seen by filters and by the upstream', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async (request) => request.raw.rawHeaders)
  })
  const names = ['x-user', 'x-twice', 'authorization', 'x-late']
  const look = names.map((name) => ({ op: 'get', map: 'request', name }))
  const plugins = scripted({ name: 'early', http_request_phase: 'rewrite' }, 'late')
  const { url, filterLog } = await startApp(
    t,
    { plugins },
    (app) => {
      app.addHook('preValidation', async (request) => {
        request.headers['x-late'] = 'yes'
      })
      const conf = { request_headers: look }
      const own = { early: { conf }, late: { conf } }
      const wasm = { plugins: own, upstream: { nodes: { [upstream.node]: 1 } } }
      app.get('/', {
        config: { wasm },
        preHandler: async (request) => {
          request.headers['x-last'] = 'too'
        },
        handler: app.wasmGateway.proxy
      })
    },
    {},
    (app) => {
      app.addHook('onRequest', async (request) => {
        request.headers['x-user'] = 'me'
        delete request.headers.authorization
      })
    }
  )
  const headers = { 'x-user': 'somebody', 'x-twice': ['1', '2'], authorization: 'secret' }
  const answer = await request(url, { headers: headers as never })
  const rawHeaders: string[] = JSON.parse(answer.text)
  const sent = rawHeaders.flatMap((name, i) =>
    i % 2 === 0 && name.startsWith('x-') ? [`${name}=${rawHeaders[i + 1]}`] : []
  )
  assert.deepEqual(sent.sort(), ['x-last=too', 'x-late=yes', 'x-twice=1', 'x-twice=2', 'x-user=me'])
  assert.ok(!rawHeaders.includes('secret'))
  assert.deepEqual(filterLog('early'), [
    'request x-user=me',
    'request x-twice=1',
    'request authorization missing',
    'request x-late missing'
  ])
  assert.deepEqual(filterLog('late').at(-1), 'request x-late=yes')
})
