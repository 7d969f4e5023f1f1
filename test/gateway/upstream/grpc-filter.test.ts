import assert from 'node:assert/strict'
import { tracingChannel } from 'node:diagnostics_channel'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { GrpcCallMessage, WasmGatewayOptions } from '../../../lib/index.ts'
import { startApp, type TestApp } from '../../app.ts'
import { Guest, type Operand } from '../../host/guest.ts'
import { request } from '../../http.ts'
import { type GrpcServerStream, greet, startGrpcNode, untilQuiet } from './grpc-nodes.ts'
import { REFUSED, until } from './nodes.ts'

/** Starts an application with a filter on its one route, which answers `done`. */
async function startFilter(t: TestContext, guest: Guest, options: WasmGatewayOptions = {}): Promise<TestApp> {
  const plugins = [{ name: 'filter', module: await guest.module() }]
  return startApp(t, { ...options, plugins }, (app) => {
    app.get('/', { config: { wasm: { plugins: { filter: { conf: 'conf' } } } } }, () => 'done')
  })
}

const alive = ({ app }: TestApp) => app.wasmGateway.status().plugins[0]!.calls

const target = (guest: Guest, upstream: string) => [
  guest.text(upstream),
  guest.text('acme.Greeter'),
  guest.text('Greet'),
  guest.text('')
]

const call = (guest: Guest, upstream: string, timeout: number = 5000) =>
  guest.call('proxy_grpc_call', ...target(guest, upstream), guest.text('world'), timeout, guest.cell())

const stream = (guest: Guest, upstream: string) =>
  guest.call('proxy_grpc_stream', ...target(guest, upstream), guest.cell())

/** Steps that log what a call hands to the guest. */
function logResult(guest: Guest, name: string, ...args: (number | Operand)[]) {
  const { at } = guest.result()
  const wat = `(i32.const ${at}) (i32.const ${at + 4})`
  const read = guest.call(name, ...args, { wat, types: 'i32 i32', at })
  const loaded = `(i32.load (i32.const ${at})) (i32.load (i32.const ${at + 4}))`
  return [read, guest.call('proxy_log', 2, { wat: loaded, types: 'i32 i32', at: -1 })]
}

const logMessage = (guest: Guest) => logResult(guest, 'proxy_get_buffer_bytes', 5, 0, 1000)
const logStatus = (guest: Guest) => logResult(guest, 'proxy_get_status', guest.cell())
const log = (guest: Guest, text: string) => guest.call('proxy_log', 2, guest.text(text))

test('a filter calls an upstream by its id, and the request waits for the answer', async (t) => {
  const node = await startGrpcNode(t, greet)
  const guest = new Guest()
  guest.on('proxy_on_request_headers', call(guest, 'greeter'))
  guest.on('proxy_on_grpc_receive', ...logMessage(guest))
  guest.on('proxy_on_response_headers', log(guest, 'response'))
  const upstreams = [{ id: 'greeter', nodes: { [node.address]: 1 } }]
  const app = await startFilter(t, guest, { upstreams })
  for (let i = 0; i < 3; i++) assert.equal((await request(app.url)).text, 'done')
  assert.deepEqual(app.filterLog(), new Array(3).fill(['hello world', 'response']).flat())
  assert.equal(node.accepted(), 1)
  assert.equal(alive(app), 0)
})

test('a call that fails lets the request go on, and its reason is read', async (t) => {
  const guest = new Guest()
  guest.on('proxy_on_request_headers', call(guest, REFUSED))
  guest.on('proxy_on_grpc_close', guest.when(2, 14, ...logStatus(guest)))
  const app = await startFilter(t, guest)
  assert.equal((await request(app.url)).text, 'done')
  assert.match(app.filterLog().join(), /^connect ECONNREFUSED/)
})

test('why an http call failed is read in its callback', async (t) => {
  const guest = new Guest()
  const none = guest.text('')
  guest.on(
    'proxy_on_request_headers',
    guest.call('proxy_http_call', guest.text(REFUSED), none, none, none, 1000, guest.cell())
  )
  guest.on('proxy_on_http_call_response', ...logStatus(guest))
  const app = await startFilter(t, guest)
  assert.equal((await request(app.url)).text, 'done')
  assert.deepEqual(app.filterLog(), ['the upstream failed: ECONNREFUSED'])
})

