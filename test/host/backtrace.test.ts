import assert from 'node:assert/strict'
import { test } from 'node:test'
import { backtraceOf } from '../../lib/host/backtrace.ts'
import { wat } from '../wat.ts'
import { FakeStream } from './fake-stream.ts'
import { startHost } from './host.ts'
import { bytesOf, leb, rawFilter } from './metering/raw-module.ts'

const filter = (body: string) =>
  wat(
    `(module
      (memory (export "memory") 1)
      (func (export "proxy_abi_version_0_2_1"))
      (func (export "malloc") (param i32) (result i32) (i32.const 1024))
      ${body})`,
    true
  )

async function lineOf(module: Uint8Array, limits = {}) {
  const host = await startHost(module, { limits })
  const stream = new FakeStream()
  Object.assign(stream, { route: '/cart' })
  host.open(stream).requestHeaders(true)
  const lines = stream.log.lines.filter(({ level }) => level === 'error')
  assert.equal(lines.length, 1)
  return lines[0] as (typeof lines)[0] & Record<string, unknown>
}

test('the line of a trap has the names of the functions, the callback, the route and what happens next', async () => {
  const deeper = Array.from({ length: 30 }, (_, i) => `(func $f${i} (call $f${i + 1}))`).join('')
  const line = await lineOf(
    await filter(`
      (func $f30 unreachable)
      ${deeper}
      (func $on_request_headers (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $f0)
        (i32.const 0))`)
  )
  const backtrace = [...Array.from({ length: 31 }, (_, i) => `f${30 - i}`), 'on_request_headers']
  assert.deepEqual(line.backtrace, backtrace)
  assert.equal(line.callback, 'proxy_on_request_headers')
  assert.equal(line.route, '/cart')
  assert.equal(line.plugin, 'test')
  assert.equal(line.context, 2)
  assert.equal(line.next, 'its requests are answered 503, and it starts again at once')
  assert.equal(
    line.msg,
    `test: failed to run wasm plugin: failed to run proxy_on_request_headers: unreachable, in ${backtrace.join(' < ')}; ${line.next}`
  )
})

test('a function that calls itself stands once in a backtrace', async () => {
  const line = await lineOf(
    await filter(`
      (func $deep (call $deep))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $deep) (i32.const 0))`)
  )
  assert.deepEqual(line.backtrace, ['deep (48 times)'])
})

test('a call that is stopped says where it was', async () => {
  const line = await lineOf(
    await filter(`
      (func $spin (loop $again (br $again)))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $spin) (i32.const 0))`),
    { callMs: 20 }
  )
  assert.match(line.msg, /it ran for more than 20 ms, and was stopped \(limits\.call_ms\), in spin < function\[3\];/)
  assert.deepEqual(line.backtrace, ['spin', 'function[3]'])
})

/** A filter that traps forty calls deep, and says of its functions what they are called. */
function deepFilter(...subsections: Uint8Array[]): Buffer {
  const call = [0x20, 0, 0x20, 1, 0x20, 2, 0x10, 0]
  const code = [0x3f, 0, 0x41, 40, 0x4e, 0x04, 0x40, 0x00, 0x0b, 0x41, 1, 0x40, 0, 0x1a]
  const names = bytesOf([[4], Buffer.from('name'), ...subsections])
  return bytesOf([rawFilter(0, code, call), [0], leb(names.length), names])
}

const named = (length: number) => bytesOf([[1, 0], leb(length), Buffer.alloc(length, 'x')])
const subsection = (id: number, content: Uint8Array) => bytesOf([[id], leb(content.length), content])

test('names of functions are shown, but for those that no compiler makes', async () => {
  const { backtrace } = await lineOf(deepFilter(subsection(1, named(200))))
  assert.match((backtrace as string[])[0]!, /^x{200} \(\d+ times\)$/)
  for (const subsections of [
    [subsection(1, named(4097))],
    [subsection(1, named(15_000_000))],
    // A section that cannot be read
    [subsection(1, named(200)), Buffer.of(1, 0x80, 0x80)],
    [subsection(1, named(200)).subarray(0, 50)]
  ]) {
    const line = await lineOf(deepFilter(...subsections))
    assert.match((line.backtrace as string[])[0]!, /^function\[0\] \(\d+ times\)$/)
  }
})

test('an application has as many frames in its own errors as before', async () => {
  const before = Error.stackTraceLimit
  await lineOf(await filter(`(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)`))
  assert.equal(Error.stackTraceLimit, before)
})

test('what is no error, or has no frames of a module, has no backtrace', () => {
  assert.deepEqual(backtraceOf(undefined), [])
  assert.deepEqual(backtraceOf({ stack: 'at wasm://wasm/1:wasm-function[1]:0x1' }), [])
  assert.deepEqual(backtraceOf(new Error('none')), [])
})
