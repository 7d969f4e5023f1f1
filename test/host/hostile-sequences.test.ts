import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { Status } from '../../lib/host/abi/constants.ts'
import { createImports } from '../../lib/host/abi/imports.ts'
import { serializePairs } from '../../lib/host/byte-pairs.ts'
import type { HttpContext, SharedValue } from '../../lib/host/index.ts'
import { filterWat } from '../wat.ts'
import { FakeStream } from './fake-stream.ts'
import { type Host, memoryStores, startHost } from './host.ts'

// One instance lives through thousands of callbacks, in which it makes any calls with any arguments, some of them right
// but for one. Each answers a status, and what belongs to others neither changes nor gets into the module's memory.

const SECRET = 'what-belongs-to-another'
const PAGES_END = 2 * 65536

/** What stands in the memory again before each call, as [pointer, size]. */
const texts: Buffer[] = [
  'x-name',
  'value',
  'upstream',
  ':path',
  '/new',
  'a\0b',
  'wasm_process_req_body',
  serializePairs([':method', 'GET', ':path', '/', ':authority', 'a.example']),
  serializePairs(['x-name', '1', 'x-other', '2'])
].map((text) => Buffer.from(text as string))
const operands: [number, number][] = texts.map((text, i) => [1024 + i * 256, text.length])
const [NAME, VALUE, UPSTREAM, PSEUDO, PATH, KEY, WANTS, CALL, PAIRS] = operands as [number, number][]
const CELL = 8192
const CELLS = [CELL, CELL + 4]

/** Calls that are right. */
const RIGHT: [string, number[]][] = (
  [
    ['log', 2, NAME],
    ['get_log_level', CELL],
    ['get_current_time_nanoseconds', CELL],
    ['get_configuration', CELLS],
    ['get_buffer_bytes', 0, 0, 100, CELLS],
    ['get_buffer_bytes', 4, 0, 100, CELLS],
    ['get_buffer_status', 1, CELLS],
    ['set_buffer_bytes', 0, 1, 2, VALUE],
    ['set_buffer_bytes', 1, 0, -1, VALUE],
    ['get_header_map_size', 0, CELL],
    ['get_header_map_pairs', 2, CELLS],
    ['set_header_map_pairs', 0, PAIRS],
    ['set_header_map_pairs', 2, PAIRS],
    ['get_header_map_value', 0, NAME, CELLS],
    ['add_header_map_value', 0, NAME, VALUE],
    ['replace_header_map_value', 0, PSEUDO, PATH],
    ['remove_header_map_value', 2, NAME],
    ['get_property', KEY, CELLS],
    ['set_property', KEY, VALUE],
    ['set_property', WANTS, VALUE],
    ['continue_stream', 0],
    ['continue_stream', 1],
    ['close_stream', 0],
    ['continue_request'],
    ['continue_response'],
    ['clear_route_cache'],
    ['send_local_response', 403, NAME, VALUE, PAIRS, -1],
    ['http_call', UPSTREAM, CALL, VALUE, PAIRS, 1000, CELL],
    ['grpc_call', UPSTREAM, NAME, VALUE, PAIRS, VALUE, 1000, CELL],
    ['grpc_stream', UPSTREAM, NAME, VALUE, PAIRS, CELL],
    ['grpc_send', 1, VALUE, 0],
    ['grpc_cancel', 1],
    ['grpc_close', 2],
    ['get_status', CELL, CELL + 4, CELL + 8],
    ['done'],
    ['get_shared_data', KEY, CELLS, CELL + 8],
    ['set_shared_data', KEY, VALUE, 0],
    ['register_shared_queue', NAME, CELL],
    ['resolve_shared_queue', 0, 0, NAME, CELL],
    ['enqueue_shared_queue', 1, VALUE],
    ['dequeue_shared_queue', 1, CELLS],
    ['define_metric', 1, NAME, CELL],
    ['increment_metric', 1, 5],
    ['record_metric', 1, 5],
    ['get_metric', 1, CELL],
    ['set_tick_period_milliseconds', 1],
    ['call_foreign_function', NAME, VALUE, CELLS],
    ['set_effective_context', 2]
  ] as [string, ...(number | number[])[]][]
).map(([name, ...args]) => [`proxy_${name}`, args.flat()])
const WIDE = ['proxy_increment_metric', 'proxy_record_metric']
const NAMES = [...new Set(RIGHT.map(([name]) => name))]

