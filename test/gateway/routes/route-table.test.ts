import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type RouteDefinition, RouteTable } from '../../../lib/gateway/routes/route-table.ts'

type Definition = RouteDefinition<string, string>
type Pieces = Partial<Omit<Definition, 'methods'>> & { methods?: string[] }

/** The request that `matches` is given is a text. */
function define(entry: string, { methods, ...pieces }: Pieces): Definition {
  return {
    uris: ['/*'],
    hosts: [],
    priority: 0,
    matches: undefined,
    entry,
    ...pieces,
    methods: methods && new Set(methods)
  }
}

function tableOf(routes: Record<string, Pieces>): RouteTable<string, string> {
  const table = new RouteTable<string, string>()
  for (const [i, [id, pieces]] of Object.entries(routes).entries()) table.set(id, define(id, pieces), i)
  return table
}

function find(table: RouteTable<string, string>, target: string, request = ''): string | undefined {
  const [method, url] = target.split(' ') as [string, string]
  const at = url.indexOf('/')
  return table.find({ method, host: url.slice(0, at), path: url.slice(at) }, request)
}

const PRECEDENCE: [string, Record<string, Pieces>, Record<string, string | undefined>][] = [
  [
    'an exact path comes before a prefix, and a longer prefix before a shorter one, whatever their priority',
    {
      all: { uris: ['/*'], priority: 9 },
      a: { uris: ['/a*'], priority: 5 },
      ab: { uris: ['/a/b*'] },
      exact: { uris: ['/a/b'], priority: -1 }
    },
    { 'GET h/a/b': 'exact', 'GET h/a/bc': 'ab', 'GET h/a/b/': 'ab', 'GET h/ab': 'a', 'GET h/a': 'a', 'GET h/b': 'all' }
  ],
  [
    'a prefix matches itself',
    { bar: { uris: ['/blog/bar*'] }, foo: { uris: ['/blog/foo/*'] } },
    {
      'GET h/blog/bar': 'bar',
      'GET h/blog/barn': 'bar',
      'GET h/blog/foo/': 'foo',
      'GET h/blog/foo': undefined,
      'GET h/blog/ba': undefined
    }
  ],
  [
    'a lone star is everything',
    { star: { uris: ['*'] }, slash: { uris: ['/a*'] } },
    { 'GET h/x': 'star', 'GET h/a': 'slash', 'GET h/': 'star' }
  ],
  [
    'a route with the host comes first, though its prefix is shorter, then wildcard hosts, the longest first',
    {
      none: { uris: ['/a'], priority: 9 },
      wide: { uris: ['/a'], hosts: ['*.com'] },
      wild: { hosts: ['*.foo.com'] },
      exact: { hosts: ['a.foo.com'] }
    },
    {
      'GET a.foo.com/a': 'exact',
      'GET b.foo.com/a': 'wild',
      'GET c.b.foo.com/a': 'wild',
      'GET foo.com/a': 'wide',
      'GET foo.org/a': 'none'
    }
  ],
  [
    'what the host has no route for, less of a host may have',
    { host: { uris: ['/a'], hosts: ['h.com'] }, wild: { uris: ['/b'], hosts: ['*.com'] }, none: { uris: ['/c'] } },
    { 'GET h.com/a': 'host', 'GET h.com/b': 'wild', 'GET h.com/c': 'none', 'GET h.com/d': undefined }
  ],
  [
    'a star before a name without a dot is any beginning, also none',
    { wild: { hosts: ['*foo.com'] } },
    { 'GET foo.com/': 'wild', 'GET xfoo.com/': 'wild', 'GET a.foo.com/': 'wild', 'GET foo.com.org/': undefined }
  ],
  [
    'hosts are compared without case, port and the last dot',
    { host: { hosts: ['FOO.com'] }, wild: { hosts: ['*.Bar.com'] }, six: { hosts: ['[::1]'] } },
    {
      'GET foo.COM:8080/': 'host',
      'GET foo.com./': 'host',
      'GET foo.com.:80/': 'host',
      'GET A.bar.COM:1/': 'wild',
      'GET [::1]:80/': 'six',
      'GET [::1]/': 'six',
      'GET /': undefined
    }
  ],
  [
    'of one path the higher priority is tried first, then the one that was set first',
    { first: {}, second: {}, high: { priority: 1, methods: ['POST'] }, low: { priority: -1 } },
    { 'POST h/': 'high', 'GET h/': 'first' }
  ],
  [
    'methods are the ones that are said: HEAD is not GET',
    { get: { uris: ['/a'], methods: ['GET'] }, rest: { uris: ['/a*'], methods: ['HEAD', 'PUT'] } },
    { 'GET h/a': 'get', 'HEAD h/a': 'rest', 'PUT h/a': 'rest', 'POST h/a': undefined, 'get h/a': undefined }
  ],
  [
    'no character of a path has a meaning of its own',
    {
      colon: { uris: ['/u/:id'] },
      colons: { uris: ['/v/:id*'] },
      optional: { uris: ['/o/:id?*'] },
      percent: { uris: ['/p/%41*'] },
      question: { uris: ['/q?a*'] },
      hash: { uris: ['/h#a*'] },
      tilde: { uris: ['/t~37~*'] },
      star: { uris: ['/s/*'] },
      unicode: { uris: ['/ä*'] },
      paren: { uris: ['/r/:a(^\\d+$)*'] }
    },
    {
      'GET h/u/:id': 'colon',
      'GET h/u/1': undefined,
      'GET h/v/:idx': 'colons',
      'GET h/v/1': undefined,
      'GET h/o/:id?1': 'optional',
      'GET h/o/:id': undefined,
      'GET h/p/%41': 'percent',
      'GET h/p/A': undefined,
      'GET h/q?ab': 'question',
      'GET h/q': undefined,
      'GET h/h#ab': 'hash',
      'GET h/h': undefined,
      'GET h/t~37~': 'tilde',
      'GET h/t%': undefined,
      'GET h/s/*/x?y': 'star',
      'GET h/äb': 'unicode',
      'GET h/r/:a(^\\d+$)1': 'paren',
      'GET h/r/1': undefined
    }
  ]
]

