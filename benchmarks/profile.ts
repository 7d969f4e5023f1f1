import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Load } from './load.ts'
import { ServerProcess } from './process.ts'
import { progress, type Table } from './report.ts'
import { GO, HOOKS, requestOf, STAMP, type Subject } from './subjects.ts'

const WARM_MS = 3000
const MEASURED_MS = 8000

interface Profile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: { functionName: string; url: string } }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
  readonly endTime: number
  readonly startTime: number
}

/** Where the code of a function is from, by the first that matches its address. */
const AREAS: readonly (readonly [string, RegExp])[] = [
  ['Node: HTTP, streams, events', /^node:/],
  ['Fastify', /node_modules/],
  ['the gateway (lib/gateway)', /\/dist\/gateway\//],
  ['the host (lib/host)', /\/dist\/host\//],
  ['the filter', /^wasm:/]
]
const NATIVE = 'system calls and the engine'
const COLLECTOR = 'garbage collector'

function areaOf({ functionName, url }: Profile['nodes'][number]['callFrame']): string | undefined {
  if (functionName === '(idle)') return undefined
  if (functionName === '(garbage collector)') return COLLECTOR
  if (functionName.startsWith('wasm-')) return 'the filter'
  return AREAS.find(([, pattern]) => pattern.test(url))?.[0] ?? NATIVE
}

/** Microseconds of a request, by area, as the profiler samples them. */
async function profileOf(subject: Subject): Promise<ReadonlyMap<string, number>> {
  const folder = mkdtempSync(join(tmpdir(), 'profile-'))
  try {
    const server = await ServerProcess.start([subject.app], 1, ['--cpu-prof', `--cpu-prof-dir=${folder}`])
    const load = await Load.open(server.ports[subject.app]!, requestOf(subject), 8)
    await load.run(WARM_MS)
    const count = await load.run(MEASURED_MS)
    await server.stop()
    load.close()
    // Other threads have written theirs as well.
    const profiles = readdirSync(folder).map((file) => readFileSync(join(folder, file), 'utf8'))
    const longest = profiles.reduce((one, other) => (one.length >= other.length ? one : other))
    return sumUp(JSON.parse(longest), count)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function sumUp({ nodes, samples, timeDeltas, startTime, endTime }: Profile, count: number): Map<string, number> {
  const areas = new Map(nodes.map(({ id, callFrame }) => [id, areaOf(callFrame)]))
  const sums = new Map<string, number>()
  let at = startTime
  samples.forEach((id, i) => {
    at += timeDeltas[i]!
    const area = areas.get(id)
    if (area === undefined || at < endTime - MEASURED_MS * 1000) return
    sums.set(area, (sums.get(area) ?? 0) + timeDeltas[i]! / count)
  })
  return sums
}

/** Where the time of a request goes, with hooks and with filters. */
export async function profile(): Promise<Table> {
  const subjects = [HOOKS, STAMP, GO]
  const profiles: ReadonlyMap<string, number>[] = []
  for (const subject of subjects) {
    progress(`profile: ${subject.name}`)
    profiles.push(await profileOf(subject))
  }
  const all = [NATIVE, COLLECTOR, ...AREAS.map(([area]) => area)]
  const rows = all.map((area) => [area, ...profiles.map((sums) => `${(sums.get(area) ?? 0).toFixed(1)} µs`)])
  return { title: 'Profile', head: ['', ...subjects.map(({ name }) => name)], rows }
}
