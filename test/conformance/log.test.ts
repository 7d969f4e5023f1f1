import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { Guest } from '../host/guest.ts'
import { startHost } from '../host/host.ts'

// Logging and time of Proxy-Wasm. WASI: wasi.test.ts.

test('C-261 the levels 0 to 5 are trace, debug, info, warn, error, fatal', async () => {
  const guest = new Guest()
  const calls = [0, 1, 2, 3, 4, 5].map((level) => guest.call('proxy_log', level, guest.text(`line ${level}`)))
  const host = await startHost(guest.on('proxy_on_configure', ...calls))
  host.open()
  for (const call of calls) assert.equal(host.status(call), Status.Ok)
  assert.deepEqual(
    host.log.lines.map(({ level, msg }) => `${level}: ${msg}`),
    ['trace: line 0', 'debug: line 1', 'info: line 2', 'warn: line 3', 'error: line 4', 'fatal: line 5']
  )
})

test('C-262 there is no level 6', async () => {
  const guest = new Guest()
  const calls = [6, -1].map((level) => guest.call('proxy_log', level, guest.text('line')))
  const host = await startHost(guest.on('proxy_on_configure', ...calls))
  host.open()
  assert.deepEqual(host.statuses(...calls), [Status.BadArgument, Status.BadArgument])
  assert.deepEqual(host.log.lines, [])
})

test("a line goes to the logger of its context's request, with the plugin and the context as fields", async () => {
  const guest = new Guest()
  guest.on('proxy_on_configure', guest.call('proxy_log', 2, guest.text('root')))
  guest.on('proxy_on_request_headers', guest.call('proxy_log', 2, guest.text('größer')))
  const host = await startHost(guest)
  const stream = new FakeStream()
  host.open(stream).requestHeaders(true)
  assert.deepEqual(host.log.lines, [{ level: 'info', msg: 'root', plugin: 'test', context: 1 }])
  assert.deepEqual(stream.log.lines, [{ level: 'info', msg: 'größer', plugin: 'test', context: 2 }])
})

for (const [level, expected] of [
  ['trace', 0],
  ['debug', 1],
  ['info', 2],
  ['warn', 3],
  ['error', 4],
  ['fatal', 5],
  ['silent', 5],
  [undefined, 2]
] as const) {
  test(`C-263 with a logger of level ${level} the log level is ${expected}`, async () => {
    const guest = new Guest()
    const cell = guest.cell()
    const get = guest.call('proxy_get_log_level', cell)
    const host = await startHost(guest.on('proxy_on_configure', get))
    if (level !== undefined) host.log.level = level
    host.open()
    assert.equal(host.status(get), Status.Ok)
    assert.equal(host.u32(cell), expected)
  })
}

test('C-264 the time is 8 bytes of nanoseconds since 1970', async () => {
  const guest = new Guest()
  const cell = guest.cell(8)
  const get = guest.call('proxy_get_current_time_nanoseconds', cell)
  const host = await startHost(guest.on('proxy_on_configure', get))
  host.open()
  assert.equal(host.status(get), Status.Ok)
  const difference = BigInt(Date.now()) * 1_000_000n - host.u64(cell)
  assert.ok(difference > -60_000_000_000n && difference < 60_000_000_000n)
})
