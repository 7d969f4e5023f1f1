import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { HeaderList, isHeader } from '../../lib/host/index.ts'

// Header maps against a model: what any order of operations leaves is what a plain list of pairs would have.

const PSEUDO = [':method', ':path', ':authority', ':scheme']

type Pair = [string, string]

/** The pairs, changed by making the list anew each time. */
class Model {
  pairs: Pair[]
  readonly pseudo: readonly string[]

  constructor(pairs: Pair[], pseudo: readonly string[]) {
    this.pairs = pairs
    this.pseudo = pseudo
  }

  key(name: string): string {
    return name === 'host' && this.pseudo.includes(':authority') ? ':authority' : name
  }

  allows(name: string, value: string): boolean {
    return isHeader(name, value) && (!name.startsWith(':') || this.pseudo.includes(name))
  }

  add(name: string, value: string): boolean {
    const key = this.key(name)
    if (key.startsWith(':')) return this.replace(key, value)
    if (!this.allows(key, value)) return false
    this.pairs = [...this.pairs, [key, value]]
    return true
  }

  replace(name: string, value: string): boolean {
    const key = this.key(name)
    if (!this.allows(key, value)) return false
    const first = this.pairs.findIndex(([other]) => other === key)
    const placed = this.pairs.map((pair, i): Pair => (i === first ? [key, value] : pair))
    const others = placed.filter(([other], i) => i === first || other !== key)
    if (first !== -1) this.pairs = others
    else this.pairs = key.startsWith(':') ? [[key, value], ...others] : [...others, [key, value]]
    return true
  }

  remove(name: string): boolean {
    const key = this.key(name)
    if (!key.startsWith(':')) this.pairs = this.pairs.filter(([other]) => other !== key)
    return true
  }

  assign(pairs: readonly Pair[]): boolean {
    const named = pairs.map(([name, value]): Pair => [this.key(name.toLowerCase()), value])
    if (!named.every(([name, value]) => this.allows(name, value))) return false
    const last = (name: string) => [...this.pairs, ...named].filter(([other]) => other === name).at(-1)
    const pseudo = this.pseudo.map(last).filter((pair) => pair !== undefined)
    this.pairs = [...pseudo, ...named.filter(([name]) => !name.startsWith(':'))]
    return true
  }
}

const name = fc.constantFrom('a', 'b', 'host', 'set-cookie', ...PSEUDO, ':status', 'x y', '', '__proto__')
const value = fc.constantFrom('', '1', '/two', '200', 'GET', 'a b', 'ä', 'bad\r\nx: y', '\u0100')
const pair = fc.tuple(name, value)
const operation = fc.oneof(
  fc.record({ op: fc.constantFrom('add', 'replace'), pair }),
  fc.record({ op: fc.constant('remove'), pair }),
  fc.record({ op: fc.constant('assign'), pairs: fc.array(pair, { maxLength: 5 }) }),
  // Header names as modules write them.
  fc.record({ op: fc.constant('assign'), pairs: fc.array(fc.tuple(fc.constantFrom('A', 'Host', 'b'), value)) })
) as fc.Arbitrary<{ op: 'add' | 'replace' | 'remove'; pair: Pair } | { op: 'assign'; pairs: Pair[] }>

for (const [kind, pseudo, start] of [
  ['request', PSEUDO, [':method', 'GET', ':path', '/', ':authority', 'a.example']],
  ['response', [':status'], [':status', '200', 'host', 'h', 'a', '1', 'a', '2']],
  ['trailers', [], ['a', '1']]
] as [string, string[], string[]][]) {
  test(`operations in any order leave in a ${kind} map what they leave in a plain list`, () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
        const map = new HeaderList([...start], pseudo)
        const pairs = start.flatMap((text, i): Pair[] => (i % 2 === 0 ? [[text, start[i + 1]!]] : []))
        const model = new Model(pairs, pseudo)
        for (const operation of operations) {
          if (operation.op === 'assign') {
            assert.equal(map.assign(operation.pairs.flat()), model.assign(operation.pairs))
          } else {
            const [header, text] = operation.pair
            assert.equal(map[operation.op](header, text), model[operation.op](header, text))
          }
          // After every operation, and by every way of reading.
          const found = map.entries()
          sameHeaders(found, model.pairs)
          for (const [header] of [...model.pairs, ['none', '']] as Pair[]) {
            const values = model.pairs.filter(([other]) => other === header).map(([, text]) => text)
            assert.equal(map.get(header), values[0])
            assert.deepEqual(map.getAll(header), values)
          }
          // As far as can be seen from a module: none of these can end a line or hide a name.
          for (const text of found) assert.doesNotMatch(text, /[\r\n\0]/)
        }
      }),
      { numRuns: 1000 }
    )
  })
}

/** All headers in order; the pseudo-headers come first, among themselves in any order. */
function sameHeaders(list: readonly string[], pairs: readonly Pair[]): void {
  const found = list.flatMap((text, i): Pair[] => (i % 2 === 0 ? [[text, list[i + 1]!]] : []))
  const plain = (all: readonly Pair[]) => all.filter(([header]) => !header.startsWith(':'))
  const pseudo = (all: readonly Pair[]) => all.filter(([header]) => header.startsWith(':')).sort()
  assert.deepEqual(plain(found), plain(pairs))
  assert.deepEqual(pseudo(found), pseudo(pairs))
  assert.deepEqual(pseudo(found.slice(0, pseudo(pairs).length)), pseudo(pairs), 'pseudo-headers come first')
}
