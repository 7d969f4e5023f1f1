import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BufferType, Status } from '../../lib/host/abi/constants.ts'
import { createImports } from '../../lib/host/abi/imports.ts'
import { filterWat } from '../wat.ts'
import { FakeStream } from './fake-stream.ts'
import { type Host, startHost } from './host.ts'

// Properties and bodies through the module's memory, for any path and any splice.

const NAMES = ['proxy_get_property', 'proxy_set_property', 'proxy_get_buffer_bytes', 'proxy_set_buffer_bytes']

/** Where the calls read and write; what is given to the module lies from 32768 on. */
const KEY = 1024
const VALUE = 8192
const CELLS = 16384

/** The allocator begins anew for each call, so that memory lasts for any number of them. */
const module = filterWat(
  NAMES.map((name) => `(import "env" "${name}" (func))`).join('\n'),
  '(func (export "proxy_on_log") (param i32) (global.set $heap (i32.const 32768)))'
)

type Functions = Record<string, (...args: number[]) => number>

class Calls {
  readonly host: Host
  readonly stream: FakeStream
  readonly context
  readonly #functions: Functions

  constructor(host: Host) {
    this.host = host
    this.stream = new FakeStream()
    this.context = host.open(this.stream)
    host.instance.current = this.context
    this.#functions = createImports(host.instance).env as Functions
  }

  /** Writes bytes into the module, and answers where they are, and how many. */
  put(at: number, bytes: Uint8Array): [number, number] {
    this.host.instance.memory.write(at, bytes)
    return [at, bytes.length]
  }

  /** Calls with two cells at the end; answers the status and what was given. */
  get(name: string, ...args: number[]): [number, Buffer] {
    this.host.instance.callbacks.proxy_on_log!(0)
    const status = this.#functions[name]!(...args, CELLS, CELLS + 4)
    const { memory } = this.host.instance
    const given = status === Status.Ok ? memory.copy(memory.u32(CELLS), memory.u32(CELLS + 4))! : Buffer.alloc(0)
    return [status, given]
  }

  set(name: string, ...args: number[]): number {
    return this.#functions[name]!(...args)
  }

  sound(): void {
    assert.equal(this.host.instance.failure, undefined)
    const lines = [...this.stream.log.messages(), ...this.host.log.messages()]
    assert.deepEqual(lines, [])
  }
}

const start = async () => new Calls(await startHost(await module))

const bytes = fc.uint8Array({ maxLength: 12 })
const segment = fc.oneof(
  bytes.map((segment) => Buffer.from(segment)),
  fc.constantFrom('', '__proto__', 'constructor', 'request', 'headers', '\0', 'ä').map((text) => Buffer.from(text))
)
const path = fc
  .array(segment, { maxLength: 5 })
  .map((segments) => Buffer.concat(segments.flatMap((part, i) => (i === 0 ? [part] : [Buffer.from([0]), part]))))
const RESERVED = ['wasm_process_req_body', 'wasm_process_resp_body', 'plugin_name', 'plugin_vm_id', 'plugin_root_id']

test('what is set under a path is what is got, with a NUL at its end or without, for a stream and a root', async () => {
  const calls = await start()
  const { host, context } = calls
  fc.assert(
    fc.property(path, bytes, fc.boolean(), fc.boolean(), fc.boolean(), (path, value, ofRoot, nulAtSet, nulAtGet) => {
      fc.pre(!RESERVED.includes(path.toString('latin1').replace(/\0$/, '')))
      host.instance.current = ofRoot ? context.root : context
      // A path may itself end with an empty segment: only one NUL more is that of the C++ SDK.
      const ended = path.at(-1) === 0
      const at = (nul: boolean) => calls.put(KEY, nul || ended ? Buffer.concat([path, Buffer.from([0])]) : path)
      assert.equal(calls.set('proxy_set_property', ...at(nulAtSet), ...calls.put(VALUE, value)), Status.Ok)
      const [status, found] = calls.get('proxy_get_property', ...at(nulAtGet))
      assert.equal(status, Status.Ok)
      assert.deepEqual(found, Buffer.from(value))
    }),
    { numRuns: 1000 }
  )
  calls.sound()
})

