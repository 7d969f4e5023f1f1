import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { eventually } from '../eventually.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Call, Guest } from '../host/guest.ts'
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

test('control characters of a line are escaped, but for newlines and tabs, and a long one is cut', async () => {
  const guest = new Guest({ pages: 8 })
  const calls = [
    guest.call('proxy_log', 2, guest.text('\x1b[2Jone\r\n\ttwo\0')),
    // Zeros.
    guest.call('proxy_log', 2, 4 * 65536, 100_000)
  ]
  const host = await startHost(guest.on('proxy_on_configure', ...calls))
  host.open()
  assert.deepEqual(host.statuses(...calls), [Status.Ok, Status.Ok])
  assert.deepEqual(host.log.messages(), ['\\x1b[2Jone\\x0d\n\ttwo\\x00', `${'\\x00'.repeat(2048)}… (97952 more bytes)`])
})

/** Logs as often as it says. */
function logging(times: number, call: Call): string {
  return `(global.set $i (i32.const ${times})) (loop $again ${call.wat}
    (global.set $i (i32.sub (global.get $i) (i32.const 1))) (br_if $again (global.get $i)))`
}
const COUNTS = { extra: '(global $i (mut i32) (i32.const 0))' }

test('a plugin logs 1000 lines in a second, and one that counts the others; those are Ok too', async () => {
  const guest = new Guest(COUNTS)
  const line = guest.call('proxy_log', 2, guest.text('line'))
  const host = await startHost(guest.on('proxy_on_configure', logging(1500, line)))
  host.open()
  assert.equal(host.status(line), Status.Ok)
  assert.deepEqual(host.log.messages(), new Array(1000).fill('line'))
  await eventually('the count comes by itself', () => host.log.messages('warn').length > 0)
  assert.deepEqual(host.log.messages().slice(1000), [
    'test: 500 lines were dropped: it wrote more than 1000 in a second (limits.log_lines)'
  ])
})

test('what a logger leaves out does not count', async () => {
  const guest = new Guest(COUNTS)
  const [debug, warn] = [1, 3].map((level) => guest.call('proxy_log', level, guest.text('line')))
  guest.on('proxy_on_configure', logging(100, debug!), warn!)
  const host = await startHost(guest, { limits: { logLines: 1 } })
  host.log.level = 'info'
  host.open()
  assert.deepEqual(host.log.messages(), ['line'])
})

test('all contexts and instances of a plugin have one count, and its standard output is in it', async () => {
  const guest = new Guest()
  guest.on('proxy_on_configure', guest.call('proxy_log', 2, guest.text('configure')))
  const print = guest.call('fd_write', 1, guest.iovs('one\ntwo\nthree\n'), guest.cell())
  guest.on('proxy_on_request_headers', print, 'unreachable')
  const host = await startHost(guest, { limits: { logLines: 3 } })
  const stream = new FakeStream()
  host.open(stream).requestHeaders(true)
  host.open()
  assert.equal(host.plugin.status().instances, 2)
  assert.deepEqual(host.log.messages(), ['configure'])
  assert.deepEqual(stream.log.messages('info'), ['one', 'two'])
  assert.equal(stream.log.messages('error').length, 1, 'what the host says of the trap is not dropped')
})

test('what the host says of single calls of a filter counts as well', async () => {
  const guest = new Guest(COUNTS)
  const none = guest.text('')
  // Outside of any stream.
  const reply = guest.call('proxy_send_local_response', 200, none, none, none, -1)
  const host = await startHost(guest.on('proxy_on_configure', logging(50, reply)), { limits: { logLines: 5 } })
  host.open()
  assert.equal(host.log.lines.length, 5)
})
