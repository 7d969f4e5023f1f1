// A gateway under everything at once, for as long as is wanted: filters in four languages, traps, endless loops, http calls,
// uploads, clients that leave, an upstream that dies and comes back, reloads. At the end every request has been answered
// (or given up by its client), no context is alive, and memory has not grown.
//
// npm run soak -- --minutes 5
import assert from 'node:assert/strict'
import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import Fastify from 'fastify'
import wasmGateway, { type WasmGatewayOptions } from '../lib/index.ts'
import { fixture } from './app.ts'
import { LOOPS, TRAPS, WHERE } from './hostile.ts'

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '5' } } })
const minutes = Number(values.minutes)
assert(minutes > 0, '--minutes must be a number above 0')
const CLIENTS = 24
const REPORT_MS = Math.min(10_000, (minutes * 60_000) / 6)

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** An upstream whose connections can be cut. */
async function startUpstream(): Promise<{ address: string; cut(): void; close(): void }> {
  const sockets = new Set<Socket>()
  const server = createServer((request, response) => {
    if (request.url!.startsWith('/auth')) {
      response.statusCode = request.url!.endsWith('no') ? 401 : 200
      response.end()
    } else if (request.url!.startsWith('/slow')) {
      setTimeout(() => response.end('slow'), 100)
    } else {
      if (request.method === 'POST') request.pipe(response)
      else response.end('hello')
    }
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  const close = () => {
    server.close()
    cut()
  }
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, cut, close }
}

const upstream = await startUpstream()
const body = {
  request_headers: [{ op: 'set_property', path: ['wasm_process_req_body'], value: '1' }],
  request_body: [{ op: 'append_body', of: 'request', value: '!' }]
}
const headers = {
  request_headers: [{ op: 'get', map: 'request', name: 'host' }],
  response_headers: [{ op: 'set', map: 'response', name: 'x-soak', value: '1' }]
}
const asks = {
  request_headers: [
    {
      op: 'call',
      upstream: 'u',
      headers: [
        [':path', '/auth'],
        [':method', 'GET'],
        [':authority', 'a']
      ],
      then: [{ op: 'continue', stream: 'request' }]
    },
    { op: 'pause' }
  ]
}
const shares = {
  request_headers: [{ op: 'shared_count', name: 'n' }],
  start: [{ op: 'tick', ms: 50 }],
  tick: [{ op: 'shared_get', name: 'n' }]
}

function optionsOf(revision: number): WasmGatewayOptions {
  const hostile = { file: fixture('hostile'), limits: { call_ms: 20, start_ms: 100, memory_mib: 8 } }
  const route = (id: string, plugins: object) => ({ id, uri: `/${id}*`, plugins, upstream_id: 'u' }) as never
  return {
    plugins: [
      { name: 'c', file: fixture('hello-c') },
      { name: 'go', file: fixture('script-go') },
      { name: 'rust', file: fixture('script-rust') },
      { name: 'as', file: fixture('script-as') },
      { name: 'hostile', ...hostile },
      { name: 'tolerated', ...hostile, fail: 'open' }
    ],
    upstreams: [{ id: 'u', nodes: { [upstream.address]: 1 }, timeout: { connect: 2, send: 2, read: 2 } }],
    global_rules: [{ id: 1, plugins: { c: { conf: 'x' } } }],
    routes: [
      route('plain', { go: { conf: headers } }),
      route('changing', { rust: { conf: { ...headers, start: [{ op: 'log', text: `revision ${revision}` }] } } }),
      route('body', { go: { conf: body } }),
      route('asks', { go: { conf: asks } }),
      route('shares', { rust: { conf: shares } }),
      route('as', { as: { conf: headers } }),
      route('traps', { hostile: { conf: WHERE.response_headers + TRAPS.unreachable } }),
      route('loops', { hostile: { conf: WHERE.request_headers + LOOPS['a plain loop'] } }),
      route('tolerated', { tolerated: { conf: WHERE.request_body + TRAPS['a load out of bounds'] } }),
      route(`moved-${revision % 7}`, { go: { conf: headers } })
    ]
  }
}

const app = Fastify({ logger: { level: 'silent' } })
await app.register(wasmGateway, optionsOf(0))
await app.listen({ port: 0, host: '127.0.0.1' })
const { port } = app.server.address() as AddressInfo

const counts = { answered: 0, left: 0, cut: 0 } as Record<string, number>
const statuses = new Map<number, number>()
const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })
const PATHS = [
  '/plain',
  '/changing',
  '/body',
  '/asks',
  '/shares',
  '/as',
  '/traps',
  '/loops',
  '/tolerated',
  '/moved-3',
  '/slow',
  '/nowhere'
]
let running = true