for (const [name, routes, requests] of PRECEDENCE) {
  test(name, () => {
    const table = tableOf(routes)
    for (const [target, expected] of Object.entries(requests)) {
      assert.equal(find(table, target), expected, target)
    }
  })
}

test('a candidate whose other conditions do not hold is passed over: by the next, a shorter prefix, another host', () => {
  const not = (word: string) => (request: string) => !request.includes(word)
  const table = tableOf({
    exact: { uris: ['/a/b'], hosts: ['h'], matches: not('1'), priority: 1 },
    second: { uris: ['/a/b'], hosts: ['h'], matches: not('2') },
    long: { uris: ['/a/*'], hosts: ['h'], matches: not('3') },
    short: { uris: ['/*'], hosts: ['h'], matches: not('4') },
    any: { uris: ['/a/b'], matches: not('5') }
  })
  const expected = ['exact', 'second', 'long', 'short', 'any', undefined]
  for (const [i, entry] of expected.entries()) assert.equal(find(table, 'GET h/a/b', '12345'.slice(0, i)), entry)
})

test('a replaced route is found where it is now and no longer where it was', () => {
  const table = tableOf({ one: { uris: ['/a', '/b*'] }, two: { uris: ['/a', '/b*', '/c'] } })
  table.set('one', define('new one', { uris: ['/a', '/c'], hosts: [] }), 0)
  assert.deepEqual(
    ['GET h/a', 'GET h/b', 'GET h/c'].map((target) => find(table, target)),
    ['new one', 'two', 'new one']
  )
  table.set('one', define('hosted', { uris: ['/a'], hosts: ['*.com'] }), 0)
  assert.equal(find(table, 'GET h/a'), 'two')
  assert.equal(find(table, 'GET h.com/a'), 'hosted')
  table.delete('one')
  table.delete('one')
  assert.equal(find(table, 'GET h.com/a'), 'two')
  table.delete('two')
  assert.equal(find(table, 'GET h.com/a'), undefined)
})

test('of routes that are alike the one with the lowest turn is found, in whatever order they were set', () => {
  const table = new RouteTable<string, string>()
  const found = () => find(table, 'GET h/a')
  for (const [id, turn] of [
    ['b', 3],
    ['c', 2],
    ['a', 3]
  ] as const)
    table.set(id, define(id, { uris: ['/a'] }), turn)
  assert.equal(found(), 'c')
  table.set('c', define('c', { uris: ['/a'] }), 4)
  assert.equal(found(), 'a')
  table.delete('a')
  assert.equal(found(), 'b')
  table.delete('b')
  assert.equal(found(), 'c')
})

// Few letters, so that paths and hosts meet.
const path = fc
  .array(fc.constantFrom('/', 'a', ':', '%', '?', '~', '*'), { maxLength: 5 })
  .map((parts) => `/${parts.join('')}`)
const uri = fc
  .oneof(
    path,
    path.map((text) => `${text}*`),
    fc.constant('*')
  )
  .filter((text) => !text.slice(0, -1).includes('*'))
const name = fc
  .array(fc.constantFrom('a', 'b', '.'), { minLength: 1, maxLength: 4 })
  .map((parts) => `${parts.join('')}x`)
const hostPattern = fc.oneof(
  name,
  name.map((text) => `*${text}`)
)
const methods = fc.uniqueArray(fc.constantFrom('GET', 'PUT'), { minLength: 1 })
const pieces = fc.record({
  uris: fc.uniqueArray(uri, { minLength: 1, maxLength: 2 }),
  hosts: fc.uniqueArray(hostPattern, { maxLength: 2 }),
  methods: fc.option(methods, { nil: undefined }),
  priority: fc.integer({ min: -1, max: 1 }),
  passes: fc.constantFrom('', '', 'k')
})
const change = fc.record({
  id: fc.integer({ min: 0, max: 7 }),
  turn: fc.integer({ min: 0, max: 2 }),
  pieces: fc.option(pieces)
})
const request = fc.record({
  host: name,
  path,
  method: fc.constantFrom('GET', 'PUT'),
  request: fc.constantFrom('k', 'l')
})

