import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FakeStream } from '../host/fake-stream.ts'
import { type Call, Guest } from '../host/guest.ts'
import { readFixture, startHost } from '../host/host.ts'

// WASI. The numbers are those of WASI's errno.

const OUTSIDE = 0x7fffff00

async function run(guest: Guest, calls: (Call | string)[], environment: Record<string, string> = {}) {
  const host = await startHost(guest.on('proxy_on_configure', ...calls), { environment })
  host.open()
  return host
}

for (const [statement, fd, level] of [
  ['C-265', 1, 'info'],
  ['C-266', 2, 'error']
] as const) {
  test(`${statement} a line written to fd ${fd} is logged as ${level}`, async () => {
    const guest = new Guest()
    const written = guest.cell()
    const write = guest.call('fd_write', fd, guest.iovs('hi\n'), written)
    const host = await run(guest, [write])
    assert.equal(host.status(write), 0)
    assert.equal(host.u32(written), 3)
    assert.deepEqual(host.log.lines, [{ level, msg: 'hi', plugin: 'test', context: 1 }])
  })
}

test('C-267 fd_write to another fd answers 8', async () => {
  const guest = new Guest()
  const calls = [0, 3, 5, -1].map((fd) => guest.call('fd_write', fd, guest.iovs('x\n'), guest.cell()))
  const host = await run(guest, calls)
  for (const call of calls) assert.equal(host.status(call), 8)
})

test('C-268 fd_write from outside of the memory answers 21, and logs nothing', async () => {
  const guest = new Guest()
  const vectors = Buffer.alloc(16)
  vectors.writeUInt32LE(guest.text('good\n').at, 0)
  vectors.writeUInt32LE(5, 4)
  vectors.writeUInt32LE(OUTSIDE, 8)
  vectors.writeUInt32LE(5, 12)
  const { at } = guest.text(vectors)
  const calls = [
    guest.call('fd_write', 1, OUTSIDE, 1, guest.cell()),
    guest.call('fd_write', 1, guest.iovs('x\n'), OUTSIDE),
    guest.call('fd_write', 1, at, 2, guest.cell()),
    // 2^29 vectors of 8 bytes: 2^32, which is not 0.
    guest.call('fd_write', 1, at, 0x20000000, guest.cell()),
    guest.call('poll_oneoff', at, at, 0x10000000, guest.cell())
  ]
  const host = await run(guest, calls)
  for (const call of calls) assert.equal(host.status(call), 21)
  assert.deepEqual(host.log.lines, [])
  assert.equal(host.instance.failure, undefined)
})

test('more text than there is memory answers 28', async () => {
  const guest = new Guest()
  const vectors = Buffer.alloc(8 * 5)
  for (let i = 0; i < 5; i++) vectors.writeUInt32LE(65536, i * 8 + 4)
  const write = guest.call('fd_write', 1, guest.text(vectors).at, 5, guest.cell())
  const host = await run(guest, [write])
  assert.equal(host.status(write), 28)
})

test('C-269 a line may come in pieces, even of a character, in one call and in many', async () => {
  const guest = new Guest()
  const [a, b] = [Buffer.from([0xc3]), Buffer.from([0xa4, 0x0a])]
  const host = await run(guest, [
    guest.call('fd_write', 2, guest.iovs('a'), guest.cell()),
    guest.call('fd_write', 1, guest.iovs('other\n'), guest.cell()),
    guest.call('fd_write', 2, guest.iovs('b\nc\nd', 'e\n'), guest.cell()),
    guest.call('fd_write', 2, guest.iovs(a), guest.cell()),
    guest.call('fd_write', 2, guest.iovs(b), guest.cell())
  ])
  assert.deepEqual(host.log.messages('error'), ['ab', 'c', 'de', 'ä'])
  assert.deepEqual(host.log.messages('info'), ['other'])
})

test('a line that no newline ends is logged when the callback returns, and empty ones are not', async () => {
  const guest = new Guest()
  guest.on('proxy_on_request_headers', guest.call('fd_write', 1, guest.iovs('\n\nhalf a line'), guest.cell()))
  const host = await startHost(guest)
  const stream = new FakeStream()
  host.open(stream).requestHeaders(true)
  assert.deepEqual(stream.log.messages(), ['half a line'])
})

