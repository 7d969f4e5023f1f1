import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import wasmGateway, { type WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, startApp } from '../app.ts'
import { Guest } from '../host/guest.ts'
import { request } from '../http.ts'
import { scripted } from './script.ts'

// Functions of the application that filters call, and functions of filters that the application calls.

test('a filter calls a function of the application by its name', async (t) => {
  const foreign_functions = {
    greet: (parameters: Buffer) => Buffer.from(`hello, ${parameters}`),
    nothing: () => undefined
  }
  const { url, filterLog } = await startApp(t, { plugins: scripted('a'), foreign_functions }, (app) => {
    const request_headers = [
      { op: 'foreign', name: 'greet', value: 'ann' },
      { op: 'foreign', name: 'nothing', value: 'x' },
      { op: 'foreign', name: 'unknown', value: 'x' },
      { op: 'foreign', name: 'toString', value: 'x' }
    ]
    app.get('/', { config: { wasm: { plugins: { a: { conf: { request_headers } } } } } }, async () => 'hello')
  })
  assert.equal((await request(url)).status, 200)
  assert.deepEqual(filterLog('a'), [
    'foreign greet=hello, ann',
    'foreign nothing=',
    'foreign unknown missing',
    'foreign toString missing'
  ])
})

test('a function that throws is an error for the filter and a line in the log, and the request goes on', async (t) => {
  const foreign_functions = {
    fail: () => {
      throw new Error('out of order')
    }
  }
  const { url, lines } = await startApp(t, { plugins: scripted('a'), foreign_functions }, (app) => {
    const request_headers = [{ op: 'foreign', name: 'fail', value: 'x' }]
    app.get('/', { config: { wasm: { plugins: { a: { conf: { request_headers } } } } } }, async () => 'hello')
  })
  assert.equal((await request(url)).status, 200)
  const line = lines.find(({ msg }) => msg === 'the foreign function fail failed')
  assert.equal(line?.err?.message, 'out of order')
  assert.equal(line?.plugin, 'a')
  assert.ok(line?.reqId, 'it is a line of the request')
})

for (const [name, foreign_functions, message] of [
  ['a function that is none', { f: 'text' }, /foreign_functions\.f must be a function/],
  ['a list of them that is none', 'text', /foreign_functions must be an object of functions/]
] as const) {
  test(`${name} stops the server from starting`, async () => {
    const app = Fastify()
    const options = { foreign_functions } as unknown as WasmGatewayOptions
    await assert.rejects(async () => app.register(wasmGateway, options), { code: 'FST_WASM_OPTIONS_INVALID', message })
    await app.close()
  })
}

test('the application calls a function of a filter, in each of its plugin contexts', async (t) => {
  const conf = { foreign: [{ op: 'callback' }, { op: 'call_data' }] }
  const plugins = [{ name: 'a', file: fixture('script-rust'), conf }]
  const { app, url, filterLog } = await startApp(t, { plugins }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  assert.equal(await app.wasmGateway.callForeignFunction('a', 7, Buffer.from('reload')), 1)
  await request(url)
  assert.equal(await app.wasmGateway.callForeignFunction('a', 8, new TextEncoder().encode('again')), 2)
  assert.deepEqual(filterLog('a'), [
    'foreign root=1 function=7 size=6',
    'call data=reload',
    'foreign root=1 function=8 size=5',
    'call data=again',
    'foreign root=2 function=8 size=5',
    'call data=again'
  ])
})

test('a plugin that is not declared cannot be called, one without an instance has nobody to call', async (t) => {
  const { app } = await startApp(t, { plugins: scripted('a') }, () => {})
  assert.equal(await app.wasmGateway.callForeignFunction('a', 1, Buffer.from('x')), 0)
  await assert.rejects(app.wasmGateway.callForeignFunction('b', 1, Buffer.from('x')), {
    code: 'FST_WASM_PLUGIN_UNKNOWN',
    message: /callForeignFunction: unknown plugin \[b\]; declared are: a/
  })
})

test('a foreign function that calls back into the filter does so after the callback that called it', async (t) => {
  const guest = new Guest()
  const call = guest.call('proxy_call_foreign_function', guest.text('again'), guest.text(''), 0, 0)
  const log = (text: string) => guest.call('proxy_log', 2, guest.text(text))
  guest.on('proxy_on_request_headers', log('before'), call, log('after'))
  guest.on('proxy_on_foreign_function', log('called back'))
  const calls: Promise<number>[] = []
  const foreign_functions = {
    again: () => {
      calls.push(app.wasmGateway.callForeignFunction('a', 1, Buffer.from('x')))
      return undefined
    }
  }
  const { app, url, filterLog } = await startApp(
    t,
    { plugins: [{ name: 'a', module: await guest.module() }], foreign_functions },
    (app) => {
      app.get('/', { config: { wasm: { plugins: { a: { conf: 'x' } } } } }, async () => 'hello')
    }
  )
  assert.equal((await request(url)).status, 200)
  assert.deepEqual(await Promise.all(calls), [1])
  assert.deepEqual(filterLog('a'), ['before', 'after', 'called back'])
})
