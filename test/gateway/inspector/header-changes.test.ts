import assert from 'node:assert/strict'
import { test } from 'node:test'
import { headerChanges } from '../../../lib/gateway/inspector/header-changes.ts'
import { HIDDEN } from '../../../lib/gateway/inspector/redaction.ts'

const changes = (before: string[], after: string[]) =>
  headerChanges('request', before, after).map(({ name, before, after }) => [name, before, after])

test('what was added, removed and changed is told, and what stays is not', () => {
  assert.deepEqual(changes(['a', '1', 'b', '2', 'c', '3'], ['a', '1', 'c', '4', 'd', '5']), [
    ['c', '3', '4'],
    ['d', undefined, '5'],
    ['b', '2', undefined]
  ])
  assert.deepEqual(changes(['a', '1'], ['a', '1']), [])
})

test('of a header with several values those are told that came or went', () => {
  assert.deepEqual(changes(['a', '1', 'a', '2'], ['a', '2', 'a', '3']), [['a', '1', '3']])
  assert.deepEqual(changes(['a', '1', 'a', '1'], ['a', '1']), [['a', '1', undefined]])
})

test('that a secret has changed is told, and not how', () => {
  assert.deepEqual(changes(['cookie', 'old'], ['cookie', 'new']), [['cookie', HIDDEN, HIDDEN]])
})
