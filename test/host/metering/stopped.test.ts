import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { arm, enterModule, leaveModule } from '../../../lib/host/metering/clock.ts'
import { loadModule } from '../../../lib/host/module.ts'
import { MemorySharedData } from '../../../lib/stores/shared-data.ts'
import { wat } from '../../wat.ts'
import { FakeStream } from '../fake-stream.ts'
import { memoryStores, startHost } from '../host.ts'
import { instrumented } from './instrumented.ts'
import { functionOf, rawModule, section } from './raw-module.ts'

const LIMITS = { callMs: 30, startMs: 60 }

/** A module whose functions may be anything. */
const moduleOf = (body: string, imports: string = '') =>
  wat(`(module
    ${imports}
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    ${body})`)

const SPIN = '(loop $again (br $again))'

for (const [where, body] of Object.entries({
  _initialize: `(func (export "_initialize") ${SPIN})`,
  _start: `(func (export "_start") ${SPIN})`,
  'the start section': `(func $start ${SPIN}) (start $start)`
})) {
  test(`a loop in ${where} is stopped by limits.start_ms`, async () => {
    const host = await startHost(await moduleOf(body), { limits: LIMITS })
    assert.equal(host.filter.open(new FakeStream()), undefined)
    const [line] = host.log.lines
    assert.equal(line?.err?.code, 'FST_WASM_START_FAILED')
    assert.match(line!.err!.message, /it ran for more than 60 ms, and was stopped \(limits\.start_ms\)/)
  })
}

test('a start section runs once, before everything else, and may use the memory that the module exports', async () => {
  const host = await startHost(
    await moduleOf(
      `(global $count (mut i32) (i32.const 48))
      (func $say
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store8 (i32.const 8) (global.get $count))
        (drop (call $log (i32.const 2) (i32.const 8) (i32.const 1))))
      (start $say)
      (func (export "_initialize") (call $say))`,
      '(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))'
    ),
    { limits: LIMITS }
  )
  host.open()
  assert.deepEqual(host.log.messages(), ['1', '2'])
})

test('what is slow and stays under the limit is not stopped', async () => {
  // Some milliseconds of work, and hundreds of looks at the clock.
  const host = await startHost(
    await moduleOf(`(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (local $i i32)
      (loop $again
        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20000000))))
      (i32.const 0))`),
    { limits: { callMs: 60_000 } }
  )
  assert.equal(await host.open().requestHeaders(true), 0)
  assert.equal(host.plugin.status().failures, 0)
})

test('with call_ms 0 a module is compiled as it is', async () => {
  const bytes = await moduleOf(`(func (export "proxy_on_tick") (param i32) ${SPIN})`)
  const { hookTable } = await loadModule('test', bytes, { stoppable: false, memoryMib: 1 })
  assert.equal(hookTable, undefined)
})

test('memory that is shared, of 64 bits or larger than the limit is refused with its reason', async () => {
  const marker =
    '(func (export "proxy_abi_version_0_2_1")) (func (export "malloc") (param i32) (result i32) (i32.const 0))'
  for (const [memory, reason, memoryMib] of [
    ['(memory (export "memory") 1 2 shared)', /shared between threads/, 1],
    ['(memory (export "memory") i64 1 2)', /of 64 bits/, 1],
    [
      '(memory (export "memory") 17)',
      /17 pages of memory at the start, where limits\.memory_mib allows, at 16 a MiB, 16/,
      1
    ]
  ] as const) {
    const bytes = await wat(`(module ${memory} ${marker})`)
    if (!WebAssembly.validate(bytes)) continue
    await assert.rejects(loadModule('test', bytes, { stoppable: true, memoryMib }), {
      code: 'FST_WASM_MODULE_INVALID',
      message: reason
    })
  }
})

