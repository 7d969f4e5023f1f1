import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import wasmGateway, { type WasmGatewayOptions } from '../lib/index.ts'

/** The path of a module in fixtures/: `fixture('log')` is fixtures/log/log.wasm. */
export function fixture(folder: string, name: string = folder): string {
  return join(import.meta.dirname, '..', 'fixtures', folder, `${name}.wasm`)
}

export interface LogLine {
  level: number
  msg: string
  plugin?: string
  context?: number
  reqId?: string
  err?: { message: string; code?: string }
}

/** pino's numbers. */
export const Level = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const

export interface TestApp {
  app: FastifyInstance
  port: number
  url: string
  /** All lines that were logged. */
  lines: LogLine[]
  /** What filters logged: the messages of the lines that name a plugin, without those of the host's own errors. */
  filterLog(plugin?: string): string[]
  /** Resolves when no HTTP context is alive; fails when that takes more than two seconds. */
  quiet(): Promise<void>
}

/**
 * Starts an application with the gateway on a free port. When the test ends it is closed, after no HTTP context was left.
 *
 * @param declare declares the routes, after the gateway is registered
 */
export async function startApp(
  t: TestContext,
  options: WasmGatewayOptions,
  declare: (app: FastifyInstance) => void | Promise<void>,
  server: FastifyServerOptions = {},
  before: (app: FastifyInstance) => void | Promise<void> = () => {}
): Promise<TestApp> {
  const lines: LogLine[] = []
  const stream = new Writable({
    write(chunk: Buffer, _encoding, callback) {
      for (const line of chunk.toString().split('\n')) if (line !== '') lines.push(JSON.parse(line))
      callback()
    }
  })
  const app = Fastify({
    logger: { level: 'trace', stream },
    forceCloseConnections: true,
    ...server
  } as FastifyServerOptions)
  await before(app)
  await app.register(wasmGateway, options)
  await declare(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const alive = () => app.wasmGateway.status().plugins.reduce((sum, plugin) => sum + plugin.http_contexts, 0)
  const quiet = async () => {
    for (let i = 0; i < 200 && alive() > 0; i++) await sleep(10)
    assert.equal(alive(), 0, 'HTTP contexts are alive after the last exchange')
  }
  t.after(async () => {
    try {
      await quiet()
    } finally {
      await app.close()
    }
  })
  return {
    app,
    port,
    url: `http://127.0.0.1:${port}`,
    lines,
    filterLog: (plugin) =>
      lines
        .filter((line) => line.plugin !== undefined && line.err === undefined)
        .filter((line) => plugin === undefined || line.plugin === plugin)
        .map((line) => line.msg),
    quiet
  }
}

/** Starts an upstream: an application of its own on a free port, closed when the test ends. */
export async function startUpstream(
  t: TestContext,
  declare: (app: FastifyInstance) => void,
  server: FastifyServerOptions = {}
): Promise<{ app: FastifyInstance; port: number; node: string }> {
  const app = Fastify({ forceCloseConnections: true, ...server } as FastifyServerOptions)
  declare(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.after(() => app.close())
  const { port } = app.server.address() as AddressInfo
  return { app, port, node: `127.0.0.1:${port}` }
}
