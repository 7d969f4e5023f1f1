import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { Guest } from '../host/guest.ts'
import { startHost } from '../host/host.ts'

const REQUEST_TRAILERS = 1
const RESPONSE_TRAILERS = 3

test('C-075 the body callback says that trailers follow, and the trailers callback does', async () => {
  const host = await startHost(new Guest().record('proxy_on_request_body', 'proxy_on_request_trailers'))
  const stream = new FakeStream()
  const context = host.open(stream)
  stream.requestTrailers.add('x-a', '1')
  context.requestBodyPhase({ bytes: Buffer.from('abc'), changed: false }, false)
  context.requestTrailers()
  assert.deepEqual(host.events(), [`request_body(${context.id}, 3, 0)`, `request_trailers(${context.id}, 1)`])
})

for (const [name, map] of [
  ['request', REQUEST_TRAILERS],
  ['response', RESPONSE_TRAILERS]
] as const) {
  test(`the ${name} trailers are read, added, replaced and removed`, async () => {
    const guest = new Guest()
    const read = guest.call('proxy_get_header_map_value', map, guest.text('X-A'), guest.result())
    const add = guest.call('proxy_add_header_map_value', map, guest.text('x-b'), guest.text('2'))
    const replace = guest.call('proxy_replace_header_map_value', map, guest.text('x-c'), guest.text('3'))
    const remove = guest.call('proxy_remove_header_map_value', map, guest.text('x-d'))
    const pseudo = guest.call('proxy_add_header_map_value', map, guest.text(':path'), guest.text('/'))
    guest.on(`proxy_on_${name}_trailers`, read, add, replace, remove, pseudo)
    const host = await startHost(guest)
    const stream = new FakeStream()
    const context = host.open(stream)
    const trailers = name === 'request' ? stream.requestTrailers : stream.responseTrailers
    for (const pair of ['a1', 'c1', 'c2', 'd1']) trailers.add(`x-${pair[0]}`, pair[1]!)
    if (name === 'request') assert.equal(context.requestTrailers(), Outcome.Continue)
    else context.responseTrailers()
    assert.equal(host.text(read), '1')
    assert.deepEqual(host.statuses(add, replace, remove, pseudo), [0, 0, 0, 2])
    assert.deepEqual(trailers.entries(), ['x-a', '1', 'x-c', '3', 'x-b', '2'])
  })
}

test('a pause in the request trailers waits for its resume', async () => {
  const host = await startHost(new Guest().returns('proxy_on_request_trailers', 1))
  const stream = new FakeStream()
  const context = host.open(stream)
  stream.requestTrailers.add('x-a', '1')
  const outcome = context.requestTrailers()
  assert.ok(outcome instanceof Promise)
  context.resume(0)
  assert.equal(await outcome, Outcome.Continue)
})

test('a trap in the response trailers leaves the instance failed', async () => {
  const host = await startHost(new Guest().on('proxy_on_response_trailers', 'unreachable'))
  const context = host.open()
  context.responseTrailers()
  assert.equal(context.failed, true)
  context.responseTrailers()
})
