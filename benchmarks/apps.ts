import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import httpProxy from '@fastify/http-proxy'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Module } from '../lib/host/index.ts'
import type { PluginDeclaration, PluginEntry } from '../lib/index.ts'
import { stampByHooks } from '../test/gateway/stamping.ts'
import { FakeStream } from '../test/host/fake-stream.ts'
import { wat } from '../test/wat.ts'
import { LONG } from './long.ts'

// What is measured is what users get: the build, and not what a loader makes of the sources.
const built = (path: string): string => new URL(`../dist/${path}`, import.meta.url).href
const { default: wasmGateway }: typeof import('../lib/index.ts') = await import(built('index.js'))
const host: typeof import('../lib/host/index.ts') = await import(built('host/index.js'))
const { Filter, loadModule, MemoryQueues, MemorySharedData, Metrics, Plugin } = host

const fixture = (name: string): string => join(import.meta.dirname, '..', 'fixtures', name, `${name}.wasm`)

const CHUNK = Buffer.alloc(64 * 1024, 'x')

/** Applications by name; each takes the port of an upstream. A process has each once, as most processes have one. */
export const APPS = {
  /** Fastify alone. */
  plain: async () => answering(Fastify(), ['/', '/long']),

  /** What the filters do, as hooks. */
  hooks: async () => {
    const app = Fastify()
    app.get('/look', { onRequest: lookAtHeaders }, hello)
    app.register(async (scope) => {
      stampByHooks(scope)
      scope.get('/stamp', hello)
    })
    return app
  },

  /** The small filter in parts: what each adds is what it costs. */
  steps: async () => {
    const app = Fastify()
    const modules = Object.entries(STEPS).map(async ([name, text]) => ({ name, module: await wat(text) }))
    await app.register(wasmGateway, { plugins: await Promise.all(modules) })
    return answering(
      app,
      Object.keys(STEPS).map((name) => `/${name}`)
    )
  },

  /** An instance for each request, as hosts do that keep none. */
  fresh: async () => {
    const app = Fastify()
    for (const name of ['stamp', 'stamp-go']) {
      const module = await loadModule(name, readFileSync(fixture(name)))
      app.get(`/${name}`, (_request, reply) => {
        throughFreshInstance(module)
        reply.send('hello')
      })
    }
    return app
  },

  /** The gateway: routes without filters and with some. */
  gateway: async (upstream: number) => {
    const app = Fastify()
    const stamps = ['stamp', 'second', 'third'].map((name) => declared(name, 'stamp'))
    const upstreams = [{ id: 'node', nodes: { [`127.0.0.1:${upstream}`]: 1 } }]
    const proxied = (plugins: Record<string, PluginEntry>) => ({ plugins, upstream_id: 'node' })
    await app.register(wasmGateway, {
      plugins: [
        ...stamps,
        declared('stamp-go'),
        declared('look'),
        { ...declared('unlimited', 'stamp-go'), limits: { call_ms: 0 } }
      ],
      upstreams,
      routes: [
        { uri: '/proxied/plain/*', ...proxied({}) },
        { uri: '/proxied/stamp/*', ...proxied({ stamp: { conf: 'conf' } }) },
        { uri: '/proxied/body/*', ...proxied({ look: { conf: 'body' } }) }
      ]
    })
    const routes = ['/', '/stamp', '/stamp-go', '/unlimited', '/stamp,second,third', '/look']
    answering(app, [...routes, '/long', '/long/stamp', '/long/look'])
    return app
  },

  /** @fastify/http-proxy, in the same place. */
  'http-proxy': async (upstream: number) => {
    const app = Fastify()
    await app.register(httpProxy, { upstream: `http://127.0.0.1:${upstream}`, prefix: '/proxied' })
    return app
  },

  /** What is behind the proxies. */
  upstream: async () => {
    const app = Fastify()
    app.get('/long', long)
    app.get('/*', (request, reply) => (request.url.endsWith('/long') ? long(request, reply) : hello(request, reply)))
    return app
  }
} as const
export type AppName = keyof typeof APPS

const step = (callbacks: string, imports = ''): string => `(module ${imports}
  (memory (export "memory") 1) (data (i32.const 16) "user-agent")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024)) ${callbacks})`
/** It looks at something, or it would be known to do nothing, and not be called. */
const callback = (name: string): string =>
  `(func (export "${name}") (param i32 i32 i32) (result i32) (i32.mul (i32.load (i32.const 64)) (local.get 1)))`

/** Modules in which ever more is done, by the names of their plugins. */
const STEPS = {
  nothing: step(''),
  one: step(callback('proxy_on_request_headers')),
  two: step(callback('proxy_on_request_headers') + callback('proxy_on_response_headers')),
  read: step(
    `(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $get (i32.const 0) (i32.const 16) (i32.const 10) (i32.const 32) (i32.const 36)))
     ${callback('proxy_on_response_headers')}`,
    '(import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))'
  )
} as const

type Hello = (
  request: unknown,
  reply: { send(payload: unknown): unknown; header(name: string, value: unknown): unknown }
) => void

const hello: Hello = (_request, reply) => {
  reply.send('hello')
}

const long: Hello = (_request, reply) => {
  let left = LONG
  reply.header('content-length', LONG)
  reply.send(
    new Readable({
      highWaterMark: CHUNK.length,
      read() {
        left -= CHUNK.length
        this.push(left < 0 ? null : CHUNK)
      }
    })
  )
}

/** Routes whose paths name their filters. */
function answering(app: FastifyInstance, paths: readonly string[]): FastifyInstance {
  for (const path of paths) {
    const isLong = path.startsWith('/long')
    const names = path.replace('/long', '').slice(1).split(',').filter(Boolean)
    const conf = isLong ? 'body' : 'headers'
    const plugins = Object.fromEntries(names.map((name) => [name, { conf }]))
    const config = names.length === 0 ? {} : { wasm: { plugins } }
    app.get(path, { config }, isLong ? long : hello)
  }
  return app
}

/** Read by nobody, so that looking is not left out. */
export let seen = 0
function lookAtHeaders(request: { raw: { headers: object } }, _reply: unknown, done: () => void): void {
  for (const [name, value] of Object.entries(request.raw.headers)) seen += name.length + String(value).length
  done()
}

function declared(name: string, from: string = name): PluginDeclaration {
  return { name, file: fixture(from) }
}

function throughFreshInstance(module: Module): void {
  const nothing = () => {}
  const log = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing, fatal: nothing }
  const plugin = new Plugin(module, {
    name: 'fresh',
    semantics: 'apisix',
    vmId: '',
    rootId: '',
    vmConfiguration: Buffer.alloc(0),
    environment: {},
    log,
    httpCalls: { dispatch: () => undefined },
    grpcCalls: { open: () => undefined },
    sharedData: new MemorySharedData(),
    queues: new MemoryQueues(),
    metrics: new Metrics(),
    foreignFunctions: new Map()
  })
  const filter = new Filter(plugin, Buffer.from('conf'))
  const context = filter.open(new FakeStream(['user-agent', 'bench/1.0', 'accept', '*/*']))!
  context.requestHeaders(true)
  context.responseHeaders(false)
  context.end(false)
}
