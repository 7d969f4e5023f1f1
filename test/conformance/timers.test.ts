import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { Status } from '../../lib/host/abi/constants.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { Guest } from '../host/guest.ts'
import { type Host, startHost, waits } from '../host/host.ts'

// Timers, and what contexts have to do with ticks.

const period = (guest: Guest, ms: number) => guest.call('proxy_set_tick_period_milliseconds', ms)
const ticks = (host: Host) => host.events().filter((event) => event.startsWith('tick('))

/** Time that stands still until the test moves it. */
function stopClock(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  return (ms: number) => t.mock.timers.tick(ms)
}

test('C-236 a period that is set in on_configure ticks with the root after it, and again and again', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  const set = period(guest, 50)
  const host = await startHost(guest.on('proxy_on_configure', set).record('proxy_on_tick'))
  host.open()
  assert.equal(host.status(set), Status.Ok)
  pass(49)
  assert.deepEqual(ticks(host), [])
  pass(1)
  assert.deepEqual(ticks(host), ['tick(1)'])
  pass(50)
  pass(50)
  assert.deepEqual(ticks(host), ['tick(1)', 'tick(1)', 'tick(1)'])
})

test('C-236 with the clock on the wall, the first tick comes no earlier than about 50 ms', async () => {
  const guest = new Guest()
  const host = await startHost(guest.on('proxy_on_configure', period(guest, 50)).record('proxy_on_tick'))
  host.open()
  const started = performance.now()
  while (ticks(host).length === 0) await sleep(1)
  assert.ok(performance.now() - started >= 45)
  await host.filter.close()
})

test('C-237 a period of 0 ends the ticks', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  guest.on('proxy_on_configure', period(guest, 50)).record('proxy_on_tick')
  const host = await startHost(guest.on('proxy_on_request_headers', period(guest, 0)))
  const context = host.open()
  pass(50)
  context.requestHeaders(true)
  pass(1000)
  assert.equal(ticks(host).length, 1)
})

test('a tick ends the ticks', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  const host = await startHost(guest.on('proxy_on_configure', period(guest, 50)).on('proxy_on_tick', period(guest, 0)))
  host.open()
  for (let i = 0; i < 3; i++) pass(50)
  assert.equal(ticks(host).length, 1)
})

test('C-238 a new period stands in place of the last one at once', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  guest.on('proxy_on_configure', period(guest, 1000)).record('proxy_on_tick')
  const host = await startHost(guest.on('proxy_on_request_headers', period(guest, 50)))
  const context = host.open()
  pass(500)
  context.requestHeaders(true)
  pass(50)
  assert.equal(ticks(host).length, 1)
  pass(50)
  assert.equal(ticks(host).length, 2)
})

test('C-239 a stream sets the period of its root, also when it has ended since', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest().record('proxy_on_tick')
  const host = await startHost(guest.on('proxy_on_request_headers', period(guest, 50)))
  const context = host.open()
  context.requestHeaders(true)
  context.end(false)
  pass(50)
  assert.deepEqual(ticks(host), ['tick(1)'])
})

test('C-240 a slow tick is followed by a whole period: ticks neither overlap nor catch up', async () => {
  // A tick lasts 60 ms, six periods.
  const guest = new Guest()
  const [from, now] = [guest.cell(8), guest.cell(8)]
  const clock = (cell: typeof now) => guest.call('proxy_get_current_time_nanoseconds', cell).wat
  const slow = `${clock(from)} (loop $busy ${clock(now)}
    (br_if $busy (i64.lt_u (i64.sub (i64.load ${now.wat}) (i64.load ${from.wat})) (i64.const 60000000))))`
  guest.on('proxy_on_configure', period(guest, 10)).on('proxy_on_tick', guest.mark('from'), slow, guest.mark('to'))
  const host = await startHost(guest)
  host.open()
  await sleep(400)
  await host.filter.close()
  const marks = host.events().filter((event) => event === 'from' || event === 'to')
  assert.ok(marks.length >= 4)
  // 400 / (60 + 10)
  assert.ok(ticks(host).length <= 6, `${ticks(host).length} ticks`)
  assert.deepEqual(
    marks,
    marks.map((_, i) => (i % 2 === 0 ? 'from' : 'to'))
  )
})

test('plugin contexts of one instance tick apart, and a closed one does not', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  const host = await startHost(guest.on('proxy_on_configure', period(guest, 50)).record('proxy_on_tick'))
  host.open().end(false)
  pass(25)
  host.open(undefined, host.another(''))
  pass(25)
  assert.deepEqual(ticks(host), ['tick(1)'])
  pass(25)
  assert.deepEqual(ticks(host), ['tick(1)', 'tick(3)'])
  await host.filter.close()
  pass(50)
  assert.deepEqual(ticks(host).slice(2), ['tick(3)'])
})

test('a plugin context that was refused does not tick, nor does one whose proxy_on_delete sets a period', async (t) => {
  const pass = stopClock(t)
  const refused = new Guest()
  refused.on('proxy_on_configure', period(refused, 50)).returns('proxy_on_configure', 0).record('proxy_on_tick')
  const host = await startHost(refused)
  host.renew()
  assert.equal(host.filter.open(new FakeStream()), undefined)
  const closing = new Guest()
  closing.on('proxy_on_delete', period(closing, 50)).record('proxy_on_tick')
  const other = await startHost(closing)
  other.open().end(false)
  await other.filter.close()
  pass(100)
  assert.deepEqual([...ticks(host), ...ticks(other)], [])
})