test('what holds exceptions, has them carry much or makes objects in the heap is refused, whether it can be stopped or not', async () => {
  const rest = `(memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 0))`
  for (const [fields, reason] of [
    [`(tag (param ${'i32 '.repeat(17)}))`, /exceptions with 17 values, where there may be 16/],
    ['(tag (param i32 exnref))', /exceptions that carry exceptions/],
    ['(global (mut exnref) (ref.null exn))', /globals that hold exceptions/],
    ['(table 1 exnref)', /tables of exceptions/],
    ['(type (struct (field i32)))', /types other than those of functions/]
  ] as const) {
    const bytes = await wat(`(module ${fields} ${rest})`)
    if (!WebAssembly.validate(bytes)) continue
    for (const stoppable of [true, false]) {
      await assert.rejects(loadModule('test', bytes, { stoppable, memoryMib: 1 }), {
        code: 'FST_WASM_MODULE_INVALID',
        message: reason
      })
    }
  }
  const carriesLittle = await wat(`(module (tag (param ${'i32 '.repeat(16)})) ${rest})`)
  if (WebAssembly.validate(carriesLittle)) await loadModule('test', carriesLittle)
})

test('a loop of calls that take the host long is stopped after the first that is too late', async () => {
  let times = 0
  const sleep = () => {
    times++
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
    return undefined
  }
  const host = await startHost(
    await moduleOf(
      `(data (i32.const 8) "sleep")
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (loop $again (drop (call $call (i32.const 8) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
          (br $again))
        (i32.const 0))`,
      '(import "env" "proxy_call_foreign_function" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))'
    ),
    { limits: LIMITS, foreignFunctions: { sleep } }
  )
  const stream = new FakeStream()
  host.open(stream).requestHeaders(true)
  assert.equal(times, 2)
  assert.match(stream.log.lines[0]!.err!.message, /it ran for more than 30 ms, and was stopped \(limits\.call_ms\)/)
})

test('a module that sleeps is woken when its time is over, and stopped', async () => {
  const host = await startHost(
    await moduleOf(
      `(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        ;; A clock, a timeout of an hour.
        (i32.store (i32.const 80) (i32.const 1))
        (i64.store (i32.const 88) (i64.const 3600000000000))
        (loop $again
          (drop (call $poll (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 200)))
          (i32.store (i32.const 204) (i32.add (i32.load (i32.const 204)) (i32.const 1)))
          (br $again))
        (i32.const 0))`,
      '(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
    ),
    { limits: LIMITS }
  )
  const stream = new FakeStream()
  host.open(stream).requestHeaders(true)
  assert.equal(host.plugin.instance().memory.u32(204), 0, 'it is stopped in its first sleep')
  assert.match(stream.log.lines[0]!.err!.message, /it ran for more than 30 ms/)
})

test('a loop of calls with large operands is stopped', async () => {
  const host = await startHost(
    await moduleOf(
      `(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (memory.grow (i32.const 1600)))
        (loop $again
          (drop (call $set (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 60000000) (i32.const 0)))
          (i32.store (i32.const 204) (i32.add (i32.load (i32.const 204)) (i32.const 1)))
          (br $again))
        (i32.const 0))`,
      '(import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))'
    ),
    { limits: LIMITS }
  )
  const stream = new FakeStream()
  host.open(stream).requestHeaders(true)
  const times = host.plugin.instance().memory.u32(204)
  assert.ok(times < 60, `${times} times 60 MB are copied within 30 ms`)
})

test('tables have no more than 1048576 entries together, at the start and when they grow', async () => {
  for (const stoppable of [true, false]) {
    const limits = { stoppable, memoryMib: 1 }
    await assert.rejects(
      loadModule('test', await moduleOf('(table 1000000 funcref) (table 100000 externref)'), limits),
      {
        code: 'FST_WASM_MODULE_INVALID',
        message: /1100000 entries of tables at the start, where there may be 1048576/
      }
    )
    const growing = (entries: number) => `
      (table $a 8 funcref)
      (table $b 8 20 externref)
      (func (export "a") (result i32) (table.grow $a (ref.null func) (i32.const ${entries})))
      (func (export "b") (result i32) (table.grow $b (ref.null extern) (i32.const 12)))`
    const half = 1_048_560 / 2
    for (const [entries, grown] of [
      [half, 8],
      [half + 1, -1]
    ] as const) {
      const { compiled, hookTable } = await loadModule('test', await moduleOf(growing(entries)), limits)
      const { exports } = new WebAssembly.Instance(compiled as WebAssembly.Module, {})
      if (hookTable !== undefined) arm(exports[hookTable])
      const { a, b } = exports as Record<string, () => number>
      const depth = enterModule(Number.POSITIVE_INFINITY)
      const results = [a!(), b!()]
      leaveModule(depth)
      assert.deepEqual(results, [grown, 8])
    }
  }
})