test('C-270 C-271 both clocks are written, and the monotonic one advances within a callback', async () => {
  const guest = new Guest()
  const cells = [guest.cell(8), guest.cell(8), guest.cell(8)]
  const calls = [0, 1, 1].map((clock, i) => guest.call('clock_time_get', clock, 1n, cells[i]!))
  const work = `(local.set 1 (i32.const 100000))
    (loop $again (local.set 1 (i32.sub (local.get 1) (i32.const 1))) (br_if $again (local.get 1)))`
  guest.on('proxy_on_request_headers', calls[0]!, calls[1]!, work, calls[2]!)
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  assert.deepEqual(host.statuses(...calls), [0, 0, 0])
  const [realtime, first, second] = cells.map((cell) => host.u64(cell)) as [bigint, bigint, bigint]
  const difference = BigInt(Date.now()) * 1_000_000n - realtime
  assert.ok(difference > -60_000_000_000n && difference < 60_000_000_000n)
  assert.ok(second > first)
})

test('C-272 there are two clocks', async () => {
  const guest = new Guest()
  const time = guest.call('clock_time_get', 2, 1n, guest.cell(8))
  const resolution = [0, 1, 2].map((clock) => guest.call('clock_res_get', clock, guest.cell(8)))
  const host = await run(guest, [time, ...resolution])
  assert.equal(host.status(time), 58)
  assert.deepEqual(host.statuses(...resolution), [0, 0, 58])
})

test('C-273 random_get gives up to 65536 bytes', async () => {
  const guest = new Guest()
  const cell = guest.cell(16)
  const calls = [0, 65536, 65537, -1].map((size) => guest.call('random_get', 131072, size))
  const sixteen = guest.call('random_get', cell, 16)
  const outside = guest.call('random_get', OUTSIDE, 16)
  const host = await run(guest, [...calls, sixteen, outside])
  assert.deepEqual(host.statuses(...calls, sixteen, outside), [0, 0, 28, 28, 0, 21])
  assert.notDeepEqual(host.instance.memory.copy(cell.at, 16), Buffer.alloc(16, 0xee))
})

test('C-274 the environment that is configured is there', async () => {
  const guest = new Guest()
  const [count, size, pointers, bytes] = [guest.cell(), guest.cell(), guest.cell(8), guest.cell(16)]
  const calls = [guest.call('environ_sizes_get', count, size), guest.call('environ_get', pointers, bytes)]
  const host = await run(guest, calls, { A: '1', B: 'ä' })
  assert.deepEqual(host.statuses(...calls), [0, 0])
  assert.deepEqual([host.u32(count), host.u32(size)], [2, 9])
  assert.deepEqual([host.u32(pointers), host.u32(pointers.at + 4)], [bytes.at, bytes.at + 4])
  assert.equal(host.instance.memory.utf8(bytes.at, 9), 'A=1\0B=ä\0')
})

test('C-275 C-276 without one there is none, and there are no arguments', async () => {
  const guest = new Guest()
  const cells = [guest.cell(), guest.cell(), guest.cell(), guest.cell()]
  const calls = [
    guest.call('environ_sizes_get', cells[0]!, cells[1]!),
    guest.call('args_sizes_get', cells[2]!, cells[3]!),
    guest.call('environ_get', guest.cell(), guest.cell()),
    guest.call('args_get', guest.cell(), guest.cell())
  ]
  const host = await run(guest, calls)
  assert.deepEqual(host.statuses(...calls), [0, 0, 0, 0])
  assert.deepEqual(
    cells.map((cell) => host.u32(cell)),
    [0, 0, 0, 0]
  )
})

test('C-277 C-281 no directory is open, and no file can be', async () => {
  const guest = new Guest()
  const prestat = guest.call('fd_prestat_get', 3, guest.cell(8))
  const open = guest.call('path_open', 3, 0, guest.text('/etc/passwd'), 0, 0n, 0n, 0, guest.cell())
  const host = await run(guest, [prestat, open])
  assert.deepEqual(host.statuses(prestat, open), [8, 44])
})

test('the standard streams can be written, and nothing else', async () => {
  const guest = new Guest()
  const stat = guest.cell(24)
  const calls = [
    guest.call('fd_fdstat_get', 1, stat),
    guest.call('fd_fdstat_get', 0, guest.cell(24)),
    guest.call('fd_close', 2),
    guest.call('fd_close', 3),
    guest.call('fd_seek', 1, 0n, 0, guest.cell(8)),
    guest.call('fd_read', 0, guest.iovs('x'), guest.cell())
  ]
  const host = await run(guest, calls)
  assert.deepEqual(host.statuses(...calls), [0, 8, 0, 8, 58, 52])
  assert.equal(host.instance.memory.u64(stat.at + 8), 64n, 'the right to write')
})

