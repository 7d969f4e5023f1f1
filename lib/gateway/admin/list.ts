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

export function keyOf(kind: ResourceKind, id: string): string {
  return `/apisix/${kind}/${id}`
}

/** One object; `undefined` when it is not there. */
export function nodeOf(target: AdminTarget, kind: ResourceKind, id: string): Node | undefined {
  const stored = target.stored.get(kind)!.get(id)
  if (stored !== undefined) {
    const { value, createdIndex, modifiedIndex } = stored
    return { key: keyOf(kind, id), value, createdIndex, modifiedIndex }
  }
  const declared = target.resources[kind].get(id)
  if (declared === undefined) return undefined
  return { key: keyOf(kind, id), value: { ...declared, id }, createdIndex: 0, modifiedIndex: 0 }
}

/**
 * All objects of a kind, by id, as far as the query asks for them: `name`, `label`, `uri` (a regular expression),
 * `filter=service_id%3D1`, and pages.
 *
 * @throws AdminError 400
 */
export function listOf(target: AdminTarget, kind: ResourceKind, query: URLSearchParams): { total: number; list: Node[] } {
  const ids = new Set([...target.resources[kind].keys(), ...target.stored.get(kind)!.keys()])
  const isWanted = filterOf(query)
  const nodes = [...ids]
    .sort()
    .map((id) => nodeOf(target, kind, id)!)
    .filter(({ value }) => isWanted(value))
  return { total: nodes.length, list: pageOf(nodes, query) }
}

function pageOf(nodes: Node[], query: URLSearchParams): Node[] {
  if (!query.has('page') && !query.has('page_size')) return nodes
  const page = integer(query, 'page', 1, Number.MAX_SAFE_INTEGER, 1)
  const size = integer(query, 'page_size', 10, 500, 10)
  return nodes.slice((page - 1) * size, page * size)
}

function integer(query: URLSearchParams, name: string, least: number, most: number, otherwise: number): number {
  const text = query.get(name)
  if (text === null) return otherwise
  const number = Number(text)
  if (/^\d+$/.test(text) && number >= least && number <= most) return number
  const bounds = most === Number.MAX_SAFE_INTEGER ? `from ${least}` : `from ${least} to ${most}`
  throw new AdminError(400, `${name} must be a whole number ${bounds}`)
}

type Filter = (value: Node['value']) => boolean

function filterOf(query: URLSearchParams): Filter {
  const filters: Filter[] = []
  const name = query.get('name')
  if (name) filters.push(({ name: own }) => typeof own === 'string' && own.includes(name))
  for (const label of query.get('label')?.split(',') ?? []) {
    if (label !== '') filters.push(({ labels }) => hasLabel(labels, label))
  }
  const uri = query.get('uri')
  if (uri) {
    const regex = regexOf(uri)
    filters.push((value) => [value.uri, value.uris].flat().some((own) => typeof own === 'string' && regex.test(own)))
  }
  for (const [key, wanted] of new URLSearchParams(query.get('filter') ?? '')) {
    filters.push((value) => value[key] !== undefined && String(value[key]) === wanted)
  }
  return (value) => filters.every((filter) => filter(value))
}

function hasLabel(labels: unknown, label: string): boolean {
  const [key = '', wanted] = label.split(':', 2)
  const own = (labels as Record<string, unknown> | undefined)?.[key]
  return own !== undefined && (wanted === undefined || own === wanted)
}

function regexOf(text: string): RegExp {
  try {
    return new RegExp(text)
  } catch (error) {
    throw new AdminError(400, `uri is no regular expression: ${(error as Error).message}`)
  }
}
