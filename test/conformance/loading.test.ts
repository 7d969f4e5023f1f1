import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { loadModule } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { bump, Guest } from '../host/guest.ts'
import { startHost } from '../host/host.ts'
import { filterWat, wat } from '../wat.ts'

const ALLOCATOR = '(func (export "malloc") (param i32) (result i32) (i32.const 0))'
const MEMORY = '(memory (export "memory") 1)'

for (const [statement, marker, version] of [
  ['C-001', '0_1_0', '0.1.0'],
  ['C-002', '0_2_0', '0.2.0'],
  ['C-003', '0_2_1', '0.2.1']
] as const) {
  test(`${statement} a module that exports proxy_abi_version_${marker} speaks ABI ${version}`, async () => {
    const { abiVersion } = await loadModule('test', await new Guest({ abi: marker }).module())
    assert.equal(abiVersion, version)
  })
}

test('C-004 a module without a version marker is refused, and the error names the marker', async () => {
  const bytes = await new Guest({ abi: null }).module()
  await assert.rejects(loadModule('test', bytes), { code: 'FST_WASM_ABI_UNKNOWN', message: /proxy_abi_version_/ })
})

test('C-005 a global of that name is no version marker', async () => {
  const bytes = await wat(
    `(module ${MEMORY} ${ALLOCATOR} (global (export "proxy_abi_version_0_2_1") i32 (i32.const 1)))`
  )
  await assert.rejects(loadModule('test', bytes), { code: 'FST_WASM_ABI_UNKNOWN' })
})

test('C-006 a module of an unknown version is refused, and the error names that version', async () => {
  const bytes = await wat(`(module ${MEMORY} ${ALLOCATOR} (func (export "proxy_abi_version_9_9_9")))`)
  await assert.rejects(loadModule('test', bytes), { message: /proxy_abi_version_9_9_9/ })
})

test('C-007 the version marker is never called', async () => {
  const guest = new Guest().record('proxy_on_context_create', 'proxy_on_request_headers', 'proxy_on_delete')
  const host = await startHost(guest)
  const context = host.open()
  context.requestHeaders(true)
  context.end(false)
  await host.filter.close()
  assert.ok(host.events().includes('delete(1)'))
  assert.ok(!host.events().includes('version'))
})

test('C-008 a module without an allocator is refused', async () => {
  const bytes = await new Guest({ allocators: {} }).module()
  await assert.rejects(loadModule('test', bytes), { code: 'FST_WASM_MODULE_INVALID', message: /malloc/ })
})

test('C-009 of two allocators only proxy_on_memory_allocate is called', async () => {
  const guest = new Guest({ allocators: { malloc: bump, proxy_on_memory_allocate: bump } })
  const host = await startHost(
    guest.on('proxy_on_request_headers', guest.call('proxy_get_header_map_pairs', 0, guest.result()))
  )
  host.open().requestHeaders(true)
  assert.equal(host.allocations().length, 1)
  assert.match(host.allocations()[0]!, /^memory_allocate/)
})

test('C-010 malloc is called where it is the only allocator', async () => {
  const guest = new Guest({ allocators: { malloc: bump } })
  const get = guest.call('proxy_get_header_map_value', 0, guest.text(':method'), guest.result())
  const host = await startHost(guest.on('proxy_on_request_headers', get))
  host.open().requestHeaders(true)
  assert.deepEqual(host.allocations(), ['malloc(3)'])
  assert.equal(host.text(get), 'GET')
})

for (const [sentence, exports, expected] of [
  ['C-011 _initialize is called, and then _start is not', ['_initialize', '_start'], ['_initialize()']],
  ['C-012 main(0, 0) is called after _initialize', ['main', '_initialize'], ['_initialize()', 'main(0, 0)']],
  ['C-013 _start is called, and then main is not', ['main', '_start'], ['_start()']],
  ['C-014 a module with no entry at all starts', [], []]
] as const) {
  test(sentence, async () => {
    const host = await startHost(new Guest().record(...exports))
    assert.deepEqual(host.events(), expected)
    assert.equal(host.instance.failure, undefined)
  })
}

test('C-015 a start section may log although the host cannot see the memory yet', async () => {
  const bytes = await filterWat(
    `(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
     (import "wasi_unstable" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))`,
    `(global $log_status (mut i32) (i32.const -1))
     (global $write_status (mut i32) (i32.const -1))
     (func $start
       (global.set $log_status (call $log (i32.const 2) (i32.const 0) (i32.const 5)))
       (global.set $write_status (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
     (start $start)
     (func (export "_initialize")
       (if (i32.or (global.get $log_status) (global.get $write_status)) (then unreachable)))`
  )
  assert.equal((await startHost(bytes)).instance.failure, undefined)
})

