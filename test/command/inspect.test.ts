import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { inspectModule } from '../../lib/host/index.ts'
import { fixture } from '../app.ts'
import { filterWat, wat } from '../wat.ts'
import { command, files } from './command.ts'

const inspectFixture = async (...names: [string, string?]) => inspectModule(await readFile(fixture(...names)))

test('each SDK is recognized', async () => {
  const expected: [[string, string?], string | undefined, string | null | undefined, string][] = [
    [['log'], 'Go', 'github.com/proxy-wasm/proxy-wasm-go-sdk', '0.2.0'],
    [['script-go'], 'Go', 'github.com/proxy-wasm/proxy-wasm-go-sdk', '0.2.0'],
    [['script-rust'], 'Rust', 'proxy-wasm 0.2.5', '0.2.1'],
    [['script-rust', 'script-rust-unknown'], 'Rust', 'proxy-wasm 0.2.5', '0.2.1'],
    [['hello-rust-0-1'], 'Rust', 'proxy-wasm 0.1.4', '0.1.0'],
    [['script-as'], 'AssemblyScript', null, '0.2.1'],
    [['hello-as'], 'AssemblyScript', null, '0.2.0'],
    // Stripped of everything that would tell.
    [['hello-c'], undefined, undefined, '0.2.1'],
    [['hello-c-wasi'], undefined, undefined, '0.2.1']
  ]
  for (const [names, language, sdk, version] of expected) {
    const inspection = await inspectFixture(...names)
    assert.deepEqual(
      [inspection.sdk?.language, inspection.sdk?.sdk, inspection.abi_version, inspection.problem],
      [language, sdk, version, null],
      names.join(' ')
    )
    assert.deepEqual(inspection.missing, [])
  }
  assert.match((await inspectFixture('log')).sdk?.compiler ?? '', /^go1\.\d+/)
})

test('compilers are recognized by what they say of themselves, and by what they export', async () => {
  const plain = await filterWat('', '')
  const c = { language: 'C', sdk: null, compiler: 'clang 19.1.7' }
  assert.deepEqual(
    (await inspectModule(produced(plain, { language: ['C11', ''], 'processed-by': ['clang', '19.1.7'] }))).sdk,
    c
  )
  const cpp = produced(plain, { language: ['C_plus_plus_14', ''] })
  assert.equal((await inspectModule(cpp)).sdk?.language, 'C++')
  const rust = produced(plain, { language: ['Rust', ''], 'processed-by': ['rustc', '1.80.0'] })
  assert.deepEqual((await inspectModule(rust)).sdk, { language: 'Rust', sdk: null, compiler: 'rustc 1.80.0' })

  const emscripten = await filterWat('(import "env" "emscripten_notify_memory_growth" (func (param i32)))', '')
  assert.deepEqual((await inspectModule(emscripten)).sdk, { language: 'C++', sdk: null, compiler: 'Emscripten' })
  const allocators = ['malloc', 'free', 'calloc', 'realloc'].map((name) => `(func (export "${name}"))`)
  assert.equal((await inspectModule(await filterWat('', allocators.join('')))).sdk?.compiler, 'TinyGo')
  // A custom section is not checked by anybody.
  assert.equal((await inspectModule(section(plain, 'producers', Buffer.from([5, 200])))).problem, null)
})

test('memory, entry and allocator are told', async () => {
  const { memory, entry, allocator } = await inspectFixture('hello-as')
  assert.deepEqual([memory, entry, allocator], [{ initial_pages: 1, maximum_pages: null }, 'start section', 'malloc'])
  const bounded = await inspectModule(await wat('(module (memory 3 300))'))
  assert.deepEqual(bounded.memory, { initial_pages: 3, maximum_pages: 300 })
  assert.equal((await inspectFixture('script-rust')).entry, '_initialize')
  assert.equal((await inspectFixture('hello-c')).entry, null)
})