const matchesPattern = (pattern: string, text: string, isPrefix: boolean): boolean => {
  if (!pattern.includes('*')) return pattern === text
  return isPrefix ? text.startsWith(pattern.slice(0, -1)) : text.endsWith(pattern.slice(1))
}
/** Exact is the most, then the longer the better; -1 for no match. */
const rank = (patterns: readonly string[], text: string, isPrefix: boolean): number =>
  Math.max(
    -1,
    ...patterns
      .filter((pattern) => matchesPattern(pattern, text, isPrefix))
      .map((pattern) => (pattern.includes('*') ? pattern.length : Number.POSITIVE_INFINITY))
  )

test('after any changes the table finds what a search through the whole list finds', () => {
  fc.assert(
    fc.property(
      fc.array(change, { maxLength: 30 }),
      fc.array(request, { minLength: 1, maxLength: 10 }),
      (changes, requests) => {
        const table = new RouteTable<string, string>()
        const list = new Map<string, { turn: number; id: number; definition: Definition }>()
        for (const [i, { id, turn, pieces: parts }] of changes.entries()) {
          if (parts === null) {
            table.delete(`${id}`)
            list.delete(`${id}`)
            continue
          }
          const { passes, methods: some, ...rest } = parts
          const matches = passes === '' ? undefined : (text: string) => text === passes
          const definition = define(`${id} ${i}`, { ...rest, matches, ...(some && { methods: some }) })
          table.set(`${id}`, definition, turn)
          list.set(`${id}`, { turn, id, definition })
        }
        const sorted = [...list.values()].sort((a, b) => a.turn - b.turn || a.id - b.id)
        for (const { request: text, ...target } of requests) {
          let best: { key: number[]; entry: string } | undefined
          for (const { definition } of sorted) {
            if (definition.methods?.has(target.method) === false || definition.matches?.(text) === false) continue
            // Each host of a route is a chance of its own, as is each uri.
            const host = definition.hosts.length === 0 ? 0 : rank(definition.hosts, target.host, false)
            const uriRank = rank(definition.uris, target.path, true)
            if (host === -1 || uriRank === -1) continue
            const key = [host, uriRank, definition.priority]
            const at = best?.key.findIndex((value, i) => value !== key[i]) ?? -1
            if (best === undefined || (at !== -1 && key[at]! > best.key[at]!)) best = { key, entry: definition.entry }
          }
          assert.equal(table.find(target, text), best?.entry, JSON.stringify(target))
        }
      }
    ),
    { numRuns: 2000 }
  )
})

/** Routes of every kind, and how many candidates a request has had looked at. */
function countingTable(size: number): { table: RouteTable<string, string>; probes: (target: string) => number } {
  const table = new RouteTable<string, string>()
  let probed = 0
  const matches = () => {
    probed++
    return true
  }
  for (let i = 0; i < size; i++) {
    table.set(`exact ${i}`, define(`exact ${i}`, { uris: [`/exact/${i}`], matches }), i)
    table.set(`prefix ${i}`, define(`prefix ${i}`, { uris: [`/prefix/${i}/*`], matches }), i)
    table.set(`host ${i}`, define(`host ${i}`, { uris: ['/*'], hosts: [`h${i}.com`], matches }), i)
    table.set(`wild ${i}`, define(`wild ${i}`, { uris: ['/*'], hosts: [`*.w${i}.com`], matches }), i)
  }
  return {
    table,
    probes(target) {
      probed = 0
      find(table, target)
      return probed
    }
  }
}

test('a request has one candidate looked at, of 10,000 routes as of 40', () => {
  for (const size of [10, 2500]) {
    const { table, probes } = countingTable(size)
    const last = size - 1
    const targets = {
      [`GET x/exact/${last}`]: `exact ${last}`,
      [`GET x/prefix/${last}/y`]: `prefix ${last}`,
      [`GET h${last}.com/y`]: `host ${last}`,
      [`GET y.w${last}.com/y`]: `wild ${last}`
    }
    for (const [target, entry] of Object.entries(targets)) {
      assert.equal(find(table, target), entry)
      assert.equal(probes(target), 1, target)
    }
    assert.equal(probes('GET x/none'), 0)
  }
})

test('of 10,000 routes most are deleted and set again, and each is found or not as it should be', () => {
  const { table } = countingTable(2500)
  for (let i = 0; i < 2400; i++) {
    for (const kind of ['exact', 'prefix', 'host', 'wild']) table.delete(`${kind} ${i}`)
  }
  assert.equal(find(table, 'GET x/prefix/7/y'), undefined)
  assert.equal(find(table, 'GET y.w7.com/y'), undefined)
  assert.equal(find(table, 'GET x/prefix/2450/y'), 'prefix 2450')
  assert.equal(find(table, 'GET y.w2450.com/y'), 'wild 2450')
  table.set('prefix 7', define('again', { uris: ['/prefix/7/*'] }), 7)
  assert.equal(find(table, 'GET x/prefix/7/y'), 'again')
})
