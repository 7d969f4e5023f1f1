import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { firstOf } from '../config/file.ts'
import type { Options } from '../config/schema.ts'
import { wasmGateway } from '../index.ts'
import { UsageError, type Values } from './command-line.ts'
import { readConfigFiles } from './config-files.ts'
import { startProblemsOf } from './problems.ts'
import { Requests } from './requests.ts'
import { createServer } from './server.ts'
import { termination } from './termination.ts'

/** As APISIX's, at an address that no other machine reaches. */
const DEFAULT_LISTEN = { host: '127.0.0.1', port: 9080 }
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']
/** Kubernetes kills after 30 seconds. */
const DEFAULT_DRAIN_SECONDS = 25
/** Timers know no more. */
const MAX_DRAIN_SECONDS = 2_000_000
/** What filters may take to clean up. */
const CLOSE_MS = 3000

/**
 * Runs a gateway until a signal ends it.
 *
 * @throws UsageError
 */
export async function run(files: readonly string[], values: Values): Promise<number> {
  const level = String(values['log-level'] ?? 'info')
  if (!LOG_LEVELS.includes(level)) throw new UsageError(`run: --log-level is one of ${LOG_LEVELS.join(', ')}`)
  const drainSeconds = Number(values['drain-timeout'] ?? DEFAULT_DRAIN_SECONDS)
  if (!(drainSeconds >= 0 && drainSeconds <= MAX_DRAIN_SECONDS)) {
    throw new UsageError('run: --drain-timeout is a number of seconds')
  }

  const { contents, problems } = await readConfigFiles(files)
  if (problems.length > 0) return refuse(problems)
  const listen = firstOf(contents, 'listen')
  const admin = firstOf(contents, 'admin')
  if (admin === undefined && firstOf(contents, 'inspector') !== undefined) {
    return refuse(['inspector: it stands on the listener of the Admin API, and there is no admin'])
  }
  const metrics = firstOf(contents, 'metrics')
  // Never on the listener that clients reach.
  const options: Options = {
    config: [...files],
    ...(admin !== undefined && { admin: { ...admin, listen: admin.listen ?? {} } }),
    ...(admin === undefined && metrics !== undefined && { metrics: { ...metrics, listen: metrics.listen ?? {} } })
  }
  const app = createServer(level)
  const requests = new Requests(app)
  const terminated = termination()
  reloadOnHangup(app)
  try {
    await app.register(wasmGateway, options)
    await app.listen({ ...DEFAULT_LISTEN, ...listen })
  } catch (error) {
    return exit(await refuse(startProblemsOf(error as Error)))
  }
  const signal = await terminated
  return exit(await end(app, requests, signal, drainSeconds))
}

/** Says why the gateway does not start. */
async function refuse(problems: readonly string[]): Promise<number> {
  const text = problems.map((problem) => `fastify-wasm-gateway: ${problem}\n`).join('')
  await new Promise<void>((resolve) => process.stderr.write(text, () => resolve()))
  return 1
}

/** Whatever is still open: an application that is loaded beside the gateway may have servers of its own. */
function exit(code: number): never {
  process.exit(code)
}

function reloadOnHangup(app: FastifyInstance): void {
  process.on('SIGHUP', () => {
    // It reads everything just now.
    if (!app.hasDecorator('wasmGateway')) return
    app.wasmGateway.reload().catch((error: Error) => {
      app.log.error({ err: error }, `the configuration stays as it was: ${error.message}`)
    })
  })
}

/** Lets the requests that are under way come to their end, for a while. */
async function end(app: FastifyInstance, requests: Requests, signal: string, seconds: number): Promise<number> {
  app.log.info({ signal, requests: requests.size }, `${signal}: closing; requests under way: ${requests.size}`)
  const isDrained = await Promise.race([requests.drain().then(() => true), sleep(seconds * 1000, false)])
  if (!isDrained) {
    app.log.error({ requests: requests.size }, `after ${seconds} s, requests that are cut off: ${requests.size}`)
    return 1
  }
  await Promise.race([app.close(), sleep(CLOSE_MS)])
  app.log.info('closed')
  return 0
}
