import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadModule } from '../../lib/host/index.ts'
import { filterWat, wat } from '../wat.ts'
import { FakeStream } from './fake-stream.ts'
import { startHost } from './host.ts'

// A module chooses the names of its imports, and none of them may reach what is JavaScript's own.

for (const [module, name] of [
  ['__proto__', 'toString'],
  ['__proto__', 'polluted'],
  ['constructor', 'constructor'],
  ['constructor', 'assign'],
  ['hasOwnProperty', 'call'],
  ['env', 'constructor'],
  ['env', 'toString'],
  ['env', '__proto__'],
  ['env', '__defineGetter__'],
  ['wasi_snapshot_preview1', 'valueOf']
] as const) {
  test(`an import of ${module}.${name} is a function that nobody knows`, async () => {
    const answer = module.startsWith('wasi') ? 52 : 12
    const host = await startHost(
      await filterWat(
        `(import "${module}" "${name}" (func $f (param i32) (result i32)))`,
        `(func (export "proxy_on_configure") (param i32 i32) (result i32)
          (i32.eq (call $f (i32.const 1)) (i32.const ${answer})))`
      )
    )
    host.open()
    assert.deepEqual(host.log.messages(), [`the filter called ${module}.${name}, which this host does not have`])
    assert.equal('polluted' in {}, false)
    assert.equal({}.toString(), '[object Object]')
  })
}

test('a module that imports a table or a global is refused, and the error names it', async () => {
  for (const [kind, type] of [
    ['table', '(table 1 funcref)'],
    ['global', '(global i32)']
  ]) {
    const bytes = await wat(`(module (import "env" "it" ${type})
      (func (export "proxy_abi_version_0_2_1"))
      (func (export "malloc") (param i32) (result i32) (i32.const 0))
      (memory (export "memory") 1))`)
    await assert.rejects(loadModule('test', bytes), {
      code: 'FST_WASM_MODULE_INVALID',
      message: new RegExp(`the ${kind} env\\.it`)
    })
  }
})

test('a module that imports its memory is given one', async () => {
  const guest = await wat(`(module
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "memory" (memory 1 3))
    (data (i32.const 8) "hello")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 0))
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
      (drop (call $log (i32.const 2) (i32.const 8) (i32.const 5)))
      (i32.const 1)))`)
  const host = await startHost(guest)
  host.open()
  assert.deepEqual(host.log.messages(), ['hello'])
  assert.equal(host.plugin.status().instance?.memory_bytes, 65536)
})

test('what is no module, or has no memory, is refused', async () => {
  const bytes = await wat(`(module (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 0)))`)
  await assert.rejects(loadModule('test', bytes), {
    code: 'FST_WASM_MODULE_INVALID',
    message: /neither exports nor imports a memory/
  })
  for (const text of ['', 'not a module', '\0asm\x01\0\0\0 cut']) {
    await assert.rejects(loadModule('test', Buffer.from(text)), { code: 'FST_WASM_MODULE_INVALID' })
  }
})

test("Emscripten's abort, which has no parameters, is logged, and the instance has failed", async () => {
  const host = await startHost(
    await filterWat(
      '(import "env" "abort" (func $abort)) (import "env" "emscripten_notify_memory_growth" (func $grown (param i32)))',
      '(func (export "proxy_on_configure") (param i32 i32) (result i32) (call $grown (i32.const 0)) (call $abort) unreachable)'
    )
  )
  assert.equal(host.filter.open(new FakeStream()), undefined)
  assert.deepEqual(host.log.messages('fatal'), ['abort'])
})

test("AssemblyScript's trace is logged", async () => {
  const host = await startHost(
    await filterWat(
      `(import "env" "trace" (func $trace (param i32 i32 f64 f64 f64 f64 f64)))
       (import "env" "seed" (func $seed (result f64)))`,
      `(data (i32.const 1024) "\\04\\00\\00\\00h\\00i\\00")
       (func (export "proxy_on_configure") (param i32 i32) (result i32)
         (call $trace (i32.const 1028) (i32.const 0)
           (call $seed) (f64.const 0) (f64.const 0) (f64.const 0) (f64.const 0))
         (i32.const 1))`
    )
  )
  host.open()
  assert.deepEqual(host.log.lines, [{ level: 'trace', msg: 'hi', plugin: 'test', context: 1 }])
})