test('C-016 a _start that ends with proc_exit(0) has succeeded', async () => {
  const guest = new Guest()
  guest.on('_start', guest.call('proc_exit', 0), 'unreachable').record('proxy_on_request_headers')
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  assert.deepEqual(host.events(), ['_start()', 'request_headers(2, 4, 1)'])
})

test('C-017 an _initialize that ends with proc_exit(1) has failed', async () => {
  const guest = new Guest()
  const host = await startHost(guest.on('_initialize', guest.call('proc_exit', 1)))
  assert.throws(() => host.plugin.instance(), { code: 'FST_WASM_START_FAILED', message: /proc_exit\(1\)/ })
  assert.equal(host.filter.open(new FakeStream()), undefined)
})

test('C-018 an http call from _initialize is refused, and nothing is sent', async () => {
  const guest = new Guest()
  const none = guest.text('')
  const call = guest.call('proxy_http_call', guest.text('auth'), none, none, none, 100, guest.cell())
  const host = await startHost(guest.on('_initialize', call))
  assert.equal(host.status(call), Status.InternalFailure)
  assert.deepEqual(host.httpCalls.sent, [])
})

test('from _initialize a module may log; other functions answer InternalFailure, and the log says so', async () => {
  const guest = new Guest()
  const logged = guest.call('proxy_log', 2, guest.text('starting'))
  const set = guest.call('proxy_set_shared_data', guest.text('k'), guest.text('v'), 0)
  const get = guest.call('proxy_get_shared_data', guest.text('k'), guest.result(), guest.cell())
  const host = await startHost(guest.on('_initialize', logged, set).on('proxy_on_configure', get))
  host.open()
  assert.deepEqual(host.statuses(logged, set, get), [Status.Ok, Status.InternalFailure, Status.NotFound])
  assert.deepEqual(host.log.messages(), [
    'starting',
    'the filter called proxy_set_shared_data while it was initialized'
  ])
})

test('C-019 a module may import a function that nobody knows', async () => {
  const guest = new Guest()
  const foo = guest.call('proxy_foo', 1)
  const host = await startHost(guest.on('proxy_on_request_headers', guest.when(0, 99, foo)))
  host.open().requestHeaders(true)
  assert.equal(host.status(foo), undefined)
  assert.deepEqual(host.log.messages('warn'), [])
})

test('C-020 calling a function that nobody knows answers Unimplemented, and warns once', async () => {
  const guest = new Guest()
  const foo = guest.call('proxy_foo', 1)
  const host = await startHost(guest.on('proxy_on_configure', foo, foo))
  host.open()
  assert.equal(host.status(foo), Status.Unimplemented)
  const warnings = host.log.messages('warn')
  assert.equal(warnings.length, 1)
  assert.match(warnings[0]!, /env\.proxy_foo/)
})

test('C-021 a module may import a WASI function twice', async () => {
  const write = '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'
  const host = await startHost(await filterWat(`${write} ${write}`, ''))
  assert.equal(host.instance.failure, undefined)
})

test('C-022 proxy_clear_route_cache of ABI 0.1.0 answers Ok in a 0.2.1 module too', async () => {
  const guest = new Guest()
  const clear = guest.call('proxy_clear_route_cache')
  const host = await startHost(guest.on('proxy_on_request_headers', clear))
  host.open().requestHeaders(true)
  assert.equal(host.status(clear), Status.Ok)
})

test("C-023 AssemblyScript's abort is logged as critical, and the instance has failed", async () => {
  // A string there is UTF-16, with its size in bytes before it.
  const guest = new Guest()
  const string = (text: string) => {
    const bytes = Buffer.from(text, 'utf16le')
    const size = Buffer.alloc(4)
    size.writeUInt32LE(bytes.length)
    return guest.text(Buffer.concat([size, bytes])).at + 4
  }
  guest.on('proxy_on_request_headers', guest.callOf('env', 'abort', string('no änswer'), string('~lib/a.ts'), 12, 3))
  const host = await startHost(guest)
  const stream = new FakeStream()
  host.open(stream).requestHeaders(true)
  assert.deepEqual(stream.log.messages('fatal'), ['abort: no änswer at ~lib/a.ts:12:3'])
  assert.ok(host.instance.failure)
})

test('C-024 wasi_unstable is what wasi_snapshot_preview1 is', async () => {
  const guest = new Guest({ wasi: 'wasi_unstable' })
  const count = guest.cell()
  const sizes = guest.call('environ_sizes_get', count, guest.cell())
  const host = await startHost(guest.on('_initialize', sizes), { environment: { A: '1', B: '2' } })
  assert.equal(host.status(sizes), 0)
  assert.equal(host.u32(count), 2)
})
