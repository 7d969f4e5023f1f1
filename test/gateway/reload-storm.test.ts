import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { Agent, get } from 'node:http'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { request } from '../http.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const RELOADS = 1000

/** Sends requests one after the other, over one connection, until it is told to stop. */
async function load(agent: Agent, url: string, run: { go: boolean; answered: number; failed: string[] }) {
  while (run.go) {
    await new Promise<void>((resolve) => {
      const fail = (reason: string) => {
        run.failed.push(reason)
        resolve()
      }
      const request = get(url, { agent }, (response) => {
        response.resume()
        response.on('error', (error) => fail(error.message))
        response.on('end', () => {
          if (response.statusCode === 200 && response.headers['x-hello']) run.answered++
          else run.failed.push(`${url}: ${response.statusCode}`)
          resolve()
        })
      })
      request.on('error', (error) => fail(error.message))
    })
  }
}

test('a thousand reloads under load: no request fails, memory stays flat, nothing of an old state is left', async (t) => {
  const { node } = await startUpstream(t, (app) => {
    app.get('/*', async () => 'hello')
  })
  const [small, other] = [await readFile(fixture('hello-c')), await readFile(fixture('hello-c-wasi'))]
  const conf = (text: string) => ({
    request_headers: [{ op: 'get', map: 'request', name: 'host' }],
    response_headers: [{ op: 'set', map: 'response', name: 'x-hello', value: text }]
  })
  /** Of every state something stays, something has another configuration, and some of the time a module is another. */
  const options = (i: number): WasmGatewayOptions => ({
    plugins: [
      { name: 'a', file: fixture('script-rust') },
      { name: 'ticking', file: fixture('script-rust'), conf: { start: [{ op: 'tick', ms: 50 }] } },
      { name: 'c', module: i % 20 < 10 ? small : other }
    ],
    upstreams: [{ id: 'u', nodes: { [node]: 1 }, checks: { active: {} } }],
    plugin_configs: [{ id: 'p', plugins: { c: { conf: 'x' } } }],
    global_rules: [{ id: 1, plugins: { ticking: { conf: conf(`global ${i % 50 === 0 ? i : 0}`) } } }],
    routes: [
      { id: 'same', uri: '/same', plugins: { a: { conf: conf('same') } }, plugin_config_id: 'p', upstream_id: 'u' },
      { id: 'changed', uri: '/changed', plugins: { a: { conf: conf(`v${i}`) } }, upstream: { nodes: { [node]: 1 } } },
      { id: `new-${i}`, uri: '/moved', plugins: { a: { conf: conf('moved') } }, upstream_id: 'u' }
    ]
  })
  const { app, url, quiet } = await startApp(t, options(0), () => {}, { logger: { level: 'fatal' } } as never)
  const run = { go: true, answered: 0, failed: [] as string[] }
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const clients = ['/same', '/changed', '/moved', '/same', '/changed', '/moved'].map((path) =>
    load(agent, url + path, run)
  )
  const used: number[] = []
  for (let i = 1; i <= RELOADS; i++) {
    await app.wasmGateway.reload(options(i))
    if (i % 100 !== 0) continue
    collectGarbage()
    const { heapUsed, external, arrayBuffers } = process.memoryUsage()
    used.push((heapUsed + external + arrayBuffers) / 2 ** 20)
  }
  run.go = false
  await Promise.all(clients)
  assert.deepEqual(run.failed, [])
  assert(run.answered > RELOADS / 10, `${run.answered} requests were answered`)
  for (const path of ['/same', '/changed', '/moved']) await request(url + path)
  await quiet()
  await eventually('the plugins of old states are gone', () => app.wasmGateway.status().plugins.length === 3)
  const contexts = app.wasmGateway.status().plugins.map(({ name, plugin_contexts }) => [name, plugin_contexts])
  assert.deepEqual(Object.fromEntries(contexts), { a: 3, ticking: 2, c: 1 })
  assert.equal(app.wasmGateway.status().upstreams.length, 2)
  t.diagnostic(`MiB in use, each 100 reloads: ${used.map(Math.round).join(' ')}; ${run.answered} requests`)
  const [early, late] = [Math.max(...used.slice(1, 4)), Math.min(...used.slice(-3))]
  assert(late < early * 1.2 + 10, `MiB in use, each 100 reloads: ${used.map(Math.round).join(' ')}`)
})
