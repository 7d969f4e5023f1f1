import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { before, test } from 'node:test'
import type { Cost } from './counted.ts'

// No clock: what is counted here is the same on every machine. Nor is it exact, since engines differ; each bound leaves
// room, and is far below what one more object, promise or call for each request would make of it.

let costs: Record<string, Cost>

before(async () => {
  const child = fork(join(import.meta.dirname, 'counted.ts'), {
    execArgv: ['--import', 'tsx', '--expose-gc', '--min-semi-space-size=128', '--max-semi-space-size=128']
  })
  ;[costs] = (await once(child, 'message')) as [Record<string, Cost>]
})

test('a filter that reads a header and adds two is called twice for a request: its other callbacks do nothing', () => {
  assert.equal(costs['/stamp']!.crossings, 2)
  assert.equal(costs['/stamp,second,third']!.crossings, 6)
  assert.equal(costs['/plain']!.crossings, 0)
})

test('where nothing waits, a filter makes no promise', () => {
  for (const [path, { promises }] of Object.entries(costs)) assert.equal(promises, 0, path)
})

test('a filter costs few bytes of the heap: about 2 KB for the first, and less for each that follows', () => {
  const bytes = (path: string) => costs[path]!.bytes
  const first = bytes('/stamp') - bytes('/hooks')
  const following = (bytes('/stamp,second,third') - bytes('/stamp')) / 2
  // The engine of Node 24 takes half as much again.
  const more = Number.parseInt(process.versions.node, 10) >= 24 ? 1.5 : 1
  assert.ok(first > 0 && first < 3000 * more, `${first} bytes`)
  assert.ok(following > 0 && following < 2200 * more, `${following} bytes`)
})
