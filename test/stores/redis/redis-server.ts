import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { RedisStores } from '../../../lib/stores/redis/redis-stores.ts'
import type { RedisSettings } from '../../../lib/stores/redis/settings.ts'
import { folder } from '../../folder.ts'

/** What tests of Redis are skipped for, if anything. */
export const skip: string | false = (() => {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'there is no redis-server: apt-get install redis-server'
  }
})()

/** A Redis of the test's own. */
export class RedisServer {
  readonly port: number
  readonly #args: readonly string[]
  readonly #folder: string
  /** A Sentinel's, which it writes to */
  readonly #file: string | undefined
  #child: ChildProcess | undefined
  #control: Redis | undefined

  private constructor(port: number, folder: string, args: readonly string[], file?: string) {
    this.#file = file
    this.port = port
    this.#folder = folder
    this.#args = args
  }

  /** Starts one, which ends with the test. What is written is on the disk when it is acknowledged. */
  static async start(t: TestContext, ...args: string[]): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), await folder(t), args)
    t.after(() => server.kill())
    await server.start()
    return server
  }

  /** Starts a Sentinel that alone decides when a replica becomes the master. */
  static async sentinel(t: TestContext, name: string, master: RedisServer): Promise<RedisServer> {
    const path = await folder(t)
    const file = join(path, 'sentinel.conf')
    const lines = [`monitor ${name} 127.0.0.1 ${master.port} 1`, `down-after-milliseconds ${name} 300`]
    await writeFile(file, lines.map((line) => `sentinel ${line}\n`).join(''))
    const sentinel = new RedisServer(await freePort(), path, ['--sentinel'], file)
    t.after(() => sentinel.kill())
    await sentinel.start()
    return sentinel
  }

  /** Of one that was started for it: a cluster of one node. */
  async beCluster(): Promise<void> {
    await this.control.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    while (!String(await this.control.call('CLUSTER', 'INFO')).includes('cluster_state:ok')) await sleep(50)
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** For the test itself. */
  get control(): Redis {
    if (this.#control === undefined) {
      this.#control = new Redis(this.port, '127.0.0.1', { maxRetriesPerRequest: null })
      this.#control.on('error', () => {})
    }
    return this.#control
  }

  async start(): Promise<void> {
    const common = ['--port', String(this.port), '--dir', this.#folder, '--bind', '127.0.0.1']
    const kept = ['--save', '', '--appendonly', 'yes', '--appendfsync', 'always', '--enable-debug-command', 'yes']
    const own = this.#file === undefined ? [...common, ...kept] : [this.#file, ...common]
    const child = spawn('redis-server', [...own, ...this.#args], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#child = child
    let output = ''
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    for (let i = 0; i < 1000 && !/Ready to accept connections|Sentinel ID is/.test(output); i++) {
      assert.equal(child.exitCode, null, output)
      await sleep(10)
    }
    child.stdout!.removeAllListeners('data').resume()
  }

  signal(signal: NodeJS.Signals): void {
    this.#child!.kill(signal)
  }

  /** As the machine's end would. */
  async kill(): Promise<void> {
    this.#control?.disconnect()
    this.#control = undefined
    const child = this.#child
    this.#child = undefined
    if (child === undefined) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

export function settingsOf(url: string, own: Partial<RedisSettings> = {}): RedisSettings {
  // Machines that run tests are busy: what is no test of the timeout must not meet it.
  return { url, options: {}, cluster: undefined, prefix: 'wasm:', timeoutMs: 5000, ttlMs: {}, ...own }
}

/** What a process has of Redis, and what is seen of it. */
export interface TestStores {
  readonly stores: RedisStores
  /** What was logged: level and message */
  readonly lines: string[]
  /** How often the thread stood still */
  waits: number
}

/**
 * Connects, as a gateway does; closed when the test ends.
 *
 * @param own `isAway`: it is no use to wait for Redis
 */
export async function connect(
  t: TestContext,
  { url }: { url: string },
  own: Partial<RedisSettings> & { claimMs?: number; isAway?: boolean } = {}
): Promise<TestStores> {
  const { claimMs, isAway = false, ...settings } = own
  const lines: string[] = []
  const log = (level: string) => (_fields: object, message: string) => void lines.push(`${level}: ${message}`)
  const seen = { lines, waits: 0 }
  const waits = () => {
    seen.waits++
  }
  const logger = { info: log('info'), warn: log('warn'), error: log('error') }
  const stores = new RedisStores(settingsOf(url, settings), logger, waits, claimMs)
  t.after(() => stores.close())
  await stores.ready()
  // On a busy machine a thread starts slowly.
  for (let i = 0; i < 2000 && !isAway && !stores.status.connected; i++) await sleep(10)
  return Object.assign(seen, { stores })
}

export function text(shared: ReturnType<RedisStores['sharedData']['get']>): string | undefined {
  return typeof shared === 'string' ? shared : shared?.value.toString()
}
