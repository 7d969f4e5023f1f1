import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deflateSync, inflateSync } from 'node:zlib'
import { Status } from '../../lib/host/abi/constants.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { Guest, type Operand } from '../host/guest.ts'
import { type HostOptions, startHost } from '../host/host.ts'

// Foreign functions, in both directions.

function foreign(guest: Guest, name: string, parameters: string | Uint8Array = '', ...result: (number | Operand)[]) {
  const cells = result.length > 0 ? result : [guest.result()]
  return guest.call('proxy_call_foreign_function', guest.text(name), guest.text(parameters), ...cells)
}

/** Calls one function once. */
async function callOnce(name: string, parameters: string | Uint8Array, options: HostOptions = {}) {
  const guest = new Guest()
  const call = foreign(guest, name, parameters)
  const host = await startHost(guest.on('proxy_on_configure', call), options)
  host.open()
  return {
    host,
    call,
    status: host.status(call),
    bytes: host.status(call) === Status.Ok ? host.bytes(call) : undefined
  }
}

test('C-241 an unknown function is NotFound, whatever JavaScript has under its name', async () => {
  for (const name of ['unknown', '', 'toString', '__proto__']) {
    const { status, host } = await callOnce(name, 'x')
    assert.equal(status, Status.NotFound)
    assert.deepEqual(host.log.lines, [])
  }
})

test('C-242 the cells hold the result, and the function has got the bytes of the filter', async () => {
  const got: Buffer[] = []
  const upper = (parameters: Buffer) => {
    got.push(parameters)
    return Buffer.from(parameters.toString().toUpperCase())
  }
  const { bytes } = await callOnce('upper', 'text', { foreignFunctions: { upper } })
  assert.equal(bytes?.toString(), 'TEXT')
  assert.deepEqual(got, [Buffer.from('text')])
})

test('a function that returns nothing, or no bytes, answers Ok with pointer 0 and size 0', async () => {
  for (const result of [undefined, new Uint8Array()]) {
    const { host, call, status } = await callOnce('f', '', { foreignFunctions: { f: () => result } })
    assert.equal(status, Status.Ok)
    assert.deepEqual(host.cells(call), [0, 0])
  }
})

test('C-243 with null cells it is Ok, and nothing is written at address 0', async () => {
  const guest = new Guest()
  const both = foreign(guest, 'f', 'x', 0, 0)
  const [pointer, size] = [guest.cell(), guest.cell()]
  const one = [foreign(guest, 'f', 'x', pointer, 0), foreign(guest, 'f', 'x', 0, size)]
  const host = await startHost(guest.on('proxy_on_configure', both, ...one), {
    foreignFunctions: { f: () => Buffer.from('result') }
  })
  host.open()
  assert.deepEqual(host.statuses(both, ...one), [Status.Ok, Status.Ok, Status.Ok])
  assert.deepEqual([host.u32(0), host.u32(4), host.u32(pointer), host.u32(size)], [0, 0, 0, 0])
  assert.deepEqual(host.allocations(), [])
})

test('a function that throws is InternalFailure and a line in the log, and the filter goes on', async () => {
  const f = () => {
    throw new Error('out of order')
  }
  const guest = new Guest()
  const call = foreign(guest, 'f')
  const host = await startHost(guest.on('proxy_on_request_headers', call), { foreignFunctions: { f } })
  const stream = new FakeStream()
  assert.equal(host.open(stream).requestHeaders(true), Outcome.Continue)
  assert.equal(host.status(call), Status.InternalFailure)
  const [line] = stream.log.lines
  assert.equal(line?.level, 'error')
  assert.equal(line?.msg, 'the foreign function f failed')
  assert.equal(line?.err?.message, 'out of order')
})

test('a result that is no bytes is InternalFailure: a promise that fails later harms nobody', async () => {
  const late = async () => {
    throw new Error('later')
  }
  for (const f of [() => 'text', () => 1, () => null, () => ({}), async () => Buffer.from('x'), late]) {
    const { status, host } = await callOnce('f', '', { foreignFunctions: { f: f as never } })
    assert.equal(status, Status.InternalFailure)
    assert.equal(host.log.messages('error').length, 1)
  }
})

test('pointers out of bounds are InvalidMemoryAccess, and the function is not called', async () => {
  const far = 0x7fffffff
  const guest = new Guest()
  const calls = [
    guest.call('proxy_call_foreign_function', far, 1, guest.text(''), guest.result()),
    guest.call('proxy_call_foreign_function', guest.text('f'), far, 1, guest.result()),
    foreign(guest, 'f', '', far, guest.cell()),
    foreign(guest, 'f', '', guest.cell(), far)
  ]
  let called = 0
  const f = () => {
    called++
    return undefined
  }
  const host = await startHost(guest.on('proxy_on_configure', ...calls), { foreignFunctions: { f } })
  host.open()
  assert.deepEqual(host.statuses(...calls), new Array(4).fill(Status.InvalidMemoryAccess))
  assert.equal(called, 0)
})

