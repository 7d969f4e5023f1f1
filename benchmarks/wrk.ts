import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { ServerProcess } from './process.ts'
import { progress, type Table } from './report.ts'
import { GO, HOOKS, NO_FILTER, PLAIN, STAMP, THREE } from './subjects.ts'

const SECONDS = 5
const CONNECTIONS = 32

const SUBJECTS = [PLAIN, HOOKS, NO_FILTER, STAMP, GO, THREE]

/** How the same applications do under wrk, which is no part of this project; `undefined` where there is none. */
export async function wrk(): Promise<Table | undefined> {
  if (spawnSync('wrk', ['-v'], { stdio: 'ignore' }).error !== undefined) return undefined
  const server = await ServerProcess.start([...new Set(SUBJECTS.map(({ app }) => app))])
  const rows: string[][] = []
  for (const { name, app, path } of SUBJECTS) {
    progress(`wrk: ${name}`)
    const url = `http://127.0.0.1:${server.ports[app]}${path}`
    const load = (seconds: number) =>
      promisify(execFile)('wrk', ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--latency', url])
    await load(1)
    const { stdout } = await load(SECONDS)
    const of = (pattern: RegExp) => pattern.exec(stdout)?.[1] ?? '?'
    rows.push([name, of(/Requests\/sec:\s+([\d.]+)/), of(/50%\s+(\S+)/), of(/99%\s+(\S+)/)])
  }
  await server.stop()
  return { title: 'Under wrk', head: ['', 'requests/s', 'median', '99 %'], rows }
}