/** Sends one request; nothing that becomes of it is an error, but that nothing becomes of it. */
function send(path: string, isUpload: boolean, leavesAfter: number | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = { port, path, agent, method: isUpload ? 'POST' : 'GET' }
    const hung = setTimeout(() => reject(new Error(`${path} was not answered in 20 s`)), 20_000)
    let over = false
    const end = (what: string) => {
      if (over) return
      over = true
      clearTimeout(hung)
      counts[what]!++
      resolve()
    }
    const outgoing = httpRequest(options, (response: IncomingMessage) => {
      statuses.set(response.statusCode!, (statuses.get(response.statusCode!) ?? 0) + 1)
      response.resume()
      response.on('end', () => end('answered'))
      response.on('error', () => end(leavesAfter === undefined ? 'cut' : 'left'))
    })
    outgoing.on('error', () => end(leavesAfter === undefined ? 'cut' : 'left'))
    if (leavesAfter !== undefined) setTimeout(() => outgoing.destroy(), leavesAfter)
    outgoing.end(isUpload ? Buffer.alloc(1 + Math.floor(Math.random() * 50_000), 97) : undefined)
  })
}

async function client(): Promise<void> {
  while (running) {
    const path = PATHS[Math.floor(Math.random() * PATHS.length)]!
    const leaves = Math.random() < 0.1 ? Math.floor(Math.random() * 30) : undefined
    await send(path, Math.random() < 0.3, leaves)
  }
}

const memory: { at: number; mebibytes: number }[] = []
function report(startedAt: number): void {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  const at = (performance.now() - startedAt) / 1000
  memory.push({ at, mebibytes: (heapUsed + external) / 2 ** 20 })
  const { plugins } = app.wasmGateway.status()
  const failures = plugins.reduce((sum, plugin) => sum + plugin.failures, 0)
  process.stdout.write(
    `${at.toFixed(0).padStart(5)} s  ${counts.answered} answered, ${counts.left} left, ${counts.cut} cut, ` +
      `${failures} failures of filters, ${memory.at(-1)!.mebibytes.toFixed(1)} MiB\n`
  )
}

/** MiB a minute, by least squares. */
function slope(points: typeof memory): number {
  const mean = (pick: (point: (typeof memory)[number]) => number) =>
    points.reduce((sum, point) => sum + pick(point), 0) / points.length
  const [x, y] = [mean(({ at }) => at), mean(({ mebibytes }) => mebibytes)]
  const above = points.reduce((sum, { at, mebibytes }) => sum + (at - x) * (mebibytes - y), 0)
  const below = points.reduce((sum, { at }) => sum + (at - x) ** 2, 0)
  return (above / below) * 60
}

const startedAt = performance.now()
const clients = Array.from({ length: CLIENTS }, client)
for (const each of clients) each.catch(() => {})
let revision = 0
const reloads = setInterval(() => app.wasmGateway.reload(optionsOf(++revision)), 700)
const cuts = setInterval(() => upstream.cut(), 3100)
const reports = setInterval(() => report(startedAt), REPORT_MS)
await Promise.race([sleep(minutes * 60_000), ...clients])
running = false
for (const timer of [reloads, cuts, reports]) clearInterval(timer)
await Promise.all(clients)
await sleep(500)
report(startedAt)

const alive = app.wasmGateway.status().plugins.reduce((sum, { http_contexts }) => sum + http_contexts, 0)
const growth = slope(memory.slice(Math.ceil(memory.length / 4)))
agent.destroy()
await app.close()
upstream.close()
process.stdout.write(
  `${revision} reloads; statuses ${[...statuses]
    .sort()
    .map(([status, count]) => `${status}: ${count}`)
    .join(', ')}\n` +
    `HTTP contexts alive: ${alive}; memory: ${growth.toFixed(2)} MiB a minute after the first quarter\n`
)
assert.equal(alive, 0, 'HTTP contexts are alive after the last request')
assert(counts.answered! > 0)
const total = memory.at(-1)!.mebibytes - memory[Math.ceil(memory.length / 4)]!.mebibytes
assert(total < 24, `memory has grown by ${total.toFixed(1)} MiB`)
