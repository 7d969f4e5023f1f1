import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Outcome } from '../../../lib/host/index.ts'
import { loadModule } from '../../../lib/host/module.ts'
import { FakeStream } from '../fake-stream.ts'
import { startHost } from '../host.ts'
import { NOTHING, rawFilter, repeated } from './raw-module.ts'

const GET = [0x20, 0]
const IF = [...GET, 0x04, 0x40, 0x0b]
const LOOP = [0x03, 0x40, 0x0b]
const ZERO = [0x41, 0]

/** A block with so many operands below it. */
const above = (operands: number, block: Uint8Array) => [
  repeated(GET, operands),
  block,
  repeated([0x1a], operands),
  ZERO
]

test('a function that would take the engine long to compile is refused', async () => {
  for (const [what, bytes] of Object.entries({
    'locals and blocks': rawFilter(40_000, repeated(IF, 500), ZERO),
    'locals and loops': rawFilter(40_000, repeated(LOOP, 30), ZERO),
    'operands and blocks': rawFilter(0, ...above(40_000, repeated(IF, 500))),
    'operands and loops': rawFilter(0, ...above(40_000, repeated(LOOP, 30))),
    'operands of calls, and loops': rawFilter(
      0,
      repeated([...GET, ...GET, ...GET, 0x10, 0], 40_000),
      repeated(LOOP, 30),
      repeated([0x1a], 40_000),
      ZERO
    )
  })) {
    assert.ok(WebAssembly.validate(bytes), what)
    await assert.rejects(loadModule('test', bytes), {
      code: 'FST_WASM_MODULE_INVALID',
      message:
        /a function with 40\d\d\d locals and operands in \d+ blocks and more, which would take too long to compile/
    })
  }
})

test('large functions run as long as they are not that', async () => {
  for (const bytes of [
    rawFilter(40_000, repeated(IF, 350), ZERO),
    rawFilter(1000, repeated(IF, 8000), ZERO),
    rawFilter(0, ...above(1000, repeated(LOOP, 500))),
    // What has been dropped, set or given to a call is on the stack no more.
    rawFilter(1, repeated([...GET, ...GET, 0x6a, 0x21, 3, ...GET, 0x1a, ...IF], 40_000), ZERO),
    rawFilter(0, repeated([...GET, ...GET, ...GET, 0x1b, 0x1a, ...IF], 40_000), ZERO)
  ]) {
    const host = await startHost(bytes)
    assert.equal(host.open(new FakeStream()).requestHeaders(true), Outcome.Continue)
  }
})

test('what is nested as deep as a function is long is rewritten as fast as what is not', async () => {
  const depth = 150_000
  const calls = rawFilter(
    0,
    repeated([0x03, 0x40], depth),
    repeated([0x10, NOTHING], depth),
    repeated([0x0b], depth),
    ZERO
  )
  const branches = rawFilter(
    0,
    repeated([0x02, 0x40], depth),
    repeated([...GET, 0x0d, 0], depth),
    repeated([0x0b], depth),
    ZERO
  )
  for (const bytes of [calls, branches]) await loadModule('test', bytes)
})
