import { Load } from './load.ts'
import { ServerProcess } from './process.ts'
import { type Figure, median, progress, quartiles, ratios, type Table } from './report.ts'
import { GO, HOOKS, NO_FILTER, PLAIN, requestOf, STAMP, type Subject, THREE } from './subjects.ts'

const SLICE_MS = 150
const WARM_MS = 2000
const CONNECTIONS = 8

const LONG_LIST = Object.fromEntries(
  Array.from({ length: 28 }, (_, i) => [`x-header-${i}`, `the value of header ${i}`])
)

interface Measured {
  /** Microseconds of CPU for a request, by round */
  readonly cpu: number[]
  /** Requests in a second, by round */
  readonly rate: number[]
  /** Milliseconds */
  readonly latencies: number[]
}

/**
 * Measures subjects that one process serves: in slices, by turns, each round in another order, so that what changes with
 * time changes all of them.
 */
async function measure(subjects: readonly Subject[], rounds: number, upstream = 1): Promise<Map<string, Measured>> {
  const server = await ServerProcess.start([...new Set(subjects.map(({ app }) => app))], upstream)
  const loads = new Map<string, Load>()
  for (const subject of subjects) {
    const load = await Load.open(server.ports[subject.app]!, requestOf(subject), CONNECTIONS)
    await load.run(WARM_MS)
    loads.set(subject.name, load)
  }
  const measured = new Map(subjects.map(({ name }): [string, Measured] => [name, { cpu: [], rate: [], latencies: [] }]))
  for (let round = 0; round < rounds; round++) {
    progress(`${subjects.map(({ name }) => name).join(' / ')}: round ${round + 1} of ${rounds}`)
    for (let i = 0; i < subjects.length; i++) {
      const { name } = subjects[(i + round) % subjects.length]!
      const { cpu, rate, latencies } = measured.get(name)!
      const [cpuBefore, before] = [server.cpu(), performance.now()]
      const count = await loads.get(name)!.run(SLICE_MS, latencies)
      cpu.push((server.cpu() - cpuBefore) / count / 1000)
      rate.push((count / (performance.now() - before)) * 1000)
    }
  }
  for (const load of loads.values()) load.close()
  await server.stop()
  return measured
}

/** Pairs: the first is compared with the second. */
const PAIRS: readonly { figure: string; goal?: number; atLeast?: true; of: readonly [Subject, Subject] }[] = [
  { figure: 'small filter / the same in hooks, CPU', goal: 1.15, of: [STAMP, HOOKS] },
  {
    figure: 'Go filter / the same in hooks, CPU',
    goal: 1.4,
    of: [GO, HOOKS]
  },
  {
    figure: 'three small filters / one, CPU',
    goal: 1.25,
    of: [THREE, STAMP]
  },
  {
    figure: 'a route without filters / the gateway not registered, CPU',
    goal: 1.02,
    of: [NO_FILTER, PLAIN]
  },
  {
    figure: 'a filter that reads 30 headers / the same in a hook, CPU',
    goal: 2,
    of: [
      { name: 'filter, all headers', app: 'gateway', path: '/look', headers: LONG_LIST },
      { name: 'hook, all headers', app: 'hooks', path: '/look', headers: LONG_LIST }
    ]
  },
  {
    figure: 'Go filter / the same that cannot be stopped (call_ms: 0), CPU',
    of: [GO, { name: 'Go filter, call_ms: 0', app: 'gateway', path: '/unlimited' }]
  },
  {
    figure: 'small filter, an instance for each request / one for all, CPU',
    of: [{ name: 'small filter, fresh', app: 'fresh', path: '/stamp' }, STAMP]
  },
  {
    figure: 'Go filter, an instance for each request / one for all, CPU',
    of: [{ name: 'Go filter, fresh', app: 'fresh', path: '/stamp-go' }, GO]
  }
]

/** Each does what the one before it does, and something more. */
const STEPS: readonly Subject[] = [
  HOOKS,
  { name: 'a filter that has no callbacks', app: 'steps', path: '/nothing' },
  { name: '… that is called with the request', app: 'steps', path: '/one' },
  { name: '… and with the response', app: 'steps', path: '/two' },
  { name: '… and reads a header', app: 'steps', path: '/read' },
  { ...STAMP, name: '… and adds one to each: the small filter' }
]

const PROXIED: readonly Subject[] = [
  { name: 'proxied, small filter', app: 'gateway', path: '/proxied/stamp/' },
  { name: 'proxied, no filter', app: 'gateway', path: '/proxied/plain/' },
  { name: '@fastify/http-proxy', app: 'http-proxy', path: '/proxied/' }
]

/** What the parts of a filter cost. */
export async function steps(rounds: number): Promise<Table> {
  const measured = await measure(STEPS, rounds)
  const rows = STEPS.map(({ name }, i) => {
    const { cpu } = measured.get(name)!
    const before = measured.get(STEPS[i - 1]?.name ?? '')?.cpu
    const more = before && median(cpu.map((value, round) => value - before[round]!))
    return [name, `${median(cpu).toFixed(1)} µs`, more === undefined ? '' : `${more.toFixed(1)} µs`]
  })
  return { title: 'What a filter adds, step by step', head: ['', 'CPU', 'more'], rows }
}

export async function requests(rounds: number): Promise<{ figures: Figure[]; table: Table }> {
  const figures: Figure[] = []
  const rows: string[][] = []
  const add = (name: string, { cpu, rate, latencies }: Measured) => {
    const sorted = latencies.sort((a, b) => a - b)
    const at = (part: number) => `${sorted[Math.floor(sorted.length * part)]!.toFixed(2)} ms`
    const [low, high] = quartiles(cpu)
    const spread = `${low.toFixed(1)} – ${high.toFixed(1)}`
    rows.push([name, `${median(cpu).toFixed(1)} µs`, spread, Math.round(median(rate)).toString(), at(0.5), at(0.99)])
  }
  for (const { figure, goal, of } of PAIRS) {
    const measured = await measure(of, rounds)
    const [first, second] = of.map(({ name }) => measured.get(name)!) as [Measured, Measured]
    figures.push({ figure, goal, ...ratios(first.cpu, second.cpu) })
    for (const { name } of of) if (!rows.some(([listed]) => listed === name)) add(name, measured.get(name)!)
  }
  const upstream = await ServerProcess.start(['upstream'])
  const proxied = await measure(PROXIED, rounds, upstream.ports.upstream!)
  await upstream.stop()
  const rates = PROXIED.map(({ name }) => proxied.get(name)!.rate)
  const figure = 'a proxied route with a small filter / @fastify/http-proxy without, requests a second'
  figures.push({ figure, goal: 0.9, atLeast: true, ...ratios(rates[0]!, rates[2]!) })
  for (const { name } of PROXIED) add(name, proxied.get(name)!)
  const head = ['', 'CPU', 'quartiles', 'requests/s', 'median', '99 %']
  return { figures, table: { title: 'Requests', head, rows } }
}
