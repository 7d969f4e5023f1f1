import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Status } from '../../lib/host/abi/constants.ts'
import { createImports } from '../../lib/host/abi/imports.ts'
import { filterWat } from '../wat.ts'
import { FakeStream } from './fake-stream.ts'
import { startHost } from './host.ts'

// Whatever numbers a module passes, a host function answers a status: it does not throw, and the instance lives on.

const PROXY_WASM = [
  'log',
  'get_log_level',
  'get_current_time_nanoseconds',
  'get_configuration',
  'get_buffer_bytes',
  'get_buffer_status',
  'set_buffer_bytes',
  'get_header_map_size',
  'get_header_map_pairs',
  'set_header_map_pairs',
  'get_header_map_value',
  'add_header_map_value',
  'replace_header_map_value',
  'remove_header_map_value',
  'get_property',
  'set_property',
  'continue_stream',
  'close_stream',
  'continue_request',
  'continue_response',
  'clear_route_cache',
  'send_local_response',
  'http_call',
  'set_effective_context',
  'done',
  'get_shared_data',
  'set_shared_data',
  'register_shared_queue',
  'resolve_shared_queue',
  'enqueue_shared_queue',
  'dequeue_shared_queue',
  'define_metric',
  'increment_metric',
  'record_metric',
  'get_metric',
  'set_tick_period_milliseconds',
  'call_foreign_function'
].map((name) => `proxy_${name}`)

/** The second parameter of these is an i64. */
const WIDE = ['proxy_increment_metric', 'proxy_record_metric']

const WASI = [
  'args_get',
  'args_sizes_get',
  'environ_get',
  'environ_sizes_get',
  'clock_res_get',
  'clock_time_get',
  'random_get',
  'fd_write',
  'fd_pwrite',
  'fd_read',
  'fd_pread',
  'fd_close',
  'fd_seek',
  'fd_fdstat_get',
  'fd_fdstat_set_flags',
  'fd_prestat_get',
  'fd_prestat_dir_name',
  'fd_filestat_get',
  'path_open',
  'poll_oneoff',
  'sched_yield'
]

const PAGES = 2
const END = PAGES * 65536

/** An i32 as WebAssembly hands it over: small numbers, the borders of the memory, and anything. */
const i32 = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 10 }) },
  { weight: 2, arbitrary: fc.integer({ min: 1024, max: 4096 }) },
  fc.integer({ min: END - 50, max: END + 50 }),
  fc.constantFrom(-1, -4, -8, -16, 0x10000000, 0x20000000, 0x7fffffff, -0x80000000),
  fc.integer()
)

async function start() {
  const imports = [...PROXY_WASM.map((name) => ['env', name]), ...WASI.map((name) => ['wasi_snapshot_preview1', name])]
  const host = await startHost(
    await filterWat(imports.map(([module, name]) => `(import "${module}" "${name}" (func))`).join('\n'), ''),
    { configuration: 'conf', environment: { A: '1' } }
  )
  const stream = new FakeStream(['x-a', 'one'])
  const context = host.open(stream)
  context.requestBody = { bytes: Buffer.from('body'), changed: false }
  // As a callback of the stream would have it.
  host.instance.current = context
  return {
    host,
    stream,
    functions: createImports(host.instance) as Record<string, Record<string, (...args: (number | bigint)[]) => number>>
  }
}

for (const [module, names] of [
  ['env', PROXY_WASM],
  ['wasi_snapshot_preview1', WASI]
] as const) {
  for (const name of names) {
    test(`${name} answers a status to any arguments`, async () => {
      const { host, stream, functions } = await start()
      const hostFunction = functions[module]![name]!
      const known: readonly number[] = module === 'env' ? Object.values(Status) : [0, 8, 21, 28, 44, 52, 58]
      fc.assert(
        fc.property(fc.array(i32, { minLength: 10, maxLength: 10 }), (args) => {
          const status = hostFunction(...args.map((arg, i) => (i === 1 && WIDE.includes(name) ? BigInt(arg) : arg)))
          assert.ok(known.includes(status), `${status}`)
        }),
        { numRuns: 200 }
      )
      assert.equal(host.instance.failure, undefined)
      const lines = [...stream.log.messages(), ...host.log.messages()]
      assert.deepEqual(
        lines.filter((line) => /failed in the host|does not have/.test(line)),
        []
      )
    })
  }
}
