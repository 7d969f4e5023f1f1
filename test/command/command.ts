import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LogLine } from '../app.ts'
import { folder } from '../folder.ts'

const root = join(import.meta.dirname, '..', '..')

/** Resolves when the condition holds. A process takes its time to start where many do. */
export async function eventually(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1500 && !condition(); i++) await sleep(20)
  assert.ok(condition(), what)
}

export interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

/** The command as a process that is under way. */
export class Running {
  readonly process: ChildProcess
  readonly ended: Promise<Outcome>
  stdout = ''
  stderr = ''

  constructor(args: readonly string[], environment: Record<string, string>) {
    // Those of whoever runs the tests would decide about colours.
    const { NO_COLOR: _, FORCE_COLOR: __, NODE_DISABLE_COLORS: ___, ...inherited } = process.env
    this.process = spawn(process.execPath, ['--import', 'tsx', 'lib/command/index.ts', ...args], {
      cwd: root,
      env: { ...inherited, ...environment },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    for (const name of ['stdout', 'stderr'] as const) {
      this.process[name]!.setEncoding('utf8').on('data', (text: string) => {
        this[name] += text
      })
    }
    this.ended = new Promise((resolve) => {
      this.process.once('close', (code) => resolve({ code, stdout: this.stdout, stderr: this.stderr }))
    })
  }

  /** What it has logged. */
  get lines(): LogLine[] {
    const whole = this.stdout.slice(0, this.stdout.lastIndexOf('\n') + 1)
    return whole
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
  }

  /** Resolves when it has logged what is wanted. */
  async logged(text: string): Promise<void> {
    await eventually(`it logs ${text}`, () => this.stdout.includes(text))
  }
}

/** Runs the command to its end. */
export function command(args: readonly string[], environment: Record<string, string> = {}): Promise<Outcome> {
  return new Running(args, environment).ended
}

/** Starts a gateway from files of a folder, on a free port, and answers when it listens. */
export async function gateway(
  t: TestContext,
  paths: readonly string[],
  options: readonly string[] = [],
  environment: Record<string, string> = {}
): Promise<Running & { url: string; port: number }> {
  const running = new Running(['run', ...paths, ...options], environment)
  t.after(() => running.process.kill('SIGKILL'))
  const listening = /Server listening at http:\/\/127\.0\.0\.1:(\d+)/
  await Promise.race([eventually('it listens', () => listening.test(running.stdout)), running.ended])
  const match = listening.exec(running.stdout)
  assert.ok(match, `it does not listen: ${running.stdout}${running.stderr}`)
  return Object.assign(running, { url: `http://127.0.0.1:${match[1]}`, port: Number(match[1]) })
}

/**
 * Writes files, which are there until the test ends, and answers what tells their paths. Objects are written as JSON, which
 * is YAML too.
 */
export async function files(
  t: TestContext,
  contents: Readonly<Record<string, string | Uint8Array | object>>
): Promise<(name: string) => string> {
  const path = await folder(t)
  for (const [name, content] of Object.entries(contents)) await write(join(path, name), content)
  return (name) => join(path, name)
}

export function write(path: string, content: string | Uint8Array | object): Promise<void> {
  const isText = typeof content === 'string' || content instanceof Uint8Array
  return writeFile(path, isText ? content : JSON.stringify(content))
}

/** A port that something listens on, until the test ends. */
export async function takenPort(t: TestContext): Promise<number> {
  const { port, close } = await listening()
  t.after(close)
  return port
}

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const { port, close } = await listening()
  await close()
  return port
}

async function listening(): Promise<{ port: number; close: () => Promise<void> }> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { port, close: () => new Promise((resolve) => server.close(() => resolve())) }
}