test('what reads, asks about or changes a file is refused, and fd_pwrite writes where fd_write does', async () => {
  const guest = new Guest()
  const written = guest.cell()
  const calls = [
    guest.call('fd_pwrite', 1, guest.iovs('hi\n'), 0n, written),
    guest.call('fd_pread', 0, guest.iovs('x'), 0n, guest.cell()),
    guest.call('fd_filestat_get', 1, guest.cell(64)),
    guest.call('fd_fdstat_set_flags', 1, 0),
    guest.call('fd_prestat_dir_name', 3, guest.text('/'))
  ]
  const host = await run(guest, calls)
  assert.deepEqual(host.statuses(...calls), [0, 52, 8, 52, 52])
  assert.equal(host.u32(written), 3)
  assert.deepEqual(host.log.messages(), ['hi'])
})

/** A clock subscription of WASI. */
function subscription(userdata: bigint, timeout: bigint, tag: number = 0): Buffer {
  const bytes = Buffer.alloc(48)
  bytes.writeBigUInt64LE(userdata, 0)
  bytes[8] = tag
  bytes.writeUInt32LE(1, 16)
  bytes.writeBigUInt64LE(timeout, 24)
  return bytes
}

test('C-278 poll_oneoff waits for the first of the clocks, and reports it', async () => {
  const guest = new Guest()
  const subscriptions = [subscription(1n, 10_000_000_000n), subscription(7n, 5_000_000n), subscription(3n, 0n, 1)]
  const [events, count] = [guest.cell(96), guest.cell()]
  const poll = guest.call('poll_oneoff', guest.text(Buffer.concat(subscriptions)).at, events, 3, count)
  const started = performance.now()
  const host = await run(guest, [poll])
  assert.ok(performance.now() - started >= 4)
  assert.equal(host.status(poll), 0)
  assert.equal(host.u32(count), 1)
  const event = host.instance.memory.copy(events.at, 32)!
  assert.equal(event.readBigUInt64LE(0), 7n)
  assert.deepEqual(event.subarray(8), Buffer.alloc(24), 'no error, a clock')
})

test('C-278 poll_oneoff without a clock reports nothing', async () => {
  const guest = new Guest()
  const count = guest.cell()
  const poll = guest.call('poll_oneoff', guest.text(subscription(3n, 0n, 1)).at, guest.cell(32), 1, count)
  const host = await run(guest, [poll])
  assert.equal(host.status(poll), 0)
  assert.equal(host.u32(count), 0)
})

test('C-279 a Go filter sleeps in a callback', async () => {
  const steps = [
    { op: 'sleep', ms: 20 },
    { op: 'log', text: 'slept' }
  ]
  const host = await startHost(readFixture('script-go'), { configuration: JSON.stringify({ request_headers: steps }) })
  const stream = new FakeStream()
  const context = host.open(stream)
  const started = performance.now()
  context.requestHeaders(true)
  assert.ok(performance.now() - started >= 19)
  assert.deepEqual(stream.log.messages(), ['slept'])
})

test('C-280 sched_yield answers 0', async () => {
  const guest = new Guest()
  const yielded = guest.call('sched_yield')
  assert.equal((await run(guest, [yielded])).status(yielded), 0)
})

test('one write takes 64 KiB at most, and says so', async () => {
  const guest = new Guest()
  const vectors = Buffer.alloc(16)
  vectors.writeUInt32LE(60_000, 4)
  vectors.writeUInt32LE(60_000, 12)
  const written = guest.cell()
  const write = guest.call('fd_write', 1, guest.text(vectors).at, 2, written)
  const host = await run(guest, [write])
  assert.equal(host.status(write), 0)
  assert.equal(host.u32(written), 65_536)
})

test('more than 1024 vectors answer 28, and write nothing', async () => {
  const guest = new Guest()
  const write = guest.call('fd_write', 1, 65536, 1025, guest.cell())
  const host = await run(guest, [write])
  assert.equal(host.status(write), 28)
  assert.deepEqual(host.log.lines, [])
})

test('a line that comes in many writes is cut like one that comes at once', async () => {
  const guest = new Guest()
  const part = guest.call('fd_write', 1, guest.iovs(`ä${'x'.repeat(4000)}`), guest.cell())
  const host = await run(guest, [part, part, part, guest.call('fd_write', 1, guest.iovs('\nnext\n'), guest.cell())])
  const text = `ä${'x'.repeat(4000)}`.repeat(3)
  const shown = Buffer.from(text).subarray(0, 8192).toString()
  assert.deepEqual(host.log.messages(), [`${shown}… (${4002 * 3 - 8192} more bytes)`, 'next'])
})
