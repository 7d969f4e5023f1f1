import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { tracingChannel } from 'node:diagnostics_channel'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, startApp, startUpstream } from '../app.ts'
import { Guest } from '../host/guest.ts'
import { request } from '../http.ts'
import { say, scripted, wantsResponseBody } from './script.ts'
import { greet, startGrpcNode } from './upstream/grpc-nodes.ts'

// A connection to an upstream is opened by one request, and used by others: what comes over it for these is theirs.

const USERS = ['alice', 'bob', 'carol']

/** Starts an application that knows its user by an `AsyncLocalStorage`, and asks for `/` as one after the other. */
async function asUsers(
  t: TestContext,
  options: WasmGatewayOptions,
  declare: (app: FastifyInstance, user: () => string) => void
) {
  const users = new AsyncLocalStorage<string>()
  const user = () => users.getStore() ?? 'nobody'
  /** What the filter has called `tell` with, and as whom. */
  const told: string[] = []
  const foreign_functions = {
    tell: (what: Uint8Array) => {
      told.push(`${Buffer.from(what)} ${user()}`)
      return undefined
    }
  }
  const byUser = (app: FastifyInstance) => {
    app.addHook('onRequest', (request, _reply, done) => users.run(request.headers['x-user'] as string, done))
  }
  const { url } = await startApp(t, { ...options, foreign_functions }, (app) => declare(app, user), {}, byUser)
  const answers: string[] = []
  for (const user of USERS) answers.push((await request(url, { headers: { 'x-user': user } })).text)
  return { answers, told }
}

const tell = (value: string) => ({ op: 'foreign', name: 'tell', value })

test('behind an upstream the application and its filters are in the context of their own request', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', (_request, reply) => {
      reply.raw.write('one ')
      setTimeout(() => reply.raw.end('two'), 20)
      reply.hijack()
    })
  })
  const conf = {
    response_headers: [tell('headers'), wantsResponseBody],
    response_body: [tell('body')],
    log: [tell('log')]
  }
  /** As whom the application's hooks ran: `onSend` and `onResponse` of each. */
  const sent: string[] = []
  const { answers, told } = await asUsers(
    t,
    {
      plugins: scripted('a'),
      routes: [{ uri: '/', plugins: { a: { conf } }, upstream: { nodes: { [upstream.node]: 1 } } }]
    },
    (app, user) => {
      app.addHook('onSend', async () => {
        sent.push(user())
      })
      app.addHook('onResponse', async () => {
        sent.push(user())
      })
    }
  )
  assert.deepEqual(answers, new Array(3).fill('one two'))
  assert.deepEqual(sent.sort(), [...USERS, ...USERS].sort())
  for (const what of ['headers', 'body', 'log']) {
    const said = told.filter((line) => line.startsWith(what))
    assert.deepEqual(
      [...new Set(said)],
      USERS.map((user) => `${what} ${user}`)
    )
  }
})

test('an http call is answered in the context of the request that it was made for, and so is its end told', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', () => 'yes')
  })
  const ends: string[] = []
  const store = new AsyncLocalStorage<object>()
  const channel = tracingChannel<object, object>('fastify-wasm-gateway:http_call')
  channel.asyncStart.bindStore(store, () => ['answering'])
  const end = () => ends.push(String(store.getStore()))
  channel.asyncEnd.subscribe(end)
  t.after(() => {
    channel.asyncStart.unbindStore(store)
    channel.asyncEnd.unsubscribe(end)
  })
  const conf = {
    request_headers: [{ op: 'call', upstream: upstream.node, headers: [], timeout: 5000 }],
    call: [tell('answered')]
  }
  const { answers, told } = await asUsers(t, { plugins: scripted('a') }, (app, user) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, () => user())
  })
  assert.deepEqual(answers, USERS)
  assert.deepEqual(
    told,
    USERS.map((user) => `answered ${user}`)
  )
  assert.deepEqual(ends, new Array(3).fill('answering'))
})

test('a gRPC call is answered in the context of the request that it was made for', async (t) => {
  const node = await startGrpcNode(t, greet)
  const guest = new Guest()
  const target = [node.address, 'acme.Greeter', 'Greet', ''].map((text) => guest.text(text))
  const tellGuest = (what: string) =>
    guest.call('proxy_call_foreign_function', guest.text('tell'), guest.text(what), guest.cell(), guest.cell())
  guest.on('proxy_on_request_headers', guest.call('proxy_grpc_call', ...target, guest.text('x'), 5000, guest.cell()))
  guest.on('proxy_on_grpc_receive', tellGuest('answered'))
  const plugins = [{ name: 'a', module: await guest.module() }]
  const { answers, told } = await asUsers(t, { plugins }, (app, user) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf: 'conf' } } } } }, () => user())
  })
  assert.deepEqual(answers, USERS)
  assert.deepEqual(
    told,
    USERS.map((user) => `answered ${user}`)
  )
  assert.equal(node.accepted(), 1)
})

test('ticks are in the context of no request, also where one has set the timer', async (t) => {
  const conf = { start: [{ op: 'tick', ms: 10 }], tick: [tell('tick')], request_headers: [say('request')] }
  const plugins = [{ name: 'a', file: fixture('script-rust') }]
  const { told } = await asUsers(t, { plugins }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => {
      await sleep(50)
      return 'done'
    })
  })
  assert.ok(told.length > 0)
  assert.deepEqual([...new Set(told)], ['tick nobody'])
})
