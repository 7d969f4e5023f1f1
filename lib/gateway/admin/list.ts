import { runInNewContext } from 'node:vm'
import type { ResourceKind } from '../../stores/resource-store.ts'
import { AdminError } from './admin-error.ts'
import type { AdminTarget } from './target.ts'

/** An object as the Admin API shows it. */
export interface Node {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
  /** 0, like the other: of an object of the file or the options */
  readonly createdIndex: number
  readonly modifiedIndex: number
}

/** Milliseconds that a regular expression of a query may take: some take years. */
const REGEX_TIMEOUT = 500

export function keyOf(kind: ResourceKind, id: string): string {
  return `/apisix/${kind}/${id}`
}

/** One object; `undefined` when it is not there. One that is stored and wrong is there to be mended. */
export function nodeOf(target: AdminTarget, kind: ResourceKind, id: string): Node | undefined {
  const key = keyOf(kind, id)
  if (target.isDeclared(kind, id)) {
    return { key, value: { ...target.resources[kind].get(id), id }, createdIndex: 0, modifiedIndex: 0 }
  }
  const stored = target.stored.get(kind)!.get(id)
  if (stored === undefined) return undefined
  const { value, createdIndex, modifiedIndex } = stored
  return { key, value, createdIndex, modifiedIndex }
}

function nodesOf(target: AdminTarget, kind: ResourceKind): Node[] {
  const ids = new Set([...target.resources[kind].keys(), ...target.stored.get(kind)!.keys()])
  return [...ids].sort().map((id) => nodeOf(target, kind, id)!)
}

/** All objects of a kind by their ids, those that are stored and wrong among them. */
export function* valuesOf(target: AdminTarget, kind: ResourceKind): Iterable<[string, Node['value']]> {
  for (const { value } of nodesOf(target, kind)) yield [String(value.id), value]
}

/**
 * All objects of a kind, by id, as far as the query asks for them: `name`, `label`, `uri` (a regular expression),
 * `filter=service_id%3D1`, and pages.
 *
 * @throws AdminError 400
 */
export function listOf(
  target: AdminTarget,
  kind: ResourceKind,
  query: URLSearchParams
): { total: number; list: Node[] } {
  let nodes = nodesOf(target, kind)
  for (const filter of filtersOf(query)) nodes = filter(nodes)
  return { total: nodes.length, list: pageOf(nodes, query) }
}

function pageOf(nodes: Node[], query: URLSearchParams): Node[] {
  if (!query.has('page') && !query.has('page_size')) return nodes
  const page = integerOf(query, 'page') ?? 1
  const size = integerOf(query, 'page_size') ?? 10
  if (!(page >= 1)) throw new AdminError(400, 'page must be a whole number from 1')
  if (!(size >= 10 && size <= 500)) throw new AdminError(400, 'page_size must be between 10 and 500')
  return nodes.slice((page - 1) * size, page * size)
}

/** NaN for what is no whole number. */
function integerOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  return /^\d+$/.test(text) ? Number(text) : Number.NaN
}

type Filter = (nodes: Node[]) => Node[]

function filtersOf(query: URLSearchParams): Filter[] {
  const filters: Filter[] = []
  const name = query.get('name')
  if (name) filters.push(by((value) => typeof value.name === 'string' && value.name.includes(name)))
  for (const label of query.get('label')?.split(',') ?? []) {
    if (label !== '') filters.push(by((value) => hasLabel(value.labels, label)))
  }
  for (const [key, wanted] of new URLSearchParams(query.get('filter') ?? '')) {
    filters.push(by((value) => Object.hasOwn(value, key) && String(value[key]) === wanted))
  }
  // Last, on what the others have left.
  const uri = query.get('uri')
  if (uri) filters.push((nodes) => withUri(nodes, uri))
  return filters
}

function by(isWanted: (value: Node['value']) => boolean): Filter {
  return (nodes) => nodes.filter(({ value }) => isWanted(value))
}

/** `key`, or `key:value` */
function hasLabel(labels: unknown, label: string): boolean {
  const end = label.indexOf(':')
  const key = end === -1 ? label : label.slice(0, end)
  if (typeof labels !== 'object' || labels === null || !Object.hasOwn(labels, key)) return false
  return end === -1 || (labels as Record<string, unknown>)[key] === label.slice(end + 1)
}

function withUri(nodes: Node[], source: string): Node[] {
  const uris = nodes.map(({ value }) => [value.uri, value.uris].flat().filter((uri) => typeof uri === 'string'))
  let regex: RegExp
  try {
    regex = new RegExp(source)
  } catch (error) {
    throw new AdminError(400, `uri is no regular expression: ${(error as Error).message}`)
  }
  let found: boolean[]
  try {
    const code = 'uris.map((all) => all.some((uri) => regex.test(uri)))'
    found = runInNewContext(code, { regex, uris }, { timeout: REGEX_TIMEOUT })
  } catch {
    throw new AdminError(400, 'uri is a regular expression that takes too long')
  }
  return nodes.filter((_, i) => found[i])
}