test('compress and uncompress are built in, as Envoy has them: the format is that of zlib', async () => {
  const text = 'again and '.repeat(100)
  const compressed = (await callOnce('compress', text)).bytes!
  assert.ok(compressed.length < text.length)
  assert.equal(inflateSync(compressed).toString(), text)
  assert.equal((await callOnce('uncompress', compressed)).bytes?.toString(), text)
  assert.equal((await callOnce('uncompress', deflateSync(''))).bytes?.length, 0)
})

test('uncompress of what is not compressed is SerializationFailure, as in Envoy, and no line in the log', async () => {
  for (const bytes of ['', 'plain text', deflateSync('cut off here').subarray(0, 12)]) {
    const { status, host } = await callOnce('uncompress', bytes)
    assert.equal(status, Status.SerializationFailure)
    assert.deepEqual(host.log.lines, [])
  }
})

test('a few bytes cannot become more than 64 MiB', async () => {
  const bomb = deflateSync(Buffer.alloc(64 * 1024 * 1024 + 1))
  assert.equal((await callOnce('uncompress', bomb)).status, Status.SerializationFailure)
})

test('the user may replace a built-in function', async () => {
  const { bytes } = await callOnce('compress', 'x', { foreignFunctions: { compress: () => Buffer.from('own') } })
  assert.equal(bytes?.toString(), 'own')
})

test('C-244 in on_foreign_function buffer 8 holds the arguments, and its size is the one that was told', async () => {
  const guest = new Guest()
  const read = guest.call('proxy_get_buffer_bytes', 8, 0, 1000, guest.result())
  const [size, flags] = [guest.cell(), guest.cell()]
  const status = guest.call('proxy_get_buffer_status', 8, size, flags)
  const write = guest.call('proxy_set_buffer_bytes', 8, 0, 0, guest.text('x'))
  const after = guest.call('proxy_get_buffer_bytes', 8, 0, 1000, guest.result())
  guest.on('proxy_on_foreign_function', read, status, write).on('proxy_on_request_headers', after)
  const host = await startHost(guest)
  const context = host.open()
  assert.equal(host.plugin.callForeignFunction(7, Buffer.from('arguments')), 1)
  assert.equal(host.events().at(-1), 'foreign_function(1, 7, 9)')
  assert.equal(host.text(read), 'arguments')
  assert.deepEqual([host.status(status), host.u32(size), host.u32(flags)], [Status.Ok, 9, 0])
  assert.equal(host.status(write), Status.BadArgument)
  context.requestHeaders(true)
  assert.equal(host.status(after), Status.NotFound, 'outside of the callback there are none')
})

test('empty arguments read as Ok with pointer 0 and size 0', async () => {
  const guest = new Guest()
  const read = guest.call('proxy_get_buffer_bytes', 8, 0, 1000, guest.result())
  const host = await startHost(guest.on('proxy_on_foreign_function', read))
  host.open()
  host.plugin.callForeignFunction(1, Buffer.alloc(0))
  assert.equal(host.status(read), Status.Ok)
  assert.deepEqual(host.cells(read), [0, 0])
})

test('buffer 8 is read as well when the filter chose a stream, as Rust does', async () => {
  const guest = new Guest()
  const chosen = guest.call('proxy_set_effective_context', 2)
  const read = guest.call('proxy_get_buffer_bytes', 8, 0, 1000, guest.result())
  const host = await startHost(guest.on('proxy_on_foreign_function', chosen, read))
  host.open()
  host.plugin.callForeignFunction(1, Buffer.from('x'))
  assert.equal(host.text(read), 'x')
})

test('every plugin context that is alive is called, and no stream', async () => {
  const host = await startHost(new Guest().record('proxy_on_foreign_function'))
  assert.equal(host.plugin.callForeignFunction(1, Buffer.from('x')), 0, 'there is no instance yet')
  host.open()
  const other = host.another('')
  host.open(undefined, other)
  assert.equal(host.plugin.callForeignFunction(1, Buffer.from('x')), 2)
  await other.close()
  assert.equal(host.plugin.callForeignFunction(1, Buffer.from('x')), 1)
  assert.deepEqual(
    host.events().map((event) => event.replace(/, .*/, '')),
    ['foreign_function(1', 'foreign_function(3', 'foreign_function(1']
  )
})

test('a trap ends it: the other contexts of the instance are not called', async () => {
  const guest = new Guest().on('proxy_on_foreign_function', 'unreachable')
  const host = await startHost(guest)
  host.open()
  host.open(undefined, host.another(''))
  assert.equal(host.plugin.callForeignFunction(1, Buffer.from('x')), 1)
  assert.match(host.instance.failure!.message, /proxy_on_foreign_function/)
})

test('a module without the callback, or of ABI 0.1.0, is not called', async () => {
  for (const guest of [new Guest(), new Guest({ abi: '0_1_0' }).record('proxy_on_foreign_function')]) {
    const host = await startHost(guest)
    host.open()
    assert.equal(host.plugin.callForeignFunction(1, Buffer.from('x')), 0)
    assert.deepEqual(host.events(), [])
  }
})
