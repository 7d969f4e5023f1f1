import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { HeaderList, isHeader } from '../../lib/host/index.ts'

const PSEUDO = [':method', ':path', ':authority', ':scheme']

/** Keeps the names that were changed. */
class WatchedList extends HeaderList {
  readonly names: string[] = []

  protected override changed(name: string): void {
    this.names.push(name)
  }
}

function request(...headers: string[]): WatchedList {
  return new WatchedList([':method', 'GET', ':path', '/', ':authority', 'a.example', ...headers], PSEUDO)
}

function response(...headers: string[]): WatchedList {
  return new WatchedList([':status', '200', ...headers], [':status'])
}

test('names and values are what HTTP allows', () => {
  for (const name of ['a', 'x-a', "!#$%&'*+-.^_`|~0"]) assert.equal(isHeader(name, ''), true, name)
  for (const name of ['', 'A', 'a b', 'a:', 'ä', 'a\n', 'a\0']) assert.equal(isHeader(name, ''), false, name)
  for (const value of ['', ' a b ', '\t', '\x80\xff']) assert.equal(isHeader('a', value), true, value)
  for (const value of ['\r', '\n', '\0', '\x7f', '\x1f', 'a\r\nb', '\u0100']) assert.equal(isHeader('a', value), false)
})

test('every header that is allowed can be read again, and none that is not changes anything', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 6 }),
      fc.string({ unit: 'binary', maxLength: 6 }),
      (name, value) => {
        const headers = response('x-a', '1')
        const before = [...headers.entries()]
        assert.equal(headers.replace(name, value), isHeader(name, value) && (name[0] !== ':' || name === ':status'))
        if (isHeader(name, value) && name[0] !== ':') assert.equal(headers.get(name), value)
        else if (name !== ':status') assert.deepEqual(headers.entries(), before)
        // No header can end a line, so none can begin another.
        for (const text of headers.entries()) assert.doesNotMatch(text, /[\r\n\0]/)
      }
    ),
    { numRuns: 500 }
  )
})

test('repeated headers stay repeated and in order', () => {
  const headers = response('set-cookie', 'a', 'x', '1', 'set-cookie', 'b')
  assert.equal(headers.add('set-cookie', 'c'), true)
  assert.deepEqual(headers.getAll('set-cookie'), ['a', 'b', 'c'])
  assert.equal(headers.get('set-cookie'), 'a')
  assert.deepEqual(headers.entries().slice(2), ['set-cookie', 'a', 'x', '1', 'set-cookie', 'b', 'set-cookie', 'c'])
})

test('replace keeps the place of the first value, and removes the others', () => {
  const headers = response('a', '1', 'b', '2', 'a', '3', 'a', '4')
  headers.replace('a', 'new')
  assert.deepEqual(headers.entries().slice(2), ['a', 'new', 'b', '2'])
})

test('remove removes all values, and tells of a change only when there was one', () => {
  const headers = response('a', '1', 'b', '2', 'a', '3')
  assert.equal(headers.remove('a'), true)
  assert.equal(headers.remove('a'), true)
  assert.deepEqual(headers.entries().slice(2), ['b', '2'])
  assert.deepEqual(headers.names, ['a'])
})

test('a pseudo-header has one value: to add is to replace', () => {
  const headers = request('a', '1')
  assert.equal(headers.add(':path', '/new'), true)
  assert.deepEqual(headers.getAll(':path'), ['/new'])
  assert.deepEqual(headers.names, [':path'])
})

test('a pseudo-header that was missing comes to the front; one of the other direction is refused', () => {
  const headers = request('a', '1')
  assert.equal(headers.replace(':scheme', 'https'), true)
  assert.equal(headers.entries()[0], ':scheme')
  assert.equal(headers.replace(':status', '200'), false)
  assert.equal(headers.add(':status', '200'), false)
  assert.equal(headers.assign([':status', '200']), false)
  assert.equal(response().replace(':path', '/'), false)
})

test('host is :authority in a request, and a header like others in a response', () => {
  const headers = request()
  assert.equal(headers.get('host'), 'a.example')
  assert.deepEqual(headers.getAll('host'), ['a.example'])
  headers.add('host', 'b.example')
  headers.replace('host', 'c.example')
  headers.remove('host')
  assert.deepEqual(headers.entries(), [':method', 'GET', ':path', '/', ':authority', 'c.example'])
  headers.assign(['Host', 'd.example'])
  assert.equal(headers.get(':authority'), 'd.example')
  const other = response('host', 'a')
  assert.equal(other.get('host'), 'a')
})

test('assign puts all headers in place of all, pseudo-headers first, and tells of every name', () => {
  const headers = request('a', '1', 'b', '2')
  assert.equal(headers.assign(['B', '3', ':path', '/new', 'c', '4', 'c', '5']), true)
  const pseudo = [':method', 'GET', ':path', '/new', ':authority', 'a.example']
  assert.deepEqual(headers.entries(), [...pseudo, 'b', '3', 'c', '4', 'c', '5'])
  assert.deepEqual(headers.names.sort(), [':authority', ':method', ':path', 'a', 'b', 'c'])
})

test('assign is all or nothing', () => {
  for (const bad of [
    ['a', 'x\n'],
    ['a b', ''],
    [':unknown', '1'],
    [':path', '']
  ]) {
    const headers = request('a', '1')
    const before = [...headers.entries()]
    assert.equal(headers.assign(['c', '1', ...bad]), false)
    assert.deepEqual(headers.entries(), before)
    assert.deepEqual(headers.names, [])
  }
})

test('a map that is read-only is read, and refuses every write', () => {
  const headers = request('a', '1')
  headers.writable = false
  const before = [...headers.entries()]
  assert.equal(headers.add('a', '2'), false)
  assert.equal(headers.replace('a', '2'), false)
  assert.equal(headers.remove('a'), false)
  assert.equal(headers.remove(':path'), false)
  assert.equal(headers.assign([]), false)
  assert.deepEqual(headers.entries(), before)
  assert.equal(headers.get('a'), '1')
})
