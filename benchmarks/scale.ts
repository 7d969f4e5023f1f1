import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Load } from './load.ts'
import { ServerProcess } from './process.ts'
import { type Figure, median, progress } from './report.ts'
import { GO, requestOf } from './subjects.ts'

const MIB = 1024 * 1024

/** What `start.ts` tells of one start. */
interface Start {
  readonly milliseconds: number
  readonly longestBlock: number
  /** Bytes of a route on the heap */
  readonly perRoute: number
  /** Microseconds of CPU for a request to one of few routes, and to one of many */
  readonly few: number
  readonly many: number
  readonly instances: number
}

async function start(what: string): Promise<Start> {
  const child = fork(join(import.meta.dirname, 'start.ts'), [what], { execArgv: ['--import', 'tsx', '--expose-gc'] })
  const [result] = (await once(child, 'message')) as [Start]
  await once(child, 'exit')
  return result
}

/** Starts of five Go filters, and 10,000 routes. */
export async function scale(): Promise<Figure[]> {
  const starts: Start[] = []
  for (let i = 0; i < 5; i++) {
    progress(`five Go filters: start ${i + 1} of 5`)
    starts.push(await start('filters'))
  }
  progress('10,000 routes')
  const routes = await start('routes')
  return [
    {
      figure: 'start with five Go filters of 2.5 to 3.5 MB',
      goal: 400,
      unit: ' ms',
      value: median(starts.map(({ milliseconds }) => milliseconds))
    },
    {
      figure: 'the longest that this start holds the event loop',
      goal: 50,
      unit: ' ms',
      value: median(starts.map(({ longestBlock }) => longestBlock))
    },
    {
      figure: 'start with 10,000 routes, each with its own configuration',
      goal: 5000,
      unit: ' ms',
      value: routes.milliseconds
    },
    { figure: 'heap for each of 10,000 routes', goal: 4, unit: ' KiB', value: routes.perRoute / 1024 },
    { figure: 'instances for 10,000 routes with one plugin', goal: 1, value: routes.instances },
    { figure: 'a request with 10,000 routes / with 10, CPU', goal: 1.05, value: routes.many / routes.few }
  ]
}

/** What is left in memory after very many requests. */
export async function endurance(requests: number): Promise<Figure[]> {
  const server = await ServerProcess.start(['gateway'])
  const load = await Load.open(server.ports.gateway!, requestOf(GO), 8)
  await load.send(requests / 20)
  const before = await server.memory()
  const steps = 20
  for (let i = 0; i < steps; i++) {
    progress(`memory: ${Math.round((i / steps) * requests)} of ${requests} requests`)
    await load.send(requests / steps)
  }
  const after = await server.memory()
  load.close()
  await server.stop()
  return [
    {
      figure: `heap after ${requests} requests more than before`,
      goal: 2,
      unit: ' MiB',
      value: (after.heapUsed - before.heapUsed) / MIB
    },
    { figure: `contexts alive after ${requests} requests`, goal: 0, value: after.alive }
  ]
}
