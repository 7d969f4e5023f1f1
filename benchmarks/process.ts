import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AppName } from './apps.ts'

export interface Memory {
  readonly alive: number
  readonly rss: number
  readonly heapUsed: number
}

/** A server in a process of its own. */
export class ServerProcess {
  readonly ports: Readonly<Record<string, number>>
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, ports: Record<string, number>) {
    this.#child = child
    this.ports = ports
  }

  /** @param flags of Node, for the process */
  static async start(
    names: readonly AppName[],
    upstream: number = 1,
    flags: readonly string[] = []
  ): Promise<ServerProcess> {
    const child = fork(join(import.meta.dirname, 'server.ts'), [String(upstream), ...names], {
      execArgv: ['--import', 'tsx', '--expose-gc', ...flags]
    })
    const [ports] = (await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => Promise.reject(new Error('the server did not start')))
    ])) as [Record<string, number>]
    return new ServerProcess(child, ports)
  }

  /** Nanoseconds of CPU so far, of all its threads, from the scheduler's statistics (Linux). */
  cpu(): number {
    let sum = 0
    const tasks = `/proc/${this.#child.pid}/task`
    for (const task of readdirSync(tasks))
      sum += Number(readFileSync(`${tasks}/${task}/schedstat`, 'utf8').split(' ')[0])
    return sum
  }

  /** Bytes resident now, as the kernel counts. */
  resident(): number {
    return Number(readFileSync(`/proc/${this.#child.pid}/statm`, 'utf8').split(' ')[1]) * 4096
  }

  /** After a collection of garbage. */
  async memory(): Promise<Memory> {
    this.#child.send('memory')
    const [memory] = (await once(this.#child, 'message')) as [Memory]
    return memory
  }

  async stop(): Promise<void> {
    const exit = once(this.#child, 'exit')
    this.#child.disconnect()
    await exit
  }
}
