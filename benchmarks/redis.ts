// What state costs that processes share, on a Redis of this machine: npm run bench:redis. Needs redis-server.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import wasmGateway, { type WasmGatewayOptions } from '../lib/index.ts'
import { RedisStores } from '../lib/stores/redis/redis-stores.ts'
import { SET } from '../lib/stores/redis/scripts.ts'
import type { SharedValue } from '../lib/stores/shared-data.ts'
import { fixture } from '../test/app.ts'
import { Load } from './load.ts'
import { median, type Table, text } from './report.ts'
import { requestOf } from './subjects.ts'

const VALUE = Buffer.alloc(64, 'v')
const CALLS = 2000
const ROUNDS = 7
const SLICE_MS = 1000

const folder = mkdtempSync(join(tmpdir(), 'redis-'))
const path = join(folder, 'redis.sock')
const port = 20_000 + (process.pid % 20_000)
const server = spawn('redis-server', ['--port', String(port), '--unixsocket', path, '--dir', folder, '--save', ''], {
  stdio: 'ignore'
})
try {
  await sleep(500)
  for (const table of [await calls(), await requests()]) process.stdout.write(text(table))
} finally {
  server.kill()
  await once(server, 'exit')
  rmSync(folder, { recursive: true })
}

/** The middle and the worst hundredth, in microseconds. */
function show(times: number[]): [string, string] {
  const sorted = [...times].sort((a, b) => a - b)
  return [0.5, 0.99].map((part) => `${(sorted[Math.floor(sorted.length * part)]! * 1000).toFixed(0)} µs`) as [
    string,
    string
  ]
}

async function calls(): Promise<Table> {
  const none = () => {}
  const settings = { url: undefined, options: { port }, cluster: undefined, prefix: 'b:', timeoutMs: 1000, ttlMs: {} }
  const stores = new RedisStores(settings, { info: none, warn: none, error: none }, none)
  await stores.ready()
  const client = new Redis({ port })
  client.defineCommand(SET.name, { lua: SET.lua, numberOfKeys: 1 })
  const { sharedData } = stores
  const blocked: number[] = []
  const waited: number[] = []
  const cached: number[] = []
  const swap = (client as unknown as Record<string, (...args: unknown[]) => Promise<[number, Buffer]>>)[
    `${SET.name}Buffer`
  ]!
  sharedData.set('', 'k', VALUE, 0)
  let cas = (await swap.call(client, 'b:async', VALUE, '', 0))[1]
  for (let round = -1; round < ROUNDS; round++) {
    for (let i = 0; i < CALLS; i++) {
      const { cas } = sharedData.get('', 'k') as SharedValue
      const begin = performance.now()
      sharedData.set('', 'k', VALUE, cas)
      if (round >= 0) blocked.push(performance.now() - begin)
    }
    for (let i = 0; i < CALLS; i++) {
      const begin = performance.now()
      cas = (await swap.call(client, 'b:async', VALUE, cas, 0))[1]
      if (round >= 0) waited.push(performance.now() - begin)
    }
    const begin = performance.now()
    for (let i = 0; i < 1_000_000; i++) sharedData.get('', 'k')
    if (round >= 0) cached.push(performance.now() - begin)
  }
  client.disconnect()
  await stores.close()
  return {
    title: 'Calls',
    head: ['', 'median', '99 %'],
    rows: [
      ['a swap, for which the thread stands still', ...show(blocked)],
      ['the same with ioredis, which does not', ...show(waited)],
      ['a read of what nobody has changed', `${median(cached).toFixed(0)} ns`, '']
    ]
  }
}

/** What answers requests with one filter, by turns: its state in the process, and in Redis. */
async function requests(): Promise<Table> {
  const scripts = {
    'one swap each': [{ op: 'shared_count', name: 'n' }],
    'one read each': [{ op: 'shared_get', name: 'k' }]
  }
  const rows: string[][] = []
  for (const [what, script] of Object.entries(scripts)) {
    const apps = await Promise.all([undefined, { port, timeout_ms: 1000 }].map((redis) => gateway(script, redis)))
    const request = requestOf({ path: '/', headers: {} })
    const loads = await Promise.all(
      apps.map((app) => Load.open((app.server.address() as AddressInfo).port, request, 16))
    )
    const rates: number[][] = [[], []]
    for (let round = -1; round < ROUNDS; round++) {
      for (const [i, load] of loads.entries()) {
        const count = await load.run(SLICE_MS)
        if (round >= 0) rates[i]!.push((count * 1000) / SLICE_MS)
      }
    }
    rows.push([what, ...rates.map((all) => median(all).toFixed(0))])
    for (const load of loads) load.close()
    await Promise.all(apps.map((app) => app.close()))
  }
  return { title: 'Requests a second, load and server in one process', head: ['', 'in the process', 'in Redis'], rows }
}

async function gateway(script: object[], redis: WasmGatewayOptions['redis'] | undefined) {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(wasmGateway, {
    ...(redis !== undefined && { redis }),
    plugins: [{ name: 'a', file: fixture('script-rust') }]
  })
  const conf = { request_headers: script }
  app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}
