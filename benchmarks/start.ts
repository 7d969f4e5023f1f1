// One start, in a process of its own: of five Go filters, or of 10,000 routes with a configuration each.
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import Fastify from 'fastify'

const built = new URL('../dist/index.js', import.meta.url).href
const { default: wasmGateway }: typeof import('../lib/index.ts') = await import(built)
const fixture = (name: string): string => join(import.meta.dirname, '..', 'fixtures', name, `${name}.wasm`)

const ROUTES = 10_000
const REQUESTS = 20_000
const heap = () => {
  globalThis.gc!()
  return process.memoryUsage().heapUsed
}

async function filters() {
  const names = ['log', 'fault-injection', 'forward-auth', 'response-rewrite', 'request-body']
  const app = Fastify()
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const begin = performance.now()
  await app.register(wasmGateway, { plugins: names.map((name) => ({ name, file: fixture(name) })) })
  await app.ready()
  const milliseconds = performance.now() - begin
  delay.disable()
  await app.close()
  return { milliseconds, longestBlock: delay.max / 1e6 }
}

async function gatewayWith(count: number) {
  const routes = Array.from({ length: count }, (_, i) => ({
    id: i + 1,
    uri: `/route/${i}/*`,
    plugins: { stamp: { conf: `the configuration of route ${i}` } },
    upstream_id: 'nowhere'
  }))
  const app = Fastify()
  const begin = performance.now()
  await app.register(wasmGateway, {
    plugins: [{ name: 'stamp', file: fixture('stamp') }],
    upstreams: [{ id: 'nowhere', nodes: {} }],
    routes
  })
  await app.ready()
  return { app, milliseconds: performance.now() - begin }
}

/** Microseconds of CPU for a request to a route in the midst. */
async function cost(app: Awaited<ReturnType<typeof gatewayWith>>['app'], count: number): Promise<number> {
  const url = `/route/${count >> 1}/x`
  for (let i = 0; i < 2000; i++) await app.inject(url)
  const before = process.cpuUsage()
  for (let i = 0; i < REQUESTS; i++) await app.inject(url)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / REQUESTS
}

async function routes() {
  const { app: few } = await gatewayWith(10)
  const before = heap()
  const { app: many, milliseconds } = await gatewayWith(ROUTES)
  const perRoute = (heap() - before) / ROUTES
  const costs = { few: await cost(few, 10), many: await cost(many, ROUTES) }
  const { plugins } = many.wasmGateway.status()
  await Promise.all([few.close(), many.close()])
  return { milliseconds, perRoute, instances: plugins[0]!.instances, ...costs }
}

const result = process.argv[2] === 'filters' ? await filters() : await routes()
process.send!(result, () => process.exit())
