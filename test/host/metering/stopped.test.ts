import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadModule } from '../../../lib/host/module.ts'
import { wat } from '../../wat.ts'
import { FakeStream } from '../fake-stream.ts'
import { startHost } from '../host.ts'

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
    ['(memory (export "memory") 17)', /17 pages of memory at the start, where limits\.memory_mib allows 16/, 1]
  ] as const) {
    const bytes = await wat(`(module ${memory} ${marker})`)
    if (!WebAssembly.validate(bytes)) continue
    await assert.rejects(loadModule('test', bytes, { stoppable: true, memoryMib }), {
      code: 'FST_WASM_MODULE_INVALID',
      message: reason
    })
  }
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
  assert.equal(host.instance.memory.u32(204), 0, 'it is stopped in its first sleep')
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
  const times = host.instance.memory.u32(204)
  assert.ok(times < 60, `${times} times 60 MB are copied within 30 ms`)
})
