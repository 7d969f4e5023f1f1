// Everything that the documentation says about speed, on loopback, with servers in processes of their own.
//
// npm run bench                               all of it, about ten minutes
// npm run bench -- --only requests,scale      some of it: requests, streams, scale, endurance, wrk,
//                                             profile, crossings
// npm run bench -- --rounds 8                 fewer slices
// npm run bench -- --write                    also into benchmarks/results.json and docs/benchmarks.md
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { crossings } from './crossings.ts'
import { profile } from './profile.ts'
import { type Figure, markdown, progress, type Table, tableOf, text } from './report.ts'
import { requests, steps } from './requests.ts'
import { endurance, scale } from './scale.ts'
import { streams } from './streams.ts'
import { wrk } from './wrk.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'requests,streams,scale,endurance,wrk,profile,crossings' },
    rounds: { type: 'string', default: '25' },
    write: { type: 'boolean', default: false }
  }
})

const last = cpus().length - 1
/** Binds this process, and those that it starts from now on, to CPUs. */
const bind = (list: string) => spawnSync('taskset', ['-cp', list, String(process.pid)]).status === 0

// What the load takes is then taken from nobody else.
const pinned = bind(String(last))

const wanted = new Set(values.only.split(','))
const rounds = Number(values.rounds)
const figures: Figure[] = []
const tables: Table[] = []

if (wanted.has('requests')) {
  const result = await requests(rounds)
  figures.push(...result.figures)
  tables.push(result.table)
}
if (wanted.has('streams')) {
  const result = await streams(Math.ceil(rounds / 5))
  figures.push(...result.figures)
  tables.push(result.table)
}
if (wanted.has('scale')) {
  // Modules are compiled in parallel.
  bind(`0-${last}`)
  figures.push(...(await scale()))
  bind(String(last))
}
if (wanted.has('endurance')) figures.push(...(await endurance(1_000_000)))
if (wanted.has('wrk')) {
  const table = await wrk()
  if (table !== undefined) tables.push(table)
}
if (wanted.has('profile')) {
  tables.push(await steps(rounds))
  // A profiler counts what others do meanwhile on the same CPU.
  bind(`0-${last}`)
  tables.push(await profile())
  bind(String(last))
}
if (wanted.has('crossings')) tables.push(await crossings())
progress('')

const machine = {
  node: process.version,
  cpu: cpus()[0]!.model,
  cpus: cpus().length,
  pinned,
  date: new Date().toISOString().slice(0, 10),
  rounds
}
const all = [tableOf('Figures', figures), ...tables]
process.stdout.write(`${JSON.stringify(machine)}\n${all.map(text).join('')}`)

if (values.write) {
  const root = join(import.meta.dirname, '..')
  writeFileSync(
    join(root, 'benchmarks', 'results.json'),
    `${JSON.stringify({ machine, figures, tables }, undefined, 2)}\n`
  )
  writeFileSync(join(root, 'docs', 'benchmarks.md'), page(all))
}

function page(all: readonly Table[]): string {
  const where = pinned ? 'servers and load on one CPU (starts on all)' : 'servers and load on all CPUs'
  return `# Benchmarks

Written by \`npm run bench -- --write\`; not by hand. Node ${process.version}, ${machine.cpus} × ${machine.cpu}, ${where},
${machine.date}.

What is compared is served by one process, in slices of 150 ms by turns (${rounds} of each), each round in another order: two
processes that do the same differ by a fifth on such a machine. CPU is that of the server, from the scheduler's statistics;
a figure is the median of the ratios of the rounds, with its quartiles.

The small filter (\`fixtures/stamp\`, 1 KB) and the Go filter (\`fixtures/stamp-go\`, 2.5 MB) do the same: they read a request
header, add one to the request and one to the response. So do the hooks that they are compared with.

Where a figure is not met, the tables below show what it is made of. With server and load on one CPU, each response hands
the CPU over to the client, and each request begins with caches that hold the client's code and data: what a filter adds
takes two to three times as long there as the same calls made one after the other ("Crossings"), and there is more of it
than of two hooks. What a response of 1 GiB takes of memory is what V8 lets pile up of read chunks before it collects
them, which is the same with @fastify/http-proxy.

${all.map(markdown).join('\n')}`
}
