import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { normalizePath } from '../../../lib/gateway/routes/normalize-path.ts'

const TABLE: [string, string][] = [
  ['/', '/'],
  ['/a/b', '/a/b'],
  ['/a/b/', '/a/b/'],
  ['/a?b=/../c', '/a'],
  ['/a?', '/a'],
  ['/a#b', '/a'],
  ['', '/'],
  ['?a', '/'],
  ['//a///b//', '/a/b/'],
  ['/a/./b', '/a/b'],
  ['/a/.', '/a/'],
  ['/a/..', '/'],
  ['/a/../b', '/b'],
  ['/a/b/../../c', '/c'],
  ['/../../a', '/a'],
  ['/a/...', '/a/...'],
  ['/.a/..b', '/.a/..b'],
  ['/a%20b', '/a b'],
  ['/%61dmin', '/admin'],
  ['/a%2fb', '/a/b'],
  ['/a/%2e%2e/b', '/b'],
  ['/a/%2E%2E%2Fb', '/b'],
  ['/a%3Fb%23c', '/a?b#c'],
  ['/a%3Fb/../c', '/c'],
  ['/%2561', '/%61'],
  ['/%252e%252e/a', '/%2e%2e/a'],
  ['/%', '/%'],
  ['/%zz/%41', '/%zz/A'],
  ['/%C3%A4', '/ä'],
  ['/%ff', '/%ff'],
  ['/%ff%2e%2e', '/%ff..'],
  ['/x/%ff%2f%2e%2e%2f%2e%2e%2fadmin', '/admin'],
  ['http://host/a', '/a'],
  ['http://host', '/'],
  ['http://host?a', '/'],
  ['HTTPS://host:1/a/../b?c', '/b'],
  ['http://host/a//b', '/a/b']
]

for (const [target, path] of TABLE) {
  test(`the path of ${JSON.stringify(target)} is ${JSON.stringify(path)}`, () => {
    assert.equal(normalizePath(target), path)
  })
}

test('whatever comes, the path is absolute and has no segment that another way of writing it would lose', () => {
  const part = fc.constantFrom(
    '/',
    '.',
    '..',
    '%2f',
    '%2e',
    '%',
    '%ff',
    '%C3%A4',
    'a',
    '?',
    '#',
    ':',
    '*',
    '%25',
    '%3f'
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 20 }), (parts) => {
      const path = normalizePath(`/${parts.join('')}`)
      assert.match(path, /^\//)
      assert.doesNotMatch(path, /\/\/|\/\.{1,2}(?:\/|$)/)
    }),
    { numRuns: 2000 }
  )
})