const i32 = fc.oneof(
  fc.integer({ min: 0, max: 12 }),
  fc.integer({ min: 1024, max: 4096 }),
  fc.integer({ min: PAGES_END - 50, max: PAGES_END + 50 }),
  fc.constantFrom(-1, -8, 0x10000000, 0x7fffffff, -0x80000000),
  fc.integer()
)
const right = fc.constantFrom(...RIGHT)
const call = fc.oneof(
  right,
  fc.tuple(right, fc.nat(11), i32).map(([[name, args], at, value]): [string, number[]] => {
    return [name, args.map((arg, i) => (i === at % args.length ? value : arg))]
  }),
  fc.tuple(fc.constantFrom(...NAMES), fc.array(i32, { minLength: 12, maxLength: 12 }))
)
const callback = fc.record({ calls: fc.array(call, { maxLength: 6 }), answer: fc.constantFrom(0, 0, 1, 2, -1) })
const step = fc.record({
  stream: fc.nat(3),
  does: fc.constantFrom('next', 'next', 'next', 'answer', 'fail', 'close', 'turn', 'abort'),
  callbacks: fc.array(callback, { minLength: 1, maxLength: 3 })
})
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

type Functions = Record<string, (...args: (number | bigint)[]) => number>

/** An exchange at some point of its way. */
interface Exchange {
  stream: FakeStream
  context: HttpContext
  phase: number
  under: unknown
}

class Module {
  readonly host: Host
  readonly bystander: { stream: FakeStream; context: HttpContext }
  /** Of all exchanges that ever were. */
  readonly streams: FakeStream[] = []
  calls = 0
  statuses: Set<number> = new Set()
  readonly #functions: Functions
  readonly #effective: boolean
  /** Makes the allocator begin anew. */
  readonly #reset: () => void
  #program: Step['callbacks'] = []
  readonly #exchanges: (Exchange | undefined)[] = []

  /** @param effective whether the module chooses other contexts, the bystander's among them */
  constructor(host: Host, effective: boolean) {
    this.host = host
    this.#effective = effective
    const { instance } = host
    this.#functions = createImports(instance).env as Functions
    const callbacks = instance.callbacks as unknown as Record<string, unknown>
    this.#reset = callbacks.proxy_on_log as () => void
    for (const name of Object.keys(callbacks)) callbacks[name] = () => this.#callback(name)
    const stream = new FakeStream(['x-name', SECRET])
    this.bystander = { stream, context: host.open(stream) }
    stream.properties.set('a\0b', Buffer.from(SECRET))
    this.bystander.context.requestBody = { bytes: Buffer.from(SECRET), changed: false }
  }

  /** An export: makes the calls that are due, and answers what is due. */
  #callback(name: string): number {
    const due = this.#program.shift()
    const { memory } = this.host.instance
    for (const [call, args] of due?.calls ?? []) {
      if (call === 'proxy_set_effective_context' && !this.#effective) continue
      this.#reset()
      texts.forEach((text, i) => {
        memory.write(operands[i]![0], text)
      })
      const status = this.#functions[call]!(
        ...args.map((arg, i) => (i === 1 && WIDE.includes(call) ? BigInt(arg) : arg))
      )
      assert.ok((Object.values(Status) as number[]).includes(status), `${call} in ${name} answered ${status}`)
      this.statuses.add(status)
      this.calls++
    }
    if (name === 'proxy_on_vm_start' || name === 'proxy_on_configure') return 1
    return due?.answer ?? (name === 'proxy_on_done' ? 1 : 0)
  }

  run({ stream: i, does, callbacks }: Step): Promise<void> | undefined {
    this.#program = [...callbacks]
    const exchange = this.#exchanges[i]
    const { httpCalls, grpcCalls } = this.host
    if (does === 'next') this.#next(i)
    else if (does === 'answer' || does === 'fail') {
      const at = httpCalls.sent.findIndex(({ state }) => state === 'outstanding')
      if (at !== -1 && does === 'answer') httpCalls.answer(at, { body: Buffer.from('answer') })
      else if (at !== -1) httpCalls.fail(at)
    } else if (does === 'close') grpcCalls.exchanges.find(({ state }) => state === 'open')?.answer('message')
    else if (does === 'abort' && exchange !== undefined) {
      exchange.context.end(true)
      this.#exchanges[i] = undefined
    } else if (does === 'turn') return turn()
    return undefined
  }

  /** The next phase of an exchange; one that waits is woken, one that was answered ends. */
  #next(i: number): void {
    const exchange = this.#exchanges[i]
    if (exchange === undefined) {
      const stream = new FakeStream(['x-own', String(i)])
      this.streams.push(stream)
      this.#exchanges[i] = { stream, context: this.host.open(stream), phase: 0, under: undefined }
      return
    }
    const { context, stream } = exchange
    if (exchange.under !== undefined) {
      context.wake()
      exchange.under = undefined
      return
    }
    const phases = [
      () => context.requestHeaders(false),
      () => context.requestBodyPhase({ bytes: Buffer.from('request'), changed: false }),
      () => {
        stream.respond(['x-name', '1'])
        return context.responseHeaders(false)
      },
      () => context.responseBodyPhase({ bytes: Buffer.from('response'), changed: false }, true)
    ]
    const next = stream.interrupted ? undefined : phases[exchange.phase++]
    const outcome = next?.()
    if (outcome instanceof Promise) exchange.under = outcome
    if (next !== undefined) return
    context.end(false)
    this.#exchanges[i] = undefined
  }

  end(): void {
    this.#program = []
    for (const exchange of this.#exchanges) exchange?.context.end(true)
    // Contexts whose module is not done yet: now it is.
    for (const context of [...this.host.instance.contexts.values()]) if (context.pending) context.done()
  }
}

