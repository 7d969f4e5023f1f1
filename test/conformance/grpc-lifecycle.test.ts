import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Status } from '../../lib/host/abi/constants.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Call, Guest, type Step } from '../host/guest.ts'
import { startHost, waits } from '../host/host.ts'

// To whom gRPC's calls and streams belong, who waits for them, and what ends them.

function grpcCall(guest: Guest): Call {
  const [upstream, service, method] = [guest.text('auth'), guest.text('acme.Auth'), guest.text('Check')]
  return guest.call(
    'proxy_grpc_call',
    upstream,
    service,
    method,
    guest.text(''),
    guest.text('hello'),
    1000,
    guest.cell()
  )
}

function grpcStream(guest: Guest): Call {
  const [upstream, service, method] = [guest.text('auth'), guest.text('acme.Auth'), guest.text('Watch')]
  return guest.call('proxy_grpc_stream', upstream, service, method, guest.text(''), guest.cell())
}

/** A guest that records what it is told of gRPC and of its end. */
const recording = () =>
  new Guest().record('proxy_on_grpc_receive', 'proxy_on_grpc_close', 'proxy_on_done', 'proxy_on_log', 'proxy_on_delete')

/** Does the steps in a request headers callback of the stream 2. */
async function run(guest: Guest, ...steps: Step[]) {
  const host = await startHost(guest.on('proxy_on_request_headers', ...steps))
  const context = host.open(new FakeStream())
  return { host, context, phase: context.requestHeaders(true) }
}

test('a Continue waits for unary calls as for http calls, and for no stream', async () => {
  const guest = recording()
  const { host, phase } = await run(guest, grpcCall(guest), grpcStream(guest), grpcCall(guest))
  host.grpcCalls.exchanges[0]!.answer('a')
  assert.equal(await waits(phase), true)
  host.grpcCalls.exchanges[2]!.close(14)
  assert.equal(await phase, Outcome.Continue)
  assert.equal(host.plugin.status().calls, 1)
})

test('a Continue does not wait for a call that a later callback has cancelled', async () => {
  const guest = recording()
  guest.on('proxy_on_grpc_receive', guest.call('proxy_grpc_cancel', 2))
  const { host, phase } = await run(guest, grpcCall(guest), grpcCall(guest))
  host.grpcCalls.exchanges[0]!.answer('a')
  assert.equal(await phase, Outcome.Continue)
  assert.equal(host.grpcCalls.exchanges[1]!.state, 'cancelled')
})

test('an answer resumes a paused stream', async () => {
  const guest = recording().returns('proxy_on_request_headers', 1)
  guest.on(
    'proxy_on_grpc_receive',
    guest.call('proxy_set_effective_context', 2),
    guest.call('proxy_continue_stream', 0)
  )
  const { host, phase } = await run(guest, grpcCall(guest))
  assert.equal(await waits(phase), true)
  host.grpcCalls.exchanges[0]!.answer('a')
  assert.equal(await phase, Outcome.Continue)
})

test('a call from on_configure is answered, and one from a callback too', async () => {
  const guest = recording()
  guest.on('proxy_on_configure', grpcCall(guest), grpcStream(guest))
  guest.on('proxy_on_grpc_receive', guest.when(1, 1, grpcCall(guest)))
  const host = await startHost(guest)
  host.open()
  host.grpcCalls.exchanges[0]!.answer('a')
  host.grpcCalls.exchanges[2]!.answer('bc')
  host.grpcCalls.exchanges[1]!.answer('def')
  assert.deepEqual(host.events().slice(1), [
    'grpc_receive(1, 1, 1)',
    'grpc_receive(1, 3, 2)',
    'grpc_receive(1, 2, 3)',
    'grpc_close(1, 2, 0)'
  ])
})

