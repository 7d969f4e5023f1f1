import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serializePairs } from '../../lib/host/byte-pairs.ts'
import type { FakedGrpcCall } from '../../lib/testing/index.ts'
import { Guest } from '../host/guest.ts'
import { guest } from './load.ts'

/** A filter that makes a unary call with each request; and logs, by their number, which callbacks of gRPC were called. */
function unary(timeout = 1000): Guest {
  const module = new Guest()
  const target = ['auth', 'acme.Auth', 'Check'].map((text) => module.text(text))
  const metadata = module.text(serializePairs(['x-a', '1']))
  const log = (text: string) => module.call('proxy_log', 2, module.text(text))
  return module
    .on(
      'proxy_on_request_headers',
      module.call('proxy_grpc_call', ...target, metadata, module.text('asks'), timeout, module.cell())
    )
    .on('proxy_on_grpc_receive', log('received'))
    .on('proxy_on_grpc_close', log('closed'))
}

test('a unary call is answered by what the fake returns', async (t) => {
  const seen: unknown[] = []
  const auth = (call: FakedGrpcCall) => {
    seen.push(call.service, call.method, call.metadata, call.messages.map(String), call.halfClosed, call.timeout)
    return { messages: ['fine'] }
  }
  const filter = await guest(t, unary(), { grpc_upstreams: { auth } })
  const exchange = await filter.exchange()
  assert.deepEqual(seen, ['acme.Auth', 'Check', { 'x-a': '1' }, ['asks'], true, 1000])
  assert.deepEqual(
    filter.logs.map(({ message }) => message),
    ['received']
  )
  assert.deepEqual(
    exchange.grpcCalls.map(({ upstream, state }) => [upstream, state]),
    [['auth', 'closed']]
  )
  assert.equal(exchange.forwarded, true)
})

test('a status, an Error, a timeout and a name that nobody fakes end a call', async (t) => {
  const never = () => new Promise<never>(() => {})
  for (const fake of [{ status: 7, status_message: 'no' }, () => new Error('gone')]) {
    const filter = await guest(t, unary(), { grpc_upstreams: { auth: fake } })
    await filter.exchange()
    assert.deepEqual(
      filter.logs.map(({ message }) => message),
      ['closed']
    )
  }
  const slow = await guest(t, unary(50), { grpc_upstreams: { auth: never } })
  const exchange = await slow.begin()
  assert.match(exchange.waitsFor!.what, /for its gRPC call acme\.Auth\/Check to auth/)
  await slow.advance(50)
  await exchange.finish()
  assert.deepEqual(
    slow.logs.map(({ message }) => message),
    ['closed']
  )
  const refused = await guest(t, unary())
  const { grpcCalls } = await refused.exchange()
  assert.equal(grpcCalls[0]!.state, 'refused')
})

test('a stream is answered message by message, and never inside of the callback that sends', async (t) => {
  const module = new Guest()
  const target = ['auth', 'acme.Auth', 'Watch'].map((text) => module.text(text))
  const id = module.cell()
  const send = (text: string, end: number) => module.call('proxy_grpc_send', module.loaded(id), module.text(text), end)
  const log = (text: string) => module.call('proxy_log', 2, module.text(text))
  module
    .on(
      'proxy_on_configure',
      module.call('proxy_grpc_stream', ...target, module.text(''), id),
      send('one', 0),
      log('sent')
    )
    .on('proxy_on_grpc_receive_initial_metadata', log('metadata'))
    .on('proxy_on_grpc_receive', log('received'), send('two', 1))
    .on('proxy_on_grpc_receive_trailing_metadata', log('trailing'))
    .on('proxy_on_grpc_close', log('closed'))
  const got: string[] = []
  const auth = (call: FakedGrpcCall) => {
    got.push(...call.messages.map(String))
    call.onMessage = (message) => got.push(message.toString())
    call.onHalfClose = () => {
      call.sendTrailingMetadata({ 'x-t': '1' })
      call.close()
    }
    call.sendInitialMetadata({ 'x-i': '1' })
    call.send('answer')
  }
  const filter = await guest(t, module, { grpc_upstreams: { auth } })
  assert.deepEqual(got, ['one', 'two'])
  assert.deepEqual(
    filter.logs.map(({ message }) => message),
    ['sent', 'metadata', 'received', 'trailing', 'closed']
  )
  assert.deepEqual(
    filter.grpcCalls.map(({ state, halfClosed }) => [state, halfClosed]),
    [['closed', true]]
  )
})

test('what a fake of gRPC throws fails the test', async (t) => {
  const auth = () => {
    throw new Error('not like this')
  }
  const filter = await guest(t, unary(), { grpc_upstreams: { auth } })
  await assert.rejects(filter.exchange(), /not like this/)
})