for (const semantics of ['apisix', 'envoy'] as const) {
  for (const effective of [false, true]) {
    const which = `${semantics}${effective ? ', that chooses other contexts too' : ''}`
    test(`thousands of calls in any order leave the host sane (${which})`, async () => {
      const imports = NAMES.map((name) => `(import "env" "${name}" (func))`).join('\n')
      const reset = '(func (export "proxy_on_log") (param i32) (global.set $heap (i32.const 32768)))'
      const bytes = await filterWat(imports, reset)
      const stores = memoryStores()
      const host = await startHost(bytes, { semantics, stores, vmId: 'own' })
      // Another plugin of the same gateway, that shares its stores.
      const other = await startHost(bytes, { semantics, stores, vmId: 'other', configuration: SECRET })
      const strange = new FakeStream(['x-name', SECRET])
      other.open(strange)
      stores.sharedData.set('other', 'a\0b', Buffer.from(SECRET), 0)
      const module = new Module(host, effective)
      const { bystander } = module

      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 15 }), async (steps) => {
          for (const step of steps) await module.run(step)
          assert.equal(host.instance.failure, undefined)
          const memory = host.instance.memory.copy(0, host.instance.memory.size)!
          // Whoever chooses another context of its own may read it; what is not its plugin's stays out of reach.
          if (!effective) {
            assert.equal(memory.includes(SECRET), false, 'what belongs to another got into the memory')
            assert.deepEqual(bystander.stream.requestHeaders.entries().slice(8), ['x-name', SECRET])
            assert.deepEqual(bystander.stream.properties.get('a\0b'), Buffer.from(SECRET))
            assert.deepEqual(bystander.context.requestBody, { bytes: Buffer.from(SECRET), changed: false })
            assert.equal(bystander.stream.interrupted, false)
          }
        }),
        { numRuns: 1000 }
      )
      bystander.context.end(false)
      module.end()
      await host.filter.close()
      assert.equal(host.instance.failure, undefined)

      assert.deepEqual(strange.requestHeaders.entries().slice(8), ['x-name', SECRET])
      assert.equal(strange.interrupted, false)
      const kept = stores.sharedData.get('other', 'a\0b') as SharedValue | undefined
      assert.equal(kept?.value.toString(), SECRET)
      const logs = [host.log, bystander.stream.log, ...module.streams.map(({ log }) => log)]
      const lines = logs.flatMap((log) => log.lines.filter(({ err }) => err !== undefined))
      assert.deepEqual(lines, [], 'nothing failed in the host')
      for (const stream of module.streams) {
        for (const text of stream.requestHeaders.entries()) assert.doesNotMatch(text, /[\r\n\0]/)
      }
      // It was no empty test.
      assert.ok(module.calls > 3000, `${module.calls} calls`)
      for (const status of [Status.Ok, Status.NotFound, Status.BadArgument, Status.InvalidMemoryAccess]) {
        assert.ok(module.statuses.has(status), `status ${status}`)
      }
      await other.filter.close()
      assert.equal(host.instance.contexts.size, 0)
      assert.deepEqual(host.httpCalls.outstanding, [])
      assert.ok(host.grpcCalls.exchanges.every(({ state }) => state !== 'open'))
    })
  }
}