test('a unary call whose stream has ended is still answered to the root, once', async () => {
  const guest = recording()
  const { host, context } = await run(guest, grpcCall(guest), guest.call('proxy_continue_stream', 0))
  context.end(false)
  host.grpcCalls.exchanges[0]!.answer('a')
  assert.deepEqual(host.events().slice(1), ['done(2)', 'log(2)', 'delete(2)', 'grpc_receive(1, 1, 1)'])
  assert.equal(host.plugin.status().calls, 0)
})

test('when the client leaves, unary calls are closed as cancelled before the end, and streams at it', async () => {
  const guest = recording()
  const { host, context, phase } = await run(guest, grpcStream(guest), grpcCall(guest))
  context.end(true)
  assert.equal(await phase, Outcome.Stop)
  assert.deepEqual(
    host.grpcCalls.exchanges.map(({ state }) => state),
    ['cancelled', 'cancelled']
  )
  assert.deepEqual(host.events().slice(1), [
    'grpc_close(1, 2, 1)',
    'done(2)',
    'log(2)',
    'grpc_close(1, 1, 1)',
    'delete(2)'
  ])
  assert.equal(host.plugin.status().calls, 0)
})

test('a stream that its filter has half-closed outlives its HTTP context, whose id is not used again before', async () => {
  const guest = recording()
  const last = guest.call('proxy_grpc_send', 1, guest.text('bye'), 1)
  const { host, context } = await run(guest.on('proxy_on_log', last), grpcStream(guest))
  context.end(false)
  const [exchange] = host.grpcCalls.exchanges
  assert.deepEqual([exchange!.state, exchange!.messages], ['open', ['bye']])
  const next = host.open()
  assert.notEqual(next.id, context.id)
  exchange!.close(0)
  assert.deepEqual(host.events().slice(1), ['done(2)', 'log(2)', 'delete(2)', 'grpc_close(1, 1, 0)'])
  next.end(false)
  assert.equal(host.plugin.status().calls, 0)
})

test('a stream that is opened at the very end of its context is aborted', async () => {
  for (const callback of ['proxy_on_done', 'proxy_on_log', 'proxy_on_delete']) {
    const guest = recording()
    const open = grpcStream(guest)
    const { host, context } = await run(guest.on(callback, open))
    context.end(false)
    assert.equal(host.status(open), Status.Ok)
    assert.equal(host.grpcCalls.exchanges[0]!.state, 'cancelled', callback)
    assert.equal(host.plugin.status().calls, 0)
  }
})

test('with the root its calls and streams are cancelled, and nobody is called', async () => {
  const guest = recording()
  const host = await startHost(guest.on('proxy_on_configure', grpcCall(guest), grpcStream(guest)))
  host.open().end(false)
  await host.filter.close()
  for (const { state, events } of host.grpcCalls.exchanges) {
    assert.equal(state, 'cancelled')
    events.close(0, '')
  }
  assert.ok(!host.events().some((event) => event.startsWith('grpc_')))
})

test('when the instance fails its calls and streams are cancelled, and nobody is called', async () => {
  const guest = recording()
  guest.on('proxy_on_grpc_receive', guest.when(2, 1, '(unreachable)'))
  const { host, phase } = await run(guest, grpcCall(guest), grpcStream(guest), grpcCall(guest))
  host.grpcCalls.exchanges[1]!.events.message(Buffer.from('a'))
  assert.equal(await phase, Outcome.Failed)
  assert.deepEqual(
    host.grpcCalls.exchanges.map(({ state }) => state),
    ['cancelled', 'cancelled', 'cancelled']
  )
  await turn()
  assert.deepEqual(host.events().slice(1), ['grpc_receive(1, 2, 1)'])
})

test('while a module is initialized its calls are InternalFailure', async () => {
  const guest = new Guest()
  const calls = [grpcCall(guest), grpcStream(guest)]
  const host = await startHost(guest.on('_initialize', ...calls))
  host.open()
  assert.deepEqual(host.statuses(...calls), [Status.InternalFailure, Status.InternalFailure])
  assert.deepEqual(host.grpcCalls.exchanges, [])
})
