import { get } from 'node:http'
import type { AppName } from './apps.ts'
import { LONG } from './long.ts'
import { ServerProcess } from './process.ts'
import { type Figure, median, progress, ratios, type Table } from './report.ts'

const MIB = 1024 * 1024

/** Seconds that a response takes, and how much memory the server took meanwhile, in bytes. */
async function download(server: ServerProcess, app: AppName, path: string): Promise<{ rate: number; grown: number }> {
  const { rss } = await server.memory()
  let highest = rss
  const watch = setInterval(() => {
    highest = Math.max(highest, server.resident())
  }, 20)
  const begin = performance.now()
  const bytes = await new Promise<number>((resolve, reject) => {
    get({ port: server.ports[app], host: '127.0.0.1', path, agent: false }, (response) => {
      let received = 0
      response.on('data', (chunk: Buffer) => {
        received += chunk.length
      })
      response.on('end', () => resolve(received))
      response.on('error', reject)
    }).on('error', reject)
  })
  clearInterval(watch)
  if (bytes !== LONG) throw new Error(`${path} has sent ${bytes} bytes`)
  return { rate: LONG / MIB / ((performance.now() - begin) / 1000), grown: highest - rss }
}

interface Subject {
  readonly name: string
  readonly app?: AppName
  readonly path: string
  readonly goal?: number
  readonly beside?: string
}

const SUBJECTS: readonly Subject[] = [
  { name: 'handler, no filter', path: '/long' },
  { name: 'handler, headers alone', path: '/long/stamp', goal: 0.95, beside: 'handler, no filter' },
  { name: 'handler, each chunk', path: '/long/look', goal: 0.7, beside: 'handler, no filter' },
  { name: 'upstream, no filter', path: '/proxied/plain/long' },
  { name: 'upstream, headers alone', path: '/proxied/stamp/long', goal: 0.95, beside: 'upstream, no filter' },
  { name: 'upstream, each chunk', path: '/proxied/body/long', goal: 0.7, beside: 'upstream, no filter' },
  { name: 'upstream, @fastify/http-proxy', app: 'http-proxy', path: '/proxied/long' }
]

/** Responses of 1 GiB. */
export async function streams(rounds: number): Promise<{ figures: Figure[]; table: Table }> {
  const upstream = await ServerProcess.start(['upstream'])
  const server = await ServerProcess.start(['gateway', 'http-proxy'], upstream.ports.upstream!)
  const rates = new Map(SUBJECTS.map(({ name }): [string, number[]] => [name, []]))
  const grown = new Map(SUBJECTS.map(({ name }): [string, number[]] => [name, []]))
  for (let round = -1; round < rounds; round++) {
    for (let i = 0; i < SUBJECTS.length; i++) {
      const { name, app = 'gateway', path } = SUBJECTS[(i + Math.max(0, round)) % SUBJECTS.length]!
      progress(`1 GiB: ${name}, round ${round + 1} of ${rounds}`)
      const result = await download(server, app, path)
      if (round < 0) continue
      rates.get(name)!.push(result.rate)
      grown.get(name)!.push(result.grown)
    }
  }
  await server.stop()
  await upstream.stop()
  const figures: Figure[] = []
  for (const { name, goal, beside } of SUBJECTS) {
    if (beside === undefined) continue
    const figure = `1 GiB, ${name} / no filter, throughput`
    figures.push({ figure, goal, atLeast: true, ...ratios(rates.get(name)!, rates.get(beside)!) })
  }
  const own = SUBJECTS.filter(({ app }) => app === undefined)
  const most = Math.max(...own.map(({ name }) => median(grown.get(name)!)))
  figures.push({
    figure: '1 GiB, memory that the server takes more, at most',
    goal: 32,
    unit: ' MiB',
    value: most / MIB
  })
  const rows = SUBJECTS.map(({ name }) => [
    name,
    `${Math.round(median(rates.get(name)!))} MiB/s`,
    `${(median(grown.get(name)!) / MIB).toFixed(1)} MiB`
  ])
  return { figures, table: { title: 'Responses of 1 GiB', head: ['', 'throughput', 'memory'], rows } }
}