test('a module without on_tick may set a period', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  const set = period(guest, 50)
  const host = await startHost(guest.on('proxy_on_configure', set))
  host.open()
  pass(100)
  assert.equal(host.status(set), Status.Ok)
})

test('the longest period is no short one', async () => {
  const guest = new Guest()
  guest.on('proxy_on_configure', period(guest, -1)).record('proxy_on_tick')
  const host = await startHost(guest)
  host.open()
  await sleep(20)
  assert.deepEqual(ticks(host), [])
  await host.filter.close()
})

test('a trap in a tick ends the instance: it ticks no more, and the next request gets a fresh one', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  const host = await startHost(guest.on('proxy_on_configure', period(guest, 50)).on('proxy_on_tick', 'unreachable'))
  host.open().end(false)
  pass(50)
  assert.match(host.instance.failure!.message, /proxy_on_tick/)
  assert.equal(host.log.lines.at(-1)?.err?.code, 'FST_WASM_TRAP')
  pass(1000)
  assert.equal(ticks(host).length, 1)
  assert.equal(host.open().requestHeaders(true), Outcome.Continue)
})

test('C-055 proxy_done in a tick is Ok, and on_delete comes after the tick has returned', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  const done = guest.call('proxy_done')
  guest.on('proxy_on_configure', period(guest, 50)).on('proxy_on_tick', done, guest.mark('returned'))
  const host = await startHost(guest.returns('proxy_on_done', 0).record('proxy_on_delete'))
  host.open().end(false)
  await turn()
  // The stream is pending too; its end is not what this is about.
  for (const context of host.instance.contexts.values()) if (context.id !== 1) context.done()
  await turn()
  const close = host.filter.close()
  pass(50)
  assert.equal(host.status(done), Status.Ok)
  assert.equal(host.events().at(-1), 'returned')
  await close
  assert.deepEqual(host.events().slice(-3), ['tick(1)', 'returned', 'delete(1)'])
  pass(1000)
  assert.equal(ticks(host).length, 1)
})

test('C-062 C-063 a tick acts on the stream that it chose, until it returns', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  const before = guest.call('proxy_replace_header_map_value', 0, guest.text('x-a'), guest.text('none'))
  const chosen = guest.call('proxy_set_effective_context', 2)
  const replaced = guest.call('proxy_replace_header_map_value', 0, guest.text('x-a'), guest.text('2'))
  guest.on('proxy_on_configure', period(guest, 50)).on('proxy_on_tick', before, chosen, replaced)
  const host = await startHost(guest)
  const streams = [new FakeStream(['x-a', '1']), new FakeStream(['x-a', '1'])]
  for (const stream of streams) host.open(stream)
  for (let i = 0; i < 2; i++) {
    pass(50)
    assert.deepEqual(host.statuses(before, chosen, replaced), [Status.BadArgument, Status.Ok, Status.Ok])
  }
  assert.deepEqual(
    streams.map((stream) => stream.requestHeaders.get('x-a')),
    ['2', '1']
  )
})

test('C-086 a body that is paused at its end goes on when a tick resumes it', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest().returns('proxy_on_request_body', 1)
  const chosen = guest.call('proxy_set_effective_context', 2)
  const edit = guest.call('proxy_set_buffer_bytes', 0, 0, 100, guest.text('new'))
  guest.on('proxy_on_configure', period(guest, 50))
  const host = await startHost(guest.on('proxy_on_tick', chosen, edit, guest.call('proxy_continue_stream', 0)))
  const body = { bytes: Buffer.from('old'), changed: false }
  const phase = host.open().requestBodyPhase(body)
  assert.equal(await waits(phase), true)
  pass(50)
  assert.equal(await phase, Outcome.Continue)
  assert.equal(body.bytes.toString(), 'new')
})

test('C-198 a call from a tick is answered with the root as the current context', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest()
  const none = guest.text('')
  const call = guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell())
  const header = guest.call('proxy_get_header_map_value', 0, guest.text(':path'), guest.result())
  guest.on('proxy_on_configure', period(guest, 50)).on('proxy_on_tick', call, period(guest, 0))
  const host = await startHost(guest.on('proxy_on_http_call_response', header))
  host.open()
  pass(50)
  host.httpCalls.answer(0)
  assert.equal(host.status(call), Status.Ok)
  assert.equal(host.events().at(-1), 'http_call_response(1, 1, 1, 0, 0)')
  assert.equal(host.status(header), Status.NotFound, 'no stream is meant')
})

test('a local response from a tick ends the phase of the stream that was chosen', async (t) => {
  const pass = stopClock(t)
  const guest = new Guest().returns('proxy_on_request_headers', 1)
  const none = guest.text('')
  const chosen = guest.call('proxy_set_effective_context', 2)
  const reply = guest.call('proxy_send_local_response', 403, none, guest.text('no'), none, -1)
  guest.on('proxy_on_configure', period(guest, 50)).on('proxy_on_tick', chosen, reply)
  const host = await startHost(guest)
  const stream = new FakeStream()
  const phase = host.open(stream).requestHeaders(true)
  pass(50)
  assert.equal(await phase, Outcome.Stop)
  assert.equal(stream.localResponses[0]?.status, 403)
})