test('functions that this host lacks are named, and callbacks that it never calls', async (t) => {
  const module = await filterWat(
    `(import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
     (import "env" "proxy_redis_init" (func))
     (import "env" "toString" (func))
     (import "__proto__" "valueOf" (func))
     (import "wasi_snapshot_preview1" "sock_send" (func))`,
    '(func (export "proxy_on_request_headers")) (func (export "proxy_on_new_connection"))'
  )
  const path = await files(t, { 'a.wasm': module })
  const { code, stdout } = await command(['inspect', path('a.wasm'), '--json'])
  const [inspected] = JSON.parse(stdout).modules
  assert.equal(code, 0)
  assert.deepEqual(inspected.missing, [
    '__proto__.valueOf',
    'env.proxy_redis_init',
    'env.toString',
    'wasi_snapshot_preview1.sock_send'
  ])
  assert.deepEqual(inspected.imports.env, ['proxy_log', 'proxy_redis_init', 'toString'])
  assert.deepEqual(inspected.callbacks, ['proxy_on_new_connection', 'proxy_on_request_headers'])
  assert.deepEqual(inspected.uncalled, ['proxy_on_new_connection'])
})

test('a report is aligned, fits 80 columns, and has no colours when nobody sees them', async () => {
  const { code, stdout, stderr } = await command(['inspect', fixture('log'), fixture('hello-c')])
  assert.deepEqual([code, stderr], [0, ''])
  assert.match(stdout, /^ {2}ABI {11}0\.2\.0$/m)
  assert.match(stdout, /^ {2}size {10}2\.5 MiB \(2638117 bytes\)$/m)
  assert.match(stdout, /^ {2}memory {8}39 pages \(2\.4 MiB\), no maximum$/m)
  assert.match(stdout, /^ {2}sha256 {8}[0-9a-f]{64}$/m)
  assert.match(stdout, /^ {2}imports {7}env: proxy_get_buffer_bytes, proxy_log,$/m)
  assert.match(stdout, /^ {2}missing {7}none$/m)
  for (const line of stdout.split('\n').slice(1)) assert.ok(line.length <= 80 || line.includes('/'), line)
  assert.ok(!stdout.includes('\x1b'))
})

test('colours are there when they are asked for, and not when they are refused', async () => {
  const file = fixture('hello-c')
  assert.ok((await command(['inspect', file], { FORCE_COLOR: '1' })).stdout.includes('\x1b[1m'))
  assert.ok(!(await command(['inspect', file], { NO_COLOR: '1' })).stdout.includes('\x1b'))
})

test('what is no Proxy-Wasm module is described as far as that is possible, with code 1', async (t) => {
  const path = await files(t, {
    'text.wasm': 'not at all',
    'other.wasm': await wat(
      '(module (import "env" "print" (func)) (memory (export "memory") 1) (func (export "_start")))'
    )
  })
  const paths = [path('text.wasm'), path('other.wasm'), path('none.wasm'), fixture('hello-c')]
  const { code, stdout, stderr } = await command(['inspect', ...paths])
  assert.deepEqual([code, stderr], [1, ''])
  const [text, other, none, good] = stdout.split('\n\n')
  assert.match(text!, /problem {7}it is not a Proxy-Wasm module that can be loaded/)
  assert.match(text!, /size {10}10 bytes/)
  assert.match(other!, /problem {7}it exports no function proxy_abi_version_0_1_0/)
  assert.match(other!, /entry {9}_start\n/)
  assert.match(other!, /allocator {5}none\n/)
  assert.match(other!, /missing {7}env\.print/)
  assert.match(none!, /problem {7}it cannot be read: ENOENT/)
  assert.match(good!, /missing {7}none/)
})

test('control characters in a name do not reach the terminal', async (t) => {
  const path = await files(t, { 'a.wasm': await filterWat('(import "env" "\\1b[2Jgone" (func))', '') })
  const { stdout } = await command(['inspect', path('a.wasm')])
  assert.ok(!stdout.includes('\x1b'))
  assert.ok(stdout.includes('env.\\x1b[2Jgone'))
})

/** Adds a custom section at the end. */
function section(module: Uint8Array, name: string, content: Buffer): Uint8Array {
  const body = Buffer.concat([Buffer.from([name.length]), Buffer.from(name), content])
  return Buffer.concat([module, Buffer.from([0, body.length]), body])
}

function produced(module: Uint8Array, fields: Record<string, [string, string]>): Uint8Array {
  const text = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])
  const entries = Object.entries(fields).map(([field, [name, version]]) =>
    Buffer.concat([text(field), Buffer.from([1]), text(name), text(version)])
  )
  return section(module, 'producers', Buffer.concat([Buffer.from([entries.length]), ...entries]))
}