test('several memories share what limits.memory_mib allows', async (t) => {
  const bytes = await moduleOf(`(memory $other 3)
    (func (export "grow") (param i32) (result i32) (memory.grow $other (local.get 0)))`)
  if (!WebAssembly.validate(bytes)) return t.skip('this Node knows one memory only')
  const { compiled } = await loadModule('test', bytes, { stoppable: false, memoryMib: 1 })
  const { grow } = new WebAssembly.Instance(compiled as WebAssembly.Module, {}).exports as Record<
    string,
    (pages: number) => number
  >
  // Of 16 pages 4 are there, and each of the two may have half of the others.
  assert.deepEqual([grow!(7), grow!(6)], [-1, 3])
})

test('lines without end, in one write or many, are stopped', async () => {
  const host = await startHost(
    await moduleOf(
      `(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (memory.fill (i32.const 1024) (i32.const 10) (i32.const 60000))
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const 60000))
        (loop $again (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $again))
        (i32.const 0))`,
      '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
    ),
    { limits: LIMITS }
  )
  const stream = new FakeStream()
  host.open(stream).requestHeaders(true)
  assert.match(stream.log.lines.at(-1)!.err!.message, /it ran for more than 30 ms/)
})

test('a call of the host is charged, also one through a table that begins with nothing else in it', () => {
  const moduleWith = (content: number) =>
    rawModule(
      section(1, [[0x60, 0, 0]]),
      section(2, [[1, 0x61, 1, 0x61, 0, 0]]),
      section(3, [[0]]),
      // `(table 1 funcref (ref.func …))`
      section(4, [[0x40, 0, 0x70, 0, 1, 0xd2, content, 0x0b]]),
      section(10, [functionOf(0, [0x41, 0, 0x11, 0, 0])])
    )
  // `i32.const 1000`
  const charged = ({ bytes }: { bytes: Uint8Array }) => Buffer.from(bytes).includes(Buffer.of(0x41, 0xe8, 0x07))
  const wanted = { stoppable: true, maxPages: 1 }
  const [imported, own] = [0, 1]
  assert.equal(charged(instrumented(moduleWith(imported), wanted)), true)
  assert.equal(charged(instrumented(moduleWith(own), wanted)), false)
})

test('a host function that finds no room on the stack ends the instance, and what is counted stays right', async () => {
  const bytes = await moduleOf(
    `(func $down (param i32) (result i32)
      (if (result i32) (local.get 0)
        (then (call $down (i32.sub (local.get 0) (i32.const 1))))
        (else (call $set (i32.const 8) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (local $lines i32)
      ;; What fails is told in the log no more: that would take room on the stack.
      (loop $again
        (drop (call $log (i32.const 2) (i32.const 8) (i32.const 1)))
        (local.set $lines (i32.add (local.get $lines) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $lines) (i32.const 1100))))
      (i32.store (i32.const 16) (call $set (i32.const 8) (i32.const 1) (i32.const 1024) (i32.const 1000) (i32.const 0)))
      ;; As deep as there are headers.
      (i32.store (i32.const 20) (call $down (local.get 1)))
      (i32.const 0))`,
    `(import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))`
  )
  const sharedData = new MemorySharedData()
  const stores = { ...memoryStores(), sharedData }
  let host = await startHost(bytes, { stores })
  const go = async (depth: number): Promise<boolean> => {
    const stream = new FakeStream(Array.from({ length: depth }, () => ['a', '']).flat())
    host.open(stream).requestHeaders(true)
    if (host.plugin.status().failures === 0) {
      assert.equal(host.plugin.instance().memory.u32(20), 0)
      return true
    }
    host = await startHost(bytes, { stores })
    return false
  }
  // Until all of it is compiled at its best: what is compiled anew takes another room.
  for (let i = 0; i < 200; i++) await go(3000)
  await sleep(200)
  let [low, high] = [100, 100_000]
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (await go(middle)) low = middle
    else high = middle
  }
  for (let depth = low - 40; depth < high + 40; depth++) {
    await go(depth)
    const { value } = sharedData.get('', '\0')!
    assert.equal(sharedData.usage('').bytes, 1 + value.length, `at a depth of ${depth}`)
  }
})
