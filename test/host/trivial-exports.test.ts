import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { trivialExports } from '../../lib/host/trivial-exports.ts'
import { fixture } from '../app.ts'
import { wat } from '../wat.ts'
import { FakeStream } from './fake-stream.ts'
import { startHost } from './host.ts'

test('exports that do nothing but return a small number are found, and no others', async () => {
  const bytes = await wat(`(module
    (import "env" "a" (func $imported))
    (func $shared (result i32) (i32.const 7))
    (func (export "nothing"))
    (func (export "zero") (param i32) (result i32) (i32.const 0))
    (func (export "one") (result i32) (i32.const 1))
    (func (export "minus one") (result i32) (i32.const -1))
    (func (export "large") (result i32) (i32.const 64))
    (func (export "wide") (result i64) (i64.const 0))
    (func (export "its parameter") (param i32) (result i32) (local.get 0))
    (func (export "traps") unreachable)
    (func (export "has a local") (local i32))
    (func (export "calls") (call $imported))
    (export "passed on" (func $imported))
    (export "seven" (func $shared))
    (memory (export "memory") 1))`)
  assert.deepEqual(Object.fromEntries(trivialExports(bytes)), { nothing: 0, zero: 0, one: 1, seven: 7 })
})

test('no callback of a real filter is left out', () => {
  const called = ['context_create', 'request_headers', 'response_headers', 'done', 'log', 'delete']
  for (const name of ['log', 'script-go', 'script-as', 'script-rust']) {
    const trivial = trivialExports(readFileSync(fixture(name)))
    assert.deepEqual(
      called.filter((callback) => trivial.has(`proxy_on_${callback}`)),
      [],
      name
    )
  }
})

test('a context that is done with a 0 waits, whether or not the module does anything else', async () => {
  const bytes = await wat(`(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_done") (param i32) (result i32) (i32.const 0)))`)
  const host = await startHost(bytes)
  const context = host.open(new FakeStream())
  context.end(false)
  assert.equal(context.pending, true)
  context.done()
  await Promise.resolve()
  assert.equal(context.pending, false)
})

test('a pause that is all that a callback does is a pause', async () => {
  const bytes = await wat(`(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1)))`)
  const host = await startHost(bytes)
  const context = host.open(new FakeStream())
  const outcome = context.requestHeaders(true)
  assert.ok(outcome instanceof Promise)
  context.end(true)
  await outcome
})
