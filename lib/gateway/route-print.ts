import type { Route } from '../config/schema.ts'
import type { Placed, Plan } from './plan.ts'
import type { Plans } from './plans.ts'

/** A route of the application. */
export interface DeclaredRoute {
  readonly methods: readonly string[]
  readonly url: string
  /** Its `config.wasm` */
  readonly wasm: unknown
  /** Whether its handler is the proxy */
  readonly proxied: boolean
}

/**
 * What the gateway does on which route, as text: the global rules, then the routes of the application, then those of the
 * gateway. Routes on which it does nothing are left out.
 */
export function printWasm(plans: Plans, declared: readonly DeclaredRoute[]): string {
  const sections: string[] = []
  const chains = [...plans.chains()]
  for (const { route, plan } of chains) if (route === undefined) sections.push(section('global rules', plan))
  for (const { methods, url, wasm, proxied } of grouped(declared)) {
    const title = `${url} (${methods.join(', ')})`
    let plan: Plan | undefined
    try {
      plan = plans.of({ url, wasm })
    } catch (error) {
      sections.push(`${title}\n└── ${(error as Error).message}\n`)
      continue
    }
    if (plan !== undefined) sections.push(section(title + (proxied ? destinationOf(plan) : ''), plan))
  }
  for (const { own, plan } of chains) {
    if (own !== undefined) sections.push(section(titleOf(own) + destinationOf(plan), plan))
  }
  return sections.join('\n')
}

/** Routes of the same url and configuration in one: a GET and the HEAD that Fastify adds, for one. */
function grouped(declared: readonly DeclaredRoute[]): DeclaredRoute[] {
  const groups: DeclaredRoute[] = []
  for (const route of declared) {
    const at = groups.findIndex((group) => group.url === route.url && group.wasm === route.wasm)
    const group = groups[at]
    if (group === undefined) groups.push(route)
    else groups[at] = { ...group, methods: [...new Set([...group.methods, ...route.methods])] }
  }
  return groups
}

function titleOf({ id, uri, uris = [], host, hosts = [], methods = [], status, remote_addr, vars }: Route): string {
  const title = [uri ?? uris.join(', ')]
  if (methods.length > 0) title.push(`(${methods.join(', ')})`)
  const names = host === undefined ? hosts : [host]
  if (names.length > 0) title.push(`on ${names.join(', ')}`)
  if (remote_addr !== undefined) title.push(`from ${remote_addr}`)
  if (vars !== undefined) title.push('for some requests (vars)')
  title.push(`[routes.${id}]`)
  if (status === 0) title.push('switched off')
  return title.join(' ')
}

function destinationOf({ upstream, missing }: Plan): string {
  if (missing !== undefined) return ` → the ${missing.kind} ${missing.id} is not there`
  if (upstream === undefined) return ' → no upstream'
  const nodes = upstream.status().nodes.map(({ host, port }) => `${host}:${port}`)
  return ` → ${upstream.name ?? (nodes.join(', ') || 'an upstream without nodes')}`
}

function section(title: string, plan: Plan): string {
  // As a request passes them.
  const filters = [...plan.rewrite, ...plan.access].map((index) => plan.placed[index]!)
  const rows = filters.map(({ planned }) => [planned.plugin, planned.phase, String(planned.priority), planned.from])
  const widths = [0, 1, 2, 3].map((column) => Math.max(0, ...rows.map((row) => row[column]!.length)))
  const lines = rows.map((row, i) => {
    const cells = row.map((cell, column) => (column === 2 ? cell.padStart(widths[2]!) : cell.padEnd(widths[column]!)))
    return [...cells, ...remarksOf(filters[i]!)].join('  ').trimEnd()
  })
  if (filters.some((placed, i) => placed !== plan.placed[i])) {
    lines.push(`responses: ${plan.placed.map(({ planned }) => planned.plugin).join(', ')}`)
  }
  if (lines.length === 0) lines.push('no filter')
  const tree = lines.map((line, i) => `${i === lines.length - 1 ? '└──' : '├──'} ${line}\n`)
  return `${title}\n${tree.join('')}`
}

function remarksOf({ planned, declaration }: Placed): string[] {
  const remarks: string[] = []
  if (planned.meta?.filter !== undefined) remarks.push('for some requests (_meta.filter)')
  if (declaration.fail === 'open') remarks.push('fails open')
  return remarks
}