test('a plugin converses on a stream of its own', async (t) => {
  const node = await startGrpcNode(t, (exchange) => {
    exchange.head()
    exchange.onMessage = (message) => exchange.send(`re: ${message}`)
    exchange.onEnd = () => exchange.end()
  })
  const guest = new Guest()
  const send = (text: string) => guest.call('proxy_grpc_send', 1, guest.text(text), 0)
  guest.on('proxy_on_configure', stream(guest, node.address), send('one'))
  guest.on('proxy_on_grpc_receive', ...logMessage(guest), guest.when(2, 7, send('three')))
  guest.on('proxy_on_grpc_receive', guest.when(2, 9, guest.call('proxy_grpc_close', 1)))
  guest.on('proxy_on_grpc_close', guest.when(2, 0, log(guest, 'closed')))
  guest.on('proxy_on_request_headers')
  const app = await startFilter(t, guest)
  // No phase waits for a stream.
  assert.equal((await request(app.url)).text, 'done')
  await until(() => app.lines.some(({ msg }) => msg === 'closed'), 'the stream is closed')
  assert.deepEqual(app.filterLog(), ['re: one', 're: three', 'closed'])
  assert.equal(alive(app), 0)
})

test('a client that leaves takes its calls with it, and its streams', async (t) => {
  const exchanges: GrpcServerStream[] = []
  const node = await startGrpcNode(t, (exchange) => exchanges.push(exchange))
  const guest = new Guest()
  guest.on('proxy_on_request_headers', call(guest, node.address), stream(guest, node.address))
  guest.on('proxy_on_grpc_close', guest.when(2, 1, ...logStatus(guest)))
  guest.on('proxy_on_done', log(guest, 'done'))
  const app = await startFilter(t, guest)
  const socket = connect(app.port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await until(() => exchanges.length === 2, 'the node has both')
  assert.equal(alive(app), 2)
  socket.destroy()
  await untilQuiet(node)
  await app.quiet()
  assert.deepEqual(app.filterLog(), ['the client left', 'done', 'its stream has ended'])
  assert.equal(alive(app), 0)
})

test('what a filter sends last, in proxy_on_log, arrives', async (t) => {
  const received: string[] = []
  const node = await startGrpcNode(t, (exchange) => {
    exchange.onMessage = (message) => received.push(message)
    exchange.onEnd = () => {
      exchange.head()
      exchange.end()
    }
  })
  const guest = new Guest()
  const send = guest.call('proxy_grpc_send', 1, guest.text('a request was served'), 1)
  guest.on('proxy_on_log', stream(guest, node.address), send)
  guest.on('proxy_on_grpc_close', guest.when(2, 0, log(guest, 'closed')))
  const app = await startFilter(t, guest)
  assert.equal((await request(app.url)).text, 'done')
  await until(() => app.filterLog().length > 0, 'the stream is closed')
  assert.deepEqual(received, ['a request was served'])
})

test('an application that closes leaves no stream and no connection', async (t) => {
  const node = await startGrpcNode(t, (exchange) => exchange.head())
  const guest = new Guest()
  guest.on('proxy_on_configure', stream(guest, node.address), call(guest, node.address, 60_000))
  guest.on('proxy_on_grpc_close', log(guest, 'closed'))
  const app = await startFilter(t, guest)
  await request(app.url)
  await until(() => node.streams.length === 2, 'the node has both')
  await app.app.close()
  await until(() => node.sockets.size === 0, 'the connection is closed')
  assert.deepEqual(app.filterLog(), [])
})

test('a filter that traps leaves no stream behind', async (t) => {
  const node = await startGrpcNode(t, (exchange) => exchange.head())
  const guest = new Guest()
  guest.on('proxy_on_configure', stream(guest, node.address))
  guest.on('proxy_on_grpc_receive_initial_metadata', '(unreachable)')
  const app = await startFilter(t, guest)
  await request(app.url)
  await until(() => node.streams.length === 1, 'the node has the stream')
  await untilQuiet(node)
  assert.equal(app.app.wasmGateway.status().plugins[0]!.failures, 1)
})

/** Subscribes to calls of gRPC for the time of a test. */
function recordCalls(t: TestContext): string[] {
  const events: string[] = []
  const channel = tracingChannel<GrpcCallMessage, GrpcCallMessage>('fastify-wasm-gateway:grpc_call')
  const note = (event: string) => (message: GrpcCallMessage) => {
    const { service, method, status, error, request } = message
    const { url } = (request as { url: string } | undefined) ?? { url: 'none' }
    events.push(`${event} ${service}/${method} of ${url} ${status} ${error?.message}`)
  }
  const subscribers = {
    start: note('start'),
    end: note('end'),
    asyncStart: note('asyncStart'),
    asyncEnd: note('asyncEnd'),
    error: note('error')
  }
  channel.subscribe(subscribers)
  t.after(() => channel.unsubscribe(subscribers))
  return events
}

test('calls and streams are told of with their request, and the trace of it goes along', async (t) => {
  const node = await startGrpcNode(t, greet)
  const guest = new Guest()
  guest.on('proxy_on_request_headers', call(guest, node.address))
  guest.on('proxy_on_response_headers', stream(guest, node.address))
  const events = recordCalls(t)
  const app = await startFilter(t, guest)
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  assert.equal((await request(app.url, { headers: { traceparent } })).text, 'done')
  await app.quiet()
  await until(() => events.length === 9, 'both have ended')
  const what = 'acme.Greeter/Greet of /'
  assert.deepEqual(events, [
    `start ${what} undefined undefined`,
    `end ${what} undefined undefined`,
    `asyncStart ${what} 0 undefined`,
    `asyncEnd ${what} 0 undefined`,
    `start ${what} undefined undefined`,
    `end ${what} undefined undefined`,
    `error ${what} 1 its stream has ended`,
    `asyncStart ${what} 1 its stream has ended`,
    `asyncEnd ${what} 1 its stream has ended`
  ])
  await until(() => node.seen.length === 2, 'the node has both')
  assert.deepEqual(
    node.seen.map((headers) => headers.traceparent),
    [traceparent, traceparent]
  )
})

test('a call that fails, is refused or is cut off by the end of its plugin context is told of as an error', async (t) => {
  const node = await startGrpcNode(t, (exchange) => exchange.head())
  const guest = new Guest()
  guest.on('proxy_on_configure', stream(guest, node.address))
  guest.on('proxy_on_request_headers', call(guest, REFUSED), call(guest, 'no.such.upstream/'))
  const events = recordCalls(t)
  const app = await startFilter(t, guest)
  assert.equal((await request(app.url)).text, 'done')
  await app.app.close()
  const errors = events.filter((event) => event.startsWith('error'))
  assert.equal(errors.length, 3, events.join('\n'))
  assert.match(errors[0]!, /of \/ undefined there is nothing of that name to call$/)
  assert.match(errors[1]!, /of \/ 14 connect ECONNREFUSED/)
  assert.match(errors[2]!, /of none undefined it was aborted$/)
})

test('the inspector shows calls of gRPC, and how they were closed', async (t) => {
  const node = await startGrpcNode(t, greet)
  const guest = new Guest()
  guest.on('proxy_on_request_headers', call(guest, node.address), call(guest, REFUSED))
  const app = await startFilter(t, guest, { inspector: { path: '/_wasm', key: 'the key' } })
  assert.equal((await request(app.url)).text, 'done')
  await app.quiet()
  const { text: html } = await request(`${app.url}/_wasm`, { headers: { 'x-api-key': 'the key' } })
  const text = html.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ')
  assert.match(text, new RegExp(`calls gRPC ${node.address}/acme.Greeter/Greet closed with status 0 `))
  assert.match(text, new RegExp(`calls gRPC ${REFUSED}/acme.Greeter/Greet connect ECONNREFUSED`))
})