test('properties set in any order are those of a plain map, and each path has its own', async () => {
  const calls = await start()
  const model = new Map<string, Buffer>()
  fc.assert(
    fc.property(path, path, bytes, (set, read, value) => {
      const key = (path: Buffer) => path.toString('latin1').replace(/\0$/, '')
      fc.pre(!RESERVED.includes(key(set)) && !RESERVED.includes(key(read)))
      assert.equal(calls.set('proxy_set_property', ...calls.put(KEY, set), ...calls.put(VALUE, value)), Status.Ok)
      model.set(key(set), Buffer.from(value))
      for (const path of [read, set]) {
        const expected = model.get(key(path))
        const [status, found] = calls.get('proxy_get_property', ...calls.put(KEY, path))
        assert.equal(status, expected === undefined ? Status.NotFound : Status.Ok)
        assert.deepEqual(found, expected ?? Buffer.alloc(0))
      }
    }),
    { numRuns: 1000 }
  )
  calls.sound()
})

/** Offsets and sizes: small, around those of the bodies below, and the largest there are. */
const offset = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 50 }) },
  fc.constantFrom(0x7fffffff, -1, -2, -0x80000000),
  fc.integer()
)

/** The splice, byte by byte; offsets are unsigned. */
function splice(body: readonly number[], start: number, size: number, data: readonly number[]): number[] {
  const [from, length] = [BigInt.asUintN(32, BigInt(start)), BigInt.asUintN(32, BigInt(size))]
  const before = body.filter((_, i) => BigInt(i) < from)
  const after = body.filter((_, i) => BigInt(i) >= from + length)
  return [...before, ...data, ...after]
}

for (const [of, type] of [
  ['request', BufferType.HttpRequestBody],
  ['response', BufferType.HttpResponseBody]
] as const) {
  test(`splices of a ${of} body, one after the other, leave what splices byte by byte leave`, async () => {
    const calls = await start()
    const body = fc.uint8Array({ maxLength: 40 })
    const change = fc.record({ start: offset, size: offset, data: fc.uint8Array({ maxLength: 20 }) })
    fc.assert(
      fc.property(body, fc.array(change, { maxLength: 8 }), (original, changes) => {
        const { context } = calls
        // Other views of the same memory must not see the filter's changes.
        const whole = Buffer.from([1, ...original, 2])
        const held = { bytes: whole.subarray(1, -1), changed: false }
        if (of === 'request') context.requestBody = held
        else context.responseBody = held
        let expected = [...original]
        for (const { start, size, data } of changes) {
          const at = calls.put(VALUE, data)
          assert.equal(calls.set('proxy_set_buffer_bytes', type, start, size, ...at), Status.Ok)
          // What the filter does with its memory afterwards is its own affair.
          calls.put(VALUE, Buffer.alloc(data.length, 0xee))
          expected = splice(expected, start, size, [...data])
          assert.deepEqual([...held.bytes], expected)
          const slice = expected.slice(start >>> 0, (start >>> 0) + (size >>> 0))
          const [status, found] = calls.get('proxy_get_buffer_bytes', type, start, size)
          assert.equal(status, Status.Ok)
          assert.deepEqual([...found], slice)
        }
        assert.equal(held.changed, changes.length > 0)
        assert.deepEqual([...whole], [1, ...original, 2])
      }),
      { numRuns: 500 }
    )
    calls.sound()
  })
}

test('properties that there is no room for are dropped, in an exchange and outside of any', async () => {
  const calls = await start()
  const put = (path: string, size: number) =>
    calls.set('proxy_set_property', ...calls.put(KEY, Buffer.from(path)), ...calls.put(VALUE, Buffer.alloc(size, path)))
  const properties = calls.stream.properties
  for (let i = 0; i < 1024; i++) assert.equal(put(`k${i}`, 1), Status.Ok)
  assert.equal(put('one more', 1), Status.Ok, 'Rust would trap at any other status')
  assert.equal(properties.get('k1023')?.toString(), 'k')
  assert.equal(properties.get('one more'), undefined)
  assert.equal(put('k0', 8000), Status.Ok)
  assert.equal(properties.get('k0')?.length, 8000, 'what is there may be set to something else')
  for (let i = 1; i < 1024; i++) put(`k${i}`, 8000)
  const held = [...Array(1024).keys()].reduce((sum, i) => sum + properties.get(`k${i}`)!.length, 0)
  assert.ok(held > 1_000_000 && held < 1_048_576, `${held} bytes`)
  assert.deepEqual(calls.host.log.messages('warn'), [
    'test: it sets more properties than there may be, or larger ones: the last ones are dropped'
  ])
})
