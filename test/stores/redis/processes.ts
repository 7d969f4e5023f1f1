import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

/** What a process is told to do; see member.ts. */
export type Task =
  | { task: 'set'; key: string; value: string; afterMs: number }
  | { task: 'count'; key: string; times: number }
  | { task: 'mix'; keys: string[]; ms: number }
  | { task: 'read'; keys: string[] }
  | { task: 'put'; queue: string; items: number; from: number }
  | { task: 'consume'; queue: string; slow?: boolean }

/** Processes that share one Redis. */
export class Processes {
  readonly children: readonly ChildProcess[]

  private constructor(children: readonly ChildProcess[]) {
    this.children = children
  }

  /** @param lib where the stores are: other ones than those of the sources, to see that the test finds it out */
  static async start(
    t: TestContext,
    count: number,
    url: string,
    lib: string = join(import.meta.dirname, '../../../lib')
  ) {
    const children = Array.from({ length: count }, () =>
      fork(join(import.meta.dirname, 'member.ts'), [url, lib], { execArgv: ['--import', 'tsx'] })
    )
    t.after(() => {
      for (const child of children) child.kill('SIGKILL')
    })
    await Promise.all(children.map(messageOf))
    return new Processes(children)
  }

  tell(task: Task): void {
    for (const child of this.children) child.send(task)
  }

  /** Tells all of them, and answers what they answer. */
  async run<Answer>(task: Task): Promise<Answer[]> {
    const answers = this.children.map(async (child) => (await messageOf(child))[0] as Answer)
    this.tell(task)
    return Promise.all(answers)
  }
}

function messageOf(child: ChildProcess): Promise<unknown[]> {
  const ended = once(child, 'exit').then(([code]) => assert.fail(`a process has ended with ${code}`))
  return Promise.race([once(child, 'message'), ended])
}
