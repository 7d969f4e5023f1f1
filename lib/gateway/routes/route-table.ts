import { hostName } from './host-name.ts'
import { Prefixes } from './prefixes.ts'

/** What a request must be like to be a route's. */
export interface RouteDefinition<Entry, Request> {
  /** Exact paths, or with a `*` at the end everything that begins so. */
  readonly uris: readonly string[]
  /** Names, or `*.foo.com`; none: any. */
  readonly hosts: readonly string[]
  /** None: any. */
  readonly methods: ReadonlySet<string> | undefined
  /** Higher is tried first, among routes of the same path. */
  readonly priority: number
  /** What else there is to meet. */
  readonly matches: ((request: Request) => boolean) | undefined
  readonly entry: Entry
}

/** What the table reads of a request. */
export interface Target {
  readonly host: string
  /** Normalized. */
  readonly path: string
  readonly method: string
}

interface Candidate<Entry, Request> {
  readonly id: string
  readonly definition: RouteDefinition<Entry, Request>
  readonly turn: number
}

/** Sorted: the one to be tried first is the first. Copied when it changes: a list that grows takes room for more. */
type Candidates<Entry, Request> = readonly Candidate<Entry, Request>[]
/** The candidates of one path, by host: `''` is any. */
type Hosts<Entry, Request> = Map<string, Candidates<Entry, Request>>

const ANY_HOST = ''

/**
 * The routes of a gateway, matched as APISIX's radixtree_host_uri does: those with the request's host first, then those of wildcard
 * hosts, the longest first, then those of any host; of each an exact path before a prefix, a longer prefix before a shorter one;
 * of each the higher priority first; and of these the first whose other conditions hold. What a look-up costs depends on how many
 * of the prefixes of a path are routes, and not on how many routes there are.
 */
export class RouteTable<Entry, Request> {
  readonly #routes: Map<string, Candidate<Entry, Request>> = new Map()
  readonly #exact: Map<string, Hosts<Entry, Request>> = new Map()
  readonly #prefixes: Prefixes<Hosts<Entry, Request>> = new Prefixes()
  /** How many routes use a wildcard host, reversed: `moc.oof.`, and the host as it is written. */
  readonly #wildcards: Prefixes<{ readonly host: string; routes: number }> = new Prefixes()

  /**
   * Adds a route, or replaces the one with this id.
   *
   * @param turn of two with the same priority the one with the lower turn is tried first
   */
  set(id: string, definition: RouteDefinition<Entry, Request>, turn: number): void {
    const route = { id, definition, turn }
    this.delete(id)
    this.#routes.set(id, route)
    for (const host of hostsOf(definition)) {
      if (host.startsWith('*')) this.#useWildcard(host, 1)
      for (const uri of definition.uris) {
        const hosts = this.#hosts(uri)
        const candidates = hosts.get(host) ?? []
        hosts.set(host, candidates.toSpliced(placeOf(route, candidates), 0, route))
      }
    }
  }

  delete(id: string): void {
    const route = this.#routes.get(id)
    if (route === undefined) return
    this.#routes.delete(id)
    const { definition } = route
    for (const host of hostsOf(definition)) {
      if (host.startsWith('*')) this.#useWildcard(host, -1)
      for (const uri of definition.uris) this.#remove(uri, host, route)
    }
  }

  /** The entry of the route that a request is for; `undefined` when there is none. */
  find({ host, path, method }: Target, request: Request): Entry | undefined {
    if (this.#routes.size === 0) return undefined
    const name = hostName(host)
    if (name !== '') {
      const found = this.#findAt(name, path, method, request)
      if (found !== undefined) return found
      for (const wildcard of this.#wildcards.of(reverse(name))) {
        const found = this.#findAt(wildcard.host, path, method, request)
        if (found !== undefined) return found
      }
    }
    return this.#findAt(ANY_HOST, path, method, request)
  }

  #findAt(host: string, path: string, method: string, request: Request): Entry | undefined {
    const found = first(this.#exact.get(path)?.get(host), method, request)
    if (found !== undefined) return found.entry
    for (const hosts of this.#prefixes.of(path)) {
      const found = first(hosts.get(host), method, request)
      if (found !== undefined) return found.entry
    }
    return undefined
  }

  #hosts(uri: string): Hosts<Entry, Request> {
    const isPrefix = uri.endsWith('*')
    const known = isPrefix ? this.#prefixes.get(uri.slice(0, -1)) : this.#exact.get(uri)
    if (known !== undefined) return known
    const hosts: Hosts<Entry, Request> = new Map()
    if (isPrefix) this.#prefixes.set(uri.slice(0, -1), hosts)
    else this.#exact.set(uri, hosts)
    return hosts
  }

  #remove(uri: string, host: string, route: Candidate<Entry, Request>): void {
    const hosts = this.#hosts(uri)
    const candidates = hosts.get(host)!
    if (candidates.length > 1) {
      hosts.set(host, candidates.toSpliced(placeOf(route, candidates), 1))
      return
    }
    hosts.delete(host)
    if (hosts.size > 0) return
    if (uri.endsWith('*')) this.#prefixes.delete(uri.slice(0, -1))
    else this.#exact.delete(uri)
  }

  #useWildcard(host: string, count: 1 | -1): void {
    const key = reverse(host.slice(1))
    const wildcard = this.#wildcards.get(key) ?? { host, routes: 0 }
    wildcard.routes += count
    if (wildcard.routes > 0) this.#wildcards.set(key, wildcard)
    else this.#wildcards.delete(key)
  }
}

function hostsOf({ hosts }: { readonly hosts: readonly string[] }): readonly string[] {
  return hosts.length === 0 ? [ANY_HOST] : [...new Set(hosts.map((host) => host.toLowerCase().replace(/\.$/, '')))]
}

function first<Entry, Request>(
  candidates: Candidates<Entry, Request> | undefined,
  method: string,
  request: Request
): RouteDefinition<Entry, Request> | undefined {
  if (candidates === undefined) return undefined
  for (const { definition } of candidates) {
    const { methods, matches } = definition
    if (methods !== undefined && !methods.has(method)) continue
    if (matches === undefined || matches(request)) return definition
  }
  return undefined
}

/** Where a route stands in the list, or would. */
function placeOf<Entry, Request>(route: Candidate<Entry, Request>, candidates: Candidates<Entry, Request>): number {
  let low = 0
  let high = candidates.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isBefore(candidates[middle]!, route)) low = middle + 1
    else high = middle
  }
  return low
}

function isBefore<Entry, Request>(a: Candidate<Entry, Request>, b: Candidate<Entry, Request>): boolean {
  if (a.definition.priority !== b.definition.priority) return a.definition.priority > b.definition.priority
  return a.turn === b.turn ? a.id < b.id : a.turn < b.turn
}

function reverse(text: string): string {
  let reversed = ''
  for (let i = text.length - 1; i >= 0; i--) reversed += text[i]
  return reversed
}
